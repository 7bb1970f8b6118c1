//! The strict window: never more than the amount in any window of the period, wherever it begins.
//!
//! To promise that exactly, one would have to remember when each admission was. One word cannot, so it remembers a
//! little less, and errs on the side of denying. It rounds in two ways:
//!
//! - *Time* passes in sub-windows. An admission counts until its whole sub-window has left the period, that is in its own
//!   sub-window and in `lookback` more.
//! - *Admissions* are counted in batches of equal size. A batch counts as if all of it had been admitted when its last
//!   one was. The admissions since the last full batch, the *rest*, count as if they had been admitted with the newest.
//!
//! # The word
//!
//! The high bits number the sub-window of the newest admission, and the low bits count the rest. Between them lies a row of
//! strokes, the newest lowest: a 1 for each batch, and a 0 wherever one goes from a sub-window to the one before it ("stars and
//! bars"). To move on by one sub-window is to shift the row by one bit, and what lies above the first `lookback` + 1 zeros is
//! over. The row needs as many bits as there can be batches plus `lookback`. A row with one batch more than there can be is not
//! a row: it marks the word of a key that owes more than the amount, from another quota. Its low bits tell how much, as
//! a float rounded up, and all of that leaves at once.
//!
//! How long a sub-window is, and how large a batch, is chosen for each quota so that as much as possible of the amount can be
//! had, with 36 years of sub-windows in the word. After them time
//! stands still, and the window denies. Neither depends on what other quotas stand beside this one.
//!
//! # Proof of the bound
//!
//! Let `A` be the amount, `P` the period, `u` the length of a sub-window, and say that an admission is *counted at* `n` if the
//! word, brought to sub-window `n`, still counts it.
//!
//! 1. *An admission is never taken for older than it is.* It enters into the newest sub-window. From there, batches only
//!    stay where they are; the rest only moves on, when a newer admission joins it.
//! 2. *So an admission in sub-window `j` is counted at every `n <= j + lookback`*, unless it was given back.
//! 3. `lookback · u >= P - 1` (in nanoseconds), so two admissions less than `P` apart are at most `lookback` sub-windows
//!    apart. When the later one was decided, the earlier one was counted.
//! 4. Take the latest admission in any window of `P`. All others in the window were counted when it was decided, and it passed
//!    only because together they were at most `A`.
//!
//! Time that steps back does not move the word: admissions enter into the newest sub-window, which is later than they are.
//!
//! *Giving back* takes admissions away from the account, and must leave it counting, after any moment, at least what is
//! left of the admissions after that moment. Let `S(s)` be what is counted in sub-windows from `s` on and `T(s)` what was
//! really admitted there, so `S >= T`. Giving back `r` of a charge in sub-window `i` makes `T(s)` smaller by `r` for `s <= i`,
//! and for `s > i` we know that `T(s) <= T(i) - r <= S(i) - r`, because the charge is in `i`. So what is taken away is the
//! *earliest* that is counted from `i` on. A batch can only be taken whole, unless it lies in the newest sub-window, where
//! what is left of it can join the rest.
//!
//! # What can be had
//!
//! When a cost of 1 is denied, the count is `A`. Only the oldest batch can hold admissions that are older than
//! `(lookback + 1) · u`, and its last one is not, so more than `A - batch` were admitted in that time. A client that
//! keeps asking is therefore admitted at least
//!
//! ```text
//!   A - batch + 1             P
//!   -------------  ·  ------------------
//!         A           (lookback + 1) · u
//! ```
//!
//! of the amount. That is above 86 % for amounts up to 100 per second, minute, hour or day; the table is at `Algorithm::StrictWindow`.
//! How much could be had? In 36 years there are 2^60 / u sub-windows (u in nanoseconds), and 64 bits tell 2^64 states apart, so a word has
//! room for 16 · u accounts in each. For periods of a second those are more than strokes use, and the two or three bits that strokes
//! waste are worth 2 %. Short periods have short sub-windows: per 100 µs, with 12 of them, 130,000 accounts, and per 1 µs 1300. A
//! batch for each four admissions of 100, in 13 sub-windows, would need 10^10. Whatever the numbers of sub-windows and batches, and
//! however densely a word is written, an amount up to 100 cannot be promised 80 % there:
//!
//! | | per ms | per 100 µs | per 10 µs | per µs |
//! |---|---|---|---|---|
//! | the densest code | 82 % | 79 % | 74 % | 66 % |
//! | strokes | 79 % | 76 % | 66 % | 59 % |
//!
//! Nor can the number of the sub-window be cut short, to come round every few hours: a key that was not seen for half of that would
//! be taken for one to which time has stepped back, and be denied until time is there again.

use super::cells::{Cells, byte, first_cell};
use super::float;
use super::horizon::HORIZON_NANOS;
use super::verdict::Verdict;

/// The most strokes in a row, so that a row can be shifted without care.
const STROKES_MAX: u32 = 60;

/// Into how many sub-windows a period may be divided.
const DIVISIONS: [u64; 6] = [1, 3, 6, 12, 24, 48];

#[derive(Clone, Copy, Debug)]
pub(crate) struct StrictWindow {
    amount: u64,
    period_nanos: u64,
    /// How long a sub-window is.
    sub_nanos: u64,
    /// How many sub-windows before its own still count, when time is in a later one.
    lookback: u32,
    /// How many admissions make a batch, and the bits of what is left over.
    batch: u64,
    rest_bits: u32,
    /// The most batches there can be.
    batches: u32,
}

/// What a word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unpacked {
    /// The number of the newest sub-window that counts.
    newest: u64,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// At most the amount: the row of batches, and what has been admitted since the last.
    Row { strokes: u64, rest: u64 },
    /// More than the amount, all of it in the newest sub-window.
    Lump(u64),
}

const NOTHING: Held = Held::Row { strokes: 0, rest: 0 };

impl StrictWindow {
    /// `amount` per `period_nanos`. The word has so many bits; `None` if it would not fit, which it does in 64.
    pub(crate) fn new(amount: u64, period_nanos: u64, word_bits: u32) -> Option<Self> {
        // Every sub-window's length divides the longer ones of the same period, so that an account that is carried to and fro
        // between two of them does not creep into the future.
        let finest = (period_nanos - 1).div_ceil(DIVISIONS[DIVISIONS.len() - 1]).max(1);
        let with = |divisions: u64| {
            let sub_nanos = finest * (DIVISIONS[DIVISIONS.len() - 1] / divisions);
            let lookback = (period_nanos - 1).div_ceil(sub_nanos).max(1);
            // The highest number is not used: a word of ones only is the table's.
            let number_bits = u64::BITS - (HORIZON_NANOS / sub_nanos + lookback + 2).leading_zeros();
            let batches = u64::from(word_bits.saturating_sub(number_bits).min(STROKES_MAX)).saturating_sub(lookback);
            (1..=batches).rev().find_map(|batches| {
                // The smallest batch of which no more fit the amount.
                let batch = amount / (batches + 1) + 1;
                let (lookback, batches) = (lookback as u32, (amount / batch).max(1) as u32); // below STROKES_MAX together
                let rest_bits = u64::BITS - (batch - 1).leading_zeros();
                let fits = number_bits + rest_bits + batches + lookback <= word_bits;
                fits.then_some(Self { amount, period_nanos, sub_nanos, lookback, batch, rest_bits, batches })
            })
        };
        let worse = |one: &Self, other: &Self| one.worth() * other.cost() < other.worth() * one.cost();
        let layouts = DIVISIONS.into_iter().filter_map(with);
        // The rate is at most 1 per ns, so each further bit of an amount comes with a bit less of time.
        layouts.reduce(|best, next| if worse(&best, &next) { next } else { best })
    }

    /// What is admitted at least in the time [`cost`](Self::cost), however unluckily batches fall.
    fn worth(&self) -> u128 {
        u128::from((self.amount + 1 - self.batch).max(1)) // of an amount of 0, too, the finest is best: it tells debts best
    }

    fn cost(&self) -> u128 {
        u128::from(self.lookback + 1) * u128::from(self.sub_nanos)
    }

    fn row_bits(&self) -> u32 {
        self.batches + self.lookback
    }

    /// The bits that are free in the word of a lump: below the number and below one batch more than there can be.
    fn lump_bits(&self) -> u32 {
        self.lookback - 1 + self.rest_bits
    }

    /// The sub-window of a time. What was admitted in number 0 would be over when the clock stands at 0.
    #[inline]
    fn number(&self, now: u64) -> u64 {
        now.min(HORIZON_NANOS) / self.sub_nanos + u64::from(self.lookback) + 1
    }

    /// When what was admitted in this sub-window no longer counts.
    fn leaves(&self, number: u64) -> u64 {
        number.saturating_mul(self.sub_nanos)
    }

    /// The last moment of a sub-window, which is one that time has come to.
    fn end(&self, number: u64) -> u64 {
        (number - u64::from(self.lookback)) * self.sub_nanos - 1
    }

    fn unpack(&self, word: u64) -> Unpacked {
        let body_bits = self.row_bits() + self.rest_bits;
        let body = word & ones(body_bits);
        let held = if body >> self.lump_bits() == ones(self.batches + 1) {
            Held::Lump(float_value(body & ones(self.lump_bits()), self.lump_bits()).max(self.amount))
        } else {
            Held::Row { strokes: body >> self.rest_bits, rest: body & ones(self.rest_bits) }
        };
        Unpacked { newest: word >> body_bits, held }
    }

    fn pack(&self, account: Unpacked) -> u64 {
        let body = match account.held {
            Held::Row { strokes, rest } => strokes << self.rest_bits | rest,
            Held::Lump(debt) => ones(self.batches + 1) << self.lump_bits() | float_code(debt, self.lump_bits()),
        };
        account.newest << (self.row_bits() + self.rest_bits) | body
    }

    /// What counts at a time. A newest sub-window in the future stays: time has stepped back, and stands at its start.
    #[inline]
    fn at(&self, word: u64, now: u64) -> Unpacked {
        self.brought(self.unpack(word), self.number(now))
    }

    /// The account when its newest sub-window is this one, or a later one that it already has.
    #[inline]
    fn brought(&self, account: Unpacked, number: u64) -> Unpacked {
        let passed = number.saturating_sub(account.newest);
        match account.held {
            held if passed == 0 => Unpacked { held, ..account },
            _ if passed > u64::from(self.lookback) => Unpacked { newest: number, held: NOTHING },
            Held::Row { strokes, rest } => {
                let passed = passed as u32; // at most `lookback`
                let strokes = kept(strokes, self.lookback - passed) << passed;
                Unpacked { newest: number, held: Held::Row { strokes, rest } }
            }
            // What is owed beyond the amount is not charged to, and so stays where it is.
            Held::Lump(_) => account,
        }
    }

    fn count(&self, account: &Unpacked) -> u64 {
        match account.held {
            Held::Row { strokes, rest } => u64::from(strokes.count_ones()) * self.batch + rest,
            Held::Lump(debt) => debt,
        }
    }

    /// The account with this much more in its newest sub-window.
    #[inline]
    fn charged(&self, account: Unpacked, cost: u64) -> Unpacked {
        let held = match account.held {
            Held::Row { strokes, rest } => {
                let rest = rest + cost;
                if rest < self.batch {
                    Held::Row { strokes, rest }
                } else {
                    let full = (rest / self.batch) as u32; // at most `batches`, since all fits the amount
                    Held::Row { strokes: strokes << full | ones(full), rest: rest % self.batch }
                }
            }
            Held::Lump(debt) => Held::Lump(debt.saturating_add(cost)),
        };
        Unpacked { held, ..account }
    }

    #[inline]
    pub(crate) fn decide(&self, word: u64, now: u64, cost: u64) -> Verdict {
        if cost > self.amount {
            return Verdict::Never;
        }
        let account = self.at(word, now);
        if self.count(&account) <= self.amount - cost {
            Verdict::Allow(self.pack(self.charged(account, cost)))
        } else {
            Verdict::Wait(self.fits_at(word, now, cost))
        }
    }

    /// When a cost that does not fit now will: when so many batches have left that it does.
    fn fits_at(&self, word: u64, now: u64, cost: u64) -> u64 {
        let newest = self.unpack(word).newest;
        let account = self.at(word, now);
        if let Held::Row { strokes, rest } = account.held {
            if let Some(room) = (self.amount - cost).checked_sub(rest) {
                let stay = (room / self.batch) as u32; // below `batches`
                let first_to_leave = place(strokes, stay);
                return self.leaves(account.newest - u64::from(first_to_leave - stay));
            }
        }
        self.leaves(newest) // the rest, or the lump, has to leave
    }

    #[inline]
    pub(crate) fn remaining(&self, word: u64, now: u64) -> u64 {
        self.amount.saturating_sub(self.debt(word, now))
    }

    #[inline]
    pub(crate) fn reset_after(&self, word: u64, now: u64) -> u64 {
        let account = self.at(word, now);
        let last = match account.held {
            Held::Row { strokes: 0, rest: 0 } => return 0,
            Held::Row { strokes, rest: 0 } => account.newest - u64::from(strokes.trailing_zeros()),
            _ => self.unpack(word).newest,
        };
        self.leaves(last).saturating_sub(now)
    }

    #[inline]
    pub(crate) fn is_fresh(&self, word: u64, now: u64) -> bool {
        self.at(word, now).held == NOTHING
    }

    #[inline]
    pub(crate) fn debt(&self, word: u64, now: u64) -> u64 {
        self.count(&self.at(word, now))
    }

    pub(crate) fn passed(&self, word: u64, now: u64, total: u64) -> u64 {
        // The last of each further amount passes at least a period after the one that is an amount before it.
        let periods = total.saturating_sub(1) / self.amount;
        let first = total - periods * self.amount;
        let at = match self.decide(word, now, first) {
            Verdict::Wait(at) => at,
            Verdict::Allow(_) | Verdict::Never => now,
        };
        at.saturating_add(periods.saturating_mul(self.period_nanos))
    }

    /// See "Giving back". Of a charge that the key has just made nothing else has moved, and `cost` may then be more than it.
    pub(crate) fn refund(&self, word: u64, now: u64, cost: u64, charged: u64) -> u64 {
        let after = self.given_back(word, now, cost, charged);
        // What is left of a batch counts as of its last admission: moved there, it may count longer than what was given back.
        if self.remaining(after, now) < self.remaining(word, now) { word } else { after }
    }

    fn given_back(&self, word: u64, now: u64, cost: u64, charged: u64) -> u64 {
        let account = self.unpack(word);
        let charged_in = self.unpack(charged).newest;
        // Time may have stepped back since the charge was forgotten, which then is not in what counts.
        let number = self.number(now).max(account.newest);
        if charged_in > account.newest || charged_in + u64::from(self.lookback) < number {
            return word;
        }
        let held = match account.held {
            Held::Lump(debt) => return self.pack(self.with(account.newest, debt.saturating_sub(cost))),
            Held::Row { strokes, rest } if charged_in == account.newest => {
                let full = strokes.trailing_ones();
                let here = u64::from(full) * self.batch + rest;
                let older = Held::Row { strokes: strokes >> full, rest: 0 };
                let mut account = Unpacked { held: older, ..account };
                if let Some(left) = here.checked_sub(cost) {
                    account = self.charged(account, left);
                } else if charged == word {
                    account = self.without_newest(account, cost - here);
                }
                account.held
            }
            Held::Row { mut strokes, rest } => {
                let since = (account.newest - charged_in) as u32; // at most `lookback`
                let mut whole = kept(strokes, since).count_ones();
                let mut cost = cost;
                while whole > 0 && cost >= self.batch {
                    whole -= 1;
                    cost -= self.batch;
                    strokes = without(strokes, place(strokes, whole));
                }
                // A part of a batch stays; where none is left, what is given back is in the rest.
                Held::Row { strokes, rest: if whole == 0 { rest.saturating_sub(cost) } else { rest } }
            }
        };
        self.pack(Unpacked { held, ..account })
    }

    /// Takes away from an account without a rest, the newest first; what is left of a batch is moved to the newest sub-window.
    fn without_newest(&self, account: Unpacked, cost: u64) -> Unpacked {
        let Held::Row { mut strokes, .. } = account.held else { return account };
        let mut left = cost;
        while left > 0 && strokes != 0 {
            strokes = without(strokes, strokes.trailing_zeros());
            match left.checked_sub(self.batch) {
                Some(more) => left = more,
                None => {
                    let rest = self.batch - left;
                    return Unpacked { held: Held::Row { strokes, rest }, ..account };
                }
            }
        }
        Unpacked { held: Held::Row { strokes, rest: 0 }, ..account }
    }

    /// An account with all in one sub-window.
    fn with(&self, newest: u64, spent: u64) -> Unpacked {
        let nothing = Unpacked { newest, held: NOTHING };
        if spent <= self.amount {
            self.charged(nothing, spent)
        } else {
            Unpacked { held: Held::Lump(spent), ..nothing }
        }
    }

    /// The word of a key that owes `spent`.
    pub(crate) fn owing(&self, spent: u64, now: u64) -> u64 {
        self.pack(self.with(self.number(now), spent))
    }

    /// The highest word that is as good as 0 at any time: of a sub-window that has left when the clock stands at 0.
    pub(crate) fn last_before_time(&self) -> u64 {
        ones(self.row_bits() + self.rest_bits)
    }

    /// What the account of another strict window becomes. What it has counts from no earlier than before.
    pub(crate) fn carry(&self, old: &StrictWindow, word: u64, now: u64) -> u64 {
        if self.period_nanos != old.period_nanos {
            return self.owing(old.debt(word, now), now);
        }
        // The sub-window here in which one there ends.
        let number = |there: u64| self.number(old.end(there));
        let mut account = old.unpack(word);
        let mut newest = number(account.newest);
        let mut count = old.count(&account);
        let live = old.debt(word, now);
        if count > self.amount && live < count {
            // What is over makes room, and then time must not step back behind it.
            (account, count, newest) = (old.at(word, now), live, newest.max(self.number(now)));
        }
        let (strokes, rest) = match account.held {
            Held::Row { strokes, rest } if count <= self.amount => (strokes, rest),
            _ => return self.pack(self.with(newest, count)),
        };
        let mut new = Unpacked { newest: 0, held: NOTHING };
        for one in (0..strokes.count_ones()).rev() {
            let back = place(strokes, one) - one;
            new = self.charged(self.brought(new, number(account.newest - u64::from(back))), old.batch);
        }
        self.pack(self.charged(self.brought(new, newest), rest))
    }

    pub(crate) fn to_cells(self, algorithm: u64) -> Cells {
        let first = first_cell(algorithm, [self.lookback, self.rest_bits, self.batches]);
        [first, self.amount, self.period_nanos, self.sub_nanos, self.batch]
    }

    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        let [_, amount, period_nanos, sub_nanos, batch] = *cells;
        let [lookback, rest_bits, batches] = [0, 1, 2].map(|index| byte(cells, index));
        Self { amount, period_nanos, sub_nanos, lookback, batch, rest_bits, batches }
    }
}

/// The lowest `count` bits.
#[inline]
fn ones(count: u32) -> u64 {
    (1 << count) - 1
}

/// Where the 1 stands that has `below` others below it, in a number that has so many.
#[inline]
fn place(bits: u64, below: u32) -> u32 {
    (0..below).fold(bits, |bits, _| bits & (bits - 1)).trailing_zeros()
}

/// A row without what lies above its first `zeros` + 1 zeros.
#[inline]
fn kept(strokes: u64, zeros: u32) -> u64 {
    strokes & ones(place(!strokes, zeros))
}

/// A row without one of its strokes.
fn without(strokes: u64, place: u32) -> u64 {
    strokes >> (place + 1) << place | strokes & ones(place)
}

/// What is owed, as a float in so many bits, rounded up: six bits, or as many as there are, for
/// the power of two, and the others for what follows the highest digit. Numbers beyond the last are the last.
fn float_code(number: u64, bits: u32) -> u64 {
    float::code(number, bits.saturating_sub(6)).min(ones(bits))
}

/// The number that a code says.
fn float_value(code: u64, bits: u32) -> u64 {
    float::value(code, bits.saturating_sub(6))
}

#[cfg(test)]
mod shares;
#[cfg(test)]
mod tests;
