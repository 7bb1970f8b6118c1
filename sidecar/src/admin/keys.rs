//! [`Keys`]: which key is meant, by its text or by what a person has typed.
//!
//! A key's text has fingerprints in place of what may be secret. From a fingerprint nobody finds the account, so those keys are found
//! that were typed of late, and those that are denied most, whose accounts the limiter knows.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use tollgate::{Account, KeyText, Offender, RateLimiter};

use super::form::Form;
use crate::config::{KeyPart, Limit, Missing};
use crate::rules::{Enforcer, TextKey, unescaped};

/// How many typed keys are remembered.
const TYPED_MAX: usize = 16;

/// Longer texts may have been cut: those who are denied most are kept with 128 bytes of theirs.
const TEXT_MAX: usize = 125;

/// The keys that were typed of late.
#[derive(Debug, Default)]
pub(super) struct Keys {
    typed: VecDeque<(String, KnownKey)>,
}

/// A key that is known.
#[derive(Clone, Debug)]
pub(super) struct KnownKey {
    /// Its text, by which it is found again.
    pub(super) text: String,
    /// The same for a person: `203.0.113.9 + #9f3a11c0`.
    pub(super) shown: String,
    who: Who,
}

#[derive(Clone, Debug)]
enum Who {
    /// Whoever sends a request of this head, from this address.
    Sends(Box<Parts>, IpAddr),
    Offender(Offender),
    /// Nobody knows more than its text.
    Text,
}

/// What must be typed to name a key of a limit, as the name of a field and its label.
pub(super) fn fields(limit: &Limit) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    if limit.key.parts().contains(&KeyPart::Address) || limit.missing == Missing::Address {
        fields.push(("client".to_owned(), "Client address".to_owned()));
    }
    for (index, part) in limit.key.parts().iter().enumerate() {
        let label = match part {
            KeyPart::Address | KeyPart::Global => continue,
            KeyPart::Host => "Host".to_owned(),
            KeyPart::Header(name) => format!("Value of the header {name}"),
            KeyPart::Cookie(name) => format!("Value of the cookie {name}"),
            KeyPart::Bearer => "Bearer token".to_owned(),
        };
        fields.push((format!("part-{index}"), label));
    }
    fields
}

/// The text of a key for a person: what may be secret is the beginning of its fingerprint.
pub(super) fn shown(limit: &Limit, text: &str) -> String {
    let mut shown = String::new();
    for (index, part) in text.split(':').enumerate() {
        if index > 0 {
            shown.push_str(" + ");
        }
        match (part, limit.key.parts().get(index)) {
            ("*", _) => shown.push_str("everybody"),
            (part, Some(KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Bearer)) if is_fingerprint(part) => {
                shown.push('#');
                shown.push_str(&part[..8]);
            }
            (part, _) => shown.push_str(&plain(part)),
        }
    }
    shown
}

fn is_fingerprint(part: &str) -> bool {
    part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A part of a key's text without its escapes. What is not UTF-8 stays as it is.
fn plain(part: &str) -> String {
    String::from_utf8(unescaped(part)).unwrap_or_else(|_| part.to_owned())
}

impl Keys {
    /// The key of a limit, by its place, that these fields name. It is remembered.
    pub(super) fn typed(&mut self, enforcer: &Enforcer, limit: usize, form: &Form) -> Result<KnownKey, String> {
        let name = enforcer.config().limits[limit].name.clone();
        let (mut client, mut head) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), head());
        if let Some(text) = form.get("client").map(str::trim).filter(|text| !text.is_empty()) {
            client =
                text.parse().map_err(|_| "That is not an address: write it as 192.0.2.7 or 2001:db8::7.".to_owned())?;
        }
        let mut cookies = Vec::new();
        for (index, part) in enforcer.config().limits[limit].key.parts().iter().enumerate() {
            let Some(typed) = form.get(&format!("part-{index}")).filter(|typed| !typed.is_empty()) else { continue };
            match part {
                KeyPart::Address | KeyPart::Global => {}
                KeyPart::Host => put(&mut head, HOST, typed)?,
                KeyPart::Header(header) => put(&mut head, header.clone(), typed)?,
                KeyPart::Cookie(cookie) => cookies.push(format!("{cookie}={typed}")),
                KeyPart::Bearer => put(&mut head, AUTHORIZATION, &format!("Bearer {typed}"))?,
            }
        }
        if !cookies.is_empty() {
            put(&mut head, COOKIE, &cookies.join("; "))?;
        }
        let needs_address = fields(&enforcer.config().limits[limit]).iter().any(|(name, _)| name == "client");
        if needs_address && client.is_unspecified() {
            return Err("Type the client's address.".to_owned());
        }
        let found = sender(enforcer, limit, head, client)?;
        self.typed.retain(|(limit, other)| (limit, &other.text) != (&name, &found.text));
        self.typed.truncate(TYPED_MAX - 1);
        self.typed.push_front((name, found.clone()));
        Ok(found)
    }

    /// The key of a limit, by its place, that has this text.
    pub(super) fn find(&self, enforcer: &Enforcer, limit: usize, text: &str) -> Option<KnownKey> {
        let config = enforcer.config().limits.get(limit)?;
        let typed = self.typed.iter().find(|(limit, found)| *limit == config.name && found.text == text);
        if let Some((_, found)) = typed {
            return Some(found.clone());
        }
        if let Some(found) = parsed(enforcer, limit, text) {
            return Some(found);
        }
        if enforcer.limiter_here(limit).is_none() {
            // A store finds it by its text, if that is whole.
            let is_key = text.len() <= TEXT_MAX && text.split(':').count() == config.key.parts().len();
            return is_key.then(|| KnownKey { text: text.to_owned(), shown: shown(config, text), who: Who::Text });
        }
        let offender = enforcer.offenders(limit).into_iter().find(|offender| offender.key() == text)?;
        let shown = shown(config, offender.key());
        Some(KnownKey { text: offender.key().to_owned(), shown, who: Who::Offender(offender) })
    }
}

impl KnownKey {
    /// Its account at a limit, by its place, as this handle of its limiter has it.
    pub(super) fn account<'a>(
        &self,
        enforcer: &Enforcer,
        limit: usize,
        limiter: &'a RateLimiter,
    ) -> Option<Account<'a>> {
        match &self.who {
            Who::Text => None,
            Who::Offender(offender) => Some(limiter.account_of(offender)),
            Who::Sends(head, client) => enforcer.key_of(limit, head, *client).ok().map(|key| limiter.account(&key)),
        }
    }

    /// What a store finds it by.
    pub(super) fn key(&self) -> TextKey {
        TextKey::new(&*self.text)
    }
}

/// The key that a text tells by itself, as that of an address does. An address may also stand there as a person writes it.
fn parsed(enforcer: &Enforcer, limit: usize, text: &str) -> Option<KnownKey> {
    let config = &enforcer.config().limits[limit];
    let parts = config.key.parts();
    let texts: Vec<String> = match parts {
        [_] => vec![plain(text)],
        _ => text.split(':').map(plain).collect(),
    };
    if texts.len() != parts.len() {
        return None;
    }
    let (mut client, mut head) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), head());
    for (part, text) in parts.iter().zip(&texts) {
        match part {
            KeyPart::Address => client = text.parse().ok()?,
            KeyPart::Global if text == "*" => {}
            KeyPart::Global => return None,
            KeyPart::Host => put(&mut head, HOST, text).ok()?,
            // The address stands in for what the request lacks.
            KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Bearer if config.missing == Missing::Address => {
                client = text.parse().ok()?;
            }
            KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Bearer => return None,
        }
    }
    sender(enforcer, limit, head, client).ok()
}

/// Whoever sends a request of this head.
fn sender(enforcer: &Enforcer, limit: usize, head: Parts, client: IpAddr) -> Result<KnownKey, String> {
    let key = enforcer.key_of(limit, &head, client)?;
    let (text, shown) = (KeyText::of(&key), key.to_string());
    Ok(KnownKey { text, shown, who: Who::Sends(Box::new(head), client) })
}

fn head() -> Parts {
    Request::new(()).into_parts().0
}

fn put(head: &mut Parts, name: HeaderName, value: &str) -> Result<(), String> {
    let value = HeaderValue::from_str(value)
        .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
        .map_err(|_| format!("That cannot be the value of {name}."))?;
    head.headers.insert(name, value);
    Ok(())
}
