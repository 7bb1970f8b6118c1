//! [`Settings`]: what is set on a layer beside its scope and key.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::denials::{Denials, WhenNoKey};
use super::headers::Telling;
use super::observers::Observers;
use super::outcome::Outcome;
use super::rollout::Rollout;
use crate::backend::Backend;
use crate::plan::Plan;

type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;
type ChoosePlan = dyn Fn(&Parts) -> Plan + Send + Sync;

/// What is set on a layer beside its scope and key.
#[derive(Clone)]
pub(super) struct Settings<L> {
    pub(super) limiter: L,
    /// Whether the limiter was made for this layer, and so can be made anew.
    pub(super) owns_limiter: bool,
    pub(super) rollout: Option<Rollout>,
    pub(super) shadow: bool,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) plan: Option<Arc<ChoosePlan>>,
    pub(super) outcome: Option<Arc<Outcome>>,
    pub(super) when_no_key: WhenNoKey,
    pub(super) denials: Denials,
    pub(super) telling: Arc<Telling>,
    /// Whether the handler is told, too.
    pub(super) tells_handler: bool,
    pub(super) observers: Observers,
}

impl<L: Clone> Settings<L> {
    /// Nothing is set.
    pub(super) fn new(limiter: L, owns_limiter: bool) -> Self {
        Self {
            limiter,
            owns_limiter,
            rollout: None,
            shadow: false,
            cost: None,
            plan: None,
            outcome: None,
            when_no_key: WhenNoKey::default(),
            denials: Denials::default(),
            telling: Arc::default(),
            tells_handler: false,
            observers: Observers::default(),
        }
    }

    /// The same settings for another backend.
    #[cfg(feature = "tokio")]
    pub(super) fn over<M>(&self, limiter: M) -> Settings<M> {
        Settings {
            limiter,
            owns_limiter: self.owns_limiter,
            rollout: self.rollout.clone(),
            shadow: self.shadow,
            cost: self.cost.clone(),
            plan: self.plan.clone(),
            outcome: self.outcome.clone(),
            when_no_key: self.when_no_key,
            denials: self.denials.clone(),
            telling: self.telling.clone(),
            tells_handler: self.tells_handler,
            observers: self.observers.clone(),
        }
    }
}

impl<L: Backend> Settings<L> {
    /// Prepares what no request makes different. To be called when all is set.
    pub(super) fn prepare(&mut self) {
        self.denials.prepare(self.telling.headers);
        Arc::make_mut(&mut self.telling).prepare(self.limiter.limiter());
    }
}

impl<L> Settings<L> {
    /// Whether what is asked about a request depends on its head, or on its response.
    pub(super) fn asks_by_request(&self) -> bool {
        let Self { rollout, cost, plan, outcome, tells_handler, .. } = self;
        rollout.is_some() || cost.is_some() || plan.is_some() || outcome.is_some() || *tells_handler
    }

    /// Whether the client or the handler is told where it stands, also if it passes.
    pub(super) fn tells_where_one_stands(&self) -> bool {
        self.telling.on_every_response || self.tells_handler
    }

    /// Whether somebody is told of a request that passes.
    pub(super) fn tells_of_passing(&self) -> bool {
        self.telling.on_every_response || !self.observers.counting.is_empty()
    }
}

impl<L: fmt::Debug> fmt::Debug for Settings<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limiter", &self.limiter)
            .field("rollout", &self.rollout)
            .field("shadow", &self.shadow)
            .field("outcome", &self.outcome)
            .field("when_no_key", &self.when_no_key)
            .field("telling", &self.telling)
            .finish_non_exhaustive()
    }
}
