//! [`State`]: what a question is decided by.

use crate::clock::Clock;
use crate::fingerprint::{Owner, TagMask};
use crate::rules::{Prepared, Rules};
use crate::table::Table;

/// What is enforced, what each key has spent, and what time it is.
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) clock: Clock,
    pub(super) table: Table,
    pub(super) tag_mask: TagMask,
}

impl State {
    /// The quota by which an entry's word is to be read.
    pub(super) fn quota_of(&self, owner: Owner, index: usize) -> Option<Prepared> {
        self.rules.of(owner.tag(self.tag_mask), index)
    }

    /// A word as it is to be read under another tag.
    ///
    /// Both tags' rules are known: the caller holds the key's stripe, so the walk of the last change cannot have passed the key
    /// before its tag was read, and the next change waits for that walk.
    pub(super) fn carry(&self, from: Owner, to: Owner, index: usize, word: u64, now: u64) -> u64 {
        match (self.quota_of(from, index), self.quota_of(to, index)) {
            (Some(from), Some(to)) => to.sealed(to.counter.carry(&from.counter, from.unsealed(word), now)),
            _ => unreachable!("the rules of a key under its lock are known"),
        }
    }
}
