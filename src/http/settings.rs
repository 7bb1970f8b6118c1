//! [`Settings`]: what is set on a layer beside its limiter, key and answers.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::outcome::Outcome;
use super::rollout::Rollout;
use super::scope::Scope;
use super::watch::Audience;
use crate::plan::Plan;

pub(super) type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;
pub(super) type ChoosePlan = dyn Fn(&Parts) -> Plan + Send + Sync;

/// What is set on a layer beside its limiter, key and answers. Nothing of it is set at first.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) scope: Scope,
    pub(super) rollout: Option<Rollout>,
    pub(super) shadow: bool,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) plan: Option<Arc<ChoosePlan>>,
    pub(super) outcome: Option<Arc<Outcome>>,
    pub(super) audience: Audience,
}

impl Settings {
    /// What a request costs; 0 if it is not even looked at.
    pub(super) fn cost(&self, head: &Parts) -> u64 {
        if self.rollout.as_ref().is_some_and(|rollout| !rollout.looks()) {
            return 0;
        }
        self.cost.as_ref().map_or(1, |cost| cost(head))
    }

    /// Whether a request that should not pass shall not.
    pub(super) fn acts(&self) -> bool {
        !self.shadow && self.rollout.as_ref().is_none_or(Rollout::acts)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("scope", &self.scope)
            .field("rollout", &self.rollout)
            .field("shadow", &self.shadow)
            .field("outcome", &self.outcome)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
