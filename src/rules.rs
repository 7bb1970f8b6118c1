//! [`Rules`]: what a limiter enforces now. They are read whole, without a lock, also while they are being replaced.
//!
//! The prepared quotas are kept as plain numbers in two banks. The version says which bank is current; a change writes
//! the other one and then moves the version on. A reader copies what it needs from the current bank and takes it
//! only if the version has not moved meanwhile, so it never waits for a writer.
//!
//! # Proof
//!
//! A bank is written by the change to version `v + 2` only while the version is `v + 1`. If a reader that began at
//! `v` read one of those numbers, its fence (Acquire) after the copy pairs with the writer's fence (Release) before the
//! store, so its second look at the version sees at least `v + 1`, and the copy is thrown away. That the numbers of
//! version `v` are complete is what the first look (Acquire) gets from the version's store (Release).
//!
//! The *other* bank, of version `v - 1`, is written by the change to `v + 1` while the version is still `v`. Who copies
//! from there looks at `writing` as well, which was moved on before the first number, by the same two fences.
//!
//! # How words are read
//!
//! A word means something only to the rules that it was written under: one and the same number is another debt under
//! another quota. So every entry of the table stands under a [`Tag`] that tells the generation and the plan, and who
//! changes either rewrites the entry's words. Two things keep a thread that stood still meanwhile from
//! mistaking them (the engine's proof, in `engine/attempt.rs`, uses both):
//!
//! - *Tags.* Version 0 has a generation of its own, which never comes back. Later versions take turns with the others.
//! - *Seals.* The table holds a word XORed with a number that differs for each version and plan and cannot be foreseen.
//!   Where a word of one quota and a word of another are by chance the same number, they do not stand in the table as the same.
//!   The first plan's seal in version 0 is 0.

use crate::algorithm::{Cells, Counter, TokenBucket, Verdict};
use crate::decision::{Denied, Permit, Status};
use crate::fingerprint::{Tag, TagMask};
use crate::name::Name;
use crate::policy::{Policy, QUOTAS_MAX};
use crate::quota::WINDOW_AMOUNT_MAX;
use sync::{AtomicU64, Mutex, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

/// The numbers of one prepared quota: its counter, its limit, its name.
const CELLS: usize = 5 + 1 + 1 + NAME_CELLS;

/// No check decides by a name, and the model checker has less to go through without.
const NAME_CELLS: usize = if cfg!(tollgate_loom) { 0 } else { 4 };

/// The low bits of a tag tell the generation, the others the plan.
const GENERATION_BITS: u32 = 2;

/// How many generations take turns once the rules have been replaced: at least the current one and the one before, whose
/// keys are being carried over. The model checker sees the fewest, so that they come round soonest.
const TURNS: u64 = if cfg!(tollgate_loom) { 2 } else { (1 << GENERATION_BITS) - 1 };

/// A quota, prepared for answering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    pub(crate) counter: Counter,
    seal: u64,
    limit: u64,
    name: Name,
}

/// A policy of one token bucket: the numbers that most checks decide by.
#[derive(Clone, Copy)]
pub(crate) struct OnlyBucket {
    pub(crate) bucket: TokenBucket,
    pub(crate) limit: u64,
    pub(crate) name: Name,
}

/// What a policy of one quota answered, and where the key then stands.
#[derive(Clone, Copy)]
pub(crate) struct Charged {
    pub(crate) verdict: Verdict,
    pub(crate) word: u64,
    pub(crate) remaining: u64,
    pub(crate) reset_after_nanos: u64,
}

/// The rules of all plans, each with as many quotas.
pub(crate) struct Rules {
    version: AtomicU64,
    /// The version of the numbers that were written last, or are being written.
    writing: AtomicU64,
    /// The quotas of version 0, plan by plan: most limiters never see another, and need not copy these.
    initial: Box<[Prepared]>,
    /// See [`only_bucket`](Self::only_bucket).
    only_bucket: Option<OnlyBucket>,
    /// Bank, plan, quota, number.
    cells: Box<[AtomicU64]>,
    plans: usize,
    width: usize,
    /// The wall clock when the limiter's clock stood at zero, for aligned windows.
    unix_nanos_at_zero: u64,
    /// What seals are made from.
    secret: u64,
    /// Held by whoever changes the rules, until nothing of the generation before is left.
    changing: Mutex<()>,
    /// What the rules were made from. Who changes them holds this only as long as it takes to write them down.
    given: Mutex<Given>,
}

/// What rules are made from.
struct Given {
    /// By plan.
    policies: Vec<Policy>,
    /// By quota, the largest limit that any plan has ever had there, and so the most that a key can have spent.
    largest: Vec<u64>,
}

impl Given {
    /// Takes notice of a policy's limits, as far as a window can count them.
    fn notice(&mut self, policy: &Policy) {
        for ((_, quota), largest) in policy.quotas().zip(&mut self.largest) {
            *largest = quota.limit().min(WINDOW_AMOUNT_MAX).max(*largest);
        }
    }
}

/// One plan's quotas at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    quotas: [Prepared; QUOTAS_MAX],
    width: usize,
}

impl Rules {
    /// Rules of these plans, which have equally many quotas.
    pub(crate) fn new(policies: Vec<Policy>, unix_nanos_at_zero: u64, secret: u64) -> Self {
        let (plans, width) = (policies.len(), policies[0].quotas().len());
        let cells = (0..2 * plans * width * CELLS).map(|_| AtomicU64::new(0)).collect();
        let mut given = Given { policies: Vec::new(), largest: vec![0; width] };
        policies.iter().for_each(|policy| given.notice(policy));
        given.policies = policies;
        let mut rules = Self {
            version: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            initial: Box::default(),
            only_bucket: None,
            cells,
            plans,
            width,
            unix_nanos_at_zero,
            secret,
            changing: Mutex::new(()),
            given: Mutex::new(given),
        };
        rules.initial = {
            let given = rules.given.lock();
            rules.write(0, &given);
            (0..plans).flat_map(|plan| rules.prepared(0, plan, &given)).collect()
        };
        rules.only_bucket = match rules.initial[..width] {
            [Prepared { counter: Counter::TokenBucket(bucket), limit, name, .. }] => {
                Some(OnlyBucket { bucket, limit, name })
            }
            _ => None,
        };
        rules
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// How often the rules have changed.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// Which bits of a fingerprint tags take.
    pub(crate) fn tag_mask(&self) -> TagMask {
        TagMask::new(GENERATION_BITS + self.plans.next_power_of_two().trailing_zeros())
    }

    /// The tag of words that are read by a plan's quotas of a version.
    #[inline]
    pub(crate) fn tag(version: u64, plan: usize) -> Tag {
        Tag::new(generation(version) | ((plan as u64) << GENERATION_BITS))
    }

    /// What words under a tag of that version are sealed with. No two versions and plans have the same.
    fn seal(&self, version: u64, plan: usize) -> u64 {
        let number = version.wrapping_mul(1 << 8) + plan as u64; // there are at most 16 plans
        scattered(number.wrapping_mul(self.secret | 1))
    }

    /// The plan that a tag tells.
    pub(crate) fn plan(tag: Tag) -> usize {
        (tag.bits() >> GENERATION_BITS) as usize
    }

    /// The policy of a plan, as it was given.
    pub(crate) fn policy(&self, plan: usize) -> Policy {
        self.given.lock().policies[plan].clone()
    }

    /// Replaces the policy of a plan, and lets `after` see to it, before the next change, that nothing of the generation
    /// before is left.
    pub(crate) fn replace(&self, plan: usize, policy: Policy, after: impl FnOnce()) {
        let _changing = self.changing.lock();
        {
            let mut given = self.given.lock();
            given.notice(&policy);
            given.policies[plan] = policy;
            let next = self.version.load(Relaxed) + 1;
            self.writing.store(next, Relaxed);
            // Pairs with the fence in `read`; see the proof.
            fence(Release);
            self.write(next, &given);
            self.version.store(next, Release);
        }
        after();
    }

    /// A plan's quotas in a version.
    fn prepared<'a>(&self, version: u64, plan: usize, given: &'a Given) -> impl Iterator<Item = Prepared> + use<'a> {
        let (policy, seal, unix_nanos_at_zero) =
            (&given.policies[plan], self.seal(version, plan), self.unix_nanos_at_zero);
        let each = policy.quotas().zip(policy.names()).zip(&given.largest);
        each.map(move |(((_, quota), name), largest)| Prepared {
            counter: quota.counter(unix_nanos_at_zero, *largest),
            seal,
            limit: quota.limit(),
            name,
        })
    }

    fn write(&self, version: u64, given: &Given) {
        for plan in 0..self.plans {
            for (index, prepared) in self.prepared(version, plan, given).enumerate() {
                for (cell, number) in self.quota(version, plan, index).iter().zip(prepared.to_cells()) {
                    cell.store(number, Relaxed);
                }
            }
        }
    }

    #[inline]
    fn quota(&self, version: u64, plan: usize, index: usize) -> &[AtomicU64] {
        let bank = (version % 2) as usize;
        let start = ((bank * self.plans + plan) * self.width + index) * CELLS;
        &self.cells[start..start + CELLS]
    }

    /// Copies from the current bank until the copy is whole.
    #[inline]
    fn read<T>(&self, copy: impl Fn(u64) -> T) -> (u64, T) {
        loop {
            let version = self.version.load(Acquire);
            let copied = copy(version);
            // Pairs with the fence in `replace`; see the proof.
            fence(Acquire);
            if self.version.load(Relaxed) == version {
                return (version, copied);
            }
        }
    }

    #[inline]
    fn numbers(&self, version: u64, plan: usize, index: usize) -> [u64; CELLS] {
        let mut numbers = [0; CELLS];
        for (number, cell) in numbers.iter_mut().zip(self.quota(version, plan, index)) {
            *number = cell.load(Relaxed);
        }
        numbers
    }

    /// A plan's quotas, as long as they are of version 0.
    #[inline]
    pub(crate) fn initial(&self, plan: usize) -> Option<&[Prepared]> {
        (self.version() == 0).then(|| &self.initial[plan * self.width..][..self.width])
    }

    /// The default plan's quota, if it is the only one, of version 0, and a token bucket. Its words are
    /// [sealed](Prepared::sealed) by 0: they stand in the table as they are.
    #[inline(always)]
    pub(crate) fn only_bucket(&self) -> Option<&OnlyBucket> {
        if self.version() == 0 { self.only_bucket.as_ref() } else { None }
    }

    /// A plan's first quota, and the version it is of.
    #[inline]
    pub(crate) fn first(&self, plan: usize) -> (u64, Prepared) {
        let (version, numbers) = self.read(|version| self.numbers(version, plan, 0));
        (version, Prepared::from_cells(&numbers))
    }

    /// All quotas of a plan.
    pub(crate) fn all(&self, plan: usize) -> Snapshot {
        let (version, numbers) = self.read(|version| {
            let mut numbers = [[0; CELLS]; QUOTAS_MAX];
            for (index, numbers) in numbers[..self.width].iter_mut().enumerate() {
                *numbers = self.numbers(version, plan, index);
            }
            numbers
        });
        let mut quotas = [Prepared::from_cells(&numbers[0]); QUOTAS_MAX];
        for (quota, numbers) in quotas[1..].iter_mut().zip(&numbers[1..self.width]) {
            *quota = Prepared::from_cells(numbers);
        }
        Snapshot { version, quotas, width: self.width }
    }

    /// A quota by which words under a tag are to be read; `None` if the tag's generation is neither the current one nor the
    /// one before, or the next change has begun, so that nothing of the one before is left.
    pub(crate) fn of(&self, tag: Tag, index: usize) -> Option<Prepared> {
        let (generation_of_tag, plan) = (tag.bits() % (1 << GENERATION_BITS), Self::plan(tag));
        let (version, found) = self.read(|version| {
            let of = (version.saturating_sub(1)..=version).rev().find(|of| generation(*of) == generation_of_tag)?;
            (plan < self.plans).then(|| (of, self.numbers(of, plan, index)))
        });
        let (of, numbers) = found?;
        // After the fence in `read`; see the proof.
        let overwritten = of != version && self.writing.load(Relaxed) != version;
        (!overwritten).then(|| Prepared::from_cells(&numbers))
    }
}

/// The generation of a version, as a tag tells it.
#[inline]
fn generation(version: u64) -> u64 {
    match version {
        0 => 0,
        _ => 1 + (version - 1) % TURNS,
    }
}

/// Another number for every number, without any likeness, but 0 for 0: the finalizer of MurmurHash3 (Appleby 2011).
fn scattered(mut number: u64) -> u64 {
    number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn quotas(&self) -> &[Prepared] {
        &self.quotas[..self.width]
    }
}

impl Prepared {
    /// A word as it stands in the table.
    #[inline]
    pub(crate) fn sealed(&self, word: u64) -> u64 {
        let sealed = word ^ self.seal;
        // Never 0, which is an empty slot's word, nor the highest number, which is a claimed one's. No algorithm makes these, so
        // it is the seal that did, by a chance of 1 in 2^63, and then one more or less has been spent.
        if self.seal != 0 && (sealed == 0 || sealed == u64::MAX) { sealed ^ 1 } else { sealed }
    }

    /// The word that stands in the table as this.
    #[inline]
    pub(crate) fn unsealed(&self, sealed: u64) -> u64 {
        sealed ^ self.seal
    }

    fn to_cells(self) -> [u64; CELLS] {
        let mut cells = [0; CELLS];
        cells[..5].copy_from_slice(&self.counter.to_cells());
        cells[5] = self.seal;
        cells[6] = self.limit;
        cells[7..].copy_from_slice(&self.name.to_cells()[..NAME_CELLS]);
        cells
    }

    #[inline]
    fn from_cells(cells: &[u64; CELLS]) -> Self {
        let [a, b, c, d, e, seal, limit, name @ ..] = cells;
        let counter: Cells = [*a, *b, *c, *d, *e];
        let mut name_cells = [0; 4];
        name_cells[..NAME_CELLS].copy_from_slice(name);
        Self { counter: Counter::from_cells(&counter), seal: *seal, limit: *limit, name: Name::from_cells(name_cells) }
    }

    pub(crate) fn status(&self, index: usize, word: u64, now: u64) -> Status {
        Status {
            quota: self.name,
            index,
            limit: self.limit,
            remaining: self.counter.remaining(word, now),
            reset_after_nanos: self.counter.reset_after(word, now),
        }
    }

    /// The answer of the only quota. Each is written out where it is returned: an answer that is made first and then moved is
    /// written in small pieces and read in large ones, for which processors wait some ten cycles.
    #[inline(always)]
    pub(crate) fn answer(&self, charged: Charged, now: u64) -> Result<Permit, Denied> {
        let Charged { verdict, remaining, reset_after_nanos, .. } = charged;
        let (quota, limit) = (self.name, self.limit);
        match verdict {
            Verdict::Allow(_) => Ok(Permit { status: Status { quota, index: 0, limit, remaining, reset_after_nanos } }),
            verdict => Err(Denied {
                status: Status { quota, index: 0, limit, remaining, reset_after_nanos },
                retry_after_nanos: wait(verdict, now),
            }),
        }
    }

    pub(crate) fn denied(&self, index: usize, word: u64, now: u64, verdict: Verdict) -> Denied {
        Denied { status: self.status(index, word, now), retry_after_nanos: wait(verdict, now) }
    }
}

/// How long a denial says to wait; `None` if no wait helps. That is so, too, where the end of the wait is already past: time
/// has reached the algorithm's horizon, and stands still.
#[inline]
fn wait(verdict: Verdict, now: u64) -> Option<u64> {
    match verdict {
        Verdict::Wait(until) => until.checked_sub(now).filter(|&nanos| nanos > 0),
        Verdict::Never | Verdict::Allow(_) => None,
    }
}

#[cfg(not(tollgate_loom))]
mod sync {
    pub(super) use parking_lot::Mutex;
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

/// The same, seen through the model checker.
#[cfg(tollgate_loom)]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};

    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no test panics under a lock")
        }
    }
}

#[cfg(all(test, tollgate_loom))]
mod loom_tests;
