//! [`Fingerprint`]: which key it is, in one word. [`Owner`]: the same, and how the key's words are to be read.
//!
//! The low bits of a fingerprint are kept free for a [`Tag`]. How many, differs from limiter to limiter, because each bit
//! that the tag does not need makes collisions rarer; so whoever takes the two apart brings the limiter's [`TagMask`].
//! What the tag says is the rules' affair.

/// A key: its keyed hash, with the tag's bits 0. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// Says by which rules a key's words are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

/// Which bits of an [`Owner`] are the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagMask(u64);

/// What stands in a slot of the table: a key under a tag, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u64);

impl Fingerprint {
    /// That of a key's hash.
    #[inline(always)]
    pub(crate) const fn new(hash: u64, mask: TagMask) -> Self {
        let key = hash & !mask.0;
        if key == 0 { Self::instead_of_nobody(mask) } else { Self(key) }
    }

    /// By a call, so that the processor guesses that it is not needed, and need not wait for a comparison.
    #[cold]
    #[inline(never)]
    const fn instead_of_nobody(mask: TagMask) -> Self {
        Self(mask.0 + 1)
    }

    /// The key, with its words read by this tag.
    #[inline]
    pub(crate) fn under(self, tag: Tag) -> Owner {
        Owner(self.0 | tag.0)
    }

    /// As a number, of which all but the lowest bits are evenly spread.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl Tag {
    /// The tag of that number.
    #[inline]
    pub(crate) fn new(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl TagMask {
    /// For tags of so many bits.
    pub(crate) const fn new(bits: u32) -> Self {
        Self((1 << bits) - 1)
    }
}

impl Owner {
    /// Of an empty slot. 0, so that untouched memory is empty slots.
    pub(crate) const NOBODY: Self = Self(0);

    /// Of words under that tag that are no key's alone.
    pub(crate) fn nobody(tag: Tag) -> Self {
        Self(tag.0)
    }

    /// The key.
    #[inline]
    pub(crate) fn key(self, mask: TagMask) -> Fingerprint {
        Fingerprint(self.0 & !mask.0)
    }

    /// The tag under which it stands.
    #[inline]
    pub(crate) fn tag(self, mask: TagMask) -> Tag {
        Tag(self.0 & mask.0)
    }

    /// As a word of the table.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The owner that [`Owner::bits`] wrote down.
    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}
