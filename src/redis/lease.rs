//! [`Holding`]: what this program holds of a key to spend by itself, and how much more to ask for.
//!
//! It knows no clock, no lock and no server: times come in, in nanoseconds of a clock that never steps back and counts a suspend.
//! `tests/leases` compiles this file as it is, and runs it against the script.

/// By how much a program's clock may run slower than the server's: one part in so many. Clocks that are kept right differ by less
/// than one in a thousand; a server's whose time is being made up for may run faster for a while.
const RATE_ERROR: u64 = 50;

/// Two readings of a clock, and the answer to a question about it, are not at one moment.
const MARGIN_NANOS: u64 = 1_000_000;

/// So many are worth a lease. Fewer are asked for one by one.
const LOT_MIN: u64 = 4;

/// Under which terms a policy's keys are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseTerms {
    /// The width of a slot.
    pub(super) slot_nanos: u64,
    /// The most that all programs together may hold of a key.
    pub(super) most: u64,
    /// What the rate lets pass in a slot. Nobody needs more of it.
    pub(super) pass: u64,
}

/// What a program holds of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    lots: [Lot; 2],
    demand: RecentDemand,
    /// What was lent and could not be spent, since somebody last asked.
    stranded: u64,
}

/// What one call was lent. Nothing makes it live longer.
#[derive(Clone, Copy, Debug, Default)]
struct Lot {
    lent: u64,
    left: u64,
    until: u64,
}

/// Which lot something was spent from: when that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LotId(u64);

impl Holding {
    /// RedisCounts what is asked for, and spends it from here, if there is enough.
    pub(super) fn spend(&mut self, cost: u64, terms: &LeaseTerms, now: u64) -> Option<LotId> {
        self.demand.add(cost, terms.slot_nanos, now);
        self.take(cost, now)
    }

    /// The same for what was counted when it was first asked for.
    pub(super) fn take(&mut self, cost: u64, now: u64) -> Option<LotId> {
        if self.left(now) < cost {
            return None;
        }
        // First from the lot that is over first.
        self.lots.sort_unstable_by_key(|lot| lot.until);
        let (mut missing, mut last) = (cost, 0);
        for lot in self.lots.iter_mut().filter(|lot| lot.left > 0) {
            let part = missing.min(lot.left);
            lot.left -= part;
            missing -= part;
            last = lot.until;
            if missing == 0 {
                break;
            }
        }
        Some(LotId(last))
    }

    /// How much there is to spend now.
    pub(super) fn left(&mut self, now: u64) -> u64 {
        for lot in self.lots.iter_mut().filter(|lot| lot.until <= now) {
            self.stranded += lot.left;
            *lot = Lot::default();
        }
        self.lots.iter().map(|lot| lot.left).sum()
    }

    /// How much to ask for beside what has to be asked for anyway: nearly what will be needed in a slot, as the last one tells,
    /// so that seldom anything is left of it.
    pub(super) fn want(&mut self, terms: &LeaseTerms, now: u64) -> u64 {
        let needed = self.demand.in_last(terms.slot_nanos, now).min(terms.pass);
        let want = (needed - needed.isqrt()).saturating_sub(self.left(now));
        if want < LOT_MIN { 0 } else { want }
    }

    /// Takes what a call was lent that was sent at that time, to live for so many microseconds of the server's from some time after
    /// that.
    pub(super) fn receive(&mut self, lent: u64, life_micros: u64, sent: u64, now: u64) {
        let until = deadline(sent, life_micros);
        self.left(now);
        let least = self.lots.iter_mut().min_by_key(|lot| lot.left).expect("there are two");
        if until <= now || lent <= least.left {
            self.stranded += lent;
            return;
        }
        self.stranded += least.left;
        *least = Lot { lent, left: lent, until };
    }

    /// Gives back to the lot that it was spent from, or, if that is not known, to one that lives. No more than was lent, and nothing
    /// if there is none any more. Says how much it took.
    pub(super) fn give_back(&mut self, cost: u64, from: Option<LotId>, now: u64) -> u64 {
        self.left(now);
        let mut over = cost;
        for lot in self.lots.iter_mut().filter(|lot| from.is_none_or(|LotId(until)| until == lot.until)) {
            let part = over.min(lot.lent - lot.left);
            lot.left += part;
            over -= part;
        }
        cost - over
    }

    /// How much was asked for in the last slot.
    pub(super) fn demand(&self, terms: &LeaseTerms, now: u64) -> u64 {
        self.demand.in_last(terms.slot_nanos, now)
    }

    /// What was stranded since this was last called.
    pub(super) fn take_stranded(&mut self) -> u64 {
        std::mem::take(&mut self.stranded)
    }

    /// Lets go of all.
    pub(super) fn drop_all(&mut self) -> u64 {
        self.left(u64::MAX);
        self.take_stranded()
    }
}

/// Whether a call that asked for so much more took the last of a bucket. Then whoever sent it stands back as those do who found nothing.
/// Otherwise it would always be there first: it calls when its lot is spent, and they a slot later.
pub(super) fn took_the_last(want: u64, lent: u64, left: u64) -> bool {
    lent < want && left == 0
}

impl LeaseTerms {
    /// For how long to deny a key whose bucket was empty, so that there is something to lease again: three quarters to five
    /// quarters of a slot, lest all programs come at once.
    pub(super) fn pause_nanos(&self, random: u64) -> u64 {
        let half = self.slot_nanos / 2;
        self.slot_nanos - self.slot_nanos / 4 + random % half.max(1)
    }
}

/// Until when a lot may be spent that was asked for at that time. The server began to count its life later than that.
fn deadline(sent: u64, life_micros: u64) -> u64 {
    let life = life_micros.saturating_mul(1000);
    sent.saturating_add((life - life / RATE_ERROR).saturating_sub(MARGIN_NANOS))
}

/// How much was asked for lately.
#[derive(Clone, Debug, Default)]
struct RecentDemand {
    /// When this slot began.
    since: u64,
    now: u64,
    before: u64,
}

impl RecentDemand {
    fn add(&mut self, cost: u64, slot: u64, now: u64) {
        match now.saturating_sub(self.since) / slot {
            0 => {}
            1 => (self.since, self.before, self.now) = (self.since + slot, self.now, 0),
            _ => *self = Self { since: now, ..Self::default() },
        }
        self.now = self.now.saturating_add(cost);
    }

    fn in_last(&self, slot: u64, now: u64) -> u64 {
        let passed = now.saturating_sub(self.since);
        let share = |count: u64, passed: u64| {
            let share = u128::from(count) * u128::from(slot.saturating_sub(passed)) / u128::from(slot);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        match passed / slot {
            0 => self.now.saturating_add(share(self.before, passed)),
            _ => share(self.now, passed - slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const TERMS: LeaseTerms = LeaseTerms { slot_nanos: 100 * MS, most: 500, pass: 100 };

    #[test]
    fn a_lot_is_spent_until_its_deadline_and_not_a_nanosecond_longer() {
        let mut holding = Holding::default();
        assert_eq!(holding.take(1, 0), None);
        // Sent at 10 ms, to live for 100 ms of the server's time: a fiftieth less, and a millisecond.
        holding.receive(10, 100_000, 10 * MS, 50 * MS);
        let over = 10 * MS + 98 * MS - MS;
        assert_eq!(holding.take(4, over - 1), Some(LotId(over)));
        assert_eq!(holding.take(7, over - 1), None, "all or nothing");
        assert_eq!(holding.take_stranded(), 0);
        assert_eq!(holding.take(1, over), None);
        assert_eq!(holding.take_stranded(), 6);
        // One that comes when it is over already.
        holding.receive(10, 100_000, 200 * MS, 297 * MS);
        assert_eq!((holding.left(297 * MS), holding.take_stranded()), (0, 10));
    }

    #[test]
    fn each_lot_keeps_its_own_deadline() {
        let mut holding = Holding::default();
        holding.receive(5, 200_000, 0, 0);
        holding.receive(5, 100_000, 0, 0);
        assert_eq!(holding.take(3, MS), Some(LotId(97 * MS)), "first from the one that is over first");
        assert_eq!(holding.take(4, MS), Some(LotId(195 * MS)), "and then from the next");
        assert_eq!(holding.left(97 * MS), 3);
        // Of three the smallest goes.
        holding.receive(5, 100_000, 0, MS);
        holding.receive(4, 100_000, 0, MS);
        assert_eq!((holding.left(MS), holding.take_stranded()), (9, 3));
        assert_eq!(holding.drop_all(), 9);
    }

    #[test]
    fn what_is_given_back_goes_where_it_came_from_or_nowhere() {
        let mut holding = Holding::default();
        holding.receive(5, 100_000, 0, 0);
        let lot = holding.take(5, MS);
        holding.give_back(2, lot, 2 * MS);
        assert_eq!(holding.left(2 * MS), 2);
        holding.give_back(100, None, 2 * MS);
        assert_eq!(holding.left(2 * MS), 5, "never more than was lent");
        holding.take(5, 3 * MS);
        holding.receive(5, 100_000, 50 * MS, 50 * MS);
        holding.take(5, 60 * MS);
        holding.give_back(5, lot, 97 * MS);
        assert_eq!(holding.left(97 * MS), 0, "that lot is over");
    }

    #[test]
    fn what_is_wanted_follows_what_was_asked_for_in_the_last_slot() {
        let mut holding = Holding::default();
        let mut wants = Vec::new();
        for n in 0..64 {
            let now = n * MS;
            holding.spend(1, &TERMS, now);
            wants.push(holding.want(&TERMS, now));
        }
        assert_eq!([wants[0], wants[5], wants[6], wants[15], wants[63]], [0, 4, 5, 12, 56]);
        assert_eq!(holding.want(&TERMS, 150 * MS), 27, "half of the slot is over");
        assert_eq!(holding.want(&TERMS, 200 * MS), 0);
        holding.spend(1_000_000, &TERMS, 300 * MS);
        assert_eq!(holding.want(&TERMS, 300 * MS), 90, "no more than passes in a slot");
        holding.receive(88, 100_000, 300 * MS, 300 * MS);
        assert_eq!(holding.want(&TERMS, 300 * MS), 0, "little more than there is");
    }

    #[test]
    fn a_pause_is_about_a_slot() {
        let pauses: Vec<u64> = (0..1000).map(|n| TERMS.pause_nanos(n * n * 1_000_003)).collect();
        assert!(pauses.iter().all(|pause| (75 * MS..125 * MS).contains(pause)));
        assert!(pauses.iter().any(|&pause| pause < 80 * MS) && pauses.iter().any(|&pause| pause > 120 * MS));
    }
}
