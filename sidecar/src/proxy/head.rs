//! [`Head`]: whether the head of an HTTP/1 request is one, byte by byte, and where its body ends.
//!
//! hyper reads what has passed here. So this is the one place that decides about framing: what two readers could take in two
//! ways is refused (RFC 9112), and nothing is repaired. It reads no socket and keeps no bytes.

use super::refusal::Refusal;

/// What is known of a head that is being read. The same bytes are shown again and again, each time with more behind them.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// No line's end lies before this.
    searched: usize,
    stage: Stage,
    fields: usize,
    old: bool,
    method: Method,
    target: (usize, usize),
    host: Option<(usize, usize)>,
    length: Option<u64>,
    codings: usize,
    chunked: bool,
    unknown_coding: bool,
    upgrade: bool,
    /// To what carries requests, which nobody could count in a tunnel.
    upgrade_to_http: bool,
    connection_upgrade: bool,
    unknown_expectation: bool,
    /// It has a field that is no plain request's.
    is_special: bool,
}

#[derive(Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Start,
    Fields,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Method {
    #[default]
    Other,
    Connect,
    Get,
    Options,
    Trace,
}

/// A head that can be handed on.
#[derive(Debug, PartialEq)]
pub(super) struct Checked {
    /// How many bytes it has, with the empty line.
    pub(super) len: usize,
    /// What follows it.
    pub(super) body: Framing,
    /// The client asks to speak something else afterwards.
    pub(super) upgrade: bool,
    /// Where `Host` is, if this is a plain request: a `GET` of HTTP/1.1 for a path, without a body, on a connection that goes on, which
    /// has passed no other proxy and says nothing to this one.
    pub(super) plain: Option<(usize, usize)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadBounds {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

/// The longest request target. RFC 9112 asks for at least 8000.
const TARGET_MAX: usize = 16 * 1024;

/// The longest method. The registry's longest has 17.
const METHOD_MAX: usize = 32;

impl Head {
    /// Looks at what there is of the head. `None`: the rest is still to come.
    pub(super) fn advance(&mut self, bytes: &mut [u8], limits: HeadBounds) -> Result<Option<Checked>, Refusal> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &bytes[self.searched..]).map(|at| self.searched + at) else {
                return self.unfinished(bytes, limits).map(|()| None);
            };
            let (start, after) = (self.line, end + 1);
            if after > limits.bytes {
                return Err(self.too_large(bytes));
            }
            (self.line, self.searched) = (after, after);
            if end == start || bytes[end - 1] != b'\r' {
                return Err(Refusal::BARE_LF);
            }
            let line = start..end - 1;
            match self.stage {
                // RFC 9112, 2.2: an empty line before a request is to be ignored.
                Stage::Start if line.is_empty() => {}
                Stage::Start => {
                    self.request_line(bytes, line.start, line.end)?;
                    self.stage = Stage::Fields;
                }
                Stage::Fields if line.is_empty() => {
                    return self.finish(bytes, after).map(Some);
                }
                Stage::Fields => {
                    self.fields += 1;
                    if self.fields > limits.fields {
                        return Err(Refusal::TOO_MANY_FIELDS);
                    }
                    self.field(bytes, line.start, line.end)?;
                }
            }
        }
    }

    /// Whether there is something of a request, be it a byte.
    pub(super) fn has_begun(&self, bytes: &[u8]) -> bool {
        self.stage == Stage::Fields || bytes[self.line..].iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// A line without an end. What can never become a head is refused now, and not when its sender has been waited for.
    fn unfinished(&mut self, bytes: &[u8], limits: HeadBounds) -> Result<(), Refusal> {
        let fresh = &bytes[self.searched..];
        // The last byte may be the CR of a line's end.
        let (last, before) = match fresh.split_last() {
            Some((last, before)) => (Some(*last), before),
            None => (None, fresh),
        };
        // A CR that was the last byte the time before, and was not followed by LF.
        let stale = self.searched > self.line && bytes[self.searched - 1] == b'\r' && !fresh.is_empty();
        if stale || has_control(before) || last.is_some_and(|last| last != b'\r' && has_control(&[last])) {
            return Err(Refusal::CONTROL);
        }
        self.searched = bytes.len();
        if self.stage == Stage::Start {
            self.unfinished_request_line(&bytes[self.line..])?;
        }
        if bytes.len() >= limits.bytes { Err(self.too_large(bytes)) } else { Ok(()) }
    }

    fn unfinished_request_line(&self, line: &[u8]) -> Result<(), Refusal> {
        let method = line.iter().take_while(|&&byte| is_token(byte)).count();
        match line.get(method) {
            _ if method > METHOD_MAX => Err(Refusal::METHOD_TOO_LONG),
            None | Some(b' ') if method > 0 || line.is_empty() => match line.len() {
                len if len > TARGET_MAX + METHOD_MAX + 16 => Err(Refusal::TARGET_TOO_LONG),
                _ => Ok(()),
            },
            Some(b'\r') if line.len() == 1 => Ok(()),
            _ => Err(Refusal::REQUEST_LINE),
        }
    }

    fn too_large(&self, bytes: &[u8]) -> Refusal {
        if self.stage == Stage::Start && bytes[self.line.min(bytes.len())..].len() > TARGET_MAX {
            Refusal::TARGET_TOO_LONG
        } else {
            Refusal::HEAD_TOO_LARGE
        }
    }

    /// `method SP request-target SP HTTP-version`, with one space each, as RFC 9112 section 3 has it.
    fn request_line(&mut self, bytes: &mut [u8], start: usize, end: usize) -> Result<(), Refusal> {
        let line = &bytes[start..end];
        let method = line.iter().take_while(|&&byte| is_token(byte)).count();
        if method == 0 || line.get(method) != Some(&b' ') {
            return Err(Refusal::REQUEST_LINE);
        }
        if method > METHOD_MAX {
            return Err(Refusal::METHOD_TOO_LONG);
        }
        let target = method + 1;
        let target_len = target_len(&line[target..]);
        let version = target + target_len + 1;
        if target_len == 0 || line.get(version - 1) != Some(&b' ') {
            return Err(Refusal::REQUEST_LINE);
        }
        if target_len > TARGET_MAX {
            return Err(Refusal::TARGET_TOO_LONG);
        }
        let newer = match &line[version..] {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => {
                self.old = true;
                false
            }
            // RFC 9110, 2.5: a minor version that we do not know is spoken to as the highest that we know.
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(Refusal::VERSION);
            }
            _ => return Err(Refusal::REQUEST_LINE),
        };
        self.method = match &line[..method] {
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"GET" => Method::Get,
            _ => Method::Other,
        };
        self.target = (start + target, start + target + target_len);
        if has_nul(&line[target..target + target_len]) {
            return Err(Refusal::TARGET);
        }
        if newer {
            bytes[end - 1] = b'1';
        }
        Ok(())
    }

    fn field(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Refusal> {
        let line = &bytes[start..end];
        let (name, value_at) = name_and_value(line)?;
        let value = trim(&line[value_at..]);
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => self.is_special = true,
            3 if name.eq_ignore_ascii_case(b"via") => self.is_special = true,
            4 if name.eq_ignore_ascii_case(b"host") => {
                let from = start + value_at + offset(&line[value_at..]);
                if self.host.replace((from, from + value.len())).is_some() {
                    return Err(Refusal::HOST_TWICE);
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.is_special = true;
                self.unknown_expectation |= !value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                (self.upgrade, self.is_special) = (true, true);
                self.upgrade_to_http |= !value.split(|&byte| byte == b',').map(trim).all(is_no_http);
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(trim) {
                    if !option.iter().all(|&byte| is_token(byte)) {
                        return Err(Refusal::CONNECTION);
                    }
                    self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    self.is_special |= !option.eq_ignore_ascii_case(b"keep-alive");
                    // They are not the hop's own, and to take them away would change what the message is.
                    if [&b"host"[..], b"content-length", b"transfer-encoding"]
                        .iter()
                        .any(|never| option.eq_ignore_ascii_case(never))
                    {
                        return Err(Refusal::CONNECTION);
                    }
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Refusal::LENGTH_TWICE);
                }
                self.length = Some(length(value)?);
                self.is_special = true;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                for coding in value.split(|&byte| byte == b',').map(trim) {
                    self.codings += 1;
                    let chunked = coding.eq_ignore_ascii_case(b"chunked");
                    if self.chunked || coding.is_empty() {
                        return Err(Refusal::CODINGS);
                    }
                    self.chunked = chunked;
                    self.unknown_coding |= !chunked;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What only all fields together tell.
    fn finish(&mut self, bytes: &[u8], len: usize) -> Result<Checked, Refusal> {
        let body = self.framing()?;
        let target = &bytes[self.target.0..self.target.1];
        let host = self.host.map(|(from, to)| &bytes[from..to]);
        match host {
            None if !self.old => return Err(Refusal::NO_HOST),
            Some(host) if !is_host(host) => return Err(Refusal::BAD_HOST),
            _ => {}
        }
        match (self.method, target) {
            (Method::Connect, _) => return Err(Refusal::CONNECT),
            (Method::Trace, _) => return Err(Refusal::TRACE),
            (Method::Options, b"*") => {}
            (_, [b'/', ..]) => {}
            (_, target) => {
                let Some(authority) = authority(target) else { return Err(Refusal::TARGET) };
                if host.is_some_and(|host| !same_host(host, authority, target)) {
                    return Err(Refusal::OTHER_HOST);
                }
            }
        }
        if self.unknown_expectation && !self.old {
            return Err(Refusal::EXPECTATION);
        }
        // As WebSocket and all others that are in use do it (RFC 6455, 4.1).
        let can = self.method == Method::Get && !self.old && body == Framing::Length(0);
        let upgrade = can && self.upgrade && self.connection_upgrade && !self.upgrade_to_http;
        let is_plain = can && !self.is_special && target.first() == Some(&b'/');
        Ok(Checked { len, body, upgrade, plain: self.host.filter(|_| is_plain) })
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        match (self.codings, self.length) {
            (0, None) => Ok(Framing::Length(0)),
            (0, Some(length)) => Ok(Framing::Length(length)),
            _ if self.old => Err(Refusal::CODED_TOO_EARLY),
            (_, Some(_)) => Err(Refusal::LENGTH_AND_CODING),
            // RFC 9112, 6.3: then nobody knows where it ends.
            _ if !self.chunked => Err(Refusal::CODINGS),
            _ if self.unknown_coding => Err(Refusal::UNKNOWN_CODING),
            _ => Ok(Framing::Chunked),
        }
    }
}

/// The name of a field, and where behind the colon its value begins. Whitespace before the colon, a line that continues
/// the one before, and control bytes are none.
pub(super) fn name_and_value(line: &[u8]) -> Result<(&[u8], usize), Refusal> {
    let colon = memchr::memchr(b':', line).ok_or(match line.first() {
        Some(b' ' | b'\t') => Refusal::FOLDED,
        _ => Refusal::FIELD,
    })?;
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err(match name.first() {
            Some(b' ' | b'\t') => Refusal::FOLDED,
            _ => Refusal::FIELD,
        });
    }
    if has_control(&line[colon + 1..]) {
        return Err(Refusal::CONTROL);
    }
    Ok((name, colon + 1))
}

/// `1*DIGIT`, and nothing else: no sign, no list. A zero in front is refused too: some read the rest as octal.
fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) || (value[0] == b'0' && value.len() > 1) {
        return Err(Refusal::LENGTH);
    }
    value
        .iter()
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|&length| length <= u64::MAX / 2)
        .ok_or(Refusal::LENGTH)
}

/// `uri-host [":" port]`, RFC 9110 section 7.2. An empty host is none: section 4.2.1.
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let address = &rest[..end];
            if !std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()) {
                return false;
            }
            (address, &rest[end + 1..])
        }
        _ => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let bracketed = host.first() == Some(&b'[');
    let good_name = bracketed
        || !name.is_empty()
            && name.iter().all(|&byte| {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&')
                    || matches!(byte, b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
            });
    let good_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && port_fits(digits),
        _ => false,
    };
    good_name && good_port
}

fn port_fits(digits: &[u8]) -> bool {
    digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65535
}

/// The authority of a target in absolute form, if that is what it is.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let scheme = memchr::memmem::find(target, b"://")?;
    if !target[..scheme].eq_ignore_ascii_case(b"http") && !target[..scheme].eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = &target[scheme + 3..];
    let authority = &rest[..rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len())];
    is_host(authority).then_some(authority)
}

/// Whether `Host` says the same as the target, which counts (RFC 9112, 3.2.2). They may differ in writing the usual port.
fn same_host(host: &[u8], authority: &[u8], target: &[u8]) -> bool {
    let usual: &[u8] = if target[..5].eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    let bare = |text: &[u8]| {
        let text = text.strip_suffix(usual).unwrap_or(text);
        text.strip_suffix(b":").unwrap_or(text).to_ascii_lowercase()
    };
    host.eq_ignore_ascii_case(authority) || bare(host) == bare(authority)
}

/// Whether this is a protocol (RFC 9110, 7.8), and one that surely carries no requests. An upstream that agrees to `h2c`, or to TLS, would
/// take them past every limit.
fn is_no_http(protocol: &[u8]) -> bool {
    let (name, version) = protocol.split_at(memchr::memchr(b'/', protocol).unwrap_or(protocol.len()));
    let is_protocol = !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && version.iter().skip(1).all(|&byte| is_token(byte));
    is_protocol
        && ![&b"h2"[..], b"h2c", b"h3", b"http", b"https", b"tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

/// Without spaces and tabs around it.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let value = &value[offset(value)..];
    let len = value.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    &value[..len]
}

fn offset(value: &[u8]) -> usize {
    value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len())
}

/// A byte that no field value may have: RFC 9110 section 5.5. The loop has no branch, so the compiler takes many at once.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |bad, &byte| bad | ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f))
}

/// `tchar`, RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether this can be the path and query of a request.
pub(super) fn is_target(target: &[u8]) -> bool {
    target_len(target) == target.len() && !has_nul(target)
}

/// Whether the path has a NUL in it: what reads it may stop there, and find something else.
fn has_nul(target: &[u8]) -> bool {
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    memchr::memmem::find(path, b"%00").is_some()
}

/// How much of this can be a request target. It has no fragment. Browsers leave more unescaped behind the `?` than URIs
/// know (URL standard, query percent-encode set); before it, they escape these.
fn target_len(line: &[u8]) -> usize {
    let mut query = false;
    line.iter()
        .take_while(|&&byte| {
            query |= byte == b'?';
            byte > b' '
                && byte < 0x7f
                && !matches!(byte, b'#' | b'<' | b'>' | b'"')
                && (query || !matches!(byte, b'\\' | b'^' | b'`' | b'{' | b'}'))
        })
        .count()
}
