//! [`Engine`]: decides for fingerprints. Rules, a table, a clock and queues, without the public face.

mod attempt;

use std::hash::{BuildHasher, Hash};

use crate::algorithm::{Counter, Verdict};
use crate::clock::Clock;
use crate::decision::{Denied, Permit, Standing, Status};
use crate::fingerprint::{Fingerprint, Owner, TagMask};
use crate::policy::{Policy, QUOTAS_MAX};
use crate::queue::{Bounds, Queues};
use crate::rules::{Charged, Prepared, Rules};
use crate::table::{Table, WORDS_MAX, WhenFull, Words};
use crate::throttle::Reports;
use attempt::Attempt;
#[cfg(tollgate_loom)]
use loom::thread::yield_now;
#[cfg(not(tollgate_loom))]
use std::thread::yield_now;

// One word for each quota.
const _: () = assert!(QUOTAS_MAX == WORDS_MAX);

pub(crate) struct Engine {
    hasher: ahash::RandomState,
    rules: Rules,
    clock: Clock,
    table: Table,
    tag_mask: TagMask,
    queues: Queues,
    names: Names,
    #[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only doors report"))]
    reports: Reports,
}

/// What the limiter and its plans are called.
#[derive(Debug)]
pub(crate) struct Names {
    /// Another number for each limiter. Not 0.
    pub(crate) id: u64,
    pub(crate) limiter: Option<String>,
    /// The plans after the default one.
    pub(crate) plans: Vec<String>,
}

impl Names {
    pub(crate) fn new(limiter: Option<String>, plans: Vec<String>) -> Self {
        // Seeded from the operating system, and once more for each call.
        let id = std::hash::RandomState::new().hash_one(0_u64).max(1);
        Self { id, limiter, plans }
    }
}

/// What was charged, so that some of it can be given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) permit: Permit,
    version: u64,
    words: Words,
}

impl Engine {
    pub(crate) fn new(
        policies: Vec<Policy>,
        capacity: usize,
        when_full: WhenFull,
        clock: Clock,
        waiters: Bounds,
        names: Names,
    ) -> Self {
        // The standard library seeds this from the operating system. Outputs of its keyed SipHash make the secrets.
        let entropy = std::hash::RandomState::new();
        let secrets = [0_u64, 1, 2, 3, 4].map(|n| entropy.hash_one(n));
        Self::with_secrets(secrets, policies, capacity, when_full, clock, waiters, names)
    }

    fn with_secrets(
        [a, b, c, d, secret]: [u64; 5],
        policies: Vec<Policy>,
        capacity: usize,
        when_full: WhenFull,
        clock: Clock,
        waiters: Bounds,
        names: Names,
    ) -> Self {
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let rules = Rules::new(policies, clock.unix_nanos_at_zero(), secret);
        let tag_mask = rules.tag_mask();
        let table = Table::new(capacity, rules.width(), when_full, tag_mask);
        let (queues, reports) = (Queues::new(waiters), Reports::default());
        Self { hasher, rules, clock, table, tag_mask, queues, names, reports }
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Who waits for which key.
    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// What the doors that share the limiter have to report of it.
    #[cfg(feature = "tower")]
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    #[inline]
    pub(crate) fn fingerprint<K: Hash + ?Sized>(&self, key: &K) -> Fingerprint {
        Fingerprint::new(self.hasher.hash_one(key), self.tag_mask)
    }

    /// Which version, plan and quotas to ask, for as long as they are current.
    #[inline]
    fn ask<T>(&self, key: Fingerprint, plan: usize, cost: u64, answer: impl Fn(Attempt<'_>) -> Option<T>) -> T {
        loop {
            let now = self.clock.now();
            let answered = match self.rules.initial(plan) {
                Some(quotas) => answer(self.attempt(key, plan, cost, now, 0, quotas)),
                None => self.ask_changed(key, plan, cost, now, &answer),
            };
            if let Some(answered) = answered {
                return answered;
            }
            // The rules were replaced, or the key's place is changing hands, and who sees to that may have been put aside.
            yield_now();
        }
    }

    /// As [`ask`](Self::ask), of rules that have been replaced at least once.
    #[inline(never)]
    fn ask_changed<T>(
        &self,
        key: Fingerprint,
        plan: usize,
        cost: u64,
        now: u64,
        answer: impl Fn(Attempt<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.rules.width() == 1 {
            let (version, quota) = self.rules.first(plan);
            answer(self.attempt(key, plan, cost, now, version, &[quota]))
        } else {
            let snapshot = self.rules.all(plan);
            answer(self.attempt(key, plan, cost, now, snapshot.version, snapshot.quotas()))
        }
    }

    #[inline]
    fn attempt<'a>(
        &'a self,
        key: Fingerprint,
        plan: usize,
        cost: u64,
        now: u64,
        version: u64,
        quotas: &'a [Prepared],
    ) -> Attempt<'a> {
        let owner = key.under(Rules::tag(version, plan));
        Attempt { engine: self, quotas, version, owner, now, cost }
    }

    #[inline(always)]
    pub(crate) fn check(&self, key: Fingerprint, plan: usize, cost: u64) -> Result<Permit, Denied> {
        // A known key of the default plan under one token bucket, as long as rules have not been replaced: what `check_any` would
        // find too. Here the verdict stays in registers, and the answer is built once, where it is returned.
        if let (0, 1.., Some(quota)) = (plan, cost, self.rules.initial_only()) {
            if let Counter::TokenBucket(bucket) = quota.counter {
                let now = self.clock.now();
                if let Some(slot) = self.table.first_word(key.under(Rules::tag(0, 0))) {
                    while let Some(word) = slot.load() {
                        let verdict = bucket.decide(word, now, cost);
                        let after = match verdict {
                            Verdict::Allow(next) if !slot.replace(word, next) => continue,
                            Verdict::Allow(next) => next,
                            Verdict::Wait(_) | Verdict::Never => word,
                        };
                        let (remaining, reset_after_nanos) =
                            (bucket.remaining(after, now), bucket.reset_after(after, now));
                        return quota.answer(Charged { verdict, word: after, remaining, reset_after_nanos }, now);
                    }
                }
            }
        }
        self.check_any(key, plan, cost)
    }

    /// Out of the way of [`check`](Self::check).
    #[inline(never)]
    fn check_any(&self, key: Fingerprint, plan: usize, cost: u64) -> Result<Permit, Denied> {
        // What `ask` would find too, for a known key under one quota; written out for the same reason.
        if cost > 0 && self.rules.width() == 1 {
            let copy;
            let (version, quota) = match self.rules.initial(plan) {
                Some(quotas) => (0, &quotas[0]),
                None => {
                    let version;
                    (version, copy) = self.rules.first(plan);
                    (version, &copy)
                }
            };
            let attempt = self.attempt(key, plan, cost, self.clock.now(), version, std::slice::from_ref(quota));
            if let Some(charged) = self.table.find(attempt.owner).and_then(|slot| attempt.charge_at(slot)) {
                return quota.answer(charged, attempt.now);
            }
        }
        self.ask(key, plan, cost, |attempt| attempt.check())
    }

    pub(crate) fn charge(&self, key: Fingerprint, plan: usize, cost: u64) -> Result<Charge, Denied> {
        self.ask(key, plan, cost, |attempt| attempt.check())
    }

    pub(crate) fn peek(&self, key: Fingerprint, plan: usize) -> Status {
        self.ask(key, plan, 0, |attempt| attempt.peek())
    }

    pub(crate) fn standing(&self, key: Fingerprint, plan: usize) -> Standing {
        self.ask(key, plan, 0, |attempt| attempt.standing())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn foresee(&self, key: Fingerprint, plan: usize, ahead: u64, cost: u64) -> Denied {
        self.ask(key, plan, cost, |attempt| attempt.foresee(ahead))
    }

    pub(crate) fn reset(&self, key: Fingerprint, plan: usize) {
        self.ask(key, plan, 0, |attempt| attempt.each_word(|quota, word, _| quota.counter.fresh(word)).ok());
    }

    /// Gives back `cost` of whatever the key owes.
    pub(crate) fn refund(&self, key: Fingerprint, plan: usize, cost: u64) {
        self.ask(key, plan, cost, |attempt| {
            attempt.each_word_once(|quota, word, _| quota.counter.refund(word, attempt.now, cost, word))
        });
    }

    /// Gives back `cost` of a charge. Of a charge under rules that have been replaced nothing can be told apart any
    /// more, and it stays.
    pub(crate) fn give_back(&self, key: Fingerprint, plan: usize, charge: &Charge, cost: u64) {
        self.ask(key, plan, cost, |attempt| {
            if attempt.version != charge.version {
                return Some(());
            }
            // The time is read anew after each word, as in `take_back`.
            attempt.each_word_once(|quota, word, index| {
                quota.counter.refund(word, self.clock.now(), cost, charge.words[index])
            })
        });
    }

    /// Replaces a plan's policy. Every key's words are carried over before the next change can begin; a check meanwhile
    /// carries over its own key's.
    pub(crate) fn replace_policy(&self, plan: usize, policy: Policy) {
        self.rules.replace(plan, policy, || {
            let now = self.clock.now();
            let version = self.rules.version();
            let current = |owner: Owner| {
                let plan = Rules::plan(owner.tag(self.tag_mask));
                owner.key(self.tag_mask).under(Rules::tag(version, plan))
            };
            let carry = |owner: Owner, index: usize, word: u64| self.carry(owner, current(owner), index, word, now);
            self.table.carry_over(current, carry);
        });
    }

    /// The quota by which an entry's word is to be read.
    fn quota_of(&self, owner: Owner, index: usize) -> Option<Prepared> {
        self.rules.of(owner.tag(self.tag_mask), index)
    }

    /// A word as it is to be read under another tag.
    ///
    /// Both tags' rules are known: the caller holds the key's stripe, so the walk of the last change cannot have passed the key
    /// before its tag was read, and the next change waits for that walk.
    fn carry(&self, from: Owner, to: Owner, index: usize, word: u64, now: u64) -> u64 {
        match (self.quota_of(from, index), self.quota_of(to, index)) {
            (Some(from), Some(to)) => to.sealed(to.counter.carry(&from.counter, from.unsealed(word), now)),
            _ => unreachable!("the rules of a key under its lock are known"),
        }
    }
}

#[cfg(all(test, tollgate_loom))]
mod loom_tests;
