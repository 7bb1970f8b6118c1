//! What proxies write about the client: `X-Forwarded-For` and `Forwarded` (RFC 7239), read from the right.
//!
//! Each proxy appends to the header what it saw. So the right end was written by the nearest proxy, and whatever a client
//! sent by itself stands at the left. Reading goes from the right and never looks further left than the entries it gives,
//! so that nothing written there, such as a quote that is never closed, changes how they are read.

use std::iter::FusedIterator;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{FORWARDED, GetAll, HeaderMap, HeaderName, HeaderValue};

/// The most entries that are read. Chains of proxies have two or three.
pub(super) const HOPS_MAX: usize = 32;

/// The most bytes of the header that are looked at, from the right: 8 KiB, so that each of [`HOPS_MAX`] entries may have 256.
const BYTES_MAX: usize = 8 * 1024;

/// The longest text of one address that is read: `[`, 45 for the address, `%`, 15 for a zone, `]:`, and 5 for a port make 69,
/// or 128 if every character is quoted by a backslash.
const NODE_MAX: usize = 128;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A header that lists the hops of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    XForwardedFor,
    Forwarded,
}

impl List {
    /// The header's name, as it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }

    /// The addresses of this header, the nearest first. All lines count as one, in the order of the request. Ends before the
    /// first entry that cannot be read, and at [`HOPS_MAX`] and [`BYTES_MAX`].
    pub(super) fn hops(self, headers: &HeaderMap) -> Hops<'_> {
        let lines = match self {
            Self::XForwardedFor => headers.get_all(X_FORWARDED_FOR),
            Self::Forwarded => headers.get_all(FORWARDED),
        };
        Hops { list: self, lines: lines.iter().rev(), unread: None, bytes: BYTES_MAX, hops: HOPS_MAX }
    }
}

type Lines<'a> = std::iter::Rev<<&'a GetAll<'a, HeaderValue> as IntoIterator>::IntoIter>;

/// See [`List::hops`].
pub(super) struct Hops<'a> {
    list: List,
    lines: Lines<'a>,
    /// The left part of a line whose right part has been read.
    unread: Option<&'a [u8]>,
    /// How many bytes may still be looked at.
    bytes: usize,
    /// How many entries may still be read.
    hops: usize,
}

impl Iterator for Hops<'_> {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        let hop = self.read();
        self.hops = if hop.is_some() { self.hops - 1 } else { 0 };
        hop
    }
}

impl FusedIterator for Hops<'_> {}

impl<'a> Hops<'a> {
    fn read(&mut self) -> Option<IpAddr> {
        if self.hops == 0 {
            return None;
        }
        let line = match self.unread.take() {
            Some(unread) => unread,
            None => self.lines.next()?.as_bytes(),
        };
        let entry = self.last_entry(line)?;
        match self.list {
            List::XForwardedFor => x_forwarded_for(entry),
            List::Forwarded => forwarded(entry),
        }
    }

    /// Takes what stands right of a line's last comma.
    fn last_entry(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        let start = line.len().saturating_sub(self.bytes);
        let visible = &line[start..];
        let comma = match self.list {
            List::XForwardedFor => visible.iter().rposition(|&byte| byte == b','),
            List::Forwarded => last_comma(visible),
        };
        let entry = match comma {
            Some(at) => {
                self.unread = Some(&line[..start + at]);
                &visible[at + 1..]
            }
            None if start == 0 => visible,
            // It begins left of what may be looked at.
            None => return None,
        };
        self.bytes = self.bytes.saturating_sub(entry.len() + 1);
        Some(entry)
    }
}

/// The address in a header that holds one. None if there are several lines: the proxy did not replace what the client sent.
pub(super) fn lone_address(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => x_forwarded_for(line.as_bytes()),
        _ => None,
    }
}

/// Where the last comma outside quotes is.
///
/// Seen from the right, a quote closes a quoted string, which reaches left to the next quote that no backslash escapes: an
/// opening quote stands behind `=`, and a quote inside always has its own backslash in front.
fn last_comma(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        end = text[..end].iter().rposition(|&byte| byte == b',' || byte == b'"')?;
        if text[end] == b',' {
            return Some(end);
        }
        loop {
            end = text[..end].iter().rposition(|&byte| byte == b'"')?;
            if !text[..end].ends_with(b"\\") {
                break;
            }
        }
    }
}

/// An entry of `X-Forwarded-For`. There is no standard; quotes have been seen.
fn x_forwarded_for(entry: &[u8]) -> Option<IpAddr> {
    match entry.trim_ascii() {
        [b'"', inner @ .., b'"'] => node(inner),
        entry => node(entry),
    }
}

/// An element of `Forwarded`: the address of its one `for` parameter.
///
/// A proxy may have copied text of the client into another parameter (`host`) without quoting it. Therefore an element
/// that is not well-formed, or that has two `for`, is not read at all.
fn forwarded(element: &[u8]) -> Option<IpAddr> {
    let mut address = None;
    let mut rest = element.trim_ascii();
    while !rest.is_empty() {
        if rest[0] == b';' {
            rest = rest[1..].trim_ascii_start();
            continue;
        }
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&rest[..equals], &rest[equals + 1..]);
        if name.is_empty() || !name.iter().all(is_token) {
            return None;
        }
        let (value, quoted, after) = match value {
            [b'"', inner @ ..] => {
                let end = closing_quote(inner)?;
                (&inner[..end], true, &inner[end + 1..])
            }
            value => {
                let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
                (value[..end].trim_ascii_end(), false, &value[end..])
            }
        };
        if !quoted && value.contains(&b'"') {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") {
            if address.is_some() {
                return None;
            }
            address = Some(if quoted { quoted_node(value)? } else { node(value)? });
        }
        rest = after.trim_ascii_start();
        if !matches!(rest, [] | [b';', ..]) {
            return None;
        }
    }
    address
}

/// Where the quoted string ends whose inside begins here.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The characters of a name (RFC 9110, section 5.6.2).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// A node inside quotes, where a backslash may stand before any character (RFC 9110, section 5.6.4).
fn quoted_node(text: &[u8]) -> Option<IpAddr> {
    if !text.contains(&b'\\') {
        return node(text);
    }
    let mut plain = [0; NODE_MAX];
    let mut len = 0;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        *plain.get_mut(len)? = if byte == b'\\' { *bytes.next()? } else { byte };
        len += 1;
    }
    node(&plain[..len])
}

/// The address of a node (RFC 7239, section 6): with or without a port, IPv6 with or without brackets. `unknown` and
/// identifiers that hide the address, as `_gazonk`, have none.
fn node(text: &[u8]) -> Option<IpAddr> {
    if text.len() > NODE_MAX {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    if let Some(text) = text.strip_prefix('[') {
        let (address, after) = text.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) if is_port(port) => v6(address),
            None if after.is_empty() => v6(address),
            _ => None,
        };
    }
    match text.split_once(':') {
        None => v4(text),
        Some((_, rest)) if rest.contains(':') => v6(text),
        Some((address, port)) if is_port(port) => v4(address),
        Some(_) => None,
    }
}

fn v4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// An IPv4-mapped address becomes the IPv4 address that it is. A zone (`%eth0`) says which of this machine's links an address
/// is on; that does not make it another client.
fn v6(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    address.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical())
}

/// Digits, or an identifier that hides it.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(hidden) => hidden.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
