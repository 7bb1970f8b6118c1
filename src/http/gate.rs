//! [`Gate`]: where a layer decides about a request.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::decide::{Asked, Decide, Decision};
use super::key::KeyExtractor;
use super::scope::{DecidedBy, Scope};
use super::settings::Settings;
use crate::backend::Backend;
use crate::key::SharedKey;

/// All that is set on a layer: which requests it counts, by what, and what becomes of them.
pub(super) struct Gate<K, L> {
    pub(super) key: Arc<K>,
    pub(super) scope: Scope<L>,
    pub(super) settings: Arc<Settings<L>>,
    /// Whether nothing is set that concerns a request that passes. Known beforehand, since most layers are so.
    is_plain: bool,
}

impl<K, L> Gate<K, L> {
    pub(super) fn new(key: Arc<K>, scope: Scope<L>, settings: Arc<Settings<L>>) -> Self {
        let is_plain = is_plain(&scope, &settings);
        Self { key, scope, settings, is_plain }
    }

    /// Changes what is set.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Scope<L>, &mut Settings<L>))
    where
        L: Clone,
    {
        change(&mut self.scope, Arc::make_mut(&mut self.settings));
        self.is_plain = is_plain(&self.scope, &self.settings);
    }
}

/// Whether nothing is set that concerns a request that passes.
fn is_plain<L>(scope: &Scope<L>, settings: &Settings<L>) -> bool {
    scope.is_everything() && settings.is_plain()
}

impl<K: KeyExtractor, L: Backend> Gate<K, L> {
    pub(super) fn decide(&self, head: &mut Parts) -> Decision<L> {
        if !self.is_plain {
            return self.decide_as_set(head);
        }
        let settings = &self.settings;
        let said = self.key.extract(head).map(|key| settings.ask_plainly(&key));
        match said {
            Ok(said) if said.is_granted() => Decision::PASS,
            Ok(said) => settings.conclude(said, head),
            Err(no_key) => settings.without_key(&no_key, 1, head),
        }
    }

    fn decide_as_set(&self, head: &mut Parts) -> Decision<L> {
        match self.scope.decided_by(head) {
            DecidedBy::This => {}
            DecidedBy::Other(other) => return other.decide(head),
            DecidedBy::Nobody => return Decision::PASS,
        }
        let settings = &self.settings;
        let Some(cost) = settings.cost(head) else { return Decision::PASS };
        let said = self.key.extract(head).map(|key| settings.ask(&key, cost, head));
        match said {
            Ok(said) => settings.conclude(said, head),
            Err(no_key) => settings.without_key(&no_key, cost, head),
        }
    }
}

impl<K: KeyExtractor + Send + Sync, L: Backend> Decide<L> for Gate<K, L> {
    fn decide(&self, head: &mut Parts) -> Decision<L> {
        self.decide(head)
    }

    fn question(&self, head: &mut Parts) -> Asked<L> {
        match self.scope.decided_by(head) {
            DecidedBy::This => {}
            DecidedBy::Other(other) => return other.question(head),
            DecidedBy::Nobody => return Asked::Decided(Decision::PASS),
        }
        let settings = &self.settings;
        let Some(cost) = settings.cost(head) else { return Asked::Decided(Decision::PASS) };
        match self.key.extract(head).map(|key| settings.asking(&key, cost, head)) {
            Ok(asking) => Asked::Question(asking),
            Err(no_key) => match settings.refuse_without_key(&no_key, head) {
                Some(decision) => Asked::Decided(decision),
                None => Asked::Question(settings.asking(&SharedKey, cost, head)),
            },
        }
    }
}

impl<K, L> Clone for Gate<K, L> {
    fn clone(&self) -> Self {
        let Self { key, scope, settings, is_plain } = self;
        Self { key: key.clone(), scope: scope.clone(), settings: settings.clone(), is_plain: *is_plain }
    }
}

impl<K: fmt::Debug, L: fmt::Debug> fmt::Debug for Gate<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, scope, settings, .. } = self;
        f.debug_struct("Gate").field("key", key).field("scope", scope).field("settings", settings).finish()
    }
}
