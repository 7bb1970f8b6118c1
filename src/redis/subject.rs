//! [`Subjects`]: what a client is called on the server.

use crate::key::{Key, KeyText};

/// The longest text of a key that is written out. With what stands around it a name on the server is below 600 bytes.
const TEXT_MAX: usize = 200;

/// How much of a longer text is still written, before its hash.
const TEXT_KEPT: usize = 64;

/// The longest name of a limiter.
pub(super) const NAME_MAX: usize = 100;

/// The longest prefix of a store's keys.
const PREFIX_MAX: usize = 64;

/// Writes names: `tollgate:NAME:{KEY}`, after the store's prefix, where the name of the limiter and each part of the key are escaped as in
/// [`KeyText`]. So no bytes of a client can leave their place. The braces are Redis Cluster's: what stands between them
/// decides which node has it.
///
/// Of a key whose text is longer than 200 bytes, 64 bytes are written, then `~`, which no text has, and the SHA-1 of the whole.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    /// What all names begin with.
    before: String,
}

impl Subjects {
    pub(super) fn of(prefix: &str, limiter: &str) -> Self {
        Self { before: format!("{prefix}tollgate:{}:{{", KeyText::of(limiter)) }
    }

    pub(super) fn name<K: Key + ?Sized>(&self, key: &K) -> String {
        let text = KeyText::of(key);
        let mut name = String::with_capacity(self.before.len() + text.len().min(TEXT_MAX) + 1);
        name.push_str(&self.before);
        if text.len() <= TEXT_MAX {
            name.push_str(&text);
        } else {
            name.push_str(&text[..TEXT_KEPT]); // all of it is ASCII
            name.push('~');
            name.push_str(&sha1(&text));
        }
        name.push('}');
        name
    }
}

/// Whether all names of a store may begin with this: nothing in it means something to Redis Cluster, or in a pattern.
pub(super) fn is_prefix(text: &str) -> bool {
    text.len() <= PREFIX_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
}

/// The SHA-1 of a text, as Redis writes that of a script.
pub(super) fn sha1(text: &str) -> String {
    ::redis::Script::new(text).get_hash().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_and_are_bounded() {
        let subjects = Subjects::of("", "api");
        assert_eq!(subjects.name("192.0.2.7"), "tollgate:api:{192.0.2.7}");
        assert_eq!(subjects.name(&("GET", "/a b")), "tollgate:api:{GET:%2Fa%20b}");
        assert_eq!(subjects.name("{x}:\r\n"), "tollgate:api:{%7Bx%7D%3A%0D%0A}");
        assert_eq!(Subjects::of("", "a:{b}").name(&7), "tollgate:a%3A%7Bb%7D:{7}");
        assert_eq!(Subjects::of("", "api").name(""), "tollgate:api:{%}");

        let [longest, one, other] = ["a".repeat(200), "a".repeat(201), "a".repeat(100_000)];
        assert_eq!(subjects.name(&longest), format!("tollgate:api:{{{longest}}}"));
        let hashed = format!("tollgate:api:{{{}~{}}}", "a".repeat(64), sha1(&one));
        assert_eq!(subjects.name(&one), hashed);
        assert_ne!(subjects.name(&one), subjects.name(&other));
        assert_eq!(subjects.name(&other).len(), hashed.len());
        assert_ne!(
            subjects.name(&format!("{}~{}", "a".repeat(64), sha1(&one))),
            hashed,
            "no client can write the hash"
        );
        let longest = Subjects::of(&"p".repeat(PREFIX_MAX), &"\0".repeat(NAME_MAX)).name(&"a".repeat(200));
        assert!(longest.len() < 600, "{}", longest.len());
        assert_eq!(Subjects::of("shop:", "api").name(&7), "shop:tollgate:api:{7}");
        for (text, may) in [("", true), ("shop:eu-1/v2.0_x:", true), ("sh{op}:", false), ("a b", false), ("é", false)]
        {
            assert_eq!(is_prefix(text), may, "{text}");
        }
        assert!(is_prefix(&"p".repeat(PREFIX_MAX)) && !is_prefix(&"p".repeat(PREFIX_MAX + 1)));
        assert_eq!(sha1("return 1"), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
