//! Who may ask what: the checks of a request before anything else, and what every answer carries.
//!
//! The page is for a person on this machine, whose browser also shows other people's pages. Those can send requests here, so:
//!
//! - The request must name a loopback host. A page elsewhere can make its own name lead to 127.0.0.1 (DNS rebinding), and a browser
//!   would then let it read what is answered. But the request says that name.
//! - What changes something must be a `POST` from this very page: of its origin, and with the token that only the page has.
//! - An answer runs no script, loads nothing, and is shown in no frame.

use std::net::IpAddr;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;

/// An answer instead of what was asked for.
pub(super) type AdminRefusal = (StatusCode, &'static str);

const BAD_HOST: AdminRefusal = (
    StatusCode::FORBIDDEN,
    "The Host of this request is not a loopback address, so it may come from a page of somebody else's. \
     Open it as http://127.0.0.1:PORT/ or http://localhost:PORT/.\n",
);

const BAD_ORIGIN: AdminRefusal = (
    StatusCode::FORBIDDEN,
    "This did not come from this page itself: the Origin is missing or another. Nothing was changed.\n",
);

const BAD_TOKEN: AdminRefusal = (
    StatusCode::FORBIDDEN,
    "The form is from before the last start, or not from this page. Nothing was changed. Open the page again.\n",
);

const BAD_TYPE: AdminRefusal =
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Only application/x-www-form-urlencoded is read.\n");

/// Refuses a request whose `Host` is not a loopback name or address. So is one with two of them, or with none.
pub(super) fn check_host(head: &Parts) -> Result<(), AdminRefusal> {
    let host = only(&head.headers, &HOST).filter(|host| is_loopback(host)).ok_or(BAD_HOST)?;
    // A whole URL as the target names the host once more, and beats the header (RFC 9112, 3.2.2).
    match head.uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => Err(BAD_HOST),
        _ => Ok(()),
    }
}

/// Refuses a `POST` that did not come from a page of this listener. Its host has been checked.
pub(super) fn check_origin(head: &Parts) -> Result<(), AdminRefusal> {
    let same = match (only(&head.headers, &ORIGIN), only(&head.headers, &HOST)) {
        (Some(origin), Some(host)) => {
            origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        }
        _ => false,
    };
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let elsewhere = head.headers.get_all(SITE).iter().any(|site| site != "same-origin");
    if !same || elsewhere {
        return Err(BAD_ORIGIN);
    }
    let kind = only(&head.headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim);
    match kind {
        Some(kind) if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") => Ok(()),
        _ => Err(BAD_TYPE),
    }
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Whether a host, with or without a port, is `localhost` or a loopback address.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|inside| inside.strip_suffix(']'));
    match address.unwrap_or(name).parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) if address.is_none() => false,
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// The secret that the page puts into its forms, so that only who could read the page can send one.
#[derive(Debug)]
pub(super) struct Token {
    key: hmac::Key,
    text: String,
}

impl Token {
    /// What is signed: there is one kind of form.
    const MESSAGE: &[u8] = b"tollgate admin form";

    /// Another one for each start. `None` if the system has no random numbers.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let text = hex(hmac::sign(&key, Self::MESSAGE).as_ref());
        Some(Self { key, text })
    }

    /// As the form has it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Refuses another token. How long that takes tells nothing about the right one.
    pub(super) fn check(&self, given: &str) -> Result<(), AdminRefusal> {
        let bytes = unhex(given).ok_or(BAD_TOKEN)?;
        hmac::verify(&self.key, Self::MESSAGE, &bytes).map_err(|_| BAD_TOKEN)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8); // two hex digits
    digits.len().is_multiple_of(2).then(|| pairs.collect())
}

/// The headers that every answer carries.
#[derive(Clone, Debug)]
pub(super) struct Always {
    policy: HeaderValue,
}

impl Always {
    /// For pages with this style and no other.
    pub(super) fn new(style: &str) -> Self {
        let hash = base64(digest(&SHA256, style.as_bytes()).as_ref());
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        Self { policy: HeaderValue::from_str(&policy).expect("it is plain text") }
    }

    pub(super) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in [
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            // A browser says `Origin: null` from a page that sends no referrer at all.
            (REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(chunk.get(at).copied().unwrap_or_default()));
        for at in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * at) & 63];
            text.push(if at > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_loopback_hosts_are_served() {
        for host in ["localhost", "LOCALHOST:5003", "127.0.0.1", "127.0.0.1:5003", "127.1.2.3:1", "[::1]:5003", "[::1]"]
        {
            assert_eq!(check_host(&head("/", &[("host", host)])), Ok(()), "{host}");
        }
        for host in [
            "",
            ":5003",
            "evil.example",
            "evil.example:5003",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example#localhost",
            "user@localhost",
            "0.0.0.0:5003",
            "10.0.0.1:5003",
            "[::]:5003",
            "::1",
            "::1:5003",
            "[127.0.0.1",
            "localhost:5003:1",
            "localhost:x",
            "127.1",
            "2130706433",
            "localhost.",
            " localhost",
            "localhost, evil.example",
        ] {
            assert!(check_host(&head("/", &[("host", host)])).is_err(), "{host}");
        }
        assert!(check_host(&head("/", &[])).is_err());
        assert!(check_host(&head("/", &[("host", "localhost"), ("host", "localhost")])).is_err());
        assert!(check_host(&head("http://evil.example/", &[("host", "localhost")])).is_err());
        assert!(check_host(&head("http://localhost/", &[("host", "localhost")])).is_ok());
    }

    #[test]
    fn only_this_page_changes_something() {
        const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
        let check = |headers: &[(&str, &str)]| {
            check_origin(&head("/", &[&[("host", "localhost:5003")], headers].concat())).is_ok()
        };
        assert!(check(&[FORM, ("origin", "http://localhost:5003")]));
        assert!(check(&[FORM, ("origin", "http://localhost:5003"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(&[FORM]), "none");
        for other in [
            "null",
            "http://localhost",
            "https://localhost:5003",
            "http://127.0.0.1:5003",
            "http://evil.example",
            "localhost:5003",
            "http://localhost:5003/",
        ] {
            assert!(!check(&[FORM, ("origin", other)]), "{other}");
        }
        assert!(!check(&[FORM, ("origin", "http://localhost:5003"), ("origin", "http://localhost:5003")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!check(&[FORM, ("origin", "http://localhost:5003"), ("sec-fetch-site", site)]), "{site}");
        }
        // What a page elsewhere can send without being asked first.
        for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json"] {
            assert!(!check(&[("content-type", kind), ("origin", "http://localhost:5003")]), "{kind}");
        }
    }

    #[test]
    fn a_token_is_the_page_s_own() {
        let token = Token::new().unwrap();
        assert_eq!(token.check(token.text()), Ok(()));
        let mut other = token.text().to_owned();
        let last = if other.ends_with('0') { "1" } else { "0" };
        other.replace_range(63.., last);
        for wrong in
            [&other, "", "0", &token.text()[..62], &format!("{}00", token.text()), Token::new().unwrap().text(), "ü"]
        {
            assert!(token.check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}
