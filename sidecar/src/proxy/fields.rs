//! Which header fields go on, and what is said besides about where a message comes from.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::{CONNECTION, FORWARDED, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::head::trim;
use super::written::{write_field, write_line};
use crate::rules::Enforcer;

/// What is known of the hop from the client to here. One for each connection.
#[derive(Debug)]
pub(super) struct Hop {
    /// Whether the client may say on whose behalf it asks.
    trusted: bool,
    /// Who finds out whom it names, and knows by which fields requests are counted.
    enforcer: Enforcer,
    address: HeaderValue,
    forwarded: HeaderValue,
    proto: HeaderValue,
    via: HeaderValue,
    /// The lines that say so of a client that nobody trusts, but for its host.
    lines: Box<[u8]>,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

impl Hop {
    /// `via` is this proxy's own entry in `Via`.
    pub(super) fn new(peer: SocketAddr, tls: bool, trusted: bool, enforcer: Enforcer, via: &HeaderValue) -> Self {
        let address = peer.ip().to_canonical();
        let proto = if tls { "https" } else { "http" };
        let node = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let address = text(address.to_string());
        let mut lines = Vec::new();
        for (name, value) in [
            ("x-forwarded-for", address.as_bytes()),
            ("x-real-ip", address.as_bytes()),
            ("x-forwarded-proto", proto.as_bytes()),
            ("via", via.as_bytes()),
        ] {
            write_field(name, value, &mut lines);
        }
        Self {
            trusted,
            enforcer,
            lines: lines.into(),
            address,
            forwarded: text(format!("for={node};proto={proto}")),
            proto: HeaderValue::from_static(proto),
            via: via.clone(),
        }
    }

    /// Gives all fields that go on to the upstream, but for those that frame the body.
    pub(super) fn to_upstream(
        &self,
        parts: &Parts,
        host: &HeaderValue,
        mut give: impl FnMut(&HeaderName, &HeaderValue),
    ) {
        let headers = &parts.headers;
        let named = named(headers);
        let is_h2 = parts.version == Version::HTTP_2;
        give(&HOST, host);
        let (mut addresses, mut proto, mut their_host, mut trailers) = (None::<String>, false, false, false);
        let mut cookies: Option<Vec<u8>> = None;
        for (name, value) in headers {
            match fate(name.as_str()) {
                Fate::Goes if is_named(&named, name) || self.passes_for_counted(name) => {}
                Fate::Goes => give(name, value),
                Fate::Stays => trailers |= *name == TE && has_option(value, "trailers"),
                Fate::Tells if !self.trusted || *name == X_REAL_IP || is_named(&named, name) => {}
                Fate::Tells if *name == X_FORWARDED_FOR => {
                    let text = String::from_utf8_lossy(value.as_bytes());
                    let addresses = addresses.get_or_insert_with(String::new);
                    let _ = write!(addresses, "{text}, ");
                }
                Fate::Tells => {
                    proto |= *name == X_FORWARDED_PROTO;
                    their_host |= *name == X_FORWARDED_HOST;
                    give(name, value);
                    if *name == FORWARDED {
                        give(name, &self.forwarded);
                    }
                }
                // RFC 9113, 8.2.3: HTTP/2 may send its crumbs one by one.
                Fate::Cookie if is_h2 => {
                    let cookies = cookies.get_or_insert_with(Vec::new);
                    if !cookies.is_empty() {
                        cookies.extend_from_slice(b"; ");
                    }
                    cookies.extend_from_slice(value.as_bytes());
                }
                Fate::Cookie if is_named(&named, name) => {}
                Fate::Cookie => give(name, value),
            }
        }
        if let Some(value) = cookies.and_then(|cookies| HeaderValue::from_bytes(&cookies).ok()) {
            give(&http::header::COOKIE, &value);
        }
        match addresses.and_then(|before| HeaderValue::from_str(&(before + self.address.to_str().unwrap_or(""))).ok()) {
            Some(addresses) => give(&X_FORWARDED_FOR, &addresses),
            None => give(&X_FORWARDED_FOR, &self.address),
        }
        // Whom the limits see. A proxy that writes the one header passes on the other as its client sent it.
        match self.enforcer.client(parts) {
            Ok(client) if self.trusted => give(&X_REAL_IP, &text(client.to_string())),
            _ => give(&X_REAL_IP, &self.address),
        }
        if !proto {
            give(&X_FORWARDED_PROTO, &self.proto);
        }
        if !their_host {
            give(&X_FORWARDED_HOST, host);
        }
        give(&http::header::VIA, &self.via);
        if trailers {
            give(&TE, &HeaderValue::from_static("trailers"));
        }
    }
}

impl Hop {
    /// The same for a [plain](super::head::Checked::plain) request of a client that nobody trusts, from its bytes: the whole head that
    /// goes on.
    pub(super) fn plain_to_upstream(&self, head: &[u8], host: &[u8], out: &mut Vec<u8>) {
        let mut lines = head.split_inclusive(|&byte| byte == b'\n').skip_while(|line| *line == b"\r\n");
        out.extend_from_slice(lines.next().unwrap_or_default());
        write_field("host", host, out);
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { break };
            let start = out.len();
            write_line(line, colon, trim(&line[colon + 1..line.len() - 2]), out);
            let name = std::str::from_utf8(&out[start..start + colon]);
            if !name.is_ok_and(|name| matches!(fate(name), Fate::Goes | Fate::Cookie)) {
                out.truncate(start);
            }
        }
        out.extend_from_slice(&self.lines);
        write_field("x-forwarded-host", host, out);
        out.extend_from_slice(b"\r\n");
    }

    /// Whether a program that cannot tell `_` from `-` would take this for a field by which a limit counts, though no limit does.
    fn passes_for_counted(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        name.contains('_')
            && self.enforcer.counts_by_header(|counted| counted != name && counted == name.replace('_', "-"))
    }
}

fn text(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).expect("an address is plain text")
}

/// What becomes of a field of a request.
#[derive(Debug, PartialEq)]
enum Fate {
    Goes,
    /// It is for this hop, or is written anew.
    Stays,
    /// It tells on whose behalf the client asks.
    Tells,
    Cookie,
}

/// By its name in small letters.
fn fate(name: &str) -> Fate {
    match name {
        "connection" | "content-length" | "expect" | "host" | "http2-settings" | "keep-alive" | "proxy"
        | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" => Fate::Stays,
        "forwarded" | "x-real-ip" => Fate::Tells,
        "cookie" => Fate::Cookie,
        _ if name.starts_with("x-forwarded-") => Fate::Tells,
        // Programs behind CGI and WSGI cannot tell these from those with hyphens.
        _ if name.contains('_') && matches!(hyphens(name), Fate::Stays | Fate::Tells) => Fate::Stays,
        _ => Fate::Goes,
    }
}

fn hyphens(name: &str) -> Fate {
    fate(&name.replace('_', "-"))
}

/// The fields that `Connection` names, which are for this hop only. (RFC 9110, 7.6.1.)
fn named(headers: &HeaderMap) -> Vec<&[u8]> {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in options(value.as_bytes()) {
            if !matches!(option.to_ascii_lowercase().as_slice(), b"close" | b"keep-alive" | b"upgrade" | b"te" | b"") {
                named.push(option);
            }
        }
    }
    named
}

fn is_named(named: &[&[u8]], name: &HeaderName) -> bool {
    named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a list has this member.
pub(super) fn has_option(value: &HeaderValue, option: &str) -> bool {
    has(value.as_bytes(), option)
}

pub(super) fn has(value: &[u8], option: &str) -> bool {
    options(value).any(|member| member.eq_ignore_ascii_case(option.as_bytes()))
}

/// The fields that a response's `Connection` names for its hop. What says what the response is stays.
pub(super) fn named_in(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    const NEVER: [&str; 8] =
        ["close", "keep-alive", "upgrade", "content-length", "content-type", "date", "cache-control", "set-cookie"];
    options(value).filter(|name| !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never.as_bytes())))
}

/// Takes away what a response says for the hop from the upstream only.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().flat_map(|value| named_in(value.as_bytes()));
    let named: Vec<HeaderName> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}
