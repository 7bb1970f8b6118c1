//! [`CountedIn`]: where a limit is counted.

use tollgate::redis::SetupError;
use tollgate::{Plan, RateLimiter, RedisLimiter};

use super::store::Shared;
use crate::config::Limit;

/// Where a limit is counted.
#[derive(Clone, Debug)]
pub(super) enum CountedIn {
    /// In this process, with room for so many quotas.
    Here { limiter: RateLimiter, room: usize },
    /// In the store, which remembers what was spent. It does not remember who is denied most: `told` does, which limits nothing.
    There { limiter: RedisLimiter, told: RateLimiter },
}

/// Changes what a limiter enforces. Whether that could be done.
macro_rules! replace {
    ($limiter:expr, $limit:expr) => {{
        let (limiter, limit) = ($limiter, $limit);
        let plans = limit.plans.iter().flat_map(|plans| &plans.policies);
        let plans = plans.map(|(name, policy)| Some((limiter.on(limiter.plan(name)?).ok()?, policy)));
        plans.collect::<Option<Vec<_>>>().is_some_and(|plans| {
            let all = plans.iter().map(|(limiter, policy)| (limiter, *policy)).chain([(limiter, &limit.policy)]);
            all.into_iter()
                .all(|(limiter, policy)| limiter.policy() == *policy || limiter.replace_policy(policy).is_ok())
        })
    }};
}

impl CountedIn {
    /// In this process, with nothing spent; or in the store, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be counted exactly in the store.
    pub(super) fn new(limit: &Limit, offenders: usize, store: Option<&Shared>) -> Result<Self, SetupError> {
        if let Some(store) = store {
            let told = RateLimiter::builder(&limit.policy).capacity(1).offenders(offenders).build();
            return Ok(Self::There { limiter: store.limiter(limit)?, told });
        }
        let room = limit.room();
        let builder = RateLimiter::builder(&limit.policy).name(&limit.name).capacity(limit.capacity);
        let mut builder = builder.quotas(room).offenders(offenders);
        for (name, policy) in limit.plans.iter().flat_map(|plans| &plans.policies) {
            builder = builder.plan(name, policy).expect("plans were tried when the file was read");
        }
        Ok(Self::Here { limiter: builder.build(), room })
    }

    /// For how many quotas a key's account has room.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Here { room, .. } => *room,
            Self::There { .. } => usize::MAX,
        }
    }

    /// Changes what it enforces. Whether that could be done.
    pub(super) fn replace(&self, limit: &Limit) -> bool {
        match self {
            Self::Here { limiter, .. } => replace!(limiter, limit),
            Self::There { limiter, .. } => replace!(limiter, limit),
        }
    }

    /// The plans of a limit, in its order.
    pub(super) fn plans(&self, limit: &Limit) -> Vec<Plan> {
        let names = limit.plans.iter().flat_map(|plans| &plans.policies).map(|(name, _)| name);
        let plan = |name: &String| match self {
            Self::Here { limiter, .. } => limiter.plan(name),
            Self::There { limiter, .. } => limiter.plan(name),
        };
        names.map(|name| plan(name).unwrap_or_default()).collect()
    }

    pub(super) fn here(&self) -> Option<&RateLimiter> {
        match self {
            Self::Here { limiter, .. } => Some(limiter),
            Self::There { .. } => None,
        }
    }

    pub(super) fn there(&self) -> Option<&RedisLimiter> {
        match self {
            Self::Here { .. } => None,
            Self::There { limiter, .. } => Some(limiter),
        }
    }

    /// Who keeps the keys that are denied most.
    pub(super) fn told(&self) -> &RateLimiter {
        match self {
            Self::Here { limiter, .. } => limiter,
            Self::There { told, .. } => told,
        }
    }
}
