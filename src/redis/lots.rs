//! [`Lots`]: what this program holds of each key, to spend without asking the server.

use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::lease::{Holding, LeaseTerms, LotId};
use super::remembered::Check;
use super::stats::RedisCounts;
use crate::clock::Clock;
use crate::decision::{Standing, Status};
use crate::fingerprint::Fingerprint;

/// Buckets of keys. Each has a lock of its own.
const BUCKETS: usize = 512;

/// How many keys a bucket knows at most: 4096 in all, of some 300 bytes each.
const KEYS_PER_BUCKET: usize = 8;

/// What is held of the keys that are asked for most. Where there are too many keys, that which is asked for least is forgotten, and
/// what is held of it is stranded.
pub(super) struct Lots {
    /// RedisCounts a suspend, since the server's does.
    clock: Clock,
    buckets: Box<[Mutex<Vec<KeyHolding>>]>,
}

struct KeyHolding {
    key: Fingerprint,
    plan: usize,
    version: u64,
    holding: Holding,
    /// Where the key stood when something was last lent, and when that was.
    standing: Standing,
    since: u64,
    /// Whether a call is under way that may be lent something: then its sender lives.
    asks: Option<watch::Receiver<()>>,
}

/// What was spent here, and where the key stands then, as far as is known.
pub(super) struct Spent {
    pub(super) status: Status,
    /// If it was wanted.
    pub(super) standing: Option<Standing>,
    pub(super) lot: LotId,
}

/// How a check goes on that could not be answered here at once.
pub(super) enum Next<'a> {
    Spent(Spent),
    /// A call is under way that may bring enough for this one, too. It has come back when this changes or is closed.
    Wait(watch::Receiver<()>),
    Call(Draw<'a>),
}

/// A call, and how much to ask for beside its cost. When it is dropped, those who wait for it go on.
pub(super) struct Draw<'a> {
    lots: &'a Lots,
    check: Check,
    pub(super) want: u64,
    /// When it was about to be sent.
    sent: u64,
    _asks: Option<watch::Sender<()>>,
}

impl Lots {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, buckets: (0..BUCKETS).map(|_| Mutex::default()).collect() }
    }

    /// Spends from what is held. Whether it is enough or not, it counts what was asked for.
    pub(super) fn spend(
        &self,
        check: &Check,
        terms: &LeaseTerms,
        standing: bool,
        counts: &RedisCounts,
    ) -> Option<Spent> {
        self.with_entry(check, terms, counts, |entry, now| {
            let lot = entry.holding.spend(check.cost, terms, now)?;
            Some(entry.spent(check.cost, lot, standing, now, counts))
        })
    }

    /// The same for what was counted already; or who is to ask the server.
    pub(super) fn next(
        &self,
        check: &Check,
        terms: &LeaseTerms,
        standing: bool,
        may_wait: bool,
        counts: &RedisCounts,
    ) -> Next<'_> {
        self.with_entry(check, terms, counts, |entry, now| {
            if let Some(lot) = entry.holding.take(check.cost, now) {
                return Next::Spent(entry.spent(check.cost, lot, standing, now, counts));
            }
            let under_way = entry.asks.as_ref().filter(|asks| asks.has_changed().is_ok());
            match under_way {
                Some(asks) if may_wait => Next::Wait(asks.clone()),
                // One that may be lent something at a time.
                Some(_) => Next::Call(Draw { lots: self, check: *check, want: 0, sent: now, _asks: None }),
                None => {
                    let want = entry.holding.want(terms, now);
                    let (sender, receiver) = if want > 0 { Some(watch::channel(())).unzip() } else { (None, None) };
                    entry.asks = receiver;
                    Next::Call(Draw { lots: self, check: *check, want, sent: now, _asks: sender })
                }
            }
        })
    }

    /// How much is held of a key.
    pub(super) fn held(&self, check: &Check) -> u64 {
        let now = self.clock.now();
        let mut bucket = self.bucket(check.key).lock();
        bucket.iter_mut().find(|entry| entry.is_of(check)).map_or(0, |entry| entry.holding.left(now))
    }

    /// Gives back to the lot that it was spent from, if it lives, or to any.
    pub(super) fn give_back(&self, check: &Check, lot: Option<LotId>, counts: &RedisCounts) {
        let now = self.clock.now();
        let mut bucket = self.bucket(check.key).lock();
        if let Some(entry) = bucket.iter_mut().find(|entry| entry.is_of(check)) {
            let given = entry.holding.give_back(check.cost, lot, now);
            counts.leased_spent.fetch_sub(given, Relaxed);
            entry.count_stranded(counts);
        }
    }

    /// Runs with a key's entry, which is made if there is none, and the time.
    fn with_entry<T>(
        &self,
        check: &Check,
        terms: &LeaseTerms,
        counts: &RedisCounts,
        run: impl FnOnce(&mut KeyHolding, u64) -> T,
    ) -> T {
        let now = self.clock.now();
        let mut bucket = self.bucket(check.key).lock();
        let index = bucket.iter().position(|entry| entry.key == check.key && entry.plan == check.plan);
        // What was lent under a policy that has been replaced is not spent any more.
        let index = match index.filter(|&index| bucket[index].version == check.version) {
            Some(index) => index,
            None => {
                let least = |bucket: &[KeyHolding]| {
                    (0..bucket.len()).min_by_key(|&index| bucket[index].holding.demand(terms, now)).expect("it is full")
                };
                let goes = index.or_else(|| (bucket.len() == KEYS_PER_BUCKET).then(|| least(&bucket)));
                if let Some(index) = goes {
                    let mut gone = bucket.swap_remove(index);
                    counts.leased_stranded.fetch_add(gone.holding.drop_all(), Relaxed);
                }
                bucket.push(KeyHolding::new(check));
                bucket.len() - 1
            }
        };
        let entry = &mut bucket[index];
        let done = run(entry, now);
        entry.count_stranded(counts);
        done
    }

    fn bucket(&self, key: Fingerprint) -> &Mutex<Vec<KeyHolding>> {
        &self.buckets[(key.bits() >> 40) as usize % BUCKETS]
    }
}

impl KeyHolding {
    fn new(check: &Check) -> Self {
        let Check { key, plan, version, .. } = *check;
        Self { key, plan, version, holding: Holding::default(), standing: Standing::UNLIMITED, since: 0, asks: None }
    }

    fn is_of(&self, check: &Check) -> bool {
        self.key == check.key && self.plan == check.plan && self.version == check.version
    }

    /// What the server said was left, what is held, and what time has passed since.
    fn spent(&mut self, cost: u64, lot: LotId, standing: bool, now: u64, counts: &RedisCounts) -> Spent {
        counts.leased.fetch_add(1, Relaxed);
        counts.leased_spent.fetch_add(cost, Relaxed);
        let (left, passed) = (self.holding.left(now), now.saturating_sub(self.since));
        let known = |status: &Status| Status {
            remaining: status.remaining.saturating_add(left).min(status.limit),
            reset_after_nanos: status.reset_after_nanos.saturating_sub(passed).max(1),
            ..*status
        };
        let all = || Standing::of(self.standing.iter().map(known));
        Spent { status: known(self.standing.tightest()), standing: standing.then(all), lot }
    }

    fn count_stranded(&mut self, counts: &RedisCounts) {
        let stranded = self.holding.take_stranded();
        if stranded > 0 {
            counts.leased_stranded.fetch_add(stranded, Relaxed);
        }
    }
}

impl Draw<'_> {
    /// Takes what was lent, and where the key stood then.
    pub(super) fn receive(&self, (lent, life_micros): (u64, u64), standing: Standing, counts: &RedisCounts) {
        if lent == 0 {
            return;
        }
        counts.leases.fetch_add(1, Relaxed);
        counts.leased_drawn.fetch_add(lent, Relaxed);
        let now = self.lots.clock.now();
        let mut bucket = self.lots.bucket(self.check.key).lock();
        match bucket.iter_mut().find(|entry| entry.is_of(&self.check)) {
            Some(entry) => {
                entry.holding.receive(lent, life_micros, self.sent, now);
                (entry.standing, entry.since) = (standing, now);
                entry.count_stranded(counts);
            }
            // It was forgotten, or the policy was replaced.
            None => _ = counts.leased_stranded.fetch_add(lent, Relaxed),
        }
    }
}
