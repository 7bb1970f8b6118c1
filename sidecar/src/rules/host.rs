//! [`host_of`]: the host that a request is for.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;

/// The host that a request is for, in lower case, without a port and a dot at the end: from its target or, if that has none,
/// from `Host`. None if they do not agree, or cannot be read.
pub fn host_of(head: &Parts) -> Option<Cow<'_, str>> {
    let target = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let lines = head.headers.get_all(HOST).iter().map(|line| line.as_bytes());
    let mut found: Option<&[u8]> = None;
    for given in target.into_iter().chain(lines) {
        let given = name(given)?;
        match found {
            Some(before) if !before.eq_ignore_ascii_case(given) => return None,
            _ => found = Some(given),
        }
    }
    let found = std::str::from_utf8(found?).ok()?;
    Some(if found.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(found.to_ascii_lowercase())
    } else {
        Cow::Borrowed(found)
    })
}

/// The name or address in an authority, without the port.
fn name(authority: &[u8]) -> Option<&[u8]> {
    let end = match authority {
        [b'[', ..] => 1 + authority.iter().position(|&byte| byte == b']')?,
        _ => authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    (is_port && !host.is_empty() && host.is_ascii() && !host.contains(&b'@')).then_some(host)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check(uri: &str, lines: &[&str], expected: Option<&str>) {
        let mut request = Request::get(uri);
        for line in lines {
            request = request.header(HOST, *line);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(host_of(&head).as_deref(), expected, "{uri} {lines:?}");
    }

    #[test]
    fn a_host_is_one_in_every_spelling() {
        check("/", &["api.example"], Some("api.example"));
        check("/", &["API.Example.:8443"], Some("api.example"));
        check("http://api.example/", &[], Some("api.example"));
        check("http://api.example/", &["API.example:80"], Some("api.example"));
        check("/", &["[2001:DB8::1]:80"], Some("[2001:db8::1]"));
    }

    #[test]
    fn what_is_not_one_host_is_none() {
        check("/", &[], None);
        check("/", &["a.example", "b.example"], None);
        check("http://a.example/", &["b.example"], None);
        for odd in ["", ":80", "a:b", "user@a", "[::1", ".", "a:80:90"] {
            check("/", &[odd], None);
        }
    }
}
