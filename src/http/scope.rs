//! [`Scope`]: which requests a layer counts, and which it leaves to another.

use std::fmt;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::decide::Decide;
#[cfg(feature = "tokio")]
use super::decide::{Decision, ToAsk};
use crate::backend::Backend;
#[cfg(feature = "tokio")]
use crate::backend::{Delay, Joint};

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Which requests a layer counts: all, unless something is set.
pub(super) struct Scope<L> {
    pub(super) exempt: Vec<Predicate>,
    pub(super) instead: Vec<(Predicate, Arc<dyn Decide<L>>)>,
    /// All methods, unless some are listed.
    pub(super) methods: Option<Vec<Method>>,
}

/// Who decides about a request.
pub(super) enum DecidedBy<'a, L> {
    This,
    Other(&'a dyn Decide<L>),
    /// It passes.
    Nobody,
}

impl<L> Scope<L> {
    /// Whether every request is counted.
    pub(super) fn is_everything(&self) -> bool {
        self.exempt.is_empty() && self.instead.is_empty() && self.methods.is_none()
    }
}

impl<L: Backend> Scope<L> {
    pub(super) fn decided_by(&self, head: &Parts) -> DecidedBy<'_, L> {
        if self.exempt.iter().any(|is_exempt| is_exempt(head)) {
            return DecidedBy::Nobody;
        }
        if let Some((_, other)) = self.instead.iter().find(|(is_theirs, _)| is_theirs(head)) {
            return DecidedBy::Other(&**other);
        }
        match &self.methods {
            Some(methods) if !counts(methods, &head.method) => DecidedBy::Nobody,
            _ => DecidedBy::This,
        }
    }
}

#[cfg(feature = "tokio")]
impl<L: Delay> Scope<L> {
    /// The same scope for the limiter that delays. What is left to other layers is decided as those say: without delay.
    pub(super) fn over(&self) -> Scope<L::Delayed> {
        let over = |(is_theirs, other): &(Predicate, Arc<dyn Decide<L>>)| {
            let other: Arc<dyn Decide<L::Delayed>> = Arc::new(Undelayed(other.clone()));
            (is_theirs.clone(), other)
        };
        let Self { exempt, instead, methods } = self;
        Scope { exempt: exempt.clone(), instead: instead.iter().map(over).collect(), methods: methods.clone() }
    }
}

/// Whether a method is among these. One handler serves GET and HEAD, so GET stands for both.
fn counts(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
}

/// A layer that does not delay, beside one that does.
#[cfg(feature = "tokio")]
struct Undelayed<L>(Arc<dyn Decide<L>>);

#[cfg(feature = "tokio")]
impl<L: Delay> Decide<L::Delayed> for Undelayed<L> {
    fn decide(&self, head: &mut Parts) -> Decision<L::Delayed> {
        match self.0.decide(head) {
            Decision::Pass(after) => Decision::Pass(after),
            Decision::Answer(response) => Decision::Answer(response),
            Decision::Wait(wait, pending) => Decision::Wait(L::later(wait), pending.undelayed()),
        }
    }

    /// It was decided by itself: a layer that may wait is not joined with others.
    fn question(&self, head: &mut Parts) -> ToAsk<L::Delayed>
    where
        L::Delayed: Joint,
    {
        ToAsk::Decided(self.decide(head))
    }

    fn question_ahead(&self, _: &mut Parts) -> ToAsk<L::Delayed>
    where
        L::Delayed: Joint,
    {
        ToAsk::Decided(Decision::PASS)
    }
}

impl<L> Default for Scope<L> {
    fn default() -> Self {
        Self { exempt: Vec::new(), instead: Vec::new(), methods: None }
    }
}

impl<L> Clone for Scope<L> {
    fn clone(&self) -> Self {
        let Self { exempt, instead, methods } = self;
        Self { exempt: exempt.clone(), instead: instead.clone(), methods: methods.clone() }
    }
}

impl<L> fmt::Debug for Scope<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("exempt", &self.exempt.len())
            .field("instead", &self.instead.len())
            .field("methods", &self.methods)
            .finish()
    }
}
