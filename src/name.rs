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
    /// What there is no limit by.
    pub(crate) const UNLIMITED: Self = {
        let mut bytes = [0; NAME_MAX];
        let name = b"unlimited";
        let mut at = 0;
        while at < name.len() {
            bytes[at] = name[at];
            at += 1;
        }
        Self { len: name.len() as u8, bytes }
    };

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

    /// The name as plain numbers, from which [`Name::from_cells`] makes it again.
    pub(crate) fn to_cells(self) -> [u64; 4] {
        let mut bytes = [self.len; NAME_MAX + 1];
        bytes[1..].copy_from_slice(&self.bytes);
        let mut cells = [0; 4];
        for (cell, bytes) in cells.iter_mut().zip(bytes.chunks_exact(8)) {
            *cell = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        cells
    }

    /// The name that [`Name::to_cells`] wrote down.
    #[inline]
    pub(crate) fn from_cells(cells: [u64; 4]) -> Self {
        let [a, b, c, d] = cells.map(u64::to_le_bytes);
        let mut bytes = [0; NAME_MAX];
        bytes[..7].copy_from_slice(&a[1..]);
        bytes[7..15].copy_from_slice(&b);
        bytes[15..23].copy_from_slice(&c);
        bytes[23..].copy_from_slice(&d);
        Self { len: a[0], bytes }
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
