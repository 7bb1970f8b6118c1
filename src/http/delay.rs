//! [`RateDelay`]: the service that lets requests over the limit wait, within bounds, before it denies them.

use std::fmt;
use std::mem;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::key::{ClientIp, KeyExtractor};
use super::layer::RateLimitLayer;
use super::service::{Decision, Question, Shared};
use crate::limiter::RateLimiter;
use crate::wait::{Arrival, Ask, InLine};

/// How long requests may be delayed, and how many.
///
/// ```
/// use std::time::Duration;
/// use tollgate::http::Delay;
///
/// let delay = Delay::up_to(Duration::from_millis(500)).waiters(1000);
/// # let _ = delay;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Delay {
    bound: Duration,
    waiters_max: Option<usize>,
}

impl Delay {
    /// A request may be delayed so long, and is denied at once if it would take longer.
    pub fn up_to(bound: Duration) -> Self {
        Self { bound, waiters_max: None }
    }

    /// A request is denied at once where so many wait already for the same limiter, for all keys together.
    ///
    /// The limiter's own [bound](crate::RateLimiterBuilder::waiters) holds in any case, and is the only one unless this
    /// is lower. Of one key, no more wait than pass within the time that they may be delayed, so one client
    /// alone can take many places only where its limit is as high.
    pub fn waiters(self, waiters: usize) -> Self {
        Self { waiters_max: Some(waiters), ..self }
    }
}

impl<K> RateLimitLayer<K> {
    /// Delays requests over the limit, first come first served, instead of denying them, as long as that takes no longer
    /// than allowed. This comes last: all else is set before it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use tollgate::{Quota, RateLimitLayer};
    /// use tollgate::http::Delay;
    ///
    /// // 10 at once, 10 per second from then on, in an even flow: at most 5 wait for each client.
    /// let limit = RateLimitLayer::new(Quota::per_second(10));
    /// let app: Router = Router::new()
    ///     .route("/search", get(|| async { "results" }))
    ///     .layer(limit.delay(Delay::up_to(Duration::from_millis(500))));
    /// # let _ = app;
    /// ```
    ///
    /// A request takes its place in the queue of its key when the service is called. Who would have to wait too long, and
    /// so could not be served in time, gets the usual denial at once; its `Retry-After` counts those who wait.
    /// What the queue does and does not promise is said in [`wait`](crate::wait).
    ///
    /// Under [shadow mode](Self::shadow), and where a [rollout](Self::rollout) does not act, nothing is delayed: a request
    /// that would be delayed or denied passes, uncharged, and is reported as shadow-denied. Requests that
    /// [`when`](Self::when) leaves to another layer are decided as that one says, without delay.
    pub fn delay(self, delay: Delay) -> RateDelayLayer<K> {
        RateDelayLayer { layer: self, delay }
    }
}

/// A [`RateLimitLayer`] that delays requests before it denies them. Made by [`RateLimitLayer::delay`].
///
/// Cloning it, or layering several services with it, shares the limiter and its queues.
#[derive(Debug)]
#[must_use]
pub struct RateDelayLayer<K = ClientIp> {
    layer: RateLimitLayer<K>,
    delay: Delay,
}

impl<K> Clone for RateDelayLayer<K> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), delay: self.delay }
    }
}

impl<K> RateDelayLayer<K> {
    /// The limiter that this layer charges.
    pub fn limiter(&self) -> &RateLimiter {
        self.layer.limiter()
    }
}

impl<S, K> Layer<S> for RateDelayLayer<K> {
    type Service = RateDelay<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RateDelay { inner, shared: Arc::new(self.layer.shared()), delay: self.delay }
    }
}

/// Delays the requests to a service, within bounds. Made by [`RateDelayLayer`].
///
/// # Tower's contract
///
/// As for [`RateLimit`](super::RateLimit). The instance that was ready when a request came waits with it and is the one
/// that is called; a clone takes its place. So a request that waits holds on to what that readiness has reserved, as a slot
/// of a concurrency limit inside this layer. Where the reserved is scarce, put it outside.
///
/// A response future that is dropped while it waits gives its place and the readiness back, and has charged nothing.
///
/// # Panics
///
/// [`call`](Service::call) panics where a request has to wait outside a tokio runtime that has its timers enabled.
#[derive(Debug)]
pub struct RateDelay<S, K = ClientIp> {
    inner: S,
    shared: Arc<Shared<K>>,
    delay: Delay,
}

impl<S: Clone, K> Clone for RateDelay<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone(), delay: self.delay }
    }
}

impl<S, K> RateDelay<S, K> {
    /// The service behind this one.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service behind this one.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, B, B2> Service<Request<B>> for RateDelay<S, K>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    K: KeyExtractor,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = RateDelayFuture<S, B, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let state = match self.shared.decide_or_delay(&head, self.delay) {
            ControlFlow::Continue((line, limiter)) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                State::Waiting { line, held: Some(Held { ready, head, body, shared: self.shared.clone(), limiter }) }
            }
            ControlFlow::Break(Decision::Continue(after)) => {
                State::decided(ResponseFuture::passed(self.inner.call(Request::from_parts(head, body)), after))
            }
            ControlFlow::Break(Decision::Break(response)) => {
                // Dropping the service that had become ready releases all that it reserved for the call that will not be.
                self.inner = self.inner.clone();
                State::decided(ResponseFuture::answered(response))
            }
        };
        RateDelayFuture { state }
    }
}

impl<K: KeyExtractor> Shared<K> {
    /// A place in the queue, or a decision that is made at once.
    fn decide_or_delay(&self, head: &Parts, delay: Delay) -> ControlFlow<Decision, (InLine, RateLimiter)> {
        let Question { limiter, fingerprint, cost } = self.ask(head)?;
        let limiter = limiter.into_owned();
        let mut bounds = limiter.engine().queues().bounds();
        bounds.all = bounds.all.min(delay.waiters_max.unwrap_or(usize::MAX));
        match (Ask { limiter: limiter.clone(), fingerprint, cost }).arrive(Some(delay.bound), bounds) {
            Ok(Arrival::Passed(reservation)) => ControlFlow::Break(self.reserved(reservation)),
            Ok(Arrival::Waits(line, _)) if self.settings.acts() => ControlFlow::Continue((line, limiter)),
            Ok(Arrival::Waits(_, denied)) => ControlFlow::Break(self.let_pass(&denied, head, &limiter)),
            Err(not_ready) => ControlFlow::Break(self.denied(not_ready.denied, head, &limiter)),
        }
    }
}

pin_project! {
    /// The response of a [`RateDelay`].
    pub struct RateDelayFuture<S, B, K = ClientIp>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future, K>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F, K> {
        Waiting { #[pin] line: InLine, held: Option<Held<S, B, K>> },
        Decided { #[pin] response: ResponseFuture<F> },
    }
}

/// What waits with a request.
struct Held<S, B, K> {
    /// The service that was ready for it.
    ready: S,
    head: Parts,
    body: B,
    shared: Arc<Shared<K>>,
    /// The limiter on the request's plan.
    limiter: RateLimiter,
}

impl<S, B, F, K> State<S, B, F, K> {
    fn decided(response: ResponseFuture<F>) -> Self {
        Self::Decided { response }
    }
}

impl<S, B, B2, K> Future for RateDelayFuture<S, B, K>
where
    S: Service<Request<B>, Response = Response<B2>>,
    K: KeyExtractor,
{
    type Output = Result<Response<ResponseBody<B2>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project().state.project() {
                StateProjection::Waiting { line, held } => {
                    let answer = ready!(line.poll(cx));
                    let Held { mut ready, head, body, shared, limiter } =
                        held.take().expect("a future is not polled after it has panicked");
                    let decision = match answer {
                        Ok(reservation) => shared.reserved(reservation),
                        Err(not_ready) => shared.refuse(not_ready.denied, &head, &limiter),
                    };
                    let response = match decision {
                        Decision::Continue(after) => {
                            ResponseFuture::passed(ready.call(Request::from_parts(head, body)), after)
                        }
                        Decision::Break(response) => ResponseFuture::answered(response),
                    };
                    self.as_mut().project().state.set(State::decided(response));
                }
                StateProjection::Decided { response } => return response.poll(cx),
            }
        }
    }
}

impl<S: Service<Request<B>>, B, K> fmt::Debug for RateDelayFuture<S, B, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = matches!(self.state, State::Waiting { .. });
        f.debug_struct("RateDelayFuture").field("waits", &waits).finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for crate::wait::NotReady {
    /// That of its [`denied`](Self::denied).
    fn into_response(self) -> axum::response::Response {
        self.denied.into_response()
    }
}
