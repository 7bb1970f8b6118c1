//! [`Key`]: what a door can count by, hashed here and written out for others.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Something requests can be counted by, in process and beyond it.
///
/// [`RateLimiter::check`](crate::RateLimiter::check) takes any [`Hash`]. Where a key comes from an extractor, it must also
/// have a text of its own, so that the same extractor serves a limiter that is shared between machines: hashes
/// are not the same everywhere, text is. Two keys have the same text if and only if they are equal.
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
pub trait Key: Hash {
    /// Writes the key's parts.
    fn write(&self, text: &mut KeyText);
}

/// The text of a key: its parts joined by `:`, each escaped, so that `("a", "bc")` and `("ab", "c")` differ.
#[derive(Clone, Debug, Default)]
pub struct KeyText {
    text: String,
}

impl KeyText {
    /// The whole text of a key.
    pub fn of<K: Key + ?Sized>(key: &K) -> String {
        let mut text = Self::default();
        key.write(&mut text);
        text.text
    }

    /// Adds a part. Every byte but ASCII letters, digits, `-`, `_` and `.` is written as `%` and two hex digits (RFC 3986,
    /// section 2.1).
    pub fn part(&mut self, part: &(impl AsRef<[u8]> + ?Sized)) {
        if !self.text.is_empty() {
            self.text.push(':');
        }
        let start = self.text.len();
        for &byte in part.as_ref() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => self.text.push(char::from(byte)),
                _ => write!(self.text, "%{byte:02X}").expect("a String takes any text"),
            }
        }
        if self.text.len() == start {
            // An empty part is written too, or a first one would leave no mark.
            self.text.push('%');
        }
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

/// The one key that all share.
impl Key for () {
    fn write(&self, text: &mut KeyText) {
        text.part("");
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
