//! [`Key`]: what a door can count by, hashed here and written out for others.

use std::borrow::Cow;
use std::hash::Hash;
#[cfg(feature = "tower")]
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Something requests can be counted by, in process and beyond it.
///
/// [`RateLimiter::check`](crate::RateLimiter::check) takes any [`Hash`]. A key that comes from an extractor must also have a text
/// of its own. A limiter that machines share needs it: hashes are not the same on every machine, and text is. Two keys of one
/// type have the same text if and only if they are equal.
///
/// Implemented for strings, integers, addresses, and pairs and triples of keys. For a type of your own:
///
/// ```
/// use tollgate::{Key, KeyText};
///
/// #[derive(Hash)]
/// struct Tenant(u32);
///
/// impl Key for Tenant {
///     fn write(&self, text: &mut KeyText) {
///         text.part(&self.0.to_string());
///     }
/// }
/// assert_eq!(KeyText::of(&(Tenant(7), "a b")), "7:a%20b");
/// ```
#[diagnostic::on_unimplemented(
    message = "requests cannot be counted by `{Self}`",
    label = "not a `tollgate::Key`",
    note = "a key is a string, an integer, an address, a pair or triple of keys, or a type of yours that implements \
            `tollgate::Key`",
    note = "for the value of a header use `tollgate::http::HeaderKey`, which also sees to headers that are doubled"
)]
pub trait Key: Hash {
    /// Writes the key's parts: at least one, and as many for every key of the type (or as many as the first one tells).
    /// Otherwise the keys of a pair could run into each other.
    fn write(&self, text: &mut KeyText);
}

/// The text of a key: its parts joined by `:`, each escaped, so that `("a", "bc")` and `("ab", "c")` differ.
///
/// No bytes can leave their part: a client that sends `alice:admin` as a name is `alice%3Aadmin`. The text has no
/// bound of its own. It is at most three times as long as the key, and a server bounds what it reads of a request.
#[derive(Clone, Debug)]
pub struct KeyText {
    text: String,
    /// No more is written than reaches this length.
    enough: usize,
}

impl KeyText {
    /// The whole text of a key.
    ///
    /// ```
    /// use tollgate::KeyText;
    ///
    /// assert_eq!(KeyText::of(&("alice", 7)), "alice:7");
    /// assert_eq!(KeyText::of("alice:7"), "alice%3A7");
    /// assert_eq!(KeyText::of(""), "%");
    /// ```
    pub fn of<K: Key + ?Sized>(key: &K) -> String {
        Self::beginning_of(key, usize::MAX)
    }

    /// The text of a key, or its beginning where it is longer than this. The beginning of a long one costs no more than that of
    /// another, since the key may be whatever a client sends.
    pub(crate) fn beginning_of<K: Key + ?Sized>(key: &K, enough: usize) -> String {
        let mut text = Self { text: String::new(), enough };
        key.write(&mut text);
        text.text
    }

    /// Adds a part. Every byte but ASCII letters, digits, `-`, `_` and `.` is written as `%` and two hex digits (RFC 3986,
    /// section 2.1).
    pub fn part(&mut self, part: &(impl AsRef<[u8]> + ?Sized)) {
        self.start_part();
        let start = self.text.len();
        for &byte in part.as_ref() {
            if self.text.len() >= self.enough {
                return;
            }
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => self.text.push(char::from(byte)),
                _ => {
                    let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
                    self.text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        if self.text.len() == start {
            // An empty part is written too, or a first one would leave no mark.
            self.text.push('%');
        }
    }

    /// Adds a part that no bytes give, since they are escaped.
    fn mark(&mut self, mark: char) {
        self.start_part();
        self.text.push(mark);
    }

    fn start_part(&mut self) {
        if !self.text.is_empty() {
            self.text.push(':');
        }
    }
}

impl Default for KeyText {
    fn default() -> Self {
        Self { text: String::new(), enough: usize::MAX }
    }
}

macro_rules! key_by_bytes {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn write(&self, text: &mut KeyText) {
                text.part(AsRef::<[u8]>::as_ref(self));
            }
        }
    )*};
}

macro_rules! key_by_display {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn write(&self, text: &mut KeyText) {
                text.part(&self.to_string());
            }
        }
    )*};
}

key_by_bytes!(str, String, [u8], Vec<u8>);
key_by_display!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, bool, char);
key_by_display!(IpAddr, Ipv4Addr, Ipv6Addr);

/// The one key that all share. Its text is `*`, which nothing that a client sends can be.
impl Key for () {
    fn write(&self, text: &mut KeyText) {
        text.mark('*');
    }
}

/// The key that all requests without a key share, where they share one. No extractor makes it, and no other key has its hash
/// or its text.
#[cfg(feature = "tower")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedKey;

#[cfg(feature = "tower")]
impl Hash for SharedKey {
    /// Strings end in a byte 0xFF and slices begin with their length, so these bytes are neither's.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"requests without a key");
        state.write_u8(0xFE);
    }
}

#[cfg(feature = "tower")]
impl Key for SharedKey {
    fn write(&self, text: &mut KeyText) {
        text.mark('!');
    }
}

macro_rules! key_by_deref {
    ($($type:ty),*) => {$(
        impl<K: Key + ?Sized> Key for $type {
            fn write(&self, text: &mut KeyText) {
                (**self).write(text);
            }
        }
    )*};
}

key_by_deref!(&K, Box<K>, Arc<K>);

impl<K: Key + ToOwned + ?Sized> Key for Cow<'_, K> {
    fn write(&self, text: &mut KeyText) {
        (**self).write(text);
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, text: &mut KeyText) {
        self.0.write(text);
        self.1.write(text);
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn write(&self, text: &mut KeyText) {
        self.0.write(text);
        self.1.write(text);
        self.2.write(text);
    }
}

#[cfg(all(test, feature = "tower"))]
mod tests {
    use super::*;

    /// All that a hasher is given, in one row: a hasher that tells less apart does not exist.
    fn hashed(key: &(impl Hash + ?Sized)) -> Vec<u8> {
        struct Bytes(Vec<u8>);
        impl Hasher for Bytes {
            fn write(&mut self, bytes: &[u8]) {
                self.0.extend(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut bytes = Bytes(Vec::new());
        key.hash(&mut bytes);
        bytes.0
    }

    /// It was a unit struct once, whose derived hash is that of `()`: requests without a key spent the global limit.
    #[test]
    fn the_shared_key_is_no_other() {
        let shared = hashed(&SharedKey);
        let words = "requests without a key";
        assert_ne!(shared, hashed(&()));
        assert_ne!(shared, hashed(words));
        assert_ne!(shared, hashed(words.as_bytes()));
        assert_ne!(shared, hashed(&(words, 0xFE_u8)));
        assert_ne!(shared, hashed(&(words.as_bytes(), 0xFE_u8)));
        // No string has that byte, and every string but this one ends in another.
        assert_eq!(shared.last(), Some(&0xFE));
        assert_eq!(hashed(words).last(), Some(&0xFF));
    }

    #[test]
    fn marks_are_no_bytes() {
        assert_eq!(KeyText::of(&SharedKey), "!");
        assert_eq!(KeyText::of(&()), "*");
        assert_eq!(KeyText::of(&(("a", ()), "*", "!")), "a:*:%2A:%21");
        for text in ["", "*", "!", "%", ":", "%2A"] {
            assert!(![KeyText::of(&SharedKey), KeyText::of(&())].contains(&KeyText::of(text)), "{text}");
        }
    }
}
