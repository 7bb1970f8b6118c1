//! [`Chain`]: limits that are counted in a store, asked one after the other.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use tollgate::http::AnyBody;
use tollgate::{RateLimit, RateLimitLayer, RedisLimiter};
use tower_layer::Layer as _;
use tower_service::Service;

use super::content::Content;
use super::forward::Forward;
use super::metrics::Durations;
use crate::rules::LimitKey;

/// Limits that are counted in a store, in front of what forwards. Each is asked after the one before has let the request pass.
#[derive(Clone)]
pub(super) enum Chain {
    End(Forward),
    Link(Box<Link>),
}

/// A limit, and what stands behind it.
#[derive(Clone)]
pub(super) struct Link {
    limited: RateLimit<AnyBody<Chain>, RateLimitLayer<LimitKey, RedisLimiter>>,
    durations: Arc<Durations>,
}

impl Chain {
    /// The first of the layers is asked first.
    pub(super) fn new(
        layers: &[RateLimitLayer<LimitKey, RedisLimiter>],
        forward: Forward,
        durations: &Arc<Durations>,
    ) -> Self {
        layers.iter().rev().fold(Self::End(forward), |behind, layer| {
            let limited = layer.clone().any_body().layer(behind);
            Self::Link(Box::new(Link { limited, durations: durations.clone() }))
        })
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(forward) => forward.fmt(f),
            Self::Link(link) => f.debug_tuple("Link").field(link.limited.get_ref()).finish(),
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

    fn call(&mut self, mut request: Request<Incoming>) -> Answering {
        // The limit before this has let it pass.
        if let Some(asked) = request.extensions_mut().remove::<Asked>() {
            asked.is_answered();
        }
        match self {
            Self::End(forward) => {
                let forwarded = forward.call(request);
                Box::pin(async { forwarded.await.map(|response| response.map(Content::Own)) })
            }
            Self::Link(link) => {
                let asked = Asked::new(link.durations.clone());
                request.extensions_mut().insert(asked.clone());
                let mut limited = Box::pin(link.limited.call(request));
                Box::pin(async move {
                    let response = poll_fn(|cx| {
                        let polled = limited.as_mut().poll(cx);
                        if polled.is_pending() {
                            asked.waits()
                        } else {
                            asked.is_answered()
                        }
                        polled
                    });
                    response.await.map(|response| response.map(|body| Content::InTurn(Box::new(body))))
                })
            }
        }
    }
}

/// A question to the store, whose time is taken. What is answered without waiting was answered here, and does not count.
#[derive(Clone, Debug)]
struct Asked {
    since: Instant,
    durations: Arc<Durations>,
    /// One task has all clones: relaxed.
    state: Arc<AtomicU8>,
}

impl Asked {
    const BEGUN: u8 = 0;
    const WAITS: u8 = 1;
    const OVER: u8 = 2;

    fn new(durations: Arc<Durations>) -> Self {
        Self { since: Instant::now(), durations, state: Arc::new(AtomicU8::new(Self::BEGUN)) }
    }

    fn waits(&self) {
        let _ = self.state.compare_exchange(Self::BEGUN, Self::WAITS, Relaxed, Relaxed);
    }

    fn is_answered(&self) {
        if self.state.swap(Self::OVER, Relaxed) == Self::WAITS {
            self.durations.count(self.since.elapsed());
        }
    }
}
