//! [`Gate`]: where a layer decides about a request.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::decide::{Decide, Decision};
use super::key::KeyExtractor;
use super::scope::{DecidedBy, Scope};
use super::settings::Settings;
use crate::backend::Backend;

/// All that is set on a layer: which requests it counts, by what, and what becomes of them.
pub(super) struct Gate<K, L> {
    pub(super) key: Arc<K>,
    pub(super) scope: Scope<L>,
    pub(super) settings: Arc<Settings<L>>,
}

impl<K: KeyExtractor, L: Backend> Gate<K, L> {
    pub(super) fn decide(&self, head: &mut Parts) -> Decision<L> {
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
}

impl<K, L> Clone for Gate<K, L> {
    fn clone(&self) -> Self {
        let Self { key, scope, settings } = self;
        Self { key: key.clone(), scope: scope.clone(), settings: settings.clone() }
    }
}

impl<K: fmt::Debug, L: fmt::Debug> fmt::Debug for Gate<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, scope, settings } = self;
        f.debug_struct("Gate").field("key", key).field("scope", scope).field("settings", settings).finish()
    }
}
