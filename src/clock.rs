//! [`Clock`]: the only place where time is read.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a limiter takes the time from: the system's, or one set by hand.
///
/// A limiter measures in whole nanoseconds from the moment its clock was made. Clones of a clock share that moment.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Clock, Quota, RateLimiter};
///
/// let clock = Clock::manual();
/// let limiter =
///     RateLimiter::builder(Quota::per_second(1)).clock(clock.clone()).build();
/// assert!(limiter.check("key").is_ok());
/// assert!(limiter.check("key").is_err());
/// clock.advance(Duration::from_secs(1));
/// assert!(limiter.check("key").is_ok());
/// ```
///
/// # How far the system clock can be trusted
///
/// [`Clock::system`] is [`Instant`], the operating system's monotonic clock. On x86-64 Linux, when the kernel itself
/// keeps time by the processor's time stamp counter (its `current_clocksource` is `tsc`), the counter is read
/// directly between two readings of the kernel's clock, which takes half the time. Those readings are at most
/// 0.1 s apart, so the two clocks differ by no more than the counter drifts in that time (measured: well below a
/// microsecond), and not across a suspend. A counter found to drift by more than 1 in 8192 is not read again. Where
/// the clock is corrected backwards, admissions are delayed by as much. What the kernel keeps time by is looked up when a clock
/// is made, at most once a second in a process.
#[derive(Clone)]
pub struct Clock {
    source: Source,
    unix_nanos_at_zero: u64,
}

#[derive(Clone)]
enum Source {
    System(Instant),
    Tsc(Arc<Tsc>),
    Manual(Arc<AtomicU64>),
    /// Another's time since the clock was made.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "only doors with timers have another time"))]
    Followed(Arc<dyn Fn() -> Duration + Send + Sync>),
}

impl Source {
    /// The time by what takes a call to read. Out of the way of a check by the counter.
    #[inline(never)]
    fn now_elsewhere(&self) -> u64 {
        match self {
            Self::Tsc(tsc) => tsc.now(),
            Self::System(zero) => nanos(zero.elapsed()),
            Self::Manual(now) => now.load(Relaxed),
            Self::Followed(elapsed) => nanos(elapsed()),
        }
    }
}

impl Clock {
    /// The operating system's monotonic clock, read the fastest way that is as trustworthy.
    ///
    /// The first one made in a process takes about half a millisecond to calibrate the counter; later ones some microseconds.
    pub fn system() -> Self {
        let source = match Tsc::new() {
            Some(tsc) => Source::Tsc(Arc::new(tsc)),
            None => Source::System(Instant::now()),
        };
        let since_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { source, unix_nanos_at_zero: nanos(since_unix) }
    }

    /// A clock that moves only when it is told to, for tests: see [`ManualClock`].
    pub fn manual() -> ManualClock {
        ManualClock { now: Arc::default() }
    }

    /// A clock that reads what the function says has passed since now. It may be called under a lock.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "only doors with timers have another time"))]
    pub(crate) fn following(elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { source: Source::Followed(Arc::new(elapsed)), unix_nanos_at_zero: MANUAL_UNIX_NANOS }
    }

    /// A clock that goes on while the machine is suspended, and may then be ahead of the time, but never behind.
    #[cfg(all(feature = "redis", any(target_os = "linux", target_os = "android")))]
    pub(crate) fn through_suspends() -> Self {
        let read = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            // Time since the machine started is not negative.
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let zero = read();
        Self::following(move || read().saturating_sub(zero))
    }

    /// The same where no clock says so. [`Instant`] may stand still then, and the wall clock may be set back; so each step counts
    /// as the longer one of the two.
    #[cfg(all(feature = "redis", not(any(target_os = "linux", target_os = "android"))))]
    pub(crate) fn through_suspends() -> Self {
        let last = parking_lot::Mutex::new((Instant::now(), SystemTime::now(), Duration::ZERO));
        Self::following(move || {
            let mut last = last.lock();
            let (instant, wall) = (Instant::now(), SystemTime::now());
            let step = instant.duration_since(last.0).max(wall.duration_since(last.1).unwrap_or_default());
            *last = (instant, wall, last.2 + step);
            last.2
        })
    }

    /// How long ago this clock was made: the one reading that a check takes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Clock;
    ///
    /// let clock = Clock::system();
    /// assert!(clock.elapsed() < Duration::from_secs(60));
    /// ```
    #[inline]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    /// Nanoseconds since this clock was made.
    // Relaxed: a reading orders nothing but itself; two threads that must agree on the time also share a state word.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        match &self.source {
            Source::Tsc(tsc) => tsc.now(),
            Source::Manual(now) => now.load(Relaxed),
            other => other.now_elsewhere(),
        }
    }

    /// The wall clock, as it was when this clock was made plus the time since, in nanoseconds since the Unix epoch.
    #[cfg(feature = "tower")]
    pub(crate) fn unix_nanos(&self) -> u64 {
        self.unix_nanos_at_zero.saturating_add(self.now())
    }

    /// The wall clock when this clock was made, in nanoseconds since the Unix epoch.
    pub(crate) fn unix_nanos_at_zero(&self) -> u64 {
        self.unix_nanos_at_zero
    }
}

/// A clock that moves only by [`advance`](Self::advance) and [`rewind`](Self::rewind), for tests. Made by
/// [`Clock::manual`]; a limiter takes it as its [clock](crate::RateLimiterBuilder::clock).
///
/// Clones are the same clock. Its Unix time starts at 2001-09-09 01:46:40 UTC, which is 10⁹ seconds after the epoch.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
}

/// The Unix time of a manual clock at its start, in nanoseconds.
const MANUAL_UNIX_NANOS: u64 = 1_000_000_000 * 1_000_000_000;

impl ManualClock {
    /// Moves the clock, and so all its clones, forward.
    pub fn advance(&self, by: Duration) {
        let on = |now: u64| Some(now.saturating_add(nanos(by)));
        let _ = self.now.fetch_update(Relaxed, Relaxed, on);
    }

    /// Moves the clock, and so all its clones, back, as a faulty clock might; not below its start.
    pub fn rewind(&self, by: Duration) {
        let back = |now: u64| Some(now.saturating_sub(nanos(by)));
        let _ = self.now.fetch_update(Relaxed, Relaxed, back);
    }

    /// How far the clock has been moved.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Clock;
    ///
    /// let clock = Clock::manual();
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!(clock.elapsed(), Duration::from_secs(5));
    /// ```
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now.load(Relaxed))
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self { source: Source::Manual(clock.now), unix_nanos_at_zero: MANUAL_UNIX_NANOS }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::System(_) => "system",
            Source::Tsc(_) => "system, by counter",
            Source::Manual(_) => "manual",
            Source::Followed(_) => "followed",
        };
        f.debug_tuple("Clock").field(&source).field(&Duration::from_nanos(self.now())).finish()
    }
}

/// 2^64 ns are 584 years; a longer duration means "later than anything", and saturates.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Found out and measured when the process first needs it: that takes half a millisecond, and to ask the processor again some 30 µs,
/// as a virtual machine has to step in. It is the crate's only global, and holds no one's state: whatever differs between two
/// clocks is in the [`Tsc`] of each.
static TICK_COUNTER: OnceLock<Option<TickCounter>> = OnceLock::new();

/// The processor's time stamp counter.
struct TickCounter {
    quanta: quanta::Clock,
    /// Nanoseconds per tick, times 2^64.
    scale: u64,
    calibrated_at: Instant,
    /// Until when the kernel need not be asked whether it still keeps time by it: nanoseconds since it was calibrated.
    vouched_until: AtomicU64,
}

impl TickCounter {
    /// For how long the kernel's word is taken. To ask costs as much as all else in making a limiter.
    const VOUCHED_NANOS: u64 = 1_000_000_000;

    /// `None` if there is no counter, or one too slow to be worth it. The kernel has just vouched for it.
    fn calibrate() -> Option<Self> {
        let quanta = quanta::Clock::new();
        let nanos = quanta.delta_as_nanos(0, 1 << 60); // nanoseconds in 2^60 ticks, which is the scale but for 4 bits
        (nanos != 0 && nanos < 1 << 60).then(|| Self {
            quanta,
            scale: nanos << 4,
            calibrated_at: Instant::now(),
            vouched_until: AtomicU64::new(Self::VOUCHED_NANOS),
        })
    }

    /// Whether the kernel keeps time by it, or did within the last second.
    // Relaxed: the number means something alone.
    fn is_vouched_for(&self, now: u64, kernel_vouches: impl FnOnce() -> bool) -> bool {
        if now < self.vouched_until.load(Relaxed) {
            return true;
        }
        let vouches = kernel_vouches();
        if vouches {
            self.vouched_until.store(now.saturating_add(Self::VOUCHED_NANOS), Relaxed);
        }
        vouches
    }
}

/// The time stamp counter, set right by the kernel's clock every tenth of a second.
struct Tsc {
    quanta: quanta::Clock,
    zero: Instant,
    /// Nanoseconds per tick, times 2^64.
    scale: u64,
    /// The most ticks between two readings of the kernel's clock; 0 once the counter was found to be wrong.
    interval: AtomicU64,
    /// What to add to the scaled counter. One word, so a reader sees either the old or the new correction whole.
    offset: AtomicU64,
    /// The counter at the last reading of the kernel's clock.
    corrected_at: AtomicU64,
}

impl Tsc {
    /// A counter, where the kernel vouches for it.
    fn new() -> Option<Self> {
        let counter = match TICK_COUNTER.get() {
            Some(counter) => counter.as_ref().filter(|counter| {
                let now = nanos(counter.calibrated_at.elapsed());
                counter.is_vouched_for(now, kernel_vouches)
            })?,
            None if kernel_vouches() => TICK_COUNTER.get_or_init(TickCounter::calibrate).as_ref()?,
            None => return None,
        };
        let TickCounter { scale, ref quanta, .. } = *counter;
        let interval = (100_000_000_u128 << 64) / u128::from(scale);
        let tsc = Self {
            quanta: quanta.clone(),
            zero: Instant::now(),
            scale,
            interval: AtomicU64::new(interval as u64), // a counter has at most a few ticks per nanosecond
            offset: AtomicU64::new(0),
            corrected_at: AtomicU64::new(0),
        };
        tsc.correct();
        Some(tsc)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        let ticks = self.quanta.raw();
        // Also true when the counter has gone backwards, as it may across a suspend.
        if ticks.wrapping_sub(self.corrected_at.load(Relaxed)) > self.interval.load(Relaxed) {
            return self.correct();
        }
        clamp_before_zero(self.scaled(ticks).wrapping_add(self.offset.load(Relaxed)))
    }

    #[inline]
    fn scaled(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> 64) as u64 // below the ticks
    }

    /// Reads the kernel's clock, and corrects the offset by it.
    // Relaxed: each word means something alone. A reader that sees the new `corrected_at` with the old offset is
    // as far off as it was a moment before.
    #[cold]
    fn correct(&self) -> u64 {
        if self.interval.load(Relaxed) == 0 {
            return nanos(self.zero.elapsed());
        }
        let (mut now, mut ticks, mut gap) = (0, 0, u64::MAX);
        // A thread may be put aside between the two readings. The counter is read second, so that this could only
        // make the clock late, never early; of three tries the tightest counts.
        for _ in 0..3 {
            let before = self.quanta.raw();
            let kernel = nanos(self.zero.elapsed());
            let after = self.quanta.raw();
            if after.wrapping_sub(before) < gap {
                (now, ticks, gap) = (kernel, after, after.wrapping_sub(before));
            }
        }
        let elapsed = ticks.wrapping_sub(self.corrected_at.load(Relaxed));
        let interval = self.interval.load(Relaxed);
        if elapsed > interval && elapsed / 4 < interval {
            // Off by more than 1 in 2^13 of a short interval: calibration failed, or the counter is not what it was.
            let counted = clamp_before_zero(self.scaled(ticks).wrapping_add(self.offset.load(Relaxed)));
            if counted.abs_diff(now) > self.scaled(elapsed + gap) >> 13 {
                self.interval.store(0, Relaxed);
            }
        }
        self.offset.store(now.wrapping_sub(self.scaled(ticks)), Relaxed);
        self.corrected_at.store(ticks, Relaxed);
        now
    }
}

/// Whether the kernel keeps time by the counter itself, at this moment.
fn kernel_vouches() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    // One reading of a few bytes; `read_to_string` asks for the size before, and for more after it.
    let mut name = [0; 8];
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
        && File::open(SOURCE).and_then(|mut source| source.read(&mut name)).is_ok_and(|len| &name[..len] == b"tsc\n")
}

/// Nanoseconds that wrapped below zero are zero: a reading from before the correction that it is read against.
#[inline]
fn clamp_before_zero(nanos: u64) -> u64 {
    if nanos > u64::MAX / 2 { before_zero() } else { nanos }
}

/// 0, by a call: so that the processor guesses that it is not needed, and need not wait for a comparison.
#[cold]
#[inline(never)]
fn before_zero() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_about_the_counter_once_a_second() {
        // Where there is no counter, nobody asks.
        let Some(counter) = TickCounter::calibrate() else { return };
        let asked = |now, answer| {
            let mut asked = false;
            let vouched = counter.is_vouched_for(now, || {
                asked = true;
                answer
            });
            (asked, vouched)
        };
        const SECOND: u64 = TickCounter::VOUCHED_NANOS;
        assert_eq!(asked(SECOND - 1, false), (false, true), "it had just been asked");
        assert_eq!(asked(SECOND, false), (true, false));
        assert_eq!(asked(SECOND, false), (true, false), "a refusal is not remembered");
        assert_eq!(asked(SECOND + 1, true), (true, true));
        assert_eq!(asked(2 * SECOND, false), (false, true));
        assert_eq!(asked(2 * SECOND + 1, false), (true, false));
    }
}
