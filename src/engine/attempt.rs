//! [`Attempt`]: one question to one key, by rules that were current when it was asked.
//!
//! # Proof: a word is read and written by the rules it was written under
//!
//! Rules may be replaced, and a key change its plan, any number of times between any two steps of an attempt. Say it
//! goes by version `v` and plan `p`, so by the tag `t`.
//!
//! *It reads no other words than those of `v` and `p`.* [`Table::word`](crate::table::Table::word) loads the word
//! and then sees that its owner is the key under `t`. Whoever had put the key under another tag had stored that tag before the
//! word (Release, and the load of the word is Acquire), so the word was written under `t`. In version 0 that is all: no
//! later version has the generation of version 0. Later generations take turns, so the word could be of a version
//! `v + n` with the same tag. It was written by a thread that knew that version, so after the word (Acquire) this thread cannot
//! see an older one: [`Attempt::word`] looks at the version again, finds that it is not `v`, and the attempt begins anew.
//! It cannot be of a version before `v`: the change to `v` began after all words of those before were carried over.
//!
//! *It writes to no other words.* Every write is a compare-and-swap of a word that was read so. Suppose that the cell meanwhile
//! belongs to other rules, and holds the same number. It stands there sealed, by a number that differs for every version and plan
//! and is as good as random, so for any word that the other rules can have brought there the odds are 1 in 2^63
//! that the two are one number: rarer than two keys of one fingerprint, and it takes a thread that stood still in the
//! few instructions between two steps while a change went over its key. The same version and plan after
//! others (a key that went to another plan and came back) has the same seal, and then an equal number is an equal debt.
//!
//! The model checker runs all this in `engine/loom_tests.rs`, with the fewest generations.

use super::state::State;
use crate::algorithm::{Counter, Verdict};
use crate::decision::{Denied, Permit, Standing, Status, is_longer};
use crate::fingerprint::{Fingerprint, Owner};
use crate::rules::{Charged, Prepared, Rules, wait};
use crate::table::{Insertion, Judge, Slot, WORDS_MAX, Words};
#[cfg(tollgate_loom)]
use loom::thread::yield_now;
#[cfg(not(tollgate_loom))]
use std::thread::yield_now;

/// Rules at one moment, and what to ask of them.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) state: &'a State,
    pub(super) quotas: &'a [Prepared],
    pub(super) version: u64,
    /// The key, under the tag of this version and plan.
    pub(super) owner: Owner,
    pub(super) now: u64,
    pub(super) cost: u64,
}

/// What was charged, so that some of it can be given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) permit: Permit,
    pub(super) version: u64,
    pub(super) words: Words,
}

/// What a decision is made into: just the permit, or what giving back needs.
pub(super) trait Granted {
    fn of(attempt: &Attempt<'_>, permit: Permit, after: &Words) -> Self;
}

impl State {
    /// Which version, plan and quotas to ask, for as long as they are current.
    #[inline]
    pub(super) fn ask<T>(
        &self,
        key: Fingerprint,
        plan: usize,
        cost: u64,
        answer: impl Fn(Attempt<'_>) -> Option<T>,
    ) -> T {
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
    pub(super) fn attempt<'a>(
        &'a self,
        key: Fingerprint,
        plan: usize,
        cost: u64,
        now: u64,
        version: u64,
        quotas: &'a [Prepared],
    ) -> Attempt<'a> {
        let owner = key.under(Rules::tag(version, plan));
        Attempt { state: self, quotas, version, owner, now, cost }
    }
}

impl Attempt<'_> {
    /// `None` when the rules have been replaced meanwhile.
    pub(super) fn check<R: Granted>(&self) -> Option<Result<R, Denied>> {
        if self.cost == 0 {
            // Nothing to charge: no window opens, no place is taken, and time that stepped back cannot deny it.
            return Some(Ok(self.receipt(&self.words_now()?)));
        }
        if let Some(slot) = self.state.table.find(self.owner) {
            if let Some(answer) = self.check_at(slot) {
                return Some(answer);
            }
        }
        self.check_new()
    }

    /// Checks a key that was not found: it is new, or has just lost its place, or stands under other rules.
    #[cold]
    fn check_new<R: Granted>(&self) -> Option<Result<R, Denied>> {
        // What not even a key never seen is granted asks for no place, and so for no lock: else whoever asks for too much, by many
        // keys or one, would stand in the way of others' first checks.
        let granted = |quota: &Prepared| matches!(quota.counter.decide(0, self.now, self.cost), Verdict::Allow(_));
        if !self.quotas.iter().all(granted) {
            if let Err(denied) = self.decide(&self.words_now()?) {
                return Some(Err(denied));
            }
        }
        loop {
            match self.state.table.insert(self.owner, self) {
                Err(denied) => return Some(Err(denied)),
                Ok(Insertion::Stale) => return None,
                Ok(Insertion::Done(after)) => return Some(Ok(self.receipt(&self.unsealed(&after)))),
                Ok(Insertion::Present(slot)) => {
                    if let Some(answer) = self.check_at(slot) {
                        return Some(answer);
                    }
                    // Another key is taking the place, or other rules: whoever does may have been put aside.
                    yield_now();
                }
            }
        }
    }

    /// Checks a key in its slot; `None` if the slot has been taken from it.
    fn check_at<R: Granted>(&self, slot: Slot) -> Option<Result<R, Denied>> {
        let [quota] = self.quotas else {
            return self.check_all_at(slot);
        };
        let charged = self.charge_at(slot)?;
        Some(quota.answer(charged, self.now).map(|permit| {
            let mut after = [0; WORDS_MAX];
            after[0] = charged.word;
            R::of(self, permit, &after)
        }))
    }

    /// Decides where there is one quota, and charges it.
    #[inline]
    fn charge_at(&self, slot: Slot) -> Option<Charged> {
        let Self { now, cost, .. } = *self;
        match self.quotas[0].counter {
            // A copy, so that its numbers stay in registers and the clock is converted once.
            Counter::TokenBucket(bucket) => {
                let (verdict, word) = self.charge(slot, |word| bucket.decide(word, now, cost))?;
                let (remaining, reset_after_nanos) = (bucket.remaining(word, now), bucket.reset_after(word, now));
                Some(Charged { verdict, word, remaining, reset_after_nanos })
            }
            ref counter => self.charge_window_at(slot, counter),
        }
    }

    /// Out of the token bucket's way: windows divide, and want its registers.
    #[inline(never)]
    fn charge_window_at(&self, slot: Slot, counter: &Counter) -> Option<Charged> {
        let (verdict, word) = self.charge(slot, |word| counter.decide(word, self.now, self.cost))?;
        let (remaining, reset_after_nanos) = (counter.remaining(word, self.now), counter.reset_after(word, self.now));
        Some(Charged { verdict, word, remaining, reset_after_nanos })
    }

    /// The verdict on a key's only word, and the word after it.
    #[inline(always)]
    fn charge(&self, slot: Slot, decide: impl Fn(u64) -> Verdict) -> Option<(Verdict, u64)> {
        let (table, quota) = (&self.state.table, &self.quotas[0]);
        loop {
            let sealed = self.word(slot, 0)?;
            let word = quota.unsealed(sealed);
            let verdict = decide(word);
            match verdict {
                Verdict::Allow(next) if next == word || table.replace(slot, 0, sealed, quota.sealed(next)) => {
                    return Some((verdict, next));
                }
                Verdict::Allow(_) => {}
                Verdict::Wait(_) | Verdict::Never => return Some((verdict, word)),
            }
        }
    }

    /// The same with several quotas: all are looked at before any is charged, and when a race is lost so that one
    /// denies after all, the charges before it are taken back.
    fn check_all_at<R: Granted>(&self, slot: Slot) -> Option<Result<R, Denied>> {
        let table = &self.state.table;
        'look: loop {
            let mut sealed = self.sealed_words(slot)?;
            let mut after = match self.decide(&self.unsealed(&sealed)) {
                Ok(after) => after,
                Err(denied) => return Some(Err(denied)),
            };
            for (index, quota) in self.quotas.iter().enumerate() {
                loop {
                    let next = quota.sealed(after[index]);
                    if next == sealed[index] || table.replace(slot, index, sealed[index], next) {
                        break;
                    }
                    let Some(moved) = self.word(slot, index) else {
                        self.abandon(slot, &self.quotas[..index]);
                        return None;
                    };
                    sealed[index] = moved;
                    match quota.counter.decide(quota.unsealed(moved), self.now, self.cost) {
                        Verdict::Allow(next) => after[index] = next,
                        Verdict::Wait(_) | Verdict::Never => {
                            self.take_back(slot, &after, index)?;
                            continue 'look;
                        }
                    }
                }
            }
            return Some(Ok(self.receipt(&after)));
        }
    }

    /// Charges the first quotas of several, as a check does before it loses the race for the next.
    #[cfg(all(test, tollgate_loom))]
    pub(super) fn charge_some(&self, slot: Slot, count: usize) -> Words {
        let sealed = self.sealed_words(slot).expect("the key stands there");
        let after = self.decide(&self.unsealed(&sealed)).expect("it passes");
        for (index, quota) in self.quotas[..count].iter().enumerate() {
            assert!(self.state.table.replace(slot, index, sealed[index], quota.sealed(after[index])));
        }
        after
    }

    /// Gives up a charge half-way, because the slot is no longer the key's under this tag. If another key has taken it, the
    /// charges of these quotas went with it; if this key was put under other rules, they were carried over, and are given back there,
    /// in the columns where they were made.
    #[cold]
    fn abandon(&self, slot: Slot, charged: &[Prepared]) {
        let mask = self.state.tag_mask;
        let key = self.owner.key(mask);
        if charged.is_empty() || self.state.table.owner(slot).key(mask) != key {
            return;
        }
        let is_charged = |column: usize| charged.iter().any(|quota| usize::from(quota.column) == column);
        self.state.ask(key, Rules::plan(self.owner.tag(mask)), self.cost, |attempt| {
            attempt.each_word_once(|quota, word, _| match is_charged(quota.column.into()) {
                true => quota.counter.refund(word, attempt.now, self.cost, word),
                false => word,
            })?;
            attempt.refund_parked(is_charged);
            Some(())
        });
    }

    /// Gives back what was just charged to the first `charged` quotas. `None` if the slot was taken from the key meanwhile.
    #[cold]
    pub(super) fn take_back(&self, slot: Slot, after: &Words, charged: usize) -> Option<()> {
        for (index, quota) in self.quotas[..charged].iter().enumerate() {
            // The time is read anew, and after the word: a thread may have been put aside since it charged, and what time
            // has paid back meanwhile must not be given back once more. If the word moves after that, the change fails.
            let refund = |word| quota.counter.refund(word, self.state.clock.now(), self.cost, after[index]);
            if self.change_word(slot, index, refund).is_none() {
                self.abandon(slot, &self.quotas[index..charged]);
                return None;
            }
        }
        Some(())
    }

    /// Gives back the cost in columns without a quota in force, as far as the key stands under these rules.
    #[cold]
    fn refund_parked(&self, is_meant: impl Fn(usize) -> bool) {
        let State { table, rules, tag_mask, .. } = self.state;
        let (Some(slot), tag) = (table.find(self.owner), self.owner.tag(*tag_mask)) else { return };
        for place in self.quotas.len()..rules.width() {
            if !rules.column(tag, place).is_some_and(&is_meant) {
                continue;
            }
            while let Some(word) = self.word(slot, place) {
                let Some(next) = rules.refund_parked(tag, place, word, self.now, self.cost) else { break };
                if next == word || table.replace(slot, place, word, next) {
                    break;
                }
            }
        }
    }

    /// Forgets what the key has spent, in all columns. `None` if it was missed, all or in part.
    pub(super) fn forget(&self) -> Option<()> {
        self.each_word(|quota, word, _| quota.counter.fresh(word)).ok()?;
        let places = self.quotas.len()..self.state.rules.width();
        if !places.is_empty() {
            let Some(slot) = self.place() else { return self.is_current().then_some(()) };
            for place in places {
                let word = self.word(slot, place)?;
                self.state.table.replace(slot, place, word, self.quotas[0].sealed(0)).then_some(())?;
            }
        }
        Some(())
    }

    /// Changes a word, whoever else does; `None` if the slot has been taken from the key.
    fn change_word(&self, slot: Slot, index: usize, change: impl Fn(u64) -> u64) -> Option<()> {
        let (table, quota) = (&self.state.table, &self.quotas[index]);
        loop {
            let sealed = self.word(slot, index)?;
            let word = quota.unsealed(sealed);
            let next = change(word);
            if next == word || table.replace(slot, index, sealed, quota.sealed(next)) {
                return Some(());
            }
        }
    }

    /// Changes the words of a key that has some. `Err` if the key was missed, because the rules have been replaced or its
    /// slot was changing hands or tags; with how many of its words had been changed by then.
    pub(super) fn each_word(&self, change: impl Fn(&Prepared, u64, usize) -> u64) -> Result<(), usize> {
        let Some(slot) = self.place() else {
            return if self.is_current() { Ok(()) } else { Err(0) };
        };
        for (index, quota) in self.quotas.iter().enumerate() {
            self.change_word(slot, index, |word| change(quota, word, index)).ok_or(index)?;
        }
        Ok(())
    }

    /// The same for a change that must not be made twice: what was missed half-way stays as it is.
    pub(super) fn each_word_once(&self, change: impl Fn(&Prepared, u64, usize) -> u64) -> Option<()> {
        match self.each_word(change) {
            Err(0) => None,
            Ok(()) | Err(_) => Some(()),
        }
    }

    /// Where the key stands, brought under these rules if it stood under others.
    fn place(&self) -> Option<Slot> {
        let table = &self.state.table;
        table.find(self.owner).or_else(|| table.bring(self.owner, self))
    }

    /// A key's word as it stands in the table; `None` if the slot is no longer the key's under this tag, or the tag no longer
    /// means these rules.
    #[inline]
    fn word(&self, slot: Slot, index: usize) -> Option<u64> {
        let word = self.state.table.word(slot, self.owner, index)?;
        // See the proof: version 0 has its tag for itself.
        (self.version == 0 || self.is_current()).then_some(word)
    }

    fn sealed_words(&self, slot: Slot) -> Option<Words> {
        let mut words = [0; WORDS_MAX];
        for (index, word) in words[..self.quotas.len()].iter_mut().enumerate() {
            *word = self.word(slot, index)?;
        }
        Some(words)
    }

    fn words(&self, slot: Slot) -> Option<Words> {
        Some(self.unsealed(&self.sealed_words(slot)?))
    }

    fn unsealed(&self, sealed: &Words) -> Words {
        self.each_quotas_word(sealed, Prepared::unsealed)
    }

    fn sealed(&self, words: &Words) -> Words {
        self.each_quotas_word(words, Prepared::sealed)
    }

    fn each_quotas_word(&self, words: &Words, change: impl Fn(&Prepared, u64) -> u64) -> Words {
        let mut changed = *words;
        for (word, quota) in changed.iter_mut().zip(self.quotas) {
            *word = change(quota, *word);
        }
        changed
    }

    /// The key's words, or those of a key never seen; `None` if it was missed because the rules have been replaced, or
    /// because its slot was changing hands or tags.
    fn words_now(&self) -> Option<Words> {
        match self.place() {
            Some(slot) => self.words(slot),
            None => self.is_current().then(Words::default),
        }
    }

    /// What the key owes in each quota.
    #[cfg(all(test, tollgate_loom))]
    pub(super) fn owed(&self) -> Option<Vec<u64>> {
        let words = self.words_now()?;
        Some(self.quotas.iter().zip(words).map(|(quota, word)| quota.counter.debt(word, self.now)).collect())
    }

    fn receipt<R: Granted>(&self, after: &Words) -> R {
        R::of(self, Permit { status: self.status(after) }, after)
    }

    /// What a check would say after a wait. Charges nothing.
    pub(super) fn look(&self, wait: u64) -> Option<Result<(), Denied>> {
        if self.cost == 0 {
            return Some(Ok(()));
        }
        let then = Self { now: self.now.saturating_add(wait), ..*self };
        Some(then.decide(&self.words_now()?).map(drop))
    }

    pub(super) fn peek(&self) -> Option<Status> {
        Some(self.status(&self.words_now()?))
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        let each = self.quotas.iter().zip(self.words_now()?).enumerate();
        Some(Standing::of(each.map(|(index, (quota, word))| quota.status(index, word, self.now))))
    }

    #[cfg(feature = "tokio")]
    pub(super) fn foresee(&self, ahead: u64) -> Option<Denied> {
        let each = self.quotas.iter().zip(self.words_now()?).enumerate().map(|(index, (quota, word))| {
            let verdict = quota.counter.decide(word, self.now, self.cost);
            let status = quota.status(index, word, self.now);
            let denied = Denied { status, retry_after_nanos: wait(verdict, self.now) };
            if denied.is_permanent() && !matches!(verdict, Verdict::Allow(_)) {
                return denied; // no wait helps
            }
            let passed = quota.counter.passed(word, self.now, ahead.saturating_add(self.cost));
            Denied { retry_after_nanos: Some(passed.saturating_sub(self.now)), ..denied }
        });
        let longest = each.max_by_key(|denied| denied.retry_after_nanos.unwrap_or(u64::MAX));
        Some(longest.expect("a policy has at least one quota"))
    }

    /// What all words become, or the denial with the longest wait.
    fn decide(&self, words: &Words) -> Result<Words, Denied> {
        let mut after = *words;
        let mut longest: Option<(usize, Option<u64>)> = None;
        for (index, quota) in self.quotas.iter().enumerate() {
            match quota.counter.decide(words[index], self.now, self.cost) {
                Verdict::Allow(next) => after[index] = next,
                verdict => {
                    let this = wait(verdict, self.now);
                    if longest.is_none_or(|(_, other)| is_longer(this, other)) {
                        longest = Some((index, this));
                    }
                }
            }
        }
        let Some((index, retry_after_nanos)) = longest else { return Ok(after) };
        let status = self.quotas[index].status(index, words[index], self.now);
        let mut denied = Denied { status, retry_after_nanos };
        if self.quotas.iter().any(|quota| !quota.counter.only_gains_room()) {
            self.wait_for_all(&mut denied, words);
        }
        Err(denied)
    }

    /// Has a denial wait until all quotas have room at one time, where another than the one that waits longest may by then have
    /// less room than now.
    #[cold]
    fn wait_for_all(&self, denied: &mut Denied, words: &Words) {
        let Some(mut wait) = denied.retry_after_nanos else { return };
        // Every quota said the earliest time at which it has room. At the latest of these, some may have none, and say the next: so
        // no time at which all have room is passed over, and each has at most two such times more, in this window and the next.
        let until = |quota: &Prepared, word: u64, wait: u64| match quota.counter.decide(
            word,
            self.now.saturating_add(wait),
            self.cost,
        ) {
            Verdict::Wait(until) => Some(until.saturating_sub(self.now)),
            Verdict::Allow(_) | Verdict::Never => None,
        };
        let later = |wait| self.quotas.iter().zip(words).filter_map(|(quota, word)| until(quota, *word, wait)).max();
        while let Some(longer) = later(wait).filter(|&longer| longer > wait) {
            wait = longer;
        }
        denied.retry_after_nanos = Some(wait);
    }

    /// The quota that has least left; of equals the first.
    fn status(&self, words: &Words) -> Status {
        let remaining = |index: &usize| self.quotas[*index].counter.remaining(words[*index], self.now);
        let tightest = (0..self.quotas.len()).min_by_key(remaining).expect("a policy has at least one quota");
        self.quotas[tightest].status(tightest, words[tightest], self.now)
    }
}

impl Judge for &Attempt<'_> {
    type Refusal = Denied;

    fn is_current(&self) -> bool {
        self.state.rules.version() == self.version
    }

    /// What would be forgiven if these words were lost: the most that any quota would forgive, because one request
    /// charges them all. `None` if nothing would. And when the key came, which its first word tells: a bucket's and a window's is
    /// the higher, the later it was first charged, if as much is owed.
    fn debt(&self, owner: Owner, words: &Words) -> Option<(u64, u64)> {
        let mask = self.state.tag_mask;
        let own = owner.tag(mask) == self.owner.tag(mask);
        if !own || self.quotas.len() < self.state.rules.width() {
            let owed = self.state.rules.owed(owner.tag(mask), words, self.now);
            // Words of other rules are not compared.
            return owed.map(|owed| (owed, if own { self.quotas[0].unsealed(words[0]) } else { 0 }));
        }
        let came = self.quotas[0].unsealed(words[0]);
        let owed = match self.quotas {
            [quota] => quota.counter.owed(came, self.now),
            quotas => {
                let each = quotas.iter().zip(words);
                each.filter_map(|(quota, sealed)| quota.counter.owed(quota.unsealed(*sealed), self.now)).max()
            }
        };
        owed.map(|owed| (owed, came))
    }

    fn fresh(&self) -> Words {
        // Those without a quota in force, too: all words under one tag have one seal.
        [self.quotas[0].sealed(0); WORDS_MAX]
    }

    fn decide(&self, sealed: &Words) -> Result<Words, Denied> {
        Attempt::decide(self, &self.unsealed(sealed)).map(|after| self.sealed(&after))
    }

    fn carry(&self, owner: Owner, words: &Words) -> Words {
        self.state.carry(owner, self.owner, words, self.now)
    }
}

impl Granted for Permit {
    fn of(_: &Attempt<'_>, permit: Permit, _: &Words) -> Self {
        permit
    }
}

impl Granted for Charge {
    fn of(attempt: &Attempt<'_>, permit: Permit, after: &Words) -> Self {
        Charge { permit, version: attempt.version, words: *after }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::{Engine, Names, Plans};
    use crate::clock::{Clock, ManualClock};
    use crate::policy::Policy;
    use crate::queue::Bounds;
    use crate::table::WhenFull;

    fn engine(policy: &str, when_full: WhenFull, clock: &ManualClock) -> Engine {
        let policy: Policy = policy.parse().unwrap();
        let plans = Plans { policies: vec![policy.clone()], quotas_max: policy.quotas().len() };
        Engine::new(plans, 100, when_full, clock.clone().into(), Bounds::default(), Names::new(None, Vec::new()))
    }

    /// Whether a cost is denied while all of the table is locked. A thread that wants a lock is not answered.
    fn denied_without_a_lock(engine: &Engine, cost: u64) -> bool {
        let locks = engine.state.table.lock_all();
        let (answers, answer) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let key = engine.fingerprint("key");
                answers.send(engine.check(key, 0, cost).is_err() && engine.charge(key, 0, cost).is_err())
            });
            // Only a test that fails waits so long.
            let answer = answer.recv_timeout(Duration::from_secs(10));
            drop(locks);
            answer == Ok(true)
        })
    }

    const BOTH: [WhenFull; 2] = [WhenFull::EvictLeastIndebted, WhenFull::Share];

    #[test]
    fn a_new_key_that_asks_for_too_much_is_denied_without_a_lock() {
        for (policy, cost) in [
            ("5/second", 6),
            ("5/second fixed", 6),
            ("5/second sliding", 6),
            ("9/second; 5/day", 6),
            ("0/second", 1),
            ("7/second; 0/day fixed", 1),
        ] {
            for when_full in BOTH {
                let engine = engine(policy, when_full, &Clock::manual());
                assert!(denied_without_a_lock(&engine, cost), "{policy}");
                assert_eq!(engine.state.table.counts().occupied, 0);
            }
        }
    }

    /// Not even what time has changed meanwhile: it comes to other windows and sub-windows.
    #[test]
    fn a_known_key_is_denied_without_a_lock_and_without_a_write() {
        for policy in [
            "5/second",
            "5/second fixed",
            "5/minute fixed aligned",
            "5/second sliding",
            "5/second strict",
            "9/second; 5/day sliding; 50/minute strict",
        ] {
            for (when_full, replacements) in BOTH.into_iter().flat_map(|when_full| [(when_full, 0), (when_full, 1)]) {
                let clock = Clock::manual();
                clock.advance(Duration::from_millis(36_000_950));
                let engine = engine(policy, when_full, &clock);
                engine.check(engine.fingerprint("key"), 0, 5).unwrap();
                for _ in 0..replacements {
                    engine.replace_policy(0, policy.parse().unwrap());
                }
                let words = engine.state.table.all_cells();
                for _ in 0..5 {
                    clock.advance(Duration::from_millis(25));
                    assert!(denied_without_a_lock(&engine, 1) && denied_without_a_lock(&engine, 100), "{policy}");
                }
                assert_eq!(engine.state.table.all_cells(), words, "{policy} was written to");
            }
        }
    }
}
