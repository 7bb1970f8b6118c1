//! [`Quota`]: how much, in how long, how much at once, and by which algorithm.

use std::fmt;
use std::time::Duration;

use crate::algorithm::{Counter, FixedWindow, Parked, SlidingWindow, StrictWindow, TokenBucket, WORD_BITS};
use crate::error::PolicyError;

/// The longest period a quota may have, and so the slowest rate there is: one in ten years
/// (3660 days, so that ten calendar years fit wherever they start).
pub(crate) const PERIOD_MAX: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// The fastest rate, and the largest `per_second`: one per nanosecond, the clock's own resolution.
const PER_SECOND_MAX: u64 = 1_000_000_000;

/// The longest an empty bucket may take to fill (about 100 years), so that its state fits a word
/// beside decades of uptime.
const FILL_NANOS_MAX: u128 = 100 * 366 * 24 * 60 * 60 * 1_000_000_000;

/// The largest amount of a window, so that its counters leave room for the time in one word.
pub(crate) const WINDOW_AMOUNT_MAX: u64 = 1 << 40;

/// An amount per period: the limit itself.
///
/// The default algorithm is the token bucket: it starts full, refills continuously, and lets
/// [`burst`](Quota::burst) pass at once. `Quota::per_second(28)` admits 28 at once and then one
/// every 1/28 s, and never more than `28 + 28·t` in any `t` seconds.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Quota;
///
/// let api = Quota::per_second(28);
/// let search = Quota::per_second(10).burst(30);
/// let logins = Quota::per_minute(5).sliding_window();
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let reports = Quota::new(100, week)?.fixed_window();
/// let from_a_file: Quota = "5 per 10 minutes burst 7".parse()?;
/// # let _ = (api, search, logins, reports, from_a_file);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What clients will see
///
/// Somebody asks once a second for two minutes. The table has the seconds in which requests pass,
/// from the first request on. All others are denied (429 over HTTP), and the first denial says how
/// long to wait:
///
/// | quota | passes at second | first `Retry-After` |
/// |---|---|---|
/// | `3/minute` | 0, 1, 2, 20, 40, 60, 80, 100, 120 | 17 |
/// | `3/minute burst 1` | 0, 20, 40, 60, 80, 100, 120 | 19 |
/// | `3/minute burst 6` | 0, 1, 2, 3, 4, 5, 20, 40, 60, 80, 100, 120 | 14 |
/// | `3/minute fixed` | 0, 1, 2, 60, 61, 62, 120 | 57 |
/// | `3/minute sliding` | 0, 1, 2, 80, 100, 120 | 77 |
/// | `3/minute strict` | 0, 1, 2, 63, 64, 65 | 60 |
///
/// A bucket lets its burst pass and then evens out: after the first 3 there is one each 20 s, not 3
/// each minute. So the first minute may see twice the amount. A fixed window gives everything back
/// at once. A sliding window rounds against the client, and gives back as late as 77 s after the
/// denial. A strict window gives back when the minute is over, and up to 2.5 s later. To see what a quota of
/// yours does:
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Clock, Quota, RateLimiter};
///
/// fn passes(quota: &str, seconds: u64) -> Vec<u64> {
///     let quota: Quota = quota.parse().expect("a quota");
///     let clock = Clock::manual();
///     let limiter = RateLimiter::builder(quota).clock(clock.clone()).build();
///     let mut passes = Vec::new();
///     for second in 0..seconds {
///         if limiter.check("somebody").is_ok() {
///             passes.push(second);
///         }
///         clock.advance(Duration::from_secs(1));
///     }
///     passes
/// }
/// assert_eq!(passes("3/minute", 60), [0, 1, 2, 20, 40]);
/// assert_eq!(passes("3/minute burst 1", 60), [0, 20, 40]);
/// assert_eq!(passes("3/minute fixed", 63), [0, 1, 2, 60, 61, 62]);
/// ```
///
/// # Numbers of the program, and numbers from elsewhere
///
/// [`per_second`](Self::per_second) and its kind, [`burst`](Self::burst) and the windows are for
/// numbers written in the program. They panic if no such quota can be kept; in a constant, that is an
/// error of the compiler. For numbers from a file or a person, [`new`](Self::new),
/// [`try_burst`](Self::try_burst) and [`try_algorithm`](Self::try_algorithm) return a [`PolicyError`]
/// instead. A `Quota` that exists can be kept: no check ever fails because of it.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Algorithm, PolicyError, Quota};
///
/// const SEARCH: Quota = Quota::per_second(10).burst(30);
///
/// fn from_form(amount: u64, days: u64) -> Result<Quota, PolicyError> {
///     let period = Duration::from_secs(days.saturating_mul(24 * 60 * 60));
///     Quota::new(amount, period)?.try_algorithm(Algorithm::FixedWindow)
/// }
/// assert!(from_form(100, 7).is_ok());
/// assert!(from_form(100, 100_000).is_err());
/// # let _ = SEARCH;
/// ```
///
/// # String form
///
/// `AMOUNT / [MULTIPLE] UNIT [burst N] [fixed | fixed aligned | sliding | strict]`, in any case, with
/// `per` or `/` between the amount and the period: `28/second`, `2PER1HOUR`, `5 per 10 minutes burst 7`,
/// `100/day fixed aligned`. Units: `ns`, `us`, `ms`, `s`, `sec`, `second`, `m`, `min`, `minute`, `h`, `hr`, `hour`,
/// `d`, `day`, `w`, `week`, `month` (30 days), `year` (365 days), and their plurals. This is the grammar
/// of Python's `limits`, and a little more. There a year is 360 days (twelve months of 30). Here it has
/// 365. [`Display`](fmt::Display) writes the canonical form, which parses back to
/// the same quota. Numbers are whole and without marks between digits: write `1/2 seconds` for half a
/// request per second, and `1000/hour`. The feature `serde` reads and writes quotas in configuration
/// files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    amount: u64,
    period_nanos: u64,
    burst: u64,
    algorithm: Algorithm,
}

/// How a [`Quota`] is counted.
///
/// # For how long
///
/// A limiter can tell time for decades, whatever other quotas, plans or policies stand beside a quota. Token buckets, aligned and
/// strict windows can for 36 years. The words of other windows have less room, the faster they are. Up to 10⁸ per second, a fixed
/// window tells time for at least 29 years, and a sliding one for at least 17. At 10⁹ per second it is at least 5 years for a
/// fixed window, and 4 for a sliding one. Then time stands still for the quota: it lets no more pass, and its denials say why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Starts full, refills continuously at amount/period, holds the burst. This is GCRA with a
    /// tolerance of burst − 1, and what Envoy's `local_ratelimit` does.
    #[default]
    TokenBucket,
    /// A window opens at the key's first charged request and lasts one period. Up to twice the amount
    /// can pass around the end of a window.
    FixedWindow,
    /// As `FixedWindow`, but windows end at multiples of the period since the Unix epoch: on the full
    /// minute, hour or UTC day.
    AlignedWindow,
    /// The current window's count plus the previous one's, weighted by how much of it still overlaps the
    /// last period (the counter that Cloudflare and Python's `limits` use).
    ///
    /// Exact when the previous window's requests were spread evenly. Requests bunched at its end age too
    /// early, so the bound in *any* window of one period is 2·amount − 1; see `tests/limiter/laws.rs` for
    /// the history that comes close to it. To keep that bound the previous window's share is rounded up.
    /// So a client that asks all the time gets about amount − 1 per period. Of an amount of 1 or 2 it
    /// gets half.
    SlidingWindow,
    /// Never more than the amount in *any* window of one period, wherever it begins.
    ///
    /// The period is divided into sub-windows, and an admission counts until the whole of its own has left the period. So this
    /// window denies a little more than a log of every admission would. Where the amount is larger, admissions are also counted
    /// in batches, which leave together. A client that keeps asking gets at least this part of the amount:
    ///
    /// | amount | per ms | per second | per minute | per hour | per day |
    /// |---|---|---|---|---|---|
    /// | 2 | 92 % | 95 % | 96 % | 96 % | 96 % |
    /// | 5 | 92 % | 95 % | 96 % | 96 % | 96 % |
    /// | 10 | 85 % | 92 % | 96 % | 96 % | 96 % |
    /// | 20 | 83 % | 87 % | 92 % | 92 % | 96 % |
    /// | 50 | 80 % | 88 % | 88 % | 90 % | 92 % |
    /// | 100 | 79 % | 86 % | 88 % | 90 % | 91 % |
    /// | 1000 | 76 % | 84 % | 87 % | 88 % | 90 % |
    /// | 10^4 | 68 % | 80 % | 86 % | 88 % | 88 % |
    /// | 10^5 | 59 % | 79 % | 83 % | 87 % | 88 % |
    /// | 10^6 | 39 % | 76 % | 80 % | 85 % | 87 % |
    /// | 10^7 |  | 68 % | 78 % | 83 % | 86 % |
    /// | 10^8 |  | 62 % | 75 % | 80 % | 84 % |
    /// | 10^9 |  | 39 % | 66 % | 77 % | 80 % |
    ///
    /// Amounts up to 100 get at least 80 % by any period of 7 ms or more. Shorter ones leave less room, because there are more of them in
    /// 36 years: it is 79 % per ms, 76 % per 100 µs, 66 % per 10 µs and 59 % per µs. In 64 bits no code of sub-windows and batches
    /// could give more than 82 %, 79 %, 74 % and 66 % of those.
    ///
    /// Amounts between those of the table get at least the smaller of their neighbors' parts, less 4 %. An amount of 1 is kept to
    /// the nanosecond. A client that asks in steps is denied when it comes a moment early, by any strict window: one
    /// that asks exactly `amount` times in each period gets `amount` of `amount` + 1 of them.
    ///
    /// [`refund`](crate::RateLimiter::refund) gives back what was admitted last. A
    /// [`Reservation`](crate::Reservation) gives back exactly as long as its sub-window is the newest of its key, and after that
    /// in whole batches. What could not be given back counts until its time is over.
    StrictWindow,
}

impl Quota {
    /// `amount` per second.
    ///
    /// # Panics
    ///
    /// If `amount` is above 1,000,000,000; [`Quota::new`] gives an error instead.
    #[track_caller]
    pub const fn per_second(amount: u64) -> Self {
        Self::per(amount, 1)
    }

    /// `amount` per minute.
    ///
    /// # Panics
    ///
    /// If that is more than 1,000,000,000 per second; [`Quota::new`] gives an error instead.
    #[track_caller]
    pub const fn per_minute(amount: u64) -> Self {
        Self::per(amount, 60)
    }

    /// `amount` per hour.
    ///
    /// # Panics
    ///
    /// If that is more than 1,000,000,000 per second; [`Quota::new`] gives an error instead.
    #[track_caller]
    pub const fn per_hour(amount: u64) -> Self {
        Self::per(amount, 60 * 60)
    }

    /// `amount` per day of 24 hours.
    ///
    /// # Panics
    ///
    /// If that is more than 1,000,000,000 per second; [`Quota::new`] gives an error instead.
    #[track_caller]
    pub const fn per_day(amount: u64) -> Self {
        Self::per(amount, 24 * 60 * 60)
    }

    #[track_caller]
    const fn per(amount: u64, seconds: u64) -> Self {
        match Self::build(amount, Duration::from_secs(seconds), amount, Algorithm::TokenBucket) {
            Ok(quota) => quota,
            Err(error) => panic!("{}", error.text()),
        }
    }

    /// `amount` per `period`: a token bucket whose burst is the amount. An amount of zero is valid and
    /// denies everything.
    ///
    /// # Errors
    ///
    /// When the period is zero or longer than 3660 days, or the rate above 10⁹ per second.
    pub const fn new(amount: u64, period: Duration) -> Result<Self, PolicyError> {
        Self::build(amount, period, amount, Algorithm::TokenBucket)
    }

    /// How many may pass at once, at most: the bucket's size. Without this, it is the amount.
    ///
    /// # Panics
    ///
    /// If the burst is zero while the amount is not (or the other way round), if filling an empty bucket of
    /// that size would take more than 100 years, or if this quota is a window, which has no burst.
    /// [`Quota::try_burst`] gives an error instead.
    #[track_caller]
    pub const fn burst(self, burst: u64) -> Self {
        match Self::build_from(self, burst, self.algorithm) {
            Ok(quota) => quota,
            Err(error) => panic!("{}", error.text()),
        }
    }

    /// As [`Quota::burst`], for a number from elsewhere.
    ///
    /// # Errors
    ///
    /// Where [`Quota::burst`] would panic.
    pub const fn try_burst(self, burst: u64) -> Result<Self, PolicyError> {
        Self::build_from(self, burst, self.algorithm)
    }

    /// Counts in a window that opens at a key's first charged request. See [`Algorithm::FixedWindow`].
    ///
    /// # Panics
    ///
    /// If a burst other than the amount was set, or the amount is above 2⁴⁰;
    /// [`Quota::try_algorithm`] gives an error instead.
    #[track_caller]
    pub const fn fixed_window(self) -> Self {
        self.expect_algorithm(Algorithm::FixedWindow)
    }

    /// Counts in windows aligned to the Unix epoch. See [`Algorithm::AlignedWindow`].
    ///
    /// # Panics
    ///
    /// As [`Quota::fixed_window`].
    #[track_caller]
    pub const fn aligned_window(self) -> Self {
        self.expect_algorithm(Algorithm::AlignedWindow)
    }

    /// Counts over the last period, weighting the previous window. See [`Algorithm::SlidingWindow`].
    ///
    /// # Panics
    ///
    /// As [`Quota::fixed_window`].
    #[track_caller]
    pub const fn sliding_window(self) -> Self {
        self.expect_algorithm(Algorithm::SlidingWindow)
    }

    /// Never lets more than the amount pass in any window of one period. See [`Algorithm::StrictWindow`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Clock, Quota, RateLimiter};
    ///
    /// let codes = Quota::per_hour(3).strict();
    /// let clock = Clock::manual();
    /// let limiter = RateLimiter::builder(codes).clock(clock.clone()).build();
    ///
    /// assert!(limiter.check_n("user 1", 3).is_ok());
    /// clock.advance(Duration::from_secs(3599));
    /// assert!(limiter.check("user 1").is_err());
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Quota::fixed_window`].
    #[track_caller]
    pub const fn strict(self) -> Self {
        self.expect_algorithm(Algorithm::StrictWindow)
    }

    #[track_caller]
    const fn expect_algorithm(self, algorithm: Algorithm) -> Self {
        match Self::build_from(self, self.burst, algorithm) {
            Ok(quota) => quota,
            Err(error) => panic!("{}", error.text()),
        }
    }

    /// The same quota counted by another algorithm, for a choice made elsewhere.
    ///
    /// # Errors
    ///
    /// When a window is asked for and a burst other than the amount was set, or the amount is above 2⁴⁰.
    pub const fn try_algorithm(self, algorithm: Algorithm) -> Result<Self, PolicyError> {
        Self::build_from(self, self.burst, algorithm)
    }

    /// How many per [`period`](Quota::period).
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// How long the amount lasts.
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period_nanos)
    }

    /// The most that can pass at once: the burst of a token bucket, the amount of a window.
    pub const fn limit(&self) -> u64 {
        self.burst
    }

    /// How it is counted.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) const fn period_nanos(&self) -> u64 {
        self.period_nanos
    }

    /// The quota, prepared for deciding. `unix_nanos_at_zero` is the wall clock when the limiter's clock stood at zero.
    /// A key may owe up to `largest`, from other quotas in this one's place.
    pub(crate) fn counter(&self, unix_nanos_at_zero: u64, largest: u64) -> Counter {
        let Self { amount, period_nanos, burst, algorithm } = *self;
        match algorithm {
            Algorithm::TokenBucket => Counter::TokenBucket(TokenBucket::new(amount, period_nanos, burst)),
            Algorithm::FixedWindow => Counter::FixedWindow(FixedWindow::new(amount, period_nanos, largest, WORD_BITS)),
            Algorithm::AlignedWindow => {
                let window = FixedWindow::aligned(amount, period_nanos, largest, unix_nanos_at_zero, WORD_BITS);
                Counter::FixedWindow(window.expect("every quota fits a whole word"))
            }
            Algorithm::SlidingWindow => {
                let window = SlidingWindow::new(amount, period_nanos, largest, WORD_BITS);
                Counter::SlidingWindow(window.expect("every quota fits a whole word"))
            }
            // One in any window is one and then none for a period, which a bucket of one keeps to the nanosecond.
            Algorithm::StrictWindow if amount == 1 => Counter::TokenBucket(TokenBucket::new(1, period_nanos, 1)),
            Algorithm::StrictWindow => {
                let window = StrictWindow::new(amount, period_nanos, WORD_BITS);
                Counter::StrictWindow(window.expect("every quota fits a whole word"))
            }
        }
    }

    /// The quota, prepared for keeping what is owed while it is not in force, in so many bits.
    pub(crate) fn parked(&self, unix_nanos_at_zero: u64, largest: u64, bits: u32) -> Parked {
        let Self { amount, period_nanos, algorithm, .. } = *self;
        match (algorithm, self.counter(unix_nanos_at_zero, largest)) {
            (_, Counter::TokenBucket(bucket)) => Parked::token_bucket(bucket, bits),
            (Algorithm::AlignedWindow, _) => {
                Parked::aligned_window(amount, period_nanos, largest, unix_nanos_at_zero, bits)
            }
            (Algorithm::SlidingWindow, _) => Parked::sliding_window(amount, period_nanos, largest, bits),
            (Algorithm::StrictWindow, _) => Parked::strict_window(amount, period_nanos, largest, bits),
            (Algorithm::FixedWindow | Algorithm::TokenBucket, _) => {
                Parked::fixed_window(amount, period_nanos, largest, bits)
            }
        }
    }

    const fn build_from(from: Quota, burst: u64, algorithm: Algorithm) -> Result<Self, PolicyError> {
        Self::build(from.amount, from.period(), burst, algorithm)
    }

    /// The one place where a quota comes to be, so that an illegal one cannot exist.
    pub(crate) const fn build(
        amount: u64,
        period: Duration,
        burst: u64,
        algorithm: Algorithm,
    ) -> Result<Self, PolicyError> {
        if period.is_zero() {
            return Err(PolicyError::ZeroPeriod);
        }
        if period.as_nanos() > PERIOD_MAX.as_nanos() {
            return Err(PolicyError::PeriodTooLong);
        }
        let period_nanos = period.as_nanos() as u64; // PERIOD_MAX is far below 2^64 ns
        let per_second = amount as u128 * PER_SECOND_MAX as u128;
        if per_second > period_nanos as u128 * PER_SECOND_MAX as u128 {
            return Err(PolicyError::RateTooHigh);
        }
        if (burst == 0) != (amount == 0) {
            return Err(PolicyError::ZeroBurst);
        }
        match algorithm {
            Algorithm::TokenBucket => {
                if burst as u128 * period_nanos as u128 > FILL_NANOS_MAX * amount as u128 {
                    return Err(PolicyError::BurstTooLarge);
                }
            }
            Algorithm::FixedWindow | Algorithm::AlignedWindow | Algorithm::SlidingWindow | Algorithm::StrictWindow => {
                if burst != amount {
                    return Err(PolicyError::WindowBurst);
                }
                if amount > WINDOW_AMOUNT_MAX {
                    return Err(PolicyError::WindowTooLarge);
                }
            }
        }
        Ok(Self { amount, period_nanos, burst, algorithm })
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}
