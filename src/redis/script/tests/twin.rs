//! [`Twin`]: a slow and obvious limit that knows exact fractions.

use std::collections::BTreeMap;

use super::*;

/// One key's state under one quota: every charge that was made, and when.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    quota: Quota,
    /// Of a bucket: what is owed, in tokens times the period in nanoseconds, at the last time.
    owed: u128,
    last: u64,
    /// Of a window: the end of the open one, or its number, with what was charged in each.
    end: u64,
    counts: BTreeMap<u64, u64>,
}

impl Twin {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, owed: 0, last: 0, end: 0, counts: BTreeMap::new() }
    }

    fn micros(&self) -> u64 {
        self.quota.period_nanos().div_ceil(1000)
    }

    pub(super) fn is_bucket(&self) -> bool {
        self.quota.algorithm() == Algorithm::TokenBucket
            || (self.quota.algorithm() == Algorithm::StrictWindow && self.quota.amount() == 1)
    }

    /// A strict window's sub-window, and how many more count.
    fn sub_window(&self) -> (u64, u64) {
        let length = (self.micros() - 1).div_ceil(32).max(1);
        (length, (self.micros() - 1).div_ceil(length))
    }

    /// What counts against the limit at a time, as a fraction.
    pub(super) fn spent(&self, now: u64) -> (u128, u128) {
        let (period, micros) = (u128::from(self.quota.period_nanos()), self.micros());
        if self.is_bucket() {
            let gained = u128::from(now - self.last) * u128::from(self.quota.amount()) * 1000;
            return (self.owed.saturating_sub(gained), period);
        }
        let count = |number: u64| u128::from(self.counts.get(&number).copied().unwrap_or_default());
        match self.quota.algorithm() {
            Algorithm::FixedWindow | Algorithm::AlignedWindow => (if now < self.end { count(self.end) } else { 0 }, 1),
            Algorithm::SlidingWindow => {
                // The share falls by the microsecond, or in the shortest steps in which it can be told exactly.
                let number = now / micros;
                let fits = |step: &u64| u128::from(self.quota.amount()) * u128::from(micros.div_ceil(*step)) <= 1 << 52;
                let step = (1..).find(fits).expect("a step that is long enough");
                let (steps, passed) = (micros.div_ceil(step), (now - number * micros) / step);
                let share = count(number - 1) * u128::from(steps - passed);
                (count(number) + share.div_ceil(u128::from(steps)), 1)
            }
            _ => {
                let (length, lookback) = self.sub_window();
                let number = now / length;
                let counted = self.counts.range(number.saturating_sub(lookback)..=number);
                (counted.map(|(_, &count)| u128::from(count)).sum(), 1)
            }
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.quota.limit()
    }

    pub(super) fn left(&self, now: u64) -> u64 {
        let (spent, part) = self.spent(now);
        let left = (u128::from(self.limit()) * part).saturating_sub(spent) / part;
        u64::try_from(left).expect("at most the limit")
    }

    pub(super) fn fits(&self, now: u64, cost: u64) -> bool {
        cost == 0 || self.left(now) >= cost
    }

    /// By what a charge at this time is settled.
    pub(super) fn mark(&self, now: u64) -> u64 {
        if self.is_bucket() {
            return 0;
        }
        match self.quota.algorithm() {
            Algorithm::SlidingWindow => now / self.micros(),
            Algorithm::StrictWindow => now / self.sub_window().0,
            Algorithm::FixedWindow => {
                // One from which all was given back is not open any more.
                if now < self.end && self.counts.get(&self.end).is_some_and(|&count| count > 0) {
                    self.end
                } else {
                    now + self.micros()
                }
            }
            _ => (now / self.micros() + 1) * self.micros(),
        }
    }

    pub(super) fn charge(&mut self, now: u64, cost: u64) {
        if self.is_bucket() {
            self.owed = self.spent(now).0 + u128::from(cost) * u128::from(self.quota.period_nanos());
        } else {
            let mark = self.mark(now);
            self.end = mark;
            *self.counts.entry(mark).or_default() += cost;
        }
        self.last = now;
    }

    pub(super) fn refund(&mut self, now: u64, cost: u64) {
        if self.is_bucket() {
            let back = u128::from(cost) * u128::from(self.quota.period_nanos());
            self.owed = self.spent(now).0.saturating_sub(back);
            self.last = now;
            return;
        }
        let last = self.last;
        self.last = now;
        let of_last = match self.quota.algorithm() {
            // The window of the last change, if it still counts.
            Algorithm::SlidingWindow => last / self.micros(),
            Algorithm::StrictWindow => {
                let (length, lookback) = self.sub_window();
                let mut left = cost;
                let number = now / length;
                for (_, count) in self.counts.range_mut(number.saturating_sub(lookback)..=number).rev() {
                    let back = left.min(*count);
                    *count -= back;
                    left -= back;
                }
                return;
            }
            _ => {
                if now >= self.end {
                    return;
                }
                self.end
            }
        };
        let counts = self.quota.algorithm() != Algorithm::SlidingWindow || of_last + 1 >= now / self.micros();
        if let Some(count) = self.counts.get_mut(&of_last).filter(|_| counts) {
            *count = count.saturating_sub(cost);
        }
    }

    /// Another policy has changed the key: its time is now.
    pub(super) fn touch(&mut self, now: u64) {
        if self.is_bucket() {
            self.owed = self.spent(now).0;
        }
        self.last = now;
    }

    /// Gives back of a charge that had been made then, and left so much owed.
    pub(super) fn settle(&mut self, now: u64, cost: u64, charged: &Charging, index: usize) {
        let (mark, owed) = charged.of[index];
        if self.is_bucket() {
            let gained = u128::from(now - charged.at) * u128::from(self.quota.amount()) * 1000;
            let spent = self.spent(now).0;
            let outstanding = owed.saturating_sub(gained).min(spent);
            let back = u128::from(cost) * u128::from(self.quota.period_nanos());
            self.owed = spent - back.min(outstanding);
        } else if let Some(count) = self.counts.get_mut(&mark) {
            *count = count.saturating_sub(cost);
        }
        self.last = now;
    }
}

/// Which quotas a policy has, in its order.
pub(super) type Order = Vec<usize>;

#[derive(Clone, Debug)]
pub(super) struct Charging {
    pub(super) order: Order,
    pub(super) at: u64,
    pub(super) cost: u64,
    pub(super) of: Vec<(u64, u128)>,
    pub(super) marks: Vec<u64>,
}
