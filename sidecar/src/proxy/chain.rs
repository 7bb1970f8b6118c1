//! [`Chain`]: limits that are counted in a store, asked one after the other.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use tollgate::http::AnyBody;
use tollgate::{RateLimit, RateLimitLayer, RedisLimiter};
use tower_layer::Layer as _;
use tower_service::Service;

use super::content::Content;
use super::forward::Forward;
use crate::rules::LimitKey;

/// Limits that are counted in a store, in front of what forwards. Each is asked after the one before has let the request pass.
#[derive(Clone)]
pub(super) enum Chain {
    End(Forward),
    Link(Box<Link>),
}

/// A limit, and what stands behind it.
type Link = RateLimit<AnyBody<Chain>, RateLimitLayer<LimitKey, RedisLimiter>>;

impl Chain {
    /// The first of the layers is asked first.
    pub(super) fn new(layers: &[RateLimitLayer<LimitKey, RedisLimiter>], forward: Forward) -> Self {
        layers
            .iter()
            .rev()
            .fold(Self::End(forward), |behind, layer| Self::Link(Box::new(layer.clone().any_body().layer(behind))))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(forward) => forward.fmt(f),
            Self::Link(link) => f.debug_tuple("Link").field(link.get_ref()).finish(),
        }
    }
}

/// A request on its way through a chain.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Content>, Infallible>>>>;

impl Service<Request<Incoming>> for Chain {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answering {
        match self {
            Self::End(forward) => {
                let forwarded = forward.call(request);
                Box::pin(async { forwarded.await.map(|response| response.map(Content::Own)) })
            }
            Self::Link(limited) => {
                let limited = limited.call(request);
                Box::pin(async { limited.await.map(|response| response.map(|body| Content::InTurn(Box::new(body)))) })
            }
        }
    }
}
