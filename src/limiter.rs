//! [`RateLimiter`]: a policy, a table and a clock.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::algorithm::{Counter, Verdict};
use crate::clock::Clock;
use crate::decision::{Denied, Permit, Status};
use crate::name::Name;
use crate::policy::{Policy, QUOTAS_MAX};
use crate::queue::{Queues, WAITERS_MAX_DEFAULT};
use crate::table::{Insertion, Slot, Table, WORDS_MAX, WhenFull, Words};
use crate::throttle::Reports;

// One word for each quota.
const _: () = assert!(QUOTAS_MAX == WORDS_MAX);

/// How many keys a limiter remembers unless told otherwise: 2^20, which takes at most 18 MiB for one quota.
const CAPACITY_DEFAULT: usize = 1 << 20;

/// Limits how often each key may pass.
///
/// Cheap to clone; clones share everything. A key is anything that is [`Hash`], borrowed or owned, and different types
/// can be used side by side: equal hashes share a limit, as `"a"` and `String::from("a")` do. Nothing is allocated per
/// key or per check.
///
/// ```
/// use tollgate::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_minute(100));
/// limiter.check("alice")?;
/// limiter.check_n("alice", 5)?;
/// assert_eq!(limiter.peek("alice").remaining(), 94);
/// # Ok::<(), tollgate::Denied>(())
/// ```
///
/// # Memory
///
/// The table of keys has a fixed capacity, set when the limiter is built. For each key it takes 8 bytes and 8 for each
/// quota, plus an eighth of slack: 18 bytes a key with one quota, 27 with two. The memory is reserved at once, becomes
/// resident as it is used, and never grows. A key's place is free for others as soon as it could not be told from a key
/// never seen, so there is nothing to sweep. Choose a capacity above the number of keys active within the longest period;
/// [`stats`](Self::stats) tells if it was too small, and [`WhenFull`] what happens then.
///
/// # Two keys, one fingerprint
///
/// Keys are remembered by a 64-bit fingerprint that nobody outside the limiter can predict. With n live keys the odds
/// that any two share one are n²/2^65 (one in 34 million at a million keys), and two such keys share one limit.
#[derive(Clone)]
pub struct RateLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    hasher: ahash::RandomState,
    /// The policy's quotas, prepared. Never empty.
    quotas: Box<[Prepared]>,
    clock: Clock,
    table: Table,
    policy: Policy,
    #[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only doors report"))]
    reports: Reports,
    queues: Queues,
}

#[derive(Clone, Copy, Debug)]
struct Prepared {
    counter: Counter,
    name: Name,
    limit: u64,
}

/// What one quota said, and where the key then stands.
#[derive(Clone, Copy)]
struct Charged {
    verdict: Verdict,
    remaining: u64,
    reset_after_nanos: u64,
}

impl RateLimiter {
    /// A limiter with the default capacity of 2^20 keys, on the system's clock.
    ///
    /// To give a limit as text, parse it first: `RateLimiter::new("5/minute; 100/day".parse::<Policy>()?)`.
    pub fn new(policy: impl Into<Policy>) -> Self {
        Self::builder(policy).build()
    }

    /// Starts building a limiter with another capacity, clock, or way of being full.
    pub fn builder(policy: impl Into<Policy>) -> RateLimiterBuilder {
        RateLimiterBuilder {
            policy: policy.into(),
            capacity: CAPACITY_DEFAULT,
            when_full: WhenFull::default(),
            clock: None,
            waiters_max: WAITERS_MAX_DEFAULT,
        }
    }

    /// Asks for one, and charges it if it passes.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the limit is reached. Nothing was charged then.
    #[inline]
    pub fn check<K: Hash + ?Sized>(&self, key: &K) -> Result<Permit, Denied> {
        self.check_n(key, 1)
    }

    /// Asks for `cost` at once, and charges all of it or none. A cost of 0 always passes and charges nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the limit is reached, or, [permanently](Denied::is_permanent), when the cost is above what a quota
    /// can ever grant. Nothing was charged then.
    #[inline]
    pub fn check_n<K: Hash + ?Sized>(&self, key: &K, cost: u64) -> Result<Permit, Denied> {
        let fingerprint = self.inner.fingerprint(key);
        self.inner.check(fingerprint, self.inner.clock.now(), cost)
    }

    /// Where a key stands, without charging it: the quota that has least left.
    pub fn peek<K: Hash + ?Sized>(&self, key: &K) -> Status {
        let fingerprint = self.inner.fingerprint(key);
        self.inner.peek(fingerprint, self.inner.clock.now())
    }

    /// Forgets what a key has spent, in every quota. A check at the same moment may be forgotten or not.
    ///
    /// Under [`WhenFull::Share`], what a key spent from a shared entry is not its alone, and stays.
    pub fn reset<K: Hash + ?Sized>(&self, key: &K) {
        let fingerprint = self.inner.fingerprint(key);
        self.inner.reset(fingerprint);
        self.inner.queues.nudge(fingerprint);
    }

    /// How full the limiter is.
    pub fn stats(&self) -> Stats {
        let counts = self.inner.table.counts();
        Stats {
            len: counts.occupied as usize, // never above the table's slots
            capacity: self.inner.table.slots(),
            evicted: counts.evicted,
            shared: counts.shared,
            waiters: self.inner.queues.waiters(),
        }
    }

    /// What this limiter enforces.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    #[cfg(feature = "tower")]
    pub(crate) fn reports(&self) -> &Reports {
        &self.inner.reports
    }

    /// The clock that this limiter reads.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }
}

/// What doors need.
#[cfg(any(feature = "tower", feature = "tokio"))]
impl RateLimiter {
    #[inline]
    pub(crate) fn fingerprint<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.inner.fingerprint(key)
    }

    #[inline]
    pub(crate) fn check_fingerprint(&self, fingerprint: u64, cost: u64) -> Result<Permit, Denied> {
        self.inner.check(fingerprint, self.inner.clock.now(), cost)
    }
}

/// What waiting needs beside that.
#[cfg(feature = "tokio")]
impl RateLimiter {
    /// What a denial would say if `ahead` had to pass first, one by one; it may say that there is no time to wait.
    /// Where several quotas, or costs that do not fill a window, hold each other up, it may be longer.
    pub(crate) fn foresee(&self, fingerprint: u64, ahead: u64, cost: u64) -> Denied {
        self.inner.foresee(fingerprint, self.inner.clock.now(), ahead, cost)
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.inner.queues
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("policy", &self.inner.policy)
            .field("stats", &self.stats())
            .field("clock", &self.inner.clock)
            .finish()
    }
}

impl Inner {
    /// 0 is the table's empty slot.
    #[inline]
    fn fingerprint<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.hasher.hash_one(key).max(1)
    }

    #[inline]
    fn check(&self, fingerprint: u64, now: u64, cost: u64) -> Result<Permit, Denied> {
        if cost == 0 {
            // Nothing to charge: no window opens, no place is taken, and time that stepped back cannot deny it.
            return Ok(Permit { status: self.peek(fingerprint, now) });
        }
        if let Some(slot) = self.table.find(fingerprint) {
            // As `check_at`, but the answer is built once, where it is returned: to move one costs more than to decide it.
            if let [quota] = &*self.quotas {
                if let Some(charged) = self.charge_at(slot, fingerprint, quota, now, cost) {
                    return quota.answer(charged, now);
                }
            } else if let Some(answer) = self.check_all_at(slot, fingerprint, now, cost) {
                return answer;
            }
        }
        self.check_new(fingerprint, now, cost)
    }

    /// Checks a key that was not found: it is new, or has just lost its place.
    #[cold]
    fn check_new(&self, fingerprint: u64, now: u64, cost: u64) -> Result<Permit, Denied> {
        loop {
            let mut after = [0; QUOTAS_MAX];
            let inserted = self.table.insert(
                fingerprint,
                |words| self.debt(words, now),
                |words| {
                    after = self.decide(words, now, cost)?;
                    Ok(after)
                },
            )?;
            match inserted {
                Insertion::Done => return Ok(self.permit(&after, now)),
                Insertion::Present(slot) => {
                    if let Some(answer) = self.check_at(slot, fingerprint, now, cost) {
                        return answer;
                    }
                }
            }
        }
    }

    /// Checks a key in its slot; `None` if the slot has been taken from it.
    fn check_at(&self, slot: Slot, fingerprint: u64, now: u64, cost: u64) -> Option<Result<Permit, Denied>> {
        match &*self.quotas {
            [quota] => Some(quota.answer(self.charge_at(slot, fingerprint, quota, now, cost)?, now)),
            _ => self.check_all_at(slot, fingerprint, now, cost),
        }
    }

    /// Decides by the only quota, and charges it.
    #[inline]
    fn charge_at(&self, slot: Slot, fingerprint: u64, quota: &Prepared, now: u64, cost: u64) -> Option<Charged> {
        match quota.counter {
            // A copy, so that its numbers stay in registers and the clock is converted once.
            Counter::TokenBucket(bucket) => {
                let (verdict, word) = self.charge(slot, fingerprint, |word| bucket.decide(word, now, cost))?;
                let (remaining, reset_after) = (bucket.remaining(word, now), bucket.reset_after(word, now));
                Some(Charged { verdict, remaining, reset_after_nanos: reset_after })
            }
            ref counter => self.charge_window_at(slot, fingerprint, counter, now, cost),
        }
    }

    /// Out of the token bucket's way: windows divide, and want its registers.
    #[inline(never)]
    fn charge_window_at(
        &self,
        slot: Slot,
        fingerprint: u64,
        counter: &Counter,
        now: u64,
        cost: u64,
    ) -> Option<Charged> {
        let (verdict, word) = self.charge(slot, fingerprint, |word| counter.decide(word, now, cost))?;
        let (remaining, reset_after) = (counter.remaining(word, now), counter.reset_after(word, now));
        Some(Charged { verdict, remaining, reset_after_nanos: reset_after })
    }

    /// The verdict on a key's only word, and the word after it.
    #[inline(always)]
    fn charge(&self, slot: Slot, fingerprint: u64, decide: impl Fn(u64) -> Verdict) -> Option<(Verdict, u64)> {
        loop {
            let word = self.table.word(slot, fingerprint, 0)?;
            let verdict = decide(word);
            match verdict {
                Verdict::Allow(next) if next == word || self.table.replace(slot, 0, word, next) => {
                    return Some((verdict, next));
                }
                Verdict::Allow(_) => {}
                Verdict::Wait(_) | Verdict::Never => return Some((verdict, word)),
            }
        }
    }

    /// The same with several quotas: all are looked at before any is charged, and when a race is lost so that one
    /// denies after all, the charges before it are taken back.
    fn check_all_at(&self, slot: Slot, fingerprint: u64, now: u64, cost: u64) -> Option<Result<Permit, Denied>> {
        'look: loop {
            let mut words = self.words(slot, fingerprint)?;
            let mut after = match self.decide(&words, now, cost) {
                Ok(after) => after,
                Err(denied) => return Some(Err(denied)),
            };
            for (index, quota) in self.quotas.iter().enumerate() {
                while after[index] != words[index] && !self.table.replace(slot, index, words[index], after[index]) {
                    // When the slot has been taken, the charges already made went with it.
                    words[index] = self.table.word(slot, fingerprint, index)?;
                    match quota.counter.decide(words[index], now, cost) {
                        Verdict::Allow(next) => after[index] = next,
                        Verdict::Wait(_) | Verdict::Never => {
                            self.take_back(slot, fingerprint, now, cost, index)?;
                            continue 'look;
                        }
                    }
                }
            }
            return Some(Ok(self.permit(&after, now)));
        }
    }

    /// Gives back what was just charged to the first `charged` quotas.
    #[cold]
    fn take_back(&self, slot: Slot, fingerprint: u64, now: u64, cost: u64, charged: usize) -> Option<()> {
        for (index, quota) in self.quotas[..charged].iter().enumerate() {
            loop {
                let word = self.table.word(slot, fingerprint, index)?;
                let back = quota.counter.refund(word, now, cost);
                if back == word || self.table.replace(slot, index, word, back) {
                    break;
                }
            }
        }
        Some(())
    }

    fn words(&self, slot: Slot, fingerprint: u64) -> Option<Words> {
        let mut words = [0; QUOTAS_MAX];
        for (index, word) in words[..self.quotas.len()].iter_mut().enumerate() {
            *word = self.table.word(slot, fingerprint, index)?;
        }
        Some(words)
    }

    /// What all words become, or the denial with the longest wait.
    fn decide(&self, words: &Words, now: u64, cost: u64) -> Result<Words, Denied> {
        let mut after = *words;
        let mut denied: Option<Denied> = None;
        for (index, quota) in self.quotas.iter().enumerate() {
            match quota.counter.decide(words[index], now, cost) {
                Verdict::Allow(next) => after[index] = next,
                verdict => {
                    let this = quota.denied(index, words[index], now, verdict);
                    let longer = |other: Denied| match (this.retry_after_nanos, other.retry_after_nanos) {
                        (_, None) => false,
                        (None, Some(_)) => true,
                        (Some(this), Some(other)) => this > other,
                    };
                    if denied.is_none_or(longer) {
                        denied = Some(this);
                    }
                }
            }
        }
        denied.map_or(Ok(after), Err)
    }

    /// What would be forgiven if these words were lost: the most that any quota would forgive, because one request
    /// charges them all. `None` if nothing would.
    fn debt(&self, words: &Words, now: u64) -> Option<u64> {
        let owed = self.quotas.iter().zip(words).filter(|(quota, word)| !quota.counter.is_fresh(**word, now));
        owed.map(|(quota, word)| quota.counter.debt(*word, now)).max()
    }

    fn permit(&self, words: &Words, now: u64) -> Permit {
        Permit { status: self.status(words, now) }
    }

    /// The quota that has least left.
    fn status(&self, words: &Words, now: u64) -> Status {
        let each = self.quotas.iter().zip(words).enumerate();
        each.map(|(index, (quota, word))| quota.status(index, *word, now))
            .min_by_key(Status::remaining)
            .expect("a policy has at least one quota")
    }

    fn peek(&self, fingerprint: u64, now: u64) -> Status {
        let words = self.table.find(fingerprint).and_then(|slot| self.words(slot, fingerprint));
        self.status(&words.unwrap_or_default(), now)
    }

    #[cfg(feature = "tokio")]
    fn foresee(&self, fingerprint: u64, now: u64, ahead: u64, cost: u64) -> Denied {
        let words = self.table.find(fingerprint).and_then(|slot| self.words(slot, fingerprint)).unwrap_or_default();
        let each = self.quotas.iter().zip(words).enumerate().map(|(index, (quota, word))| {
            let verdict = match quota.counter.decide(word, now, cost) {
                Verdict::Never => Verdict::Never,
                _ => Verdict::Wait(quota.counter.passed(word, now, ahead.saturating_add(cost))),
            };
            quota.denied(index, word, now, verdict)
        });
        each.max_by_key(|denied| denied.retry_after_nanos.unwrap_or(u64::MAX)).expect("a policy has at least one quota")
    }

    fn reset(&self, fingerprint: u64) {
        let Some(slot) = self.table.find(fingerprint) else { return };
        for index in 0..self.quotas.len() {
            while let Some(word) = self.table.word(slot, fingerprint, index) {
                if self.table.replace(slot, index, word, 0) {
                    break;
                }
            }
        }
    }
}

impl Prepared {
    #[inline]
    fn status(&self, index: usize, word: u64, now: u64) -> Status {
        Status {
            quota: self.name,
            index: index as u8, // below QUOTAS_MAX
            limit: self.limit,
            remaining: self.counter.remaining(word, now),
            reset_after_nanos: self.counter.reset_after(word, now),
        }
    }

    #[inline]
    fn answer(&self, charged: Charged, now: u64) -> Result<Permit, Denied> {
        let Charged { verdict, remaining, reset_after_nanos } = charged;
        let status = Status { quota: self.name, index: 0, limit: self.limit, remaining, reset_after_nanos };
        match verdict {
            Verdict::Allow(_) => Ok(Permit { status }),
            Verdict::Wait(until) => Err(Denied { status, retry_after_nanos: Some(until.saturating_sub(now)) }),
            Verdict::Never => Err(Denied { status, retry_after_nanos: None }),
        }
    }

    fn denied(&self, index: usize, word: u64, now: u64, verdict: Verdict) -> Denied {
        let retry_after_nanos = match verdict {
            Verdict::Wait(until) => Some(until.saturating_sub(now)),
            Verdict::Never | Verdict::Allow(_) => None,
        };
        Denied { status: self.status(index, word, now), retry_after_nanos }
    }
}

/// Builds a [`RateLimiter`] with other than default settings.
///
/// ```
/// use tollgate::{Quota, RateLimiter, WhenFull};
///
/// let limiter = RateLimiter::builder(Quota::per_second(28))
///     .capacity(50_000)
///     .when_full(WhenFull::Share)
///     .build();
/// assert!(limiter.stats().capacity >= 50_000);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimiterBuilder {
    policy: Policy,
    capacity: usize,
    when_full: WhenFull,
    clock: Option<Clock>,
    waiters_max: usize,
}

impl RateLimiterBuilder {
    /// How many keys to remember at once, from 1 to 2^32. The default is 2^20.
    ///
    /// # Panics
    ///
    /// [`build`](Self::build) panics if this is outside that range, or if the memory cannot be reserved.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// What to do with a new key when there is no place for it.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Where to take the time from; [`Clock::system`] unless said.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How many may wait at once, for all keys together; 16,384 unless said. One more is told
    /// [`TooManyWaiters`](crate::NotReadyKind::TooManyWaiters). With 0, nobody waits.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(28)).waiters(100).build();
    /// # let _ = limiter;
    /// ```
    #[cfg(feature = "tokio")]
    pub fn waiters(mut self, waiters: usize) -> Self {
        self.waiters_max = waiters;
        self
    }

    /// The limiter. Its memory is reserved now.
    ///
    /// # Panics
    ///
    /// If the capacity is 0 or above 2^32, or the memory cannot be reserved.
    pub fn build(self) -> RateLimiter {
        let clock = self.clock.unwrap_or_default();
        let unix_nanos = clock.unix_nanos_at_zero();
        let quotas = self.policy.quotas().zip(self.policy.names()).map(|((_, quota), name)| Prepared {
            counter: quota.counter(unix_nanos),
            name,
            limit: quota.limit(),
        });
        let quotas: Box<[Prepared]> = quotas.collect();
        let table = Table::new(self.capacity, quotas.len(), self.when_full);
        // The standard library seeds this from the operating system. Four outputs of its keyed SipHash make the secret.
        let entropy = std::hash::RandomState::new();
        let [a, b, c, d] = [0_u64, 1, 2, 3].map(|n| entropy.hash_one(n));
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        RateLimiter {
            inner: Arc::new(Inner {
                hasher,
                quotas,
                clock,
                table,
                policy: self.policy,
                reports: Reports::default(),
                queues: Queues::new(self.waiters_max),
            }),
        }
    }
}

/// How full a limiter is, from [`RateLimiter::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Places taken, counting keys that have expired and whose place nobody has needed yet.
    pub len: usize,
    /// Places there are. At least what was asked for; an eighth more, because keys do not spread evenly.
    pub capacity: usize,
    /// Live keys whose place was taken by another, and whose spending was so forgiven
    /// ([`WhenFull::EvictLeastIndebted`]).
    pub evicted: u64,
    /// Checks that passed by charging a shared entry ([`WhenFull::Share`]).
    pub shared: u64,
    /// How many wait for their turn, for all keys together. Only the feature `tokio` lets anybody wait.
    pub waiters: usize,
}
