//! [`AdminStore`]: the store that proxies count in, as the admin listener asks it.
//!
//! It has a connection of its own, in its own thread, so that whoever asks too much here does not stand in the way of requests.

use std::time::Duration;

use tollgate::redis::{Unanswered, WhenUnreachable};
use tollgate::{Plan, RedisLimiter, RedisStore, Standing};

use crate::config::{self, Limit};
use crate::rules::TextKey;

/// How long a person waits for its answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// The store that proxies count in.
#[derive(Clone, Debug)]
pub(super) struct AdminStore {
    redis: String,
    store: RedisStore,
}

/// Where a key stands with a limit's quotas, by the name of the plan.
pub(super) type Standings = Vec<(String, Standing)>;

impl AdminStore {
    /// `None` if that is no address, which it was when the configuration was taken up.
    pub(super) fn new(config: &config::Store) -> Option<Self> {
        let store = RedisStore::builder(&config.redis).deadline(DEADLINE).try_build().ok()?;
        Some(Self { redis: config.redis.clone(), store })
    }

    /// Whether this is it.
    pub(super) fn is(&self, config: &config::Store) -> bool {
        self.redis == config.redis
    }

    /// Where a key stands, by each plan of a limit.
    ///
    /// # Errors
    ///
    /// If the store does not answer in time.
    pub(super) async fn standings(&self, limit: &Limit, key: &TextKey) -> Result<Standings, Unanswered> {
        let Some(limiter) = self.limiter(limit) else { return Ok(Vec::new()) };
        let named = limit.plans.iter().flat_map(|plans| &plans.policies).map(|(name, _)| (&**name, limiter.plan(name)));
        let mut standings = Vec::new();
        for (name, plan) in [("default", Some(Plan::DEFAULT))].into_iter().chain(named) {
            if let Some(limiter) = plan.and_then(|plan| limiter.on(plan).ok()) {
                standings.push((name.to_owned(), limiter.standing(key).await?));
            }
        }
        Ok(standings)
    }

    /// Forgets what a key has spent with a limit.
    ///
    /// # Errors
    ///
    /// If the store does not answer in time. It may have been done all the same.
    pub(super) async fn reset(&self, limit: &Limit, key: &TextKey) -> Result<(), Unanswered> {
        match self.limiter(limit) {
            Some(limiter) => limiter.reset(key).await,
            None => Ok(()),
        }
    }

    /// One that never answers by itself, and so counts nothing here.
    fn limiter(&self, limit: &Limit) -> Option<RedisLimiter> {
        let plans = limit.plans.iter().flat_map(|plans| &plans.policies);
        let builder = RedisLimiter::builder(&self.store, &limit.name, &limit.policy);
        let builder = builder.when_unreachable(WhenUnreachable::Closed).capacity(1);
        plans.fold(builder, |builder, (name, policy)| builder.plan(name, policy)).try_build().ok()
    }
}
