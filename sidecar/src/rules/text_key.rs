//! [`TextKey`]: a key that is known by its text.

use std::hash::{Hash, Hasher};

use tollgate::{Key, KeyText};

/// A key that is known by its text, as [`RequestKey`](super::RequestKey) writes it. A store, which knows keys by their texts, finds the same
/// account by it. A limiter in this process, which knows them by their hashes, does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextKey(String);

impl TextKey {
    /// The key of this text. It must be whole.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Hash for TextKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Key for TextKey {
    fn write(&self, text: &mut KeyText) {
        for part in self.0.split(':') {
            match part {
                "*" => ().write(text),
                "%" => text.part(""),
                part => text.part(&unescaped(part)),
            }
        }
    }
}

/// A part of a key's text without its escapes.
pub(crate) fn unescaped(part: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let escaped = (*first == b'%').then(|| rest.get(..2)).flatten();
        let byte = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if byte.is_some() {
            rest = &rest[2..];
        }
        bytes.push(byte.unwrap_or(*first));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_the_key_s_own(one in any::<Vec<u8>>(), other in any::<String>()) {
            for text in [KeyText::of(&(&*one, &*other)), KeyText::of(&*other), KeyText::of(&((), &*one, ()))] {
                prop_assert_eq!(KeyText::of(&TextKey::new(&*text)), text);
            }
        }
    }
}
