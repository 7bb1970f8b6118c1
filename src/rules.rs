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

use crate::algorithm::{Cells, Counter, Verdict};
use crate::decision::{Denied, Permit, Status};
use crate::fingerprint::{Tag, TagMask};
use crate::name::Name;
use crate::policy::{Policy, QUOTAS_MAX};
use crate::quota::WINDOW_AMOUNT_MAX;
use sync::{AtomicU64, Mutex, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

/// The numbers of one prepared quota: its counter, its limit, its name.
const CELLS: usize = 5 + 1 + 4;

/// How many generations of rules can be told apart: the current one and the one before, whose keys are being
/// carried over.
const GENERATIONS: u64 = 4;

/// The low bits of a tag tell the generation, the others the plan.
const GENERATION_BITS: u32 = GENERATIONS.trailing_zeros();

/// A quota, prepared for answering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    pub(crate) counter: Counter,
    limit: u64,
    name: Name,
}

/// What an only quota said, and where the key then stands.
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
    /// The quotas of version 0, plan by plan: most limiters never see another, and need not copy these.
    initial: Box<[Prepared]>,
    /// Bank, plan, quota, number.
    cells: Box<[AtomicU64]>,
    plans: usize,
    width: usize,
    /// The wall clock when the limiter's clock stood at zero, for aligned windows.
    unix_nanos_at_zero: u64,
    /// What the rules were made from; the lock is held by whoever changes them.
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
    pub(crate) fn new(policies: Vec<Policy>, unix_nanos_at_zero: u64) -> Self {
        let (plans, width) = (policies.len(), policies[0].quotas().len());
        let cells = (0..2 * plans * width * CELLS).map(|_| AtomicU64::new(0)).collect();
        let mut given = Given { policies: Vec::new(), largest: vec![0; width] };
        policies.iter().for_each(|policy| given.notice(policy));
        let initial = policies.iter().flat_map(|policy| prepared(policy, &given.largest, unix_nanos_at_zero)).collect();
        given.policies = policies;
        let version = AtomicU64::new(0);
        let rules = Self { version, initial, cells, plans, width, unix_nanos_at_zero, given: Mutex::new(given) };
        rules.write(0, &rules.given.lock());
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
        Tag::new((version % GENERATIONS) | ((plan as u64) << GENERATION_BITS))
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
        let mut given = self.given.lock();
        given.notice(&policy);
        given.policies[plan] = policy;
        let next = self.version.load(Relaxed) + 1;
        // Pairs with the fence in `read`; see the proof.
        fence(Release);
        self.write(next, &given);
        self.version.store(next, Release);
        after();
    }

    fn write(&self, version: u64, given: &Given) {
        for (plan, policy) in given.policies.iter().enumerate() {
            for (index, prepared) in prepared(policy, &given.largest, self.unix_nanos_at_zero).enumerate() {
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
    /// one before.
    pub(crate) fn of(&self, tag: Tag, index: usize) -> Option<Prepared> {
        let (generation, plan) = (tag.bits() % GENERATIONS, Self::plan(tag));
        let (_, numbers) = self.read(|version| {
            let age = version.wrapping_sub(generation) % GENERATIONS;
            let known = plan < self.plans && age <= 1.min(version);
            known.then(|| self.numbers(version - age, plan, index))
        });
        numbers.map(|numbers| Prepared::from_cells(&numbers))
    }
}

fn prepared(policy: &Policy, largest: &[u64], unix_nanos_at_zero: u64) -> impl Iterator<Item = Prepared> {
    policy.quotas().zip(policy.names()).zip(largest).map(move |(((_, quota), name), largest)| Prepared {
        counter: quota.counter(unix_nanos_at_zero, *largest),
        limit: quota.limit(),
        name,
    })
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
    fn to_cells(self) -> [u64; CELLS] {
        let mut cells = [0; CELLS];
        cells[..5].copy_from_slice(&self.counter.to_cells());
        cells[5] = self.limit;
        cells[6..].copy_from_slice(&self.name.to_cells());
        cells
    }

    #[inline]
    fn from_cells(cells: &[u64; CELLS]) -> Self {
        let [a, b, c, d, e, limit, f, g, h, i] = *cells;
        let counter: Cells = [a, b, c, d, e];
        Self { counter: Counter::from_cells(&counter), limit, name: Name::from_cells([f, g, h, i]) }
    }

    pub(crate) fn status(&self, index: usize, word: u64, now: u64) -> Status {
        Status {
            quota: self.name,
            index: index as u8, // below QUOTAS_MAX
            limit: self.limit,
            remaining: self.counter.remaining(word, now),
            reset_after_nanos: self.counter.reset_after(word, now),
        }
    }

    /// The answer of an only quota.
    #[inline]
    pub(crate) fn answer(&self, charged: Charged, now: u64) -> Result<Permit, Denied> {
        let Charged { verdict, remaining, reset_after_nanos, .. } = charged;
        let status = Status { quota: self.name, index: 0, limit: self.limit, remaining, reset_after_nanos };
        match verdict {
            Verdict::Allow(_) => Ok(Permit { status }),
            verdict => Err(Denied { status, retry_after_nanos: wait(verdict, now) }),
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
    pub(super) use parking_lot::Mutex;
}

#[cfg(all(test, tollgate_loom))]
mod loom_tests;
