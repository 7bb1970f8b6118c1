//! Any bytes where a key is read: spellings of one value are one key, and none does harm.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tollgate::http::{BearerToken, CookieKey, HostKey, KeyExtractor};
use tollgate::{Clock, KeyText, Quota, RateLimiter};

use crate::keys::{head, text_of};

/// Pieces of hosts, among any bytes that a header may hold.
fn host_bytes() -> impl Strategy<Value = Vec<u8>> {
    pieces(&["a.b", "A.B", "[::1]", ":", "80", ".", "@", "[", "]", "65535", " "], 1..4)
}

/// The same of credentials.
fn authorization_bytes() -> impl Strategy<Value = Vec<u8>> {
    pieces(&["Bearer ", "bearer\t", "Bearer", "Basic ", " ", "abc", "abc", ",", ";", "\"", "="], 1..5)
}

fn pieces(pieces: &'static [&str], count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(prop_oneof![Just(b'\t'), 32_u8..127, 128_u8..], 0..3);
    let piece = prop_oneof![6 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()), 1 => any];
    prop::collection::vec(piece, count).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Any spelling of a value is the value, for the limiter and in its text; and no bytes do harm.
    #[test]
    fn spellings_of_a_value_are_one_key(value in prop::collection::vec(any::<u8>(), 0..200), choices in any::<u64>()) {
        // Encoded are the bytes that must be, and some by choice.
        let spell = |choices: u64| -> String {
            let mut text = String::new();
            for (n, &byte) in value.iter().enumerate() {
                if byte.is_ascii_alphanumeric() && choices >> (n % 64) & 1 == 0 {
                    text.push(byte.into());
                } else if choices >> ((n + 7) % 64) & 1 == 0 {
                    text.push_str(&format!("%{byte:02x}"));
                } else {
                    text.push_str(&format!("%{byte:02X}"));
                }
            }
            text
        };
        let key = CookieKey::new("s").unwrap();
        let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
        let heads = [spell(0), spell(choices), spell(u64::MAX)].map(|spelling| head(&[("cookie", format!("s={spelling}"))]));
        let plain = KeyText::of(&value);
        for (n, head) in heads.iter().enumerate() {
            let found = key.extract(head).unwrap();
            prop_assert_eq!(KeyText::of(&found), plain.clone());
            prop_assert_eq!(limiter.check(&found).is_ok(), n == 0);
            // And its end matters.
            let longer = head.headers["cookie"].to_str().unwrap().to_owned() + "x";
            let longer = self::head(&[("cookie", longer)]);
            prop_assert_ne!(key.extract(&longer).unwrap(), found);
            prop_assert_eq!(limiter.check(&key.extract(&longer).unwrap()).is_ok(), n == 0);
        }
    }

    /// Any bytes in `Host` give a host that is listed or none, and two lines that agree.
    #[test]
    fn any_host_is_listed_or_none(lines in prop::collection::vec(host_bytes(), 0..3)) {
        let key = HostKey::among(["a.b", "[::1]"]).unwrap();
        let found = |lines: &[Vec<u8>]| {
            let lines: Vec<_> = lines.iter().map(|line| ("host", line)).collect();
            key.extract(&head(&lines)).ok().map(str::to_owned)
        };
        // The slow, obvious twin of one line.
        let twin = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).to_lowercase();
            let port = |rest: &str| {
                let digits = rest.strip_prefix(':').unwrap_or_default();
                rest.is_empty() || (rest.starts_with(':') && digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            };
            let is = |host: &str| line.strip_prefix(host).is_some_and(port);
            [("a.b", "a.b"), ("a.b.", "a.b"), ("[::1]", "[::1]")].iter().find(|(host, _)| is(host)).map(|(_, key)| *key)
        };
        let twins: BTreeSet<_> = lines.iter().map(|line| twin(line)).collect();
        let expected = if twins.len() == 1 { twins.first().copied().flatten() } else { None };
        prop_assert_eq!(found(&lines), expected.map(str::to_owned));
    }

    /// Any bytes in `Authorization` give a token without white space, the key of all that are unclear, or none.
    #[test]
    fn any_authorization_is_harmless(lines in prop::collection::vec(authorization_bytes(), 0..3)) {
        let pairs: Vec<_> = lines.iter().map(|line| ("authorization", line)).collect();
        let text = text_of(&BearerToken, &head(&pairs));
        let unclear = text == "%" || text == "absent: a bearer token";
        prop_assert!(unclear || !text.is_empty() && !text.contains("%20") && !text.contains("%2C"), "{text}");
        if !unclear {
            // Every line says the same.
            for line in &lines {
                prop_assert_eq!(&text_of(&BearerToken, &head(&[("authorization", line)])), &text);
            }
            // And another that does not takes it away.
            let more: Vec<_> = pairs.iter().copied().map(|(name, line)| (name, &line[..])).chain([("authorization", &b"Bearer zzz"[..])]).collect();
            prop_assert_eq!(text_of(&BearerToken, &head(&more)), if text == "zzz" { "zzz" } else { "%" });
        }
    }

    /// Any bytes in a cookie header give a key or none, and bytes after it cannot hide what is there.
    #[test]
    fn any_cookies_are_harmless(
        line in prop::collection::vec(prop_oneof![Just(b'\t'), 32_u8..127, 128_u8..], 0..60),
    ) {
        let key = CookieKey::new("s").unwrap();
        let with = [&line[..], b"; s=real"].concat();
        let found = text_of(&key, &head(&[("cookie", &with)]));
        let alone = text_of(&key, &head(&[("cookie", &line)]));
        let expected = if alone == "real" || alone.starts_with("absent") { "real" } else { "%" };
        prop_assert_eq!(found, expected);
    }
}
