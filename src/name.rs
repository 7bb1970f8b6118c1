//! [`Name`]: what a quota is called.

use std::fmt;

/// The longest name a quota may have, in bytes.
pub(crate) const NAME_MAX: usize = 31;

/// A quota's name, held inline so that an answer can carry it without a pointer or an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    len: u8,
    bytes: [u8; NAME_MAX],
}

impl Name {
    /// A name that a person chose, if it is one.
    pub(crate) fn given(name: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(plain) {
            return None;
        }
        Self::inline(name)
    }

    /// Any text short enough.
    pub(crate) fn inline(name: &str) -> Option<Self> {
        let mut bytes = [0; NAME_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { len: name.len() as u8, bytes }) // at most NAME_MAX
    }

    pub(crate) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).expect("copied whole from a str")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
