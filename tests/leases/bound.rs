//! What may pass at most, by the server's clock: known from nothing but what did pass, and when.

use std::collections::BTreeMap;

/// The most that passes in any interval: burst + rate·t. As exact fractions: the level is what a bucket would owe that has seen
/// nothing but admissions.
#[derive(Debug)]
pub(crate) struct Interval {
    unit: i128,
    gain: i128,
    size: i128,
    level: i128,
    last: u64,
    pub(crate) worst: i128,
}

impl Interval {
    /// Of buckets as the script is told of them. Of several, the largest burst and the highest rate.
    pub(crate) fn of(buckets: &[[u64; 3]]) -> Self {
        let unit = buckets.iter().map(|&[unit, ..]| i128::from(unit)).product();
        let largest = |part: fn(&[u64; 3]) -> u64| {
            let scaled = |bucket: &[u64; 3]| i128::from(part(bucket)) * (unit / i128::from(bucket[0]));
            buckets.iter().map(scaled).max().expect("there is one")
        };
        let (gain, size) = (largest(|bucket| bucket[1]), largest(|bucket| bucket[2]));
        Self { unit, gain, size, level: 0, last: 0, worst: i128::MIN }
    }

    pub(crate) fn pass(&mut self, count: u64, at: u64) {
        assert!(at >= self.last, "in order");
        self.level = (self.level - self.gain * i128::from(at - self.last)).max(0) + self.unit * i128::from(count);
        self.last = at;
        self.worst = self.worst.max(self.level - self.size);
    }

    /// What a bucket would owe that is asked for each, in parts of its burst.
    pub(crate) fn owed(&self) -> f64 {
        self.level as f64 / self.size as f64
    }

    /// Intervals begin now.
    pub(crate) fn forget(&mut self) {
        self.level = 0;
    }
}

/// What windows let pass, as the server tells them.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) kind: &'static str,
    pub(crate) numbers: [u64; 3],
    /// What this policy let pass, and what was spent in the same window of what had been lent under another.
    counts: BTreeMap<u64, (u64, u64)>,
    /// When the window ends that opened at a charge.
    end: u64,
    /// Windows that began earlier do not count.
    since: u64,
    /// What was lent under another policy, or before the server forgot it, may be spent when no window is open.
    may_outlast: bool,
    pub(crate) worst: i128,
}

impl Window {
    pub(crate) fn of(kind: &'static str, numbers: [u64; 3], may_outlast: bool) -> Self {
        Self { kind, numbers, counts: BTreeMap::new(), end: 0, since: 0, may_outlast, worst: i128::MIN }
    }

    /// What was lent under another policy cannot be denied by this one. But from the first that this one lets pass in a window on, it
    /// counts there. (What was spent before that, this policy does not know, as nothing that passed under another.)
    pub(crate) fn pass(&mut self, count: u64, own: bool, at: u64) {
        let [length, amount, more] = self.numbers;
        let number = if self.kind == "f" { if at < self.end { self.end } else { u64::MAX } } else { at / length };
        let entry = self.counts.entry(number).or_default();
        if !own && entry.0 == 0 {
            return;
        }
        *(if own { &mut entry.0 } else { &mut entry.1 }) += count;
        let (passed, spent) = (entry.0, entry.1);
        let counted = |of: u64| {
            let known = self.counts.get(&of).map_or(0, |&(passed, _)| i128::from(passed));
            known + if of == number { i128::from(spent) } else { 0 }
        };
        let counted = match self.kind {
            "s" => {
                let steps = length.div_ceil(more);
                let left = i128::from(steps - (at - number * length) / more);
                let share = counted(number - 1) * left;
                let steps = i128::from(steps);
                counted(number) + (share + steps - 1) / steps
            }
            "w" => (number - more..=number).map(counted).sum(),
            // Nothing may pass of what was lent in a window that is over, if it was lent under this policy.
            _ if number == u64::MAX && self.may_outlast => 0,
            _ if number == u64::MAX => i128::from(amount) + i128::from(count),
            _ => counted(number),
        };
        let starts = match self.kind {
            "s" => (number - 1) * length,
            "w" => (number - more) * length,
            "f" => self.end.saturating_sub(length),
            _ => number * length,
        };
        if starts >= self.since && passed > 0 {
            self.worst = self.worst.max(counted - i128::from(amount));
        }
        while self.counts.len() > more as usize + 3 && self.kind == "w" || self.counts.len() > 40 {
            self.counts.pop_first();
        }
    }

    /// Of one that opens at a charge: what the server has, a record.
    pub(crate) fn opened(&mut self, record: &str) {
        let mut words = record.split(',');
        if words.next() == Some("f") {
            let end = words.nth(1).and_then(|end| end.parse().ok()).expect("a record");
            if end != self.end {
                self.end = end;
                self.counts.clear();
            }
        }
    }

    /// Only windows count that begin now or later.
    pub(crate) fn begin(&mut self, at: u64) {
        self.since = at;
    }

    /// A server has lost all. Windows count that begin from now on; those that look back at others, once what was lent before is over.
    pub(crate) fn forget(&mut self, at: u64, over: u64) {
        self.counts.clear();
        self.since = if matches!(self.kind, "s" | "w") { over } else { at };
        self.end = 0;
        self.may_outlast = true;
    }
}
