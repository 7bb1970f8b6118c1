//! [`Engine`]: decides for fingerprints. Rules, a table, a clock and queues, without the public face.

mod attempt;
mod state;

use std::hash::{BuildHasher, Hash};

use crate::clock::Clock;
use crate::decision::{Denied, Permit, Standing, Status};
use crate::fingerprint::{Fingerprint, Owner};
use crate::offenders::Sketch;
use crate::policy::{Policy, QUOTAS_MAX};
use crate::queue::{Bounds, Queues};
use crate::rules::Rules;
use crate::table::{Table, WORDS_MAX, WhenFull, Words};
use crate::throttle::Reports;
pub(crate) use attempt::Charge;
use state::State;

// One word for each quota.
const _: () = assert!(QUOTAS_MAX == WORDS_MAX);

pub(crate) struct Engine {
    hasher: ahash::RandomState,
    state: State,
    queues: Queues,
    names: Names,
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

/// The policies that an engine begins with.
#[derive(Debug)]
pub(crate) struct Plans {
    /// By plan.
    pub(crate) policies: Vec<Policy>,
    /// How many quotas each can have, now and later.
    pub(crate) quotas_max: usize,
}

impl Engine {
    pub(crate) fn new(
        plans: Plans,
        capacity: usize,
        when_full: WhenFull,
        clock: Clock,
        waiters: Bounds,
        names: Names,
    ) -> Self {
        // The standard library seeds this from the operating system. Outputs of its keyed SipHash make the secrets.
        let entropy = std::hash::RandomState::new();
        let secrets = [0_u64, 1, 2, 3, 4].map(|n| entropy.hash_one(n));
        Self::with_secrets(secrets, plans, capacity, when_full, clock, waiters, names)
    }

    fn with_secrets(
        [a, b, c, d, secret]: [u64; 5],
        plans: Plans,
        capacity: usize,
        when_full: WhenFull,
        clock: Clock,
        waiters: Bounds,
        names: Names,
    ) -> Self {
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let rules = Rules::new(plans.policies, plans.quotas_max, clock.unix_nanos_at_zero(), secret);
        let tag_mask = rules.tag_mask();
        let table = Table::new(capacity, rules.width(), when_full, tag_mask);
        let (queues, reports) = (Queues::new(waiters), Reports::default());
        Self { hasher, state: State { rules, clock, table, tag_mask }, queues, names, reports }
    }

    /// Lets the doors keep the keys that are denied most.
    pub(crate) fn keep_offenders(&mut self, sketch: Sketch) {
        self.reports.offenders = Some(sketch);
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.state.rules
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.state.clock
    }

    pub(crate) fn table(&self) -> &Table {
        &self.state.table
    }

    /// Who waits for which key.
    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// What the doors that share the limiter have to report of it.
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    #[inline]
    pub(crate) fn fingerprint<K: Hash + ?Sized>(&self, key: &K) -> Fingerprint {
        Fingerprint::new(self.hasher.hash_one(key), self.state.tag_mask)
    }

    #[inline(always)]
    pub(crate) fn check(&self, key: Fingerprint, plan: usize, cost: u64) -> Result<Permit, Denied> {
        // Without a closure, which would be left out of line.
        let looked = match self.state.rules.only_bucket() {
            Some(only) if plan == 0 => {
                if let Some(answer) = self.state.check_known(only, key, cost) {
                    return answer;
                }
                true
            }
            _ => false,
        };
        self.check_any(key, plan, cost, looked)
    }

    /// Out of the way of [`check`](Self::check), which may have looked for the key.
    #[inline(never)]
    fn check_any(&self, key: Fingerprint, plan: usize, cost: u64, looked: bool) -> Result<Permit, Denied> {
        // As in `check`: a known key under one quota, whichever it is.
        if !looked && cost > 0 && self.state.rules.width() == 1 {
            let copy;
            let (version, quota) = match self.state.rules.initial(plan) {
                Some(quotas) => (0, &quotas[0]),
                None => {
                    let version;
                    (version, copy) = self.state.rules.first(plan);
                    (version, &copy)
                }
            };
            if let Some(answer) = self.state.check_known_by(version, plan, quota, key, cost) {
                return answer;
            }
        }
        self.state.ask(key, plan, cost, |attempt| attempt.check())
    }

    pub(crate) fn charge(&self, key: Fingerprint, plan: usize, cost: u64) -> Result<Charge, Denied> {
        self.state.ask(key, plan, cost, |attempt| attempt.check())
    }

    /// What [`check`](Self::check) would say after a wait, if nobody else charged the key before. Charges nothing.
    pub(crate) fn look(&self, key: Fingerprint, plan: usize, cost: u64, wait: u64) -> Result<(), Denied> {
        self.state.ask(key, plan, cost, |attempt| attempt.look(wait))
    }

    pub(crate) fn peek(&self, key: Fingerprint, plan: usize) -> Status {
        self.state.ask(key, plan, 0, |attempt| attempt.peek())
    }

    pub(crate) fn standing(&self, key: Fingerprint, plan: usize) -> Standing {
        self.state.ask(key, plan, 0, |attempt| attempt.standing())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn foresee(&self, key: Fingerprint, plan: usize, ahead: u64, cost: u64) -> Denied {
        self.state.ask(key, plan, cost, |attempt| attempt.foresee(ahead))
    }

    pub(crate) fn reset(&self, key: Fingerprint, plan: usize) {
        self.state.ask(key, plan, 0, |attempt| attempt.forget());
    }

    /// Gives back `cost` of whatever the key owes.
    pub(crate) fn refund(&self, key: Fingerprint, plan: usize, cost: u64) {
        self.state.ask(key, plan, cost, |attempt| {
            attempt.each_word_once(|quota, word, _| quota.counter.refund(word, attempt.now, cost, word))
        });
    }

    /// Gives back `cost` of a charge. Of a charge under rules that have been replaced nothing can be told apart any
    /// more, and it stays.
    pub(crate) fn give_back(&self, key: Fingerprint, plan: usize, charge: &Charge, cost: u64) {
        self.state.ask(key, plan, cost, |attempt| {
            if attempt.version != charge.version {
                return Some(());
            }
            // The time is read anew after each word, as in `take_back`.
            attempt.each_word_once(|quota, word, index| {
                quota.counter.refund(word, self.state.clock.now(), cost, charge.words[index])
            })
        });
    }

    /// Replaces a plan's policy. Every key's words are carried over before the next change can begin; a check meanwhile
    /// carries over its own key's.
    pub(crate) fn replace_policy(&self, plan: usize, policy: Policy) {
        self.state.rules.replace(plan, policy, || {
            let (current, carry) = self.carrying();
            self.state.table.carry_over(current, carry);
        });
    }

    /// What a change of rules does to the table: an owner under the rules in force, and what its words become.
    fn carrying(&self) -> (impl Fn(Owner) -> Owner, impl Fn(Owner, &Words) -> Words) {
        let State { rules, clock, tag_mask, .. } = &self.state;
        let (version, now, mask) = (rules.version(), clock.now(), *tag_mask);
        let current = move |owner: Owner| owner.key(mask).under(Rules::tag(version, Rules::plan(owner.tag(mask))));
        (current, move |owner: Owner, words: &Words| self.state.carry(owner, current(owner), words, now))
    }
}

#[cfg(all(test, tollgate_loom))]
mod loom_tests;
