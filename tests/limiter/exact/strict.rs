//! [`Strict`]: an account under a strict window, which counts conservatively, by the rule that `src/algorithm/strict_window.rs`
//! documents.
//!
//! An admission counts in its own sub-window and in `lookback` more. Admissions are counted in batches of equal size, each as if all of it had
//! been admitted with its last one. What has been admitted since the last full batch, the rest, counts with the newest. Here that is a
//! list of batches, where the limiter has a row of bits.

/// How a strict window divides its period and its amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    amount: u64,
    /// How long a sub-window is, in nanoseconds.
    sub: u64,
    lookback: u64,
    batch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strict {
    layout: Layout,
    /// The number of the sub-window in which the rest counts.
    newest: u64,
    /// The numbers of the batches' sub-windows, the oldest first.
    batches: Vec<u64>,
    rest: u64,
    /// More than the amount, from another quota: it is all in the newest sub-window, and leaves at once.
    lump: u64,
}

impl Layout {
    /// Of the layouts that fit a word, the one of which most can be had: (amount + 1 - batch) in each (lookback + 1) sub-windows.
    fn new(amount: u64, period: u64, word_bits: u32) -> Self {
        let bits = |number: u64| u64::BITS - number.leading_zeros();
        let finest = (period - 1).div_ceil(48);
        let mut best: Option<Self> = None;
        for divisions in [1, 3, 6, 12, 24, 48] {
            let sub = finest * (48 / divisions);
            let lookback = (period - 1).div_ceil(sub);
            // As many sub-windows as there are in 36 years.
            let number_bits = bits((1 << 60) / sub + lookback + 2);
            let fits = |batch: u64| {
                let strokes = (amount / batch).max(1) + lookback;
                strokes <= 60 && u64::from(number_bits + bits(batch - 1)) + strokes <= u64::from(word_bits)
            };
            let Some(batch) = (1..=amount.max(1)).find(|&batch| fits(batch)) else { continue };
            let this = Self { amount, sub, lookback, batch };
            let worth =
                |of: &Self| (u128::from((of.amount + 1 - of.batch).max(1)), u128::from((of.lookback + 1) * of.sub));
            let is_better = |best: &Self| worth(&this).0 * worth(best).1 > worth(best).0 * worth(&this).1;
            if best.as_ref().is_none_or(is_better) {
                best = Some(this);
            }
        }
        best.expect("some layout fits")
    }

    /// What a word can say that is owed above the amount: a float rounded up, in the bits that a row and a rest leave, six of them for
    /// the power of two.
    fn lump(&self, owed: u64) -> u64 {
        let bits = |number: u64| u64::BITS - number.leading_zeros();
        let digits = (self.lookback as u32 - 1 + bits(self.batch - 1)).saturating_sub(6);
        owed.next_multiple_of(1 << bits(owed).saturating_sub(digits + 1))
    }

    /// The sub-window of a time. What was admitted in number 0 would be over when the clock stands at 0.
    fn number(&self, now: u64) -> u64 {
        now / self.sub + self.lookback + 1
    }

    /// The sub-window here in which one of another layout ends.
    fn number_of(&self, other: &Self, number: u64) -> u64 {
        self.number((number - other.lookback) * other.sub - 1)
    }
}

impl Strict {
    pub(super) fn new(amount: u64, period: u64, word_bits: u32) -> Self {
        let layout = Layout::new(amount, period, word_bits);
        Self { layout, newest: 0, batches: Vec::new(), rest: 0, lump: 0 }
    }

    fn count(&self) -> u64 {
        self.batches.len() as u64 * self.layout.batch + self.rest + self.lump
    }

    /// Moves on to a sub-window, if it is in a later one, and forgets what has left. A lump stays where it is.
    fn bring(&mut self, number: u64) {
        let stays = |admitted: u64| admitted + self.layout.lookback >= number;
        if number <= self.newest || self.lump > 0 && stays(self.newest) {
            return;
        }
        self.batches.retain(|&batch| stays(batch));
        if !stays(self.newest) {
            (self.rest, self.lump) = (0, 0);
        }
        self.newest = number;
    }

    fn at(&self, now: u64) -> Self {
        let mut this = self.clone();
        this.bring(self.layout.number(now));
        this
    }

    pub(super) fn counts(&self, now: u64) -> u64 {
        self.at(now).count()
    }

    /// Admits in the newest sub-window.
    fn admit(&mut self, cost: u64) {
        let rest = self.rest + cost;
        self.batches.extend((0..rest / self.layout.batch).map(|_| self.newest));
        self.rest = rest % self.layout.batch;
    }

    pub(super) fn charge(&mut self, now: u64, cost: u64) {
        self.bring(self.layout.number(now));
        self.admit(cost);
    }

    pub(super) fn owe(&mut self, now: u64, spent: u64) {
        self.hold(self.layout.number(now), spent);
    }

    /// Has all in one sub-window.
    fn hold(&mut self, newest: u64, spent: u64) {
        *self = Self { layout: self.layout, newest, batches: Vec::new(), rest: 0, lump: 0 };
        if spent <= self.layout.amount {
            self.admit(spent);
        } else {
            self.lump = self.layout.lump(spent);
        }
    }

    pub(super) fn give_back(&mut self, now: u64, cost: u64, charged: &Self) {
        let mut after = self.clone();
        after.take_away(now, cost, charged);
        // What is left of a batch counts as of its last admission: moved there, it may count longer than what was given back.
        if after.counts(now) <= self.counts(now) {
            *self = after;
        }
    }

    fn take_away(&mut self, now: u64, cost: u64, charged: &Self) {
        let Layout { batch, lookback, .. } = self.layout;
        let is_over = charged.newest + lookback < self.layout.number(now).max(self.newest);
        if is_over || charged.newest > self.newest {
            return;
        }
        if self.lump > 0 {
            return self.hold(self.newest, self.lump.saturating_sub(cost));
        }
        let is_last_charge = self == charged;
        let mut cost = cost;
        if charged.newest == self.newest {
            // In the newest sub-window it is exact.
            let older = self.batches.iter().take_while(|&&admitted| admitted < self.newest).count();
            let here = (self.batches.len() - older) as u64 * batch + self.rest;
            self.batches.truncate(older);
            self.rest = 0;
            self.admit(here.saturating_sub(cost));
            cost = cost.saturating_sub(here);
            // More than was admitted there, of the charge just made: the newest first.
            if cost > 0 && is_last_charge {
                let removed = (cost.div_ceil(batch) as usize).min(older);
                self.batches.truncate(older - removed);
                self.rest = (removed as u64 * batch).saturating_sub(cost);
            }
            return;
        }
        // What is counted from the charge on loses its earliest, in whole batches.
        let earlier = self.batches.iter().take_while(|&&admitted| admitted < charged.newest).count();
        let removed = (self.batches.len() - earlier).min((cost / batch) as usize);
        self.batches.drain(earlier..earlier + removed);
        if self.batches.len() == earlier {
            self.rest = self.rest.saturating_sub(cost - removed as u64 * batch);
        }
    }

    /// Takes over from a window of the same period. What it has counts from no earlier than before.
    pub(super) fn take_over(&mut self, old: &Self, now: u64) {
        let layout = self.layout;
        let mut newest = layout.number_of(&old.layout, old.newest);
        let (mut from, live) = (old.clone(), old.at(now));
        if from.count() > layout.amount && live.count() < from.count() {
            // What is over makes room, and then time must not step back behind it.
            newest = newest.max(layout.number(now));
            from = live;
        }
        if from.lump > 0 || from.count() > layout.amount {
            return self.hold(newest, from.count());
        }
        for &batch in &from.batches {
            self.bring(layout.number_of(&old.layout, batch));
            self.admit(old.layout.batch);
        }
        self.bring(newest);
        self.admit(from.rest);
    }
}
