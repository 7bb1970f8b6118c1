//! [`Account`]: what one key owes under one quota, as the documentation has it, in exact numbers.
//!
//! The histories are such that nothing has to be rounded as time passes: the clock moves by [`TICK`], or amounts and periods are powers
//! of two. Time may step back. Two things depend on how the limiter keeps an account in a word: what a bucket owes that is carried over
//! (see [`Terms::told`]), and strict windows, whose rule is about sub-windows and batches (see [`Strict`]).

use tollgate::{Algorithm, Quota};

use super::strict::Strict;

/// The longest period, in nanoseconds.
pub(super) const PERIOD: u64 = 1 << 36;

/// By how many nanoseconds the clock moves: coarse enough for all windows to tell, and three times a power of two as one of the periods is.
pub(super) const TICK: u64 = 3 << 24;

/// A token, in parts: a nanosecond refills a whole number of them, by any amount and any of the periods.
const TOKEN: i64 = 3 * PERIOD as i64;

/// A limiter tells time for so many nanoseconds, which is 36 years, and words reach a little further back than its first moment.
const SPAN: u128 = (1 << 60) + (1 << 16) + 2;

/// The Unix time at which a manual clock starts, in nanoseconds.
const UNIX_AT_ZERO: u128 = 1_000_000_000 * 1_000_000_000;

/// By what an account is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) quota: Quota,
    /// The largest limit that any plan has ever had in this place. A window that is carried over remembers no more than this.
    pub(super) most: u64,
    /// How long the limiter's word is, which is less where the account waits for its quota. It makes strict windows coarser.
    pub(super) word_bits: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    terms: Terms,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// What is to be refilled, in parts of a token, as of a time.
    Bucket {
        owed: i64,
        as_of: u64,
    },
    /// When the window ends, and what has passed in it.
    Window {
        end: u64,
        used: u64,
    },
    /// The windows of one period each are numbered from 1: what has passed in one of them, and in the one before.
    Sliding {
        number: u64,
        used: u64,
        previous: u64,
    },
    Strict(Strict),
}
use State::{Bucket, Sliding, Window};

impl Terms {
    fn amount(&self) -> u64 {
        self.quota.amount()
    }

    fn period(&self) -> u64 {
        self.quota.period().as_nanos() as u64
    }

    /// What a nanosecond refills in a bucket, in parts of a token.
    fn refill(&self) -> i64 {
        self.amount() as i64 * (TOKEN / self.period() as i64)
    }

    /// The word of a bucket tells fractions of a token by this power of two: the finest by which the whole span of time and a full bucket
    /// fit 64 bits. One that never refills tells sixteenths.
    fn shift(&self) -> u32 {
        let (amount, period, burst) =
            (u128::from(self.amount()), u128::from(self.period()), u128::from(self.quota.limit()));
        if amount == 0 {
            return 4;
        }
        let span = SPAN + (burst * period).div_ceil(amount);
        (0..63).take_while(|shift| (amount << (shift + 1)) * span < period << 64).count() as u32
    }

    /// What a bucket owes that is carried over, rounded up to what its word can tell. Where the account waits, the word loses its
    /// lowest bits, and it is the time at which all will be refilled that is rounded up.
    fn told(&self, owed: i64, now: u64) -> i64 {
        let shift = self.shift();
        // Finer than 2^-36 of a token is nothing that there is at a tick.
        let up = |parts: i64, shift: u32| (parts as u64).next_multiple_of(TOKEN as u64 >> shift.min(36)) as i64;
        let until_now = self.refill() * now as i64;
        up(until_now + up(owed, shift), shift - (u64::BITS - self.word_bits)) - until_now
    }

    /// The end of a window that opens now.
    fn opened(&self, now: u64) -> u64 {
        match self.quota.algorithm() {
            Algorithm::AlignedWindow => {
                let since_it_began = (UNIX_AT_ZERO + u128::from(now)) % u128::from(self.period());
                now + self.period() - since_it_began as u64
            }
            _ => now + self.period(),
        }
    }
}

impl Account {
    /// Of a key that was never seen.
    pub(super) fn new(terms: Terms) -> Self {
        let state = match terms.quota.algorithm() {
            // One in any window is one and then none for a period: a bucket of one.
            Algorithm::StrictWindow if terms.amount() != 1 => {
                State::Strict(Strict::new(terms.amount(), terms.period(), terms.word_bits))
            }
            Algorithm::TokenBucket | Algorithm::StrictWindow => Bucket { owed: 0, as_of: 0 },
            Algorithm::SlidingWindow => Sliding { number: 0, used: 0, previous: 0 },
            _ => Window { end: 0, used: 0 },
        };
        Self { terms, state }
    }

    /// Of a key that has spent so much under another kind of quota.
    fn owing(terms: Terms, now: u64, spent: u64) -> Self {
        let mut this = Self::new(terms);
        let remembered = spent.min(terms.most);
        match &mut this.state {
            Bucket { owed, as_of } => (*owed, *as_of) = (terms.told(spent as i64 * TOKEN, now), now),
            Window { end, used } => (*end, *used) = (terms.opened(now), remembered),
            Sliding { number, used, .. } => (*number, *used) = (now / terms.period() + 1, remembered),
            State::Strict(strict) => strict.owe(now, spent),
        }
        this
    }

    /// Parts of a token. Time before that of the last charge adds to what is owed.
    fn bucket_owes(&self, owed: i64, as_of: u64, now: u64) -> i64 {
        (owed + self.terms.refill() * (as_of as i64 - now as i64)).max(0)
    }

    /// A sliding window's number, its count, and the count before it. Time that steps back does not leave the last one.
    fn windows(&self, number: u64, used: u64, previous: u64, now: u64) -> (u64, u64, u64) {
        let current = now / self.terms.period() + 1;
        match current.saturating_sub(number) {
            0 => (number, used, previous),
            1 => (current, 0, used),
            _ => (current, 0, 0),
        }
    }

    /// What does not remain, rounded up.
    pub(super) fn owes(&self, now: u64) -> u64 {
        match self.state {
            Bucket { owed, as_of } => (self.bucket_owes(owed, as_of, now) as u64).div_ceil(TOKEN as u64),
            Window { end, used } => {
                if now < end {
                    used
                } else {
                    0
                }
            }
            Sliding { number, used, previous } => {
                let (number, used, previous) = self.windows(number, used, previous, now);
                let period = self.terms.period();
                // Of the last period, the part in the window before. Time that has stepped back stands at the window's start.
                let overlap = if number > now / period + 1 { period } else { period - now % period };
                used + (u128::from(previous) * u128::from(overlap)).div_ceil(u128::from(period)) as u64
            }
            State::Strict(ref strict) => strict.counts(now),
        }
    }

    pub(super) fn remaining(&self, now: u64) -> u64 {
        self.terms.quota.limit().saturating_sub(self.owes(now))
    }

    /// Whether a cost would pass, which is above 0.
    pub(super) fn passes(&self, now: u64, cost: u64) -> bool {
        match self.state {
            // A fraction of a token is none.
            Bucket { owed, as_of } => {
                self.bucket_owes(owed, as_of, now) + cost as i64 * TOKEN <= self.terms.quota.limit() as i64 * TOKEN
            }
            _ => self.owes(now) + cost <= self.terms.amount(),
        }
    }

    /// Charges a cost that passes.
    pub(super) fn charge(&mut self, now: u64, cost: u64) {
        match self.state {
            Bucket { owed, as_of } => {
                let owed = self.bucket_owes(owed, as_of, now) + cost as i64 * TOKEN;
                self.state = Bucket { owed, as_of: now };
            }
            Window { end, used } if now < end => self.state = Window { end, used: used + cost },
            Window { .. } => self.state = Window { end: self.terms.opened(now), used: cost },
            Sliding { number, used, previous } => {
                let (number, used, previous) = self.windows(number, used, previous, now);
                self.state = Sliding { number, used: used + cost, previous };
            }
            State::Strict(ref mut strict) => strict.charge(now, cost),
        }
    }

    /// Whether what is owed stays owed for good.
    pub(super) fn never_refills(&self) -> bool {
        matches!(self.state, Bucket { .. }) && self.terms.amount() == 0
    }

    /// Gives back of a charge that had left the account as `charged`. What of it is over is not given back.
    pub(super) fn give_back(&mut self, now: u64, cost: u64, charged: &Self) {
        let owed = self.owes(now);
        self.take_away(now, cost, charged);
        assert!(self.owes(now) + cost >= owed, "more than {cost} of {charged:?} at {now}: {self:?}");
    }

    fn take_away(&mut self, now: u64, cost: u64, charged: &Self) {
        match (&mut self.state, &charged.state) {
            (&mut Bucket { owed, as_of }, &Bucket { owed: then, as_of: charged_at }) => {
                let outstanding = charged.bucket_owes(then, charged_at, now).min(self.bucket_owes(owed, as_of, now));
                self.state = Bucket { owed: owed - outstanding.min(cost as i64 * TOKEN), as_of };
            }
            (Window { end, used }, Window { end: charged_in, .. }) => {
                if end == charged_in && now < *end {
                    *used = used.saturating_sub(cost);
                }
            }
            (&mut Sliding { number, used, previous }, &Sliding { number: charged_in, .. }) => {
                let (number, mut used, mut previous) = self.windows(number, used, previous, now);
                if number == charged_in {
                    used = used.saturating_sub(cost);
                } else if number == charged_in + 1 {
                    previous = previous.saturating_sub(cost);
                } else {
                    return;
                }
                self.state = Sliding { number, used, previous };
            }
            (State::Strict(strict), State::Strict(charged)) => strict.give_back(now, cost, charged),
            _ => unreachable!("a charge under rules that were replaced is not given back"),
        }
    }

    /// Whether nothing is left of it: it is forgotten when it is carried over, and time that steps back does not bring it back.
    fn is_over(&self, now: u64) -> bool {
        match self.state {
            // An open window stays, even if all that passed in it has been given back.
            Window { end, .. } => end <= now,
            _ => self.owes(now) == 0,
        }
    }

    /// A bucket at a nanosecond that is no tick. The clock is rounded up to what its word can tell, so less than that may still be owed.
    pub(super) fn between_ticks(&self) -> Self {
        let mut this = self.clone();
        if let Bucket { owed, .. } = &mut this.state {
            *owed -= (TOKEN as u64).div_ceil(1 << self.terms.shift()) as i64 - 1;
        }
        this
    }

    /// Whoever changes plans or policies forgives nobody anything: what was owed is owed, and by the same quota for as long.
    pub(super) fn assert_nothing_forgiven(&self, now: u64, carried: &Self) {
        let remembered = self.owes(now).min(carried.terms.most);
        assert!(carried.owes(now) >= remembered, "{self:?} became {carried:?} at {now}");
        if carried.terms.quota == self.terms.quota {
            assert!(self.owes_no_more_than(carried, now), "{self:?} became {carried:?} at {now}");
        }
    }

    /// Whether no quota ever granted so much: then a clock that stepped back has added to it.
    pub(super) fn is_more_than_granted(&self, now: u64) -> bool {
        self.owes(now) > self.terms.most
    }

    /// Whether another account under the same quota owes as much or more, now and at any later time.
    pub(super) fn owes_no_more_than(&self, other: &Self, now: u64) -> bool {
        (0..20).map(|part| now + part * PERIOD / 8).all(|time| other.owes(time) >= self.owes(time))
    }

    /// The account by other terms. What is owed stays owed, also above the new limit.
    pub(super) fn carried(&self, now: u64, terms: Terms) -> Self {
        let old = &self.terms;
        if self.is_over(now) {
            return Self::new(terms);
        }
        let same_period = terms.period() == old.period();
        let mut new = Self::new(terms);
        match (&self.state, &mut new.state) {
            (&Bucket { owed, as_of }, Bucket { .. }) => {
                new.state = Bucket { owed: terms.told(self.bucket_owes(owed, as_of, now), now), as_of: now };
            }
            // Between windows of one length, the window goes on.
            (&Window { end, used }, Window { .. })
                if same_period && terms.quota.algorithm() == old.quota.algorithm() =>
            {
                new.state = Window { end, used };
            }
            (&Sliding { number, used, previous }, Sliding { .. }) if same_period => {
                let (number, used, previous) = self.windows(number, used, previous, now);
                new.state = Sliding { number, used, previous };
            }
            (State::Strict(old), State::Strict(new)) if same_period => new.take_over(old, now),
            _ => return Self::owing(terms, now, self.owes(now)),
        }
        new
    }
}
