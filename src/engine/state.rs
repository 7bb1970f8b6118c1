//! [`State`]: what a question is decided by.

use crate::algorithm::{Counter, Verdict};
use crate::clock::Clock;
use crate::decision::{Denied, Permit, Status};
use crate::fingerprint::{Fingerprint, Owner, TagMask};
use crate::rules::{Charged, OnlyBucket, Prepared, Rules};
use crate::table::{OnlyWord, Table, Words};

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
        let now = self.clock.now();
        let slot = self.table.only_word(key.under(Rules::tag(0, 0)), key)?;
        let OnlyBucket { ref bucket, limit, name: quota } = *only;
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

    /// The same by any one quota, of rules that may have been replaced.
    #[inline]
    pub(super) fn check_known_by(
        &self,
        version: u64,
        plan: usize,
        quota: &Prepared,
        key: Fingerprint,
        cost: u64,
    ) -> Option<Result<Permit, Denied>> {
        let now = self.clock.now();
        let slot = self.table.only_word(key.under(Rules::tag(version, plan)), key)?;
        // Each counter by itself: asked through `Counter`, it would be told apart at each of three questions.
        macro_rules! by {
            ($counter:expr) => {
                self.charge(
                    version,
                    quota,
                    slot,
                    now,
                    |word| $counter.decide(word, now, cost),
                    |word| ($counter.remaining(word, now), $counter.reset_after(word, now)),
                )
            };
        }
        match &quota.counter {
            Counter::TokenBucket(bucket) => {
                let asked = bucket.asked(now, cost)?;
                let decide = |word| match asked.charged(word) {
                    Some(next) => Verdict::Allow(next),
                    None => Verdict::Wait(now + asked.wait(word)),
                };
                let left = |word| (asked.remaining(word), asked.reset_after(word));
                self.charge(version, quota, slot, now, decide, left)
            }
            Counter::FixedWindow(window) => by!(window),
            Counter::SlidingWindow(window) => by!(window),
            Counter::StrictWindow(window) => by!(window),
        }
    }

    /// Decides and charges a key's only word, and says what is left after it.
    #[inline(always)]
    fn charge(
        &self,
        version: u64,
        quota: &Prepared,
        slot: OnlyWord<'_>,
        now: u64,
        decide: impl Fn(u64) -> Verdict,
        left: impl Fn(u64) -> (u64, u64),
    ) -> Option<Result<Permit, Denied>> {
        loop {
            let sealed = slot.load()?;
            // As in `Attempt::word`.
            if version != 0 && self.rules.version() != version {
                return None;
            }
            let word = quota.unsealed(sealed);
            let verdict = decide(word);
            let word = match verdict {
                Verdict::Allow(next) if !slot.replace(sealed, quota.sealed(next)) => continue,
                Verdict::Allow(next) => next,
                Verdict::Wait(_) | Verdict::Never => word,
            };
            let (remaining, reset_after_nanos) = left(word);
            return Some(quota.answer(Charged { verdict, word, remaining, reset_after_nanos }, now));
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
