//! Where a request is decided about by several limits as one: the service behind a [`JointLayer`].

use std::cmp::Reverse;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::body::AnswerBody;
use super::decide::{Decide, Decision, ToAsk, Unasked};
use super::future::ResponseFuture;
use super::layer::JointLayer;
use super::outcome::After;
use super::service::{RateLimit, follow};
use crate::backend::Grant;
use crate::demand::{Demand, DeniedDemand, look_at_all, reserve_all};
use crate::limiter::RateLimiter;
use crate::reservation::Reservation;

impl<S> Layer<S> for JointLayer {
    type Service = RateLimit<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

impl<S, B, B2> Service<Request<B>> for RateLimit<S, JointLayer>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B2: AnswerBody,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let decision = decide(&self.layer.members, &mut head);
        follow(decision, &mut self.inner, head, body)
    }
}

impl JointLayer {
    /// The answer to a request that would be denied now, told and logged as every denial is; or to one that lacks its key, where that is
    /// refused. Nothing is charged. `None` if it would pass: then nobody is told, and the service asks once more.
    ///
    /// This is for servers that turn away what is over a limit before they read more of a request, or parse it whole. What would
    /// pass may still be denied by the service, if another request was faster. A limit with a
    /// [rollout](crate::http::RateLimitLayer::rollout) is left to the service, which takes its share once. The answer takes the head's
    /// extensions.
    ///
    /// ```
    /// use http::Request;
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::{GlobalKey, JointLayer};
    ///
    /// let limit = RateLimitLayer::per_minute(1).key(GlobalKey);
    /// let limits = JointLayer::from(limit.clone());
    /// let (mut head, ()) = Request::new(()).into_parts();
    /// assert!(limits.answer_if_denied(&mut head).is_none());
    ///
    /// limit.limiter().check(&())?;
    /// assert_eq!(limits.answer_if_denied(&mut head).unwrap().status(), 429);
    /// # Ok::<(), tollgate::Denied>(())
    /// ```
    pub fn answer_if_denied(&self, head: &mut Parts) -> Option<Response<Bytes>> {
        let mut acting = Vec::with_capacity(self.members.len());
        for member in &*self.members {
            match member.question_ahead(head) {
                ToAsk::Question(asking) => acting.push(asking),
                ToAsk::Decided(Decision::Pass(_)) => {}
                ToAsk::Decided(Decision::Answer(response)) => return Some(response),
                ToAsk::Decided(Decision::Wait(wait, _)) => match wait {},
            }
        }
        let demands: Vec<_> = acting.iter().map(demand).collect();
        let denied = look_at_all(&demands).err()?;
        Some(refuse(&acting, &denied, head))
    }
}

/// Asks all that are concerned. One that does not act is asked after the others let the request pass, and by itself.
fn decide(members: &[Arc<dyn Decide<RateLimiter>>], head: &mut Parts) -> Decision<RateLimiter> {
    let (mut acting, mut watching) = (Vec::with_capacity(members.len()), Vec::new());
    for member in members {
        match member.question(head) {
            ToAsk::Question(asking) if asking.settings.acts() => acting.push(asking),
            ToAsk::Question(asking) => watching.push(asking),
            ToAsk::Decided(Decision::Pass(_)) => {}
            ToAsk::Decided(decision) => return decision,
        }
    }
    let demands: Vec<_> = acting.iter().map(demand).collect();
    let reservations = match reserve_all(&demands) {
        Ok(reservations) => reservations,
        Err(denied) => return Decision::Answer(refuse(&acting, &denied, head)),
    };
    let mut passed: Vec<_> = acting.iter().zip(reservations).collect();
    // Where two tell the same, the last one is heard: that has least left.
    passed.sort_by_key(|(_, reservation)| Reverse(reservation.permit().status().remaining()));
    let mut after = After::Nothing;
    for asking in &watching {
        after = after.then(match demand(asking).reserve() {
            Ok(reservation) => pass(asking, reservation, head),
            Err(denied) => {
                asking.denied();
                asking.settings.let_pass(&denied, asking.terms.plan, head)
            }
        });
    }
    for (asking, reservation) in passed {
        after = after.then(pass(asking, reservation, head));
    }
    Decision::Pass(after)
}

/// The answer of the one that denied, which tells its observers.
fn refuse(acting: &[Unasked<RateLimiter>], denied: &DeniedDemand, head: &mut Parts) -> Response<Bytes> {
    let asking = &acting[denied.index()];
    asking.denied();
    asking.settings.refuse(*denied.denied(), asking.terms.plan, head)
}

fn demand(asking: &Unasked<RateLimiter>) -> Demand<'_> {
    asking.settings.limiter.demand_on(asking.terms)
}

/// Lets a request pass, as far as one limit is concerned.
fn pass(asking: &Unasked<RateLimiter>, reservation: Reservation, head: &mut Parts) -> After<Reservation> {
    let Unasked { settings, terms, .. } = asking;
    let permit = *reservation.permit();
    let standing = settings.tells_handler.then(|| reservation.standing());
    let receipt = settings.outcome.is_some().then(|| Box::new(reservation));
    settings.pass(Grant { permit, receipt, standing }, terms.plan, head)
}
