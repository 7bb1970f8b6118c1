//! [`Shared`]: the store that proxies count in together, and the limiters there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tollgate::redis::{SetupError, WhenUnreachable};
use tollgate::{RedisLimiter, RedisStore};

use crate::config::{Limit, OnFailure, Percent, Store};
use crate::durations::Durations;

/// The store that proxies count in together. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Shared {
    config: Store,
    store: RedisStore,
    /// How often limiters that are gone had to answer by themselves, by the answer.
    before: Arc<[AtomicU64; 3]>,
    /// How long it takes until it answers.
    durations: Arc<Durations>,
}

/// What can answer while the store does not.
const ANSWERS: [&str; 3] = ["local", "open", "closed"];

impl Shared {
    /// Nothing is sent yet.
    pub(super) fn new(config: &Store) -> Result<Self, SetupError> {
        Self::counting_on(config, Arc::default(), Arc::default())
    }

    /// The same store as it is configured now, over the same connection if that is possible. Counters do not go back.
    pub(super) fn reloaded(&self, config: &Store) -> Result<Self, SetupError> {
        if self.config.redis == config.redis && self.config.deadline == config.deadline {
            return Ok(Self { config: config.clone(), ..self.clone() });
        }
        Self::counting_on(config, self.before.clone(), self.durations.clone())
    }

    fn counting_on(config: &Store, before: Arc<[AtomicU64; 3]>, durations: Arc<Durations>) -> Result<Self, SetupError> {
        let told = durations.clone();
        let builder = RedisStore::builder(&config.redis).deadline(config.deadline);
        let store = builder.on_call(move |lasted| told.count(lasted)).try_build()?;
        Ok(Self { config: config.clone(), store, before, durations })
    }

    /// A limiter whose counts are in the store, under the limit's name.
    pub(super) fn limiter(&self, limit: &Limit) -> Result<RedisLimiter, SetupError> {
        let when = match self.config.on_failure {
            OnFailure::Local(share) => WhenUnreachable::local(replicas(share)),
            OnFailure::Open => WhenUnreachable::Open,
            OnFailure::Closed => WhenUnreachable::Closed,
        };
        let plans = limit.plans.iter().flat_map(|plans| &plans.policies);
        let builder = RedisLimiter::builder(&self.store, &limit.name, &limit.policy);
        let builder = builder.when_unreachable(when).capacity(limit.capacity);
        plans.fold(builder, |builder, (name, policy)| builder.plan(name, policy)).try_build()
    }

    /// Whether limiters that were made by the other answer as those of this one.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.config == other.config
    }

    /// A limiter that was made by this is not asked any more.
    pub(super) fn retire(&self, limiter: &RedisLimiter) {
        self.before[self.answer()].fetch_add(limiter.stats().unanswered, Relaxed);
    }

    /// How often these limiters, and those that are gone, had to answer by themselves.
    pub fn fallbacks<'a>(
        &self,
        limiters: impl Iterator<Item = &'a RedisLimiter>,
    ) -> [(&'static str, u64); ANSWERS.len()] {
        let now: u64 = limiters.map(|limiter| limiter.stats().unanswered).sum();
        std::array::from_fn(|at| {
            let now = if at == self.answer() { now } else { 0 };
            (ANSWERS[at], self.before[at].load(Relaxed) + now)
        })
    }

    /// How long its answers took, or what was waited for none.
    pub(crate) fn durations(&self) -> &Arc<Durations> {
        &self.durations
    }

    /// Whether it answers, as far as is known.
    pub fn is_up(&self) -> bool {
        !self.store.stats().is_out
    }

    fn answer(&self) -> usize {
        match self.config.on_failure {
            OnFailure::Local(_) => 0,
            OnFailure::Open => 1,
            OnFailure::Closed => 2,
        }
    }
}

/// How many replicas there are, if each has this share. The library divides by whole numbers, so of other shares the next smaller
/// part is taken. 33 % is a third.
fn replicas(share: Percent) -> u32 {
    let nearest = (100.0 / share.get()).round().max(1.0);
    let is_more = 100.0 / nearest > share.get() * 1.015;
    // A float too large saturates.
    if is_more { nearest as u32 + 1 } else { nearest as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part() {
        for (share, parts) in [
            ("100%", 1),
            ("50%", 2),
            ("34%", 3),
            ("33%", 3),
            ("33.3%", 3),
            ("40%", 3),
            ("60%", 2),
            ("25%", 4),
            ("10%", 10),
            ("1%", 100),
        ] {
            assert_eq!(replicas(share.parse().unwrap()), parts, "{share}");
        }
    }
}
