//! Each algorithm has a slow, obvious twin here, and random histories on which the two must agree: in the verdict, in
//! what remains, and in the wait.
//!
//! A twin knows exact fractions. The limiter rounds its clock, and its documentation says by how much; where that can
//! make a difference, the twin has two opinions, a `Strict` and a `Lenient` one, that rounding apart. The limiter must admit
//! what the strict one admits, and deny what the lenient one denies. Elsewhere the two are one and the same.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Clock, Denied, Permit, Policy, Quota, RateLimiter, Status};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const TEN_YEARS: u64 = 3660 * DAY;
/// For how long limiters can tell time, with room for some waits, beside a period of ten years too.
const LONG: u64 = 25 * 365 * DAY;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opinion {
    Strict,
    Lenient,
}
use Opinion::{Lenient, Strict};

/// One key's state under one quota.
#[derive(Clone, Debug)]
struct Twin {
    quota: Quota,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// When the bucket will be full again, in nanoseconds times 64 times the quota's amount.
    Bucket { full_at: u128 },
    /// When the window ends, and what has passed in it.
    Window { end: u64, used: u64 },
    /// What has passed in each window of one period. The last one's number, its count, and the count of the one before.
    Windows { number: u64, current: u64, previous: u64 },
}

/// A 64th of a nanosecond is the twin's finest measure of rounding.
const PARTS: u128 = 64;

fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// The part of a window, or of its amount, that rounding may cost: one in so many.
fn one_in(quota: &Quota) -> u64 {
    match u128::from(quota.amount()) * u128::from(SECOND) / quota.period().as_nanos() {
        0..=10_000 => 1_000_000,
        10_001..=1_000_000 => 10_000,
        _ => 50,
    }
}

impl Twin {
    fn new(quota: Quota) -> Self {
        let state = match quota.algorithm() {
            Algorithm::TokenBucket => State::Bucket { full_at: 0 },
            Algorithm::FixedWindow | Algorithm::AlignedWindow => State::Window { end: 0, used: 0 },
            Algorithm::SlidingWindow => State::Windows { number: 0, current: 0, previous: 0 },
            _ => unreachable!("no other algorithm"),
        };
        Self { quota, state }
    }

    fn period(&self) -> u64 {
        self.quota.period().as_nanos() as u64
    }

    /// By how much a bucket's clock may be off, in the measure of `full_at`: nothing where tokens come at whole
    /// nanoseconds, or at fractions that are further apart than the rounding.
    fn clock_rounding(&self, now: u64) -> u128 {
        let (amount, period) = (self.quota.amount(), self.period());
        let common = gcd(amount, period);
        let fill = u128::from(self.quota.limit()) * u128::from(period) / u128::from(amount);
        let within_a_year = fill <= u128::from(365 * DAY);
        let even = (period / common).is_power_of_two() || (period == SECOND && now < 1 << 38);
        match () {
            () if within_a_year && amount / common < 8 && even => 0,
            // A unit is at most 1/8 ns, and the clock's rate is rounded too.
            () if within_a_year => u128::from(amount) * (PARTS / 8 + 1),
            () => u128::from(amount) * PARTS,
        }
    }

    /// The unit in which a window's end is kept, rounded up: a power of two of nanoseconds. As coarse as 36 years need
    /// in the bits that the count leaves, and not so coarse that the rate would suffer. Where no such unit lasts, the longest by which
    /// the rate does not suffer. The ends of aligned windows are exact.
    fn tick(&self) -> u64 {
        if self.quota.algorithm() == Algorithm::AlignedWindow {
            return 1;
        }
        let longest = (self.period() / one_in(&self.quota)).max(1);
        let room = 64 - bits(self.quota.amount());
        let mut tick = 1_u64;
        while bits((1 << 60) + self.period()) - tick.ilog2() > room {
            if tick * 2 > longest {
                return longest;
            }
            tick *= 2;
        }
        tick
    }

    /// By how much a window's count may be overestimated once the window is over: not at all where two counts and 36
    /// years of windows fit a word.
    fn count_rounding(&self) -> u64 {
        let amount = self.quota.amount();
        let fits = 2 * bits(amount) + bits((1 << 60) / self.period() + 6) <= 64;
        if fits { 0 } else { amount.div_ceil(one_in(&self.quota)) }
    }

    /// Whether a cost would pass. With time this only ever turns from no to yes.
    fn admits(&self, now: u64, cost: u64, opinion: Opinion) -> bool {
        if cost > self.quota.limit() {
            return false;
        }
        let amount = self.quota.amount();
        match self.state {
            State::Bucket { full_at } => {
                let rounding = self.clock_rounding(now);
                let full_at = if opinion == Strict { full_at + rounding } else { full_at.saturating_sub(rounding) };
                let now = u128::from(now) * u128::from(amount) * PARTS;
                let token = u128::from(self.period()) * PARTS;
                full_at.max(now) + u128::from(cost) * token <= now + u128::from(self.quota.limit()) * token
            }
            State::Window { end, used } => now >= end || used + cost <= amount,
            State::Windows { .. } => {
                let (current, mut previous) = self.counts(now);
                if opinion == Strict && previous > 0 {
                    previous += self.count_rounding();
                }
                // Of the last period, the part that lies in the window before, and its share of that window's count.
                let overlap = self.period() - now % self.period();
                let share = u128::from(previous) * u128::from(overlap);
                // (amount - current - cost) >= previous * overlap / period, in whole numbers.
                current + cost <= amount && u128::from(amount - current - cost) * u128::from(self.period()) >= share
            }
        }
    }

    fn counts(&self, now: u64) -> (u64, u64) {
        let State::Windows { number, current, previous } = self.state else { unreachable!("only for sliding windows") };
        match now / self.period() - number {
            0 => (current, previous),
            1 => (0, current),
            _ => (0, 0),
        }
    }

    fn charge(&mut self, now: u64, cost: u64) {
        if cost == 0 {
            return;
        }
        let (period, tick) = (self.period(), self.tick());
        let aligned = self.quota.algorithm() == Algorithm::AlignedWindow;
        let counts = matches!(self.state, State::Windows { .. }).then(|| self.counts(now));
        match &mut self.state {
            State::Bucket { full_at } => {
                let now = u128::from(now) * u128::from(self.quota.amount()) * PARTS;
                *full_at = now.max(*full_at) + u128::from(cost) * u128::from(period) * PARTS;
            }
            State::Window { end, used } => {
                if now >= *end {
                    // A manual clock's zero is 10^9 s after the Unix epoch.
                    let since_aligned = (u128::from(now) + 1_000_000_000 * u128::from(SECOND)) % u128::from(period);
                    let exact = if aligned { now + period - since_aligned as u64 } else { now + period };
                    (*end, *used) = (exact.next_multiple_of(tick), 0);
                }
                *used += cost;
            }
            State::Windows { number, current, previous } => {
                (*current, *previous) = counts.expect("made above");
                *current += cost;
                *number = now / period;
            }
        }
    }

    /// The most that would pass.
    fn remaining(&self, now: u64, opinion: Opinion) -> u64 {
        first(0..self.quota.limit(), |cost| !self.admits(now, cost + 1, opinion))
    }

    /// The first time at which a cost would pass.
    fn passes_at(&self, now: u64, cost: u64, opinion: Opinion) -> u64 {
        // No algorithm needs more than a full bucket's time, or three windows; a bucket fills within 101 years.
        let fill = u128::from(self.period()) * u128::from(self.quota.limit()) / u128::from(self.quota.amount().max(1));
        let latest = now + 4 * self.period().max(fill as u64) + 4;
        first(now..latest, |time| self.admits(time, cost, opinion))
    }

    fn reset(&mut self) {
        *self = Self::new(self.quota);
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The first number that is, where all above it are too; the range's end if none is.
fn first(range: std::ops::Range<u64>, is: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if is(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Looks at a status with the eyes of the twins.
fn check_status(twins: &[Twin], now: u64, status: &Status, least: bool) -> Result<(), TestCaseError> {
    let this = &twins[status.quota_index()];
    prop_assert_eq!(status.limit(), this.quota.limit());
    let range = this.remaining(now, Strict)..=this.remaining(now, Lenient);
    prop_assert!(range.contains(&status.remaining()), "{} remain, and it should be {:?}", status.remaining(), range);
    if least {
        for twin in twins {
            let most = twin.remaining(now, Lenient);
            prop_assert!(status.remaining() <= most, "{} remain, and {} of {}", status.remaining(), most, twin.quota);
        }
    }
    let full_at = now + status.reset_after().as_nanos() as u64;
    let limit = this.quota.limit();
    match this.state {
        State::Bucket { .. } => {
            let range = this.passes_at(now, limit, Lenient)..=this.passes_at(now, limit, Strict) + 1;
            prop_assert!(range.contains(&full_at), "full at {}, and it should be {:?}", full_at, range);
        }
        State::Window { end, used } if used > 0 && now < end => prop_assert_eq!(full_at, end),
        State::Window { .. } => prop_assert_eq!(full_at, now),
        State::Windows { .. } => {
            let (current, previous) = this.counts(now);
            let windows = if current > 0 { 2 } else { u64::from(previous > 0) };
            let expected = if windows == 0 { now } else { (now / this.period() + windows) * this.period() };
            prop_assert_eq!(full_at, expected);
        }
    }
    Ok(())
}

/// Looks at an answer with the eyes of the twins, and lets them follow it.
fn check(twins: &mut [Twin], now: u64, cost: u64, answer: Result<Permit, Denied>) -> Result<(), TestCaseError> {
    let all = |opinion| twins.iter().all(|twin| twin.admits(now, cost, opinion));
    let (strict, lenient) = (all(Strict) || cost == 0, all(Lenient) || cost == 0);
    match answer {
        Ok(permit) => {
            prop_assert!(lenient, "{} was admitted at {}: {:?}", cost, now, twins);
            twins.iter_mut().for_each(|twin| twin.charge(now, cost));
            check_status(twins, now, permit.status(), true)
        }
        Err(denied) => {
            prop_assert!(!strict, "{} was denied at {}: {:?}", cost, now, twins);
            let never = twins.iter().any(|twin| cost > twin.quota.limit());
            prop_assert_eq!(never, denied.is_permanent());
            if let Some(wait) = denied.retry_after() {
                let at = now + wait.as_nanos() as u64;
                let passes = |opinion| twins.iter().map(|twin| twin.passes_at(now, cost, opinion)).max();
                let (earliest, latest) = (passes(Lenient).unwrap(), passes(Strict).unwrap());
                prop_assert!((earliest..=latest).contains(&at), "wait until {}, not {}..={}", at, earliest, latest);
                let this = &twins[denied.status().quota_index()];
                prop_assert!(this.passes_at(now, cost, Strict) >= at, "another quota denies for longer");
            } else {
                prop_assert!(cost > denied.status().limit());
            }
            check_status(twins, now, denied.status(), false)
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Check { key: usize, cost: Part },
    Peek { key: usize },
    Reset { key: usize },
    Advance { by: Pause },
}

/// Of what a quota grants at most.
#[derive(Clone, Copy, Debug)]
enum Part {
    Nothing,
    One,
    Some(u64),
    All,
    Above,
}

#[derive(Clone, Copy, Debug)]
enum Pause {
    /// What the last denial said, and this much more or less.
    RetryAfter(i64),
    /// A quota's period, and this much more or less.
    Period(usize, i64),
    /// The time that one of a quota takes, likewise.
    Token(usize, i64),
    /// A part of a quota's period.
    Part(usize, u64),
}

fn any_history() -> impl Strategy<Value = Vec<Act>> {
    let cost = prop_oneof![
        1 => Just(Part::Nothing),
        6 => Just(Part::One),
        4 => (2..9_u64).prop_map(Part::Some),
        2 => Just(Part::All),
        1 => Just(Part::Above),
    ];
    let by = prop_oneof![
        4 => (-1..=1_i64).prop_map(Pause::RetryAfter),
        2 => (0..4_usize, -1..=1_i64).prop_map(|(quota, more)| Pause::Period(quota, more)),
        2 => (0..4_usize, -1..=1_i64).prop_map(|(quota, more)| Pause::Token(quota, more)),
        2 => (0..4_usize, 2..40_u64).prop_map(|(quota, part)| Pause::Part(quota, part)),
    ];
    let act = prop_oneof![
        12 => (0..3_usize, cost).prop_map(|(key, cost)| Act::Check { key: key.saturating_sub(1), cost }),
        1 => (0..2_usize).prop_map(|key| Act::Peek { key }),
        1 => (0..2_usize).prop_map(|key| Act::Reset { key }),
        6 => by.prop_map(|by| Act::Advance { by }),
    ];
    prop::collection::vec(act, 1..60)
}

/// Quotas of every speed, from one in ten years to one a nanosecond.
fn any_quota(algorithm: Algorithm) -> impl Strategy<Value = Quota> {
    let amount =
        prop_oneof![1..=7_u64, 1..=1000_u64, (0..=30_u32, 0..9_u64).prop_map(|(bits, more)| (1 << bits) + more)];
    let period = prop_oneof![
        3 => Just(SECOND),
        1 => Just(60 * SECOND),
        1 => Just(DAY),
        1 => Just(TEN_YEARS),
        1 => 1..=1000_u64,
        1 => (0..=58_u32).prop_map(|bits| 1 << bits),
        1 => (0..=58_u32, 0..1000_u64).prop_map(|(bits, more)| (1 << bits) + more),
    ];
    let burst = prop_oneof![3 => Just(0), 1 => 1..=100_u64, 1 => Just(1)];
    (amount, period, burst).prop_filter_map("cannot be kept", move |(amount, period, burst)| {
        let quota = Quota::new(amount, Duration::from_nanos(period)).ok()?;
        let quota = match algorithm {
            Algorithm::TokenBucket if burst > 0 => quota.try_burst(burst).ok()?,
            _ => quota,
        };
        quota.try_algorithm(algorithm).ok()
    })
}

/// For how long a quota's limiter can tell time.
fn long(quota: &Quota) -> u64 {
    let per_second = u128::from(quota.amount()) * u128::from(SECOND) / quota.period().as_nanos();
    match (quota.algorithm(), per_second) {
        (Algorithm::FixedWindow, 100_000_001..) => 5 * 365 * DAY,
        (Algorithm::SlidingWindow, 100_000_001..) => 4 * 365 * DAY,
        (Algorithm::SlidingWindow, 10_001..=1_000_000) => 17 * 365 * DAY,
        _ => LONG,
    }
}

/// Plays a history to a limiter and to the twins.
fn play(policy: &Policy, history: &[Act]) -> Result<(), TestCaseError> {
    let quotas: Vec<Quota> = policy.quotas().map(|(_, quota)| *quota).collect();
    let long = quotas.iter().map(long).min().expect("a policy has a quota");
    let clock = Clock::manual();
    let limiter = RateLimiter::builder(policy).capacity(100).clock(clock.clone()).build();
    let mut twins: [Vec<Twin>; 2] = [(); 2].map(|()| quotas.iter().copied().map(Twin::new).collect());
    let (mut now, mut retry_after) = (0_u64, 0);
    for act in history {
        match *act {
            Act::Check { key, cost } => {
                let most = quotas.iter().map(Quota::limit).min().expect("a policy has a quota");
                let cost = match cost {
                    Part::Nothing => 0,
                    Part::One => 1,
                    Part::Some(part) => most.div_ceil(part),
                    Part::All => most,
                    Part::Above => most + 1,
                };
                let answer = limiter.check_n(&key, cost);
                if let Err(denied) = answer {
                    retry_after = denied.retry_after().map_or(0, |wait| wait.as_nanos() as u64);
                }
                check(&mut twins[key], now, cost, answer)?;
            }
            Act::Peek { key } => check_status(&twins[key], now, &limiter.peek(&key), true)?,
            Act::Reset { key } => {
                limiter.reset(&key);
                twins[key].iter_mut().for_each(Twin::reset);
            }
            Act::Advance { by } => {
                let quota = |index: usize| &quotas[index % quotas.len()];
                let period = |index| quota(index).period().as_nanos() as u64;
                let (by, more) = match by {
                    Pause::RetryAfter(more) => (std::mem::take(&mut retry_after), more),
                    Pause::Period(index, more) => (period(index), more),
                    Pause::Token(index, more) => (period(index) / quota(index).amount(), more),
                    Pause::Part(index, part) => (period(index) / part, 0),
                };
                let by = by.saturating_add_signed(more);
                if now + by > long {
                    return Ok(());
                }
                clock.advance(Duration::from_nanos(by));
                now += by;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_token_bucket_agrees_with_its_twin(quota in any_quota(Algorithm::TokenBucket), history in any_history()) {
        play(&quota.into(), &history)?;
    }

    #[test]
    fn a_fixed_window_agrees_with_its_twin(quota in any_quota(Algorithm::FixedWindow), history in any_history()) {
        play(&quota.into(), &history)?;
    }

    #[test]
    fn an_aligned_window_agrees_with_its_twin(quota in any_quota(Algorithm::AlignedWindow), history in any_history()) {
        play(&quota.into(), &history)?;
    }

    #[test]
    fn a_sliding_window_agrees_with_its_twin(quota in any_quota(Algorithm::SlidingWindow), history in any_history()) {
        play(&quota.into(), &history)?;
    }

    #[test]
    fn a_policy_agrees_with_its_twins(
        quotas in prop::collection::vec(
            prop_oneof![
                any_quota(Algorithm::TokenBucket),
                any_quota(Algorithm::FixedWindow),
                any_quota(Algorithm::AlignedWindow),
                any_quota(Algorithm::SlidingWindow),
            ],
            2..=4,
        ),
        history in any_history(),
    ) {
        let policy = Policy::new(["a", "b", "c", "d"].into_iter().zip(quotas)).expect("different names");
        play(&policy, &history)?;
    }
}

/// The rates of most configurations, on which the twin has one opinion: to the nanosecond.
#[test]
fn common_rates_are_exact() {
    for amount in [1, 2, 5, 10, 100, 1000, 10_000, 1_000_000, 1_000_000_000] {
        let twin = Twin::new(Quota::per_second(amount));
        assert_eq!(twin.clock_rounding(0), 0, "{amount}/second");
    }
}
