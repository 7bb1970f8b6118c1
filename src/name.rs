//! [`Name`]: what a quota is called.

use std::fmt;

/// The longest name a quota may have, in bytes.
pub(crate) const NAME_MAX: usize = 31;

/// A quota's name, held inline so that an answer can carry it without a pointer or an allocation: its length in the first
/// byte, then the name, then zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(8))]
pub(crate) struct Name([u8; NAME_MAX + 1]);

impl Name {
    /// What there is no limit by.
    pub(crate) const UNLIMITED: Self = Self(*b"\x09unlimited\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

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
        let mut bytes = [0; NAME_MAX + 1];
        bytes[1..].get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        bytes[0] = name.len() as u8; // at most NAME_MAX, as there was room for it
        Some(Self(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("copied whole from a str")
    }

    /// The same, not looked through once more.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        let [len, name @ ..] = &self.0;
        name.get(..usize::from(*len)).unwrap_or_default()
    }

    /// The name as plain numbers, from which [`Name::from_cells`] makes it again.
    pub(crate) fn to_cells(self) -> [u64; 4] {
        let mut cells = [0; 4];
        for (cell, eight) in cells.iter_mut().zip(self.0.chunks_exact(8)) {
            *cell = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        }
        cells
    }

    /// The name that [`Name::to_cells`] wrote down.
    #[inline]
    pub(crate) fn from_cells(cells: [u64; 4]) -> Self {
        let mut bytes = [0; NAME_MAX + 1];
        for (eight, cell) in bytes.chunks_exact_mut(8).zip(cells) {
            eight.copy_from_slice(&cell.to_le_bytes());
        }
        Self(bytes)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
