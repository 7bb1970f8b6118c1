//! [`Gate`]: where a layer decides about a request.

use std::fmt;
use std::sync::Arc;

use http::Request;
use http::request::Parts;

use super::decide::{Decide, Decision, Said, ToAsk};
use super::denials::WhenNoKey;
use super::key::{Glance, KeyExtractor, NoKey};
use super::outcome::After;
use super::scope::{DecidedBy, Scope};
use super::settings::Settings;
use crate::backend::{Backend, Joint};
use crate::key::SharedKey;

/// All that is set on a layer: which requests it counts, by what, and what becomes of them.
pub(super) struct Gate<K, L> {
    pub(super) key: Arc<K>,
    pub(super) scope: Scope<L>,
    pub(super) settings: Arc<Settings<L>>,
    /// How much is set that concerns a request that passes. Known beforehand, since in most layers it is nothing.
    concern: Concern,
}

/// How much is set that concerns a request that passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// Nothing: it costs one, and nobody is told.
    Nothing,
    /// Somebody is told what came of it.
    Telling,
    /// What is asked about it depends on its head, or on its response.
    Asking,
}

impl<K, L: Backend> Gate<K, L> {
    pub(super) fn new(key: Arc<K>, scope: Scope<L>, settings: Arc<Settings<L>>) -> Self {
        let mut gate = Self { key, scope, settings, concern: Concern::Asking };
        gate.change(|_, _| {});
        gate
    }

    /// Changes what is set.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Scope<L>, &mut Settings<L>)) {
        let settings = Arc::make_mut(&mut self.settings);
        change(&mut self.scope, settings);
        settings.prepare();
        self.concern = if !self.scope.is_everything() || settings.asks_by_request() {
            Concern::Asking
        } else if settings.tells_of_passing() {
            Concern::Telling
        } else {
            Concern::Nothing
        };
    }
}

/// What can be said of a request that is whole.
pub(super) enum Glimpse<L: Backend> {
    /// It passes, and nothing is to be done with its response.
    Passes,
    /// It passes, and this is to be done.
    PassesFor(After<L::Receipt>),
    /// This was said about it, or it has no key.
    Said(Result<Said<L>, NoKey>),
    /// Nothing.
    Nothing,
}

/// Who asks about a request.
enum Asker<'a, L> {
    /// This gate, at this cost.
    This(u64),
    Other(&'a dyn Decide<L>),
    /// It passes.
    Nobody,
}

impl<K: KeyExtractor, L: Backend> Gate<K, L> {
    /// Looks at a request that is whole: what most requests need in most layers. So it is one straight path, and all else is
    /// out of its way.
    #[inline]
    pub(super) fn glance<B>(&self, request: &Request<B>) -> Glimpse<L> {
        if !K::GLANCES || self.concern != Concern::Nothing {
            return self.glance_and_tell(Glance::of(request));
        }
        self.key.glance(Glance::of(request), |key| match key {
            Ok(key) => match self.settings.ask_for_one(&key) {
                Ok(()) => Glimpse::Passes,
                Err(said) => Glimpse::Said(Ok(said)),
            },
            Err(no_key) => Glimpse::Said(Err(no_key)),
        })
    }

    /// The same where somebody is told.
    #[inline(never)]
    fn glance_and_tell(&self, head: Glance<'_>) -> Glimpse<L> {
        if !K::GLANCES || self.concern == Concern::Asking {
            return Glimpse::Nothing;
        }
        self.key.glance(head, |key| match key {
            Ok(key) => match self.settings.ask_plainly(&key) {
                Ok(after) => Glimpse::PassesFor(after),
                Err(said) => Glimpse::Said(Ok(said)),
            },
            Err(no_key) => Glimpse::Said(Err(no_key)),
        })
    }

    /// What becomes of a request, if it did not pass at a glance.
    #[inline]
    pub(super) fn conclude(&self, seen: Glimpse<L>, head: &mut Parts) -> Decision<L> {
        match seen {
            Glimpse::Passes => Decision::PASS,
            Glimpse::PassesFor(after) => Decision::Pass(after),
            Glimpse::Said(Ok(said)) => self.settings.conclude(said, head),
            Glimpse::Said(Err(no_key)) => self.settings.without_key(&no_key, 1, head),
            Glimpse::Nothing => self.decide(head),
        }
    }

    /// Who asks about a request.
    fn asker(&self, head: &Parts) -> Asker<'_, L> {
        match self.scope.decided_by(head) {
            DecidedBy::This => self.settings.cost(head).map_or(Asker::Nobody, Asker::This),
            DecidedBy::Other(other) => Asker::Other(other),
            DecidedBy::Nobody => Asker::Nobody,
        }
    }

    fn decide(&self, head: &mut Parts) -> Decision<L> {
        let cost = match self.asker(head) {
            Asker::This(cost) => cost,
            Asker::Other(other) => return other.decide(head),
            Asker::Nobody => return Decision::PASS,
        };
        let settings = &self.settings;
        let said = self.key.extract(head).map(|key| settings.ask(&key, cost, head));
        match said {
            Ok(said) => settings.conclude(said, head),
            Err(no_key) => settings.without_key(&no_key, cost, head),
        }
    }
}

impl<K: KeyExtractor + Send + Sync, L: Backend> Decide<L> for Gate<K, L> {
    fn decide(&self, head: &mut Parts) -> Decision<L> {
        Gate::decide(self, head)
    }

    fn question(&self, head: &mut Parts) -> ToAsk<L>
    where
        L: Joint,
    {
        let cost = match self.asker(head) {
            Asker::This(cost) => cost,
            Asker::Other(other) => return other.question(head),
            Asker::Nobody => return ToAsk::Decided(Decision::PASS),
        };
        let settings = &self.settings;
        match self.key.extract(head).map(|key| settings.question(&key, cost, head)) {
            Ok(question) => question,
            Err(no_key) => match settings.refuse_without_key(&no_key, head) {
                Some(decision) => ToAsk::Decided(decision),
                None => settings.question(&SharedKey, cost, head),
            },
        }
    }

    fn question_ahead(&self, head: &mut Parts) -> ToAsk<L>
    where
        L: Joint,
    {
        let settings = &self.settings;
        match self.scope.decided_by(head) {
            DecidedBy::This if settings.rollout.is_none() && !settings.shadow => {}
            DecidedBy::Other(other) => return other.question_ahead(head),
            // A share of the requests would be taken twice.
            DecidedBy::This | DecidedBy::Nobody => return ToAsk::Decided(Decision::PASS),
        }
        let Some(cost) = settings.cost(head) else { return ToAsk::Decided(Decision::PASS) };
        match (self.key.extract(head), settings.when_no_key) {
            (Ok(key), _) => settings.question(&key, cost, head),
            (Err(_), WhenNoKey::Share) => settings.question(&SharedKey, cost, head),
            (Err(_), WhenNoKey::Allow) => ToAsk::Decided(Decision::PASS),
            (Err(no_key), WhenNoKey::Refuse) => {
                ToAsk::Decided(settings.refuse_without_key(&no_key, head).unwrap_or(Decision::PASS))
            }
        }
    }
}

impl<K, L> Clone for Gate<K, L> {
    fn clone(&self) -> Self {
        let Self { key, scope, settings, concern } = self;
        Self { key: key.clone(), scope: scope.clone(), settings: settings.clone(), concern: *concern }
    }
}

impl<K: fmt::Debug, L: fmt::Debug> fmt::Debug for Gate<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, scope, settings, .. } = self;
        f.debug_struct("Gate").field("key", key).field("scope", scope).field("settings", settings).finish()
    }
}
