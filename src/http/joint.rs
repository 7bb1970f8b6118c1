//! Where a request is decided about by several limits as one: the service behind a [`JointLayer`].

use std::cmp::Reverse;
use std::sync::Arc;
use std::task::{Context, Poll};

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
use crate::demand::{Demand, reserve_all};
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
        Err(denied) => {
            let asking = &acting[denied.index()];
            asking.denied();
            let Unasked { settings, terms, .. } = asking;
            return settings.refuse(*denied.denied(), terms.plan, head);
        }
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
