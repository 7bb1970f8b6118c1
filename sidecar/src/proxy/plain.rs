//! [`PlainWay`]: the way of plain requests through the limits, before anything is read into a map.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tollgate::http::{AnyBody, JointLayer};
use tollgate::{RateLimit, RateLimitLayer};
use tower_layer::Layer as _;
use tower_service::Service;

use super::thread::Current;
use super::upstream::{Body, UpstreamPool};
use crate::config::Protocol;
use crate::rules::{LimitKey, Limits};

/// The way of plain requests by what is in force.
#[derive(Debug)]
pub(super) enum PlainWay {
    /// Only denials are given here.
    Ahead,
    Straight {
        limited: PlainLimits,
        passes: Passes,
        upstream: Rc<UpstreamPool>,
    },
}

#[derive(Debug)]
pub(super) enum PlainLimits {
    Free,
    One(RateLimit<AnyBody<Passes>, RateLimitLayer<LimitKey>>),
    Several(RateLimit<AnyBody<Passes>, JointLayer>),
}

impl PlainWay {
    pub(super) fn new(current: &Current) -> Self {
        let enforcer = current.enforcer();
        let passes = Passes::default();
        let limited = match enforcer.layer() {
            Limits::None => PlainLimits::Free,
            Limits::One(layer) => PlainLimits::One(layer.clone().any_body().layer(passes.clone())),
            Limits::Several(layer) => PlainLimits::Several(layer.clone().any_body().layer(passes.clone())),
            Limits::There(_) => return Self::Ahead,
        };
        match current.upstreams.only() {
            Some(upstream) if enforcer.is_blind() && upstream.target().protocol == Protocol::Http1 => {
                Self::Straight { limited, passes, upstream: upstream.clone() }
            }
            _ => Self::Ahead,
        }
    }
}

/// Stands behind the limits in place of what forwards, and says that a request passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Passes(Rc<Cell<bool>>);

impl Passes {
    pub(super) fn forget(&self) {
        self.0.set(false);
    }

    /// Whether a request has come through since.
    pub(super) fn have_passed(&self) -> bool {
        self.0.get()
    }
}

impl Service<Request<()>> for Passes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.0.set(true);
        let mut response = Response::new(Body::Empty);
        *response.extensions_mut() = request.into_parts().0.extensions;
        ready(Ok(response))
    }
}
