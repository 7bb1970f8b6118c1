//! [`RequestKey`]: what a limit counts a request by.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use http::request::Parts;
use ring::digest::{SHA256, digest};
use tollgate::SettingError;
use tollgate::http::{BearerToken, CookieKey, Decoded, HeaderKey, HostKey, KeyExtractor};
use tollgate::{Key as Counted, KeyText};

use crate::config::{Key, KeyPart, Missing};

/// What a limit counts a request by.
///
/// A key of one address is counted as that [`IpAddr`], so the address itself finds it. The values of headers, cookies and tokens may
/// be secrets: in text, they are fingerprints.
#[derive(Clone, Copy, Debug)]
pub struct RequestKey<'a> {
    parts: [Part<'a>; Key::PARTS_MAX],
    len: usize,
}

/// A part of it.
#[derive(Clone, Copy)]
enum Part<'a> {
    Address(IpAddr),
    Global,
    Host(&'a str),
    Secret(Decoded<'a>),
}

/// Finds the key of a limit in requests.
#[derive(Debug)]
pub(super) struct Extract {
    parts: Vec<Extractor>,
}

#[derive(Debug)]
enum Extractor {
    Address,
    Global,
    Host(HostKey),
    Header(HeaderKey),
    Cookie(CookieKey),
    Bearer,
}

impl Extract {
    pub(super) fn new(key: &Key, hosts: &[String]) -> Result<Self, SettingError> {
        let part = |part: &KeyPart| {
            Ok(match part {
                KeyPart::Address => Extractor::Address,
                KeyPart::Global => Extractor::Global,
                KeyPart::Host => Extractor::Host(HostKey::among(hosts)?),
                KeyPart::Header(name) => Extractor::Header(HeaderKey::new(name)?),
                KeyPart::Cookie(name) => Extractor::Cookie(CookieKey::new(name)?),
                KeyPart::Bearer => Extractor::Bearer,
            })
        };
        Ok(Self { parts: key.parts().iter().map(part).collect::<Result<_, _>>()? })
    }

    /// Whether every request has it.
    pub(super) fn is_simple(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Extractor::Address | Extractor::Global))
    }

    /// The key of a request, or what it lacks.
    pub(super) fn of<'a>(
        &'a self,
        head: &'a Parts,
        client: IpAddr,
        missing: Missing,
    ) -> Result<RequestKey<'a>, String> {
        let mut key = RequestKey { parts: [Part::Global; Key::PARTS_MAX], len: self.parts.len() };
        for (part, extractor) in key.parts.iter_mut().zip(&self.parts) {
            let found = match extractor {
                Extractor::Address => Ok(Part::Address(client)),
                Extractor::Global => Ok(Part::Global),
                Extractor::Host(host) => host.extract(head).map(Part::Host),
                Extractor::Header(header) => header.extract(head).map(Part::Secret),
                Extractor::Cookie(cookie) => cookie.extract(head).map(Part::Secret),
                Extractor::Bearer => BearerToken.extract(head).map(Part::Secret),
            };
            *part = match (found, missing) {
                (Ok(part), _) => part,
                (Err(_), Missing::Address) => Part::Address(client),
                (Err(lacks), _) => return Err(lacks.to_string()),
            };
        }
        Ok(key)
    }
}

impl<'a> RequestKey<'a> {
    fn parts(&self) -> &[Part<'a>] {
        &self.parts[..self.len]
    }
}

impl Hash for RequestKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in self.parts() {
            match part {
                Part::Address(address) => address.hash(state),
                Part::Global => {} // as `()`, which hashes nothing
                Part::Host(host) => host.hash(state),
                Part::Secret(value) => value.hash(state),
            }
        }
    }
}

impl Counted for RequestKey<'_> {
    fn write(&self, text: &mut KeyText) {
        for part in self.parts() {
            match part {
                Part::Address(address) => address.write(text),
                Part::Global => ().write(text),
                Part::Host(host) => host.write(text),
                Part::Secret(value) => text.part(&fingerprint(*value, 32)),
            }
        }
    }
}

/// For a person: `203.0.113.9 + #9f3a11c0`.
impl fmt::Display for RequestKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts().iter().enumerate() {
            if index > 0 {
                f.write_str(" + ")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Global => f.write_str("everybody"),
            Self::Host(host) => host.fmt(f),
            Self::Secret(value) => write!(f, "#{}", fingerprint(*value, 8)),
        }
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first digits of the SHA-256 of a value: the same on every replica, and nobody reads a secret from it. 32 of them, as
/// many as an MD5 has, tell all values apart; 8 are for a person's eyes.
fn fingerprint(value: Decoded<'_>, digits: usize) -> String {
    let bytes: Vec<u8> = value.bytes().collect();
    let hash = digest(&SHA256, &bytes);
    let mut text: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}
