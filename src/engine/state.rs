//! [`State`]: what a question is decided by.

use crate::clock::Clock;
use crate::decision::{Denied, Permit, Status};
use crate::fingerprint::{Fingerprint, Owner, TagMask};
use crate::rules::{OnlyBucket, Rules};
use crate::table::{Table, Words};

/// What is enforced, what each key has spent, and what time it is.
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) clock: Clock,
    pub(super) table: Table,
    pub(super) tag_mask: TagMask,
}

impl State {
    /// Checks a key that is known, where a limiter has one token bucket that was never replaced, which is the commonest case. It
    /// says what an [`Attempt`](super::attempt::Attempt) says; `None` leaves the decision to one.
    ///
    /// It is written into the caller, so that nothing is worked out for a status that is dropped, and an answer is built where
    /// it is wanted. The time is read between the hash and the lookup: a processor does not reach past that reading, so it works on
    /// what stands before it while it finishes the check before.
    #[inline(always)]
    pub(super) fn check_known(&self, only: &OnlyBucket, key: Fingerprint, cost: u64) -> Option<Result<Permit, Denied>> {
        let OnlyBucket { bucket, limit, name: quota } = *only;
        let now = self.clock.now();
        let slot = self.table.only_word(key.under(Rules::tag(0, 0)), key)?;
        let asked = bucket.asked(now, cost)?;
        loop {
            // The words of version 0 stand in the table as they are.
            let word = slot.load()?;
            let Some(next) = asked.charged(word) else {
                let (remaining, reset_after_nanos) = (asked.remaining(word), asked.reset_after(word));
                return Some(Err(Denied {
                    status: Status { quota, index: 0, limit, remaining, reset_after_nanos },
                    retry_after_nanos: Some(asked.wait(word)),
                }));
            };
            if slot.replace(word, next) {
                let (remaining, reset_after_nanos) = (asked.remaining(next), asked.reset_after(next));
                return Some(Ok(Permit { status: Status { quota, index: 0, limit, remaining, reset_after_nanos } }));
            }
        }
    }

    /// Words as they are to be read under another tag.
    ///
    /// Both tags' rules are known: the caller holds the key's stripe, so the walk of the last change cannot have passed the key
    /// before its tag was read, and the next change waits for that walk.
    pub(super) fn carry(&self, from: Owner, to: Owner, words: &Words, now: u64) -> Words {
        let (from, to) = (from.tag(self.tag_mask), to.tag(self.tag_mask));
        self.rules.carried(from, to, words, now).expect("the rules of a key under its lock are known")
    }
}
