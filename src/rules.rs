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

mod carry;
mod given;

use crate::algorithm::{Cells, Counter, HORIZON_NANOS, TokenBucket, Verdict, WORD_BITS};
use crate::decision::{Denied, Permit, Status};
use crate::fingerprint::{Tag, TagMask};
use crate::name::Name;
use crate::policy::{Policy, QUOTAS_MAX};
use given::Given;
use sync::{AtomicU64, Mutex, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

/// The numbers of a counter.
const COUNTER_CELLS: usize = 5;

/// The numbers of one prepared quota: its counter, its seal, its limit, its name.
const CELLS: usize = COUNTER_CELLS + 1 + 1 + NAME_CELLS;

/// A quota's column stands in its first number, above what a counter writes there.
const COLUMN_SHIFT: u32 = 32;

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
    /// The column of the table in which it counts, whatever its place in the policy.
    pub(crate) column: u8,
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

/// The rules of all plans.
pub(crate) struct Rules {
    version: AtomicU64,
    /// The version of the numbers that were written last, or are being written.
    writing: AtomicU64,
    /// The quotas of version 0, by plan: most limiters never see another, and need not copy these.
    initial: Box<[Box<[Prepared]>]>,
    /// See [`only_bucket`](Self::only_bucket).
    only_bucket: Option<OnlyBucket>,
    /// By bank and plan: how many quotas are in force; for each of them its numbers; and for each column those of the plan's last
    /// quota there, parked, which are written only if some plan has no quota in some column.
    cells: Box<[AtomicU64]>,
    plans: usize,
    /// How many columns there are: the most quotas that a policy can have.
    width: usize,
    /// What seals are made from.
    secret: u64,
    /// Held by whoever changes the rules, until nothing of the generation before is left.
    changing: Mutex<()>,
    /// What the rules were made from. Who changes them holds this only as long as it takes to write them down.
    given: Mutex<Given>,
}

/// One plan's quotas at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    quotas: [Prepared; QUOTAS_MAX],
    in_force: usize,
}

impl Rules {
    /// Rules of these plans, each of which has at most `width` quotas.
    pub(crate) fn new(policies: Vec<Policy>, width: usize, unix_nanos_at_zero: u64, secret: u64) -> Self {
        let given = Given::new(policies, width, unix_nanos_at_zero);
        let plans = given.plans();
        let cells = (0..2 * plans * Self::plan_cells(width)).map(|_| AtomicU64::new(0)).collect();
        let mut rules = Self {
            version: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            initial: Box::default(),
            only_bucket: None,
            cells,
            plans,
            width,
            secret,
            changing: Mutex::new(()),
            given: Mutex::new(given),
        };
        rules.initial = {
            let given = rules.given.lock();
            rules.write(0, &given);
            (0..plans).map(|plan| rules.prepared(0, plan, &given).collect()).collect()
        };
        rules.only_bucket = match (width, &*rules.initial[0]) {
            (1, &[Prepared { counter: Counter::TokenBucket(bucket), limit, name, .. }]) => {
                Some(OnlyBucket { bucket, limit, name })
            }
            _ => None,
        };
        rules
    }

    /// How many numbers a plan has in a bank.
    fn plan_cells(width: usize) -> usize {
        1 + width * (CELLS + COUNTER_CELLS)
    }

    /// How many columns there are: the most quotas that a policy can have.
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
        TagMask::new(GENERATION_BITS + plan_bits(self.plans))
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
        self.given.lock().policy(plan).clone()
    }

    /// Replaces the policy of a plan, and lets `after` see to it, before the next change, that nothing of the generation
    /// before is left.
    pub(crate) fn replace(&self, plan: usize, policy: Policy, after: impl FnOnce()) {
        let _changing = self.changing.lock();
        {
            let mut given = self.given.lock();
            given.replace(plan, policy);
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
        let seal = self.seal(version, plan);
        given.in_force(plan).map(move |quota| Prepared {
            counter: quota.counter,
            column: quota.column as u8, // below 8
            seal,
            limit: quota.limit,
            name: quota.name,
        })
    }

    fn write(&self, version: u64, given: &Given) {
        let store = |cells: &[AtomicU64], numbers: &[u64]| {
            for (cell, number) in cells.iter().zip(numbers) {
                cell.store(*number, Relaxed);
            }
        };
        for plan in 0..self.plans {
            let mut in_force = 0;
            for prepared in self.prepared(version, plan, given) {
                store(self.quota(version, plan, in_force), &prepared.to_cells());
                in_force += 1;
            }
            if self.width > 1 {
                store(self.plan_of(version, plan), &[in_force as u64]);
            }
            if given.parks() {
                for column in 0..self.width {
                    if let Some((quota, largest)) = given.latest(plan, column) {
                        let parked = quota.parked(given.unix_nanos_at_zero(), largest, self.parked_bits());
                        store(self.parked(version, plan, column), &parked.to_cells());
                    }
                }
            }
        }
    }

    /// The numbers of a plan in a version: first, how many quotas are in force.
    #[inline]
    fn plan_of(&self, version: u64, plan: usize) -> &[AtomicU64] {
        let (bank, len) = ((version % 2) as usize, Self::plan_cells(self.width));
        &self.cells[(bank * self.plans + plan) * len..][..len]
    }

    /// The numbers of a plan's quota in force, by its place in the policy.
    #[inline]
    fn quota(&self, version: u64, plan: usize, index: usize) -> &[AtomicU64] {
        &self.plan_of(version, plan)[1 + index * CELLS..][..CELLS]
    }

    /// The numbers of a plan's last quota in a column, parked.
    fn parked(&self, version: u64, plan: usize, column: usize) -> &[AtomicU64] {
        &self.plan_of(version, plan)[1 + self.width * CELLS + column * COUNTER_CELLS..][..COUNTER_CELLS]
    }

    /// How many bits of a parked word are not its source.
    fn parked_bits(&self) -> u32 {
        WORD_BITS - plan_bits(self.plans)
    }

    /// How many quotas of a plan are in force.
    fn in_force(&self, version: u64, plan: usize) -> usize {
        match self.width {
            1 => 1,
            // In a number that is being written there may be anything, and no copy of it is used.
            width => (self.plan_of(version, plan)[0].load(Relaxed) as usize).clamp(1, width),
        }
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
    fn copied<const N: usize>(&self, cells: &[AtomicU64]) -> [u64; N] {
        let mut numbers = [0; N];
        for (number, cell) in numbers.iter_mut().zip(cells) {
            *number = cell.load(Relaxed);
        }
        numbers
    }

    /// A plan's quotas, as long as they are of version 0.
    #[inline]
    pub(crate) fn initial(&self, plan: usize) -> Option<&[Prepared]> {
        (self.version() == 0).then(|| &*self.initial[plan])
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
        let (version, numbers) = self.read(|version| self.copied(self.quota(version, plan, 0)));
        (version, Prepared::from_cells(&numbers))
    }

    /// All quotas of a plan.
    pub(crate) fn all(&self, plan: usize) -> Snapshot {
        let (version, (in_force, numbers)) = self.read(|version| {
            let in_force = self.in_force(version, plan);
            let mut numbers = [[0; CELLS]; QUOTAS_MAX];
            for (index, numbers) in numbers[..in_force].iter_mut().enumerate() {
                *numbers = self.copied(self.quota(version, plan, index));
            }
            (in_force, numbers)
        });
        let mut quotas = [Prepared::from_cells(&numbers[0]); QUOTAS_MAX];
        for (quota, numbers) in quotas[1..].iter_mut().zip(&numbers[1..in_force]) {
            *quota = Prepared::from_cells(numbers);
        }
        Snapshot { version, quotas, in_force }
    }

    /// The version that a tag means, if it is the current one or the one before.
    fn version_of(current: u64, tag: Tag) -> Option<u64> {
        let generation_of_tag = tag.bits() % (1 << GENERATION_BITS);
        (current.saturating_sub(1)..=current).rev().find(|of| generation(*of) == generation_of_tag)
    }

    /// Whether the current version was the last to be written: the next change has not begun.
    fn is_written(&self, current: u64) -> bool {
        self.writing.load(Relaxed) == current
    }
}

/// How many bits tell so many plans apart.
fn plan_bits(plans: usize) -> u32 {
    plans.next_power_of_two().trailing_zeros()
}

/// The generation of a version, as a tag tells it.
#[inline]
fn generation(version: u64) -> u64 {
    match version {
        0 => 0,
        _ => 1 + (version - 1) % TURNS,
    }
}

/// A word as it stands in the table under rules with that seal.
#[inline]
fn sealed(seal: u64, word: u64) -> u64 {
    let sealed = word ^ seal;
    // Never 0, which is an empty slot's word, nor the highest number, which is a claimed one's. No algorithm makes these, so
    // it is the seal that did, by a chance of 1 in 2^63, and then one more or less has been spent.
    if seal != 0 && (sealed == 0 || sealed == u64::MAX) { sealed ^ 1 } else { sealed }
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
        &self.quotas[..self.in_force]
    }
}

impl Prepared {
    /// A word as it stands in the table.
    #[inline]
    pub(crate) fn sealed(&self, word: u64) -> u64 {
        sealed(self.seal, word)
    }

    /// The word that stands in the table as this.
    #[inline]
    pub(crate) fn unsealed(&self, sealed: u64) -> u64 {
        sealed ^ self.seal
    }

    fn to_cells(self) -> [u64; CELLS] {
        let mut cells = [0; CELLS];
        cells[..5].copy_from_slice(&self.counter.to_cells());
        cells[0] |= u64::from(self.column) << COLUMN_SHIFT;
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
        Self {
            counter: Counter::from_cells(&counter),
            column: Self::column_of(&counter) as u8, // below 256
            seal: *seal,
            limit: *limit,
            name: Name::from_cells(name_cells),
        }
    }

    #[inline]
    fn column_of(cells: &Cells) -> usize {
        (cells[0] >> COLUMN_SHIFT) as usize & 0xff
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
}

/// How long a denial says to wait; `None` if no wait helps.
#[inline]
pub(crate) fn wait(verdict: Verdict, now: u64) -> Option<u64> {
    match verdict {
        // Time has come to its end, and stands still for the counter.
        Verdict::Wait(until) if until <= now || now >= HORIZON_NANOS => Some(Denied::TIME_HAS_ENDED),
        Verdict::Wait(until) => Some(until - now),
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
