//! The strict window beside an exact log of all admissions, on random histories.

use proptest::prelude::*;

use super::super::{Counter, FixedWindow, SlidingWindow, TokenBucket};
use super::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// One key, its word, and when everything was really admitted.
struct Client {
    window: StrictWindow,
    word: u64,
    now: u64,
    /// Each admission's time and what is left of it. Where time has stepped back, it is the time that the key had come to.
    log: Vec<(u64, u64)>,
    /// Whether anything was given back, or came from elsewhere.
    meddled: bool,
}

impl Client {
    fn new(window: StrictWindow) -> Self {
        Self { window, word: 0, now: 0, log: Vec::new(), meddled: false }
    }

    /// What the log has of the time since then.
    fn since(&self, time: u64) -> u64 {
        self.log.iter().filter(|(at, _)| *at >= time).map(|(_, left)| left).sum()
    }

    /// Time as the key knows it.
    fn time(&self) -> u64 {
        let lookback = u64::from(self.window.lookback);
        let newest = self.window.unpack(self.word).newest.saturating_sub(lookback + 1) * self.window.sub_nanos;
        self.log.last().map_or(0, |(at, _)| *at).max(newest).max(self.now)
    }

    fn check(&mut self, cost: u64) -> Result<Verdict, TestCaseError> {
        let Self { window, word, now, .. } = *self;
        let (amount, period) = (window.amount, window.period_nanos);
        let verdict = window.decide(word, now, cost);
        let remaining = window.remaining(word, now);
        prop_assert_eq!(matches!(verdict, Verdict::Allow(_)), cost <= remaining, "{} of {}", cost, remaining);
        match verdict {
            Verdict::Allow(next) => {
                let time = self.time();
                self.log.push((time, cost));
                // Every window is in one that ends with an admission.
                let in_period = self.since((time + 1).saturating_sub(period));
                prop_assert!(in_period <= amount, "{} of {} in a period: {:?}", in_period, amount, self.log);
                self.becomes(next)?;
            }
            Verdict::Wait(at) => {
                prop_assert!(at > now);
                prop_assert!(matches!(window.decide(word, at, cost), Verdict::Allow(_)), "denied after the wait");
                prop_assert_eq!(window.decide(word, at - 1, cost), verdict, "not the same a moment before");
                if !self.meddled {
                    // Since the sub-window began that is `lookback` before this one.
                    let this = self.time() / window.sub_nanos;
                    let since = this.saturating_sub(u64::from(window.lookback)) * window.sub_nanos;
                    let counted = self.since(since) + window.batch - 1;
                    prop_assert!(counted + cost > amount, "denied without a reason: {:?}", self.log);
                }
            }
            Verdict::Never => prop_assert!(cost > amount),
        }
        Ok(verdict)
    }

    fn becomes(&mut self, word: u64) -> Result<(), TestCaseError> {
        prop_assert!(word != 0 && word != u64::MAX);
        let account = self.window.unpack(word);
        prop_assert_eq!(self.window.pack(account), word);
        if let Held::Row { strokes, rest } = account.held {
            prop_assert!(strokes <= ones(self.window.row_bits()) && rest < self.window.batch);
        }
        let reset_at = self.now + self.window.reset_after(word, self.now);
        prop_assert!(self.window.is_fresh(word, reset_at));
        prop_assert!(reset_at <= self.now || !self.window.is_fresh(word, reset_at - 1));
        // Without another admission there is only ever more room.
        let StrictWindow { sub_nanos, period_nanos, .. } = self.window;
        let mut times = [0, 1, sub_nanos / 2, sub_nanos, 3 * sub_nanos, period_nanos, period_nanos + 2 * sub_nanos];
        times.sort_unstable(); // in the shortest windows they lie otherwise
        let mut remaining = 0;
        for later in times {
            let then = self.window.remaining(word, self.now + later);
            prop_assert!(then >= remaining, "{} and then {}", remaining, then);
            remaining = then;
        }
        self.word = word;
        Ok(())
    }

    /// Gives back of the admission with this number, which left the key at a word.
    fn give_back(&mut self, index: usize, cost: u64, charged: u64) -> Result<(), TestCaseError> {
        self.meddled = true;
        self.log[index].1 -= cost;
        let before = self.window.debt(self.word, self.now);
        let word = self.window.refund(self.word, self.now, cost, charged);
        let after = self.window.debt(word, self.now);
        prop_assert!(after <= before && before - after <= cost, "{} became {}", before, after);
        self.becomes(word)
    }

    /// Gives back of what was admitted last, which is what it means to give back of a word as it is.
    fn refund(&mut self, cost: u64) -> Result<(), TestCaseError> {
        if self.word == 0 {
            return Ok(());
        }
        self.meddled = true;
        let mut left = cost;
        for (_, admitted) in self.log.iter_mut().rev() {
            let back = left.min(*admitted);
            (*admitted, left) = (*admitted - back, left - back);
        }
        let before = self.window.debt(self.word, self.now);
        let word = self.window.refund(self.word, self.now, cost, self.word);
        prop_assert!(self.window.debt(word, self.now) >= before.saturating_sub(cost));
        self.becomes(word)
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Check(Part),
    /// Gives back a part, in percent, of one of the latest admissions.
    GiveBack(usize, u64),
    Refund(Part),
    Advance(Pause),
    StepBack(Pause),
    Carry(usize),
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Some(u64),
    /// So much more or less than a batch.
    Batch(i64),
    Percent(u64),
    Remaining,
    Above,
}

#[derive(Clone, Copy, Debug)]
enum Pause {
    /// The last denial's wait, and this much more or less.
    Wait(i64),
    Periods(u64, i64),
    Subs(u64, i64),
    /// Of a period, in permille.
    Part(u64),
}

impl Part {
    fn of(self, key: &Client) -> u64 {
        match self {
            Self::Some(cost) => cost,
            Self::Batch(more) => key.window.batch.saturating_add_signed(more).max(1),
            Self::Percent(percent) => (key.window.amount * percent / 100).max(1),
            Self::Remaining => key.window.remaining(key.word, key.now).max(1),
            Self::Above => key.window.amount + 1,
        }
    }
}

impl Pause {
    fn of(self, key: &Client, wait: u64) -> u64 {
        let (nanos, more) = match self {
            Self::Wait(more) => (wait, more),
            Self::Periods(periods, more) => (key.window.period_nanos * periods, more),
            Self::Subs(subs, more) => (key.window.sub_nanos * subs, more),
            Self::Part(part) => (key.window.period_nanos / 1000 * part, 0),
        };
        nanos.saturating_add_signed(more)
    }
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        6 => (1..4_u64).prop_map(Part::Some),
        3 => (-2..=2_i64).prop_map(Part::Batch),
        3 => (1..=100_u64).prop_map(Part::Percent),
        3 => Just(Part::Remaining),
        1 => Just(Part::Above),
    ]
}

fn any_pause() -> impl Strategy<Value = Pause> {
    prop_oneof![
        4 => (-1..=1_i64).prop_map(Pause::Wait),
        1 => (1..=2_u64, -1..=1_i64).prop_map(|(periods, more)| Pause::Periods(periods, more)),
        4 => (0..20_u64, -1..=1_i64).prop_map(|(subs, more)| Pause::Subs(subs, more)),
        4 => (0..300_u64).prop_map(Pause::Part),
    ]
}

fn any_history(meddling: bool) -> impl Strategy<Value = Vec<Act>> {
    let some = u32::from(meddling);
    let act = prop_oneof![
        10 => any_part().prop_map(Act::Check),
        6 => any_pause().prop_map(Act::Advance),
        1 => any_pause().prop_map(Act::StepBack),
        3 * some => (0..6_usize, 1..=100_u64).prop_map(|(index, percent)| Act::GiveBack(index, percent)),
        some => any_part().prop_map(Act::Refund),
        some => (0..4_usize).prop_map(Act::Carry),
    ];
    prop::collection::vec(act, 1..120)
}

fn any_period() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(vec![1_000_000, SECOND, MINUTE, HOUR, DAY]),
        1 => 1..=1000_u64,
        2 => (0..=57_u32, 0..1000_u64).prop_map(|(bits, more)| (1 << bits) + more),
    ]
}

fn any_amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..=10_u64,
        4 => 1..=100_u64,
        2 => 1..=2000_u64,
        2 => (0..=40_u32, 0..9_u64).prop_map(|(bits, more)| ((1 << bits) + more).min(1 << 40)),
    ]
}

fn any_window() -> impl Strategy<Value = StrictWindow> {
    (any_amount(), any_period()).prop_map(|(amount, period)| StrictWindow::new(amount.min(period), period, 64).unwrap())
}

/// The last time at which all that is admitted has left before the horizon.
fn last(window: &StrictWindow) -> u64 {
    HORIZON_NANOS - 2 * window.period_nanos - 2
}

/// A time in permille of what can be told.
fn start(window: &StrictWindow, part: u64) -> u64 {
    last(window) / 1000 * part
}

fn play(windows: &[StrictWindow], start: u64, history: &[Act]) -> Result<(), TestCaseError> {
    let mut key = Client::new(windows[0]);
    key.now = start;
    let (mut wait, mut latest) = (0, start);
    // The latest admissions, and the words that they left.
    let mut charges: Vec<(usize, u64)> = Vec::new();
    for act in history {
        match *act {
            Act::Check(part) => {
                let cost = part.of(&key);
                match key.check(cost)? {
                    Verdict::Allow(word) => charges.push((key.log.len() - 1, word)),
                    Verdict::Wait(at) => wait = at - key.now,
                    Verdict::Never => {}
                }
            }
            Act::GiveBack(which, percent) => {
                let Some(which) = charges.len().checked_sub(which % 6 + 1) else { continue };
                let (index, charged) = charges.remove(which);
                let left = key.log[index].1;
                key.give_back(index, (left * percent).div_ceil(100), charged)?;
            }
            Act::Refund(part) => {
                let cost = part.of(&key);
                key.refund(cost)?;
            }
            Act::Advance(pause) => {
                let now = key.now.saturating_add(pause.of(&key, wait));
                if now > last(&key.window) {
                    return Ok(());
                }
                (key.now, wait, latest) = (now, 0, latest.max(now));
            }
            Act::StepBack(pause) => key.now = key.now.saturating_sub(pause.of(&key, wait)),
            Act::Carry(which) => {
                let new = windows[which % windows.len()];
                let old = key.window;
                if old.is_fresh(key.word, key.now) {
                    continue;
                }
                let word = new.carry(&old, key.word, key.now);
                let in_period = key.since((key.time() + 1).saturating_sub(old.period_nanos));
                let stepped_back = key.now < latest;
                prop_assert!(
                    stepped_back || new.debt(word, key.now) >= in_period.min(new.amount),
                    "forgot some of {}",
                    in_period
                );
                (key.window, key.meddled) = (new, true);
                // What was charged under other rules is not given back.
                charges.clear();
                key.becomes(word)?;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn never_more_than_the_amount_and_never_denied_without_a_reason(
        window in any_window(), part in 0..1000_u64, history in any_history(false),
    ) {
        play(&[window], start(&window, part), &history)?;
    }

    #[test]
    fn never_more_than_the_amount_whatever_is_given_back(
        window in any_window(), part in 0..1000_u64, history in any_history(true),
    ) {
        play(&[window], start(&window, part), &history)?;
    }

    #[test]
    fn never_more_than_the_amount_of_the_window_in_force(
        amounts in prop::collection::vec(any_amount(), 4), period in any_period(), history in any_history(true),
    ) {
        // In less time than this, what is owed beyond the amount is not kept whole, and is over at once.
        let period = period.max(100_000);
        let windows: Vec<_> = amounts.iter().map(|amount| StrictWindow::new(*amount.min(&period), period, 64).unwrap()).collect();
        play(&windows, 5 * period, &history)?;
    }

    /// A word that lies unread for years does not come alive again.
    #[test]
    fn what_is_over_stays_over(window in any_window(), word in any::<u64>(), later in prop::collection::vec(any::<u64>(), 8)) {
        let over = window.leaves(window.unpack(word).newest);
        for later in later {
            let time = over.saturating_add(later >> (later % 64));
            prop_assert!(over >= HORIZON_NANOS || window.is_fresh(word, time), "{:?} at {}", window.unpack(word), time);
        }
    }

    /// Words of expired keys are below those of newcomers, as the table's proof wants.
    #[test]
    fn words_grow(window in any_window(), part in 0..1000_u64, history in any_history(false)) {
        let mut key = Client::new(window);
        key.now = start(&window, part);
        for act in history {
            let before = key.word;
            match act {
                Act::Check(part) => drop(key.check(part.of(&key))?),
                Act::Advance(pause) => key.now = (key.now + pause.of(&key, 0)).min(last(&window)),
                _ => {}
            }
            if window.is_fresh(before, key.now) {
                prop_assert!(before < window.owing(1, key.now.saturating_sub(1)));
            }
        }
    }

    /// What another counter counts stays spent here, and what is counted here stays spent there.
    #[test]
    fn what_was_spent_stays_spent(
        strict in any_window(), other in any_window(), algorithm in 0..4_usize,
        spent in 1..=1_u64 << 41, back in 0..=1_u64 << 41, part in 0..900_u64,
    ) {
        let now = HORIZON_NANOS / 1000 * part;
        let StrictWindow { amount, period_nanos, .. } = other;
        let strict_bits = other.lump_bits();
        let other = match algorithm {
            0 => Counter::TokenBucket(TokenBucket::new(amount, period_nanos, amount)),
            1 => Counter::FixedWindow(FixedWindow::new(amount, period_nanos, 1 << 40, 64)),
            2 => Counter::SlidingWindow(SlidingWindow::new(amount, period_nanos, 1 << 40, 64).unwrap()),
            _ => Counter::StrictWindow(other),
        };
        let here = Counter::StrictWindow(strict);
        let spent = 1 + spent % (4 * strict.amount.min(1 << 38));
        let word = strict.owing(spent, now);
        let most = float_value(ones(strict.lump_bits()), strict.lump_bits());
        let back = if spent > strict.amount.max(most) { 0 } else { back };
        let word = strict.refund(word, now, back % spent, word);
        let counted = here.debt(word, now);
        prop_assert!(counted >= (spent - back % spent).min(most.max(strict.amount)));
        let there = other.carry(&here, word, now);
        prop_assert!(there != 0 && there != u64::MAX);
        // A slow bucket cannot owe more than the decades that its word can tell.
        let decades = (u128::from(amount) << 56) / u128::from(period_nanos);
        let says = match algorithm {
            0 => u64::try_from(decades).unwrap_or(u64::MAX),
            3 => float_value(ones(strict_bits), strict_bits),
            _ => counted,
        };
        prop_assert!(other.debt(there, now) >= counted.min(says).min(1 << 40), "{} of {}", other.debt(there, now), counted);
        let again = here.carry(&other, there, now);
        prop_assert!(again != 0 && again != u64::MAX);
        prop_assert!(here.debt(again, now) >= counted.min(says).min(strict.amount));
    }
}

/// Every quota fits a word.
#[test]
fn any_amount_in_any_period() {
    for power in 0..58 {
        for more in [0, 1, 2, 3, 5, 11, 23, 47, 48, 49, 95] {
            let period = (1_u64 << power) + more;
            for bits in 0..=40 {
                for amount in
                    [1 << bits, (1 << bits) + 1, (2 << bits) - 1, 0].map(|amount: u64| amount.min(period).min(1 << 40))
                {
                    let window = StrictWindow::new(amount, period, 64).unwrap();
                    assert!(u64::from(window.lookback) * window.sub_nanos >= period - 1);
                    assert!(window.row_bits() <= STROKES_MAX && amount / window.batch <= u64::from(window.batches));
                    assert!(window.pack(window.with(window.number(u64::MAX), u64::MAX)) < u64::MAX);
                }
            }
        }
    }
}

/// What is over makes room in a window whose amount is smaller. An account that fits stays as it is, so time may step back.
#[test]
fn an_account_of_just_the_amount_is_carried_as_it_is() {
    let window = StrictWindow::new(2, SECOND, 64).unwrap();
    let charged = |word, now| match window.decide(word, now, 1) {
        Verdict::Allow(word) => word,
        other => panic!("{other:?}"),
    };
    let word = charged(charged(0, 0), SECOND / 2);
    let now = SECOND + SECOND / 10;
    assert_eq!((window.debt(word, SECOND / 2), window.debt(word, now)), (2, 1));
    assert_eq!(window.carry(&window, word, now), word);
}
