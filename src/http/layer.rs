//! [`RateLimitLayer`]: the settings of the door, and the limiter that all its services share.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use tower_layer::Layer;

use super::headers::Headers;
use super::key::{ClientIp, KeyExtractor};
use super::reject::{Answers, Body, WhenNoKey};
use super::service::{RateLimit, Shared};
use super::settings::Settings;
use super::watch::log_last_words;
use crate::decision::Denied;
use crate::limiter::RateLimiter;
use crate::policy::IntoPolicy;
use crate::quota::Quota;

/// Limits requests before they reach a service, and answers those over the limit itself.
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
///
/// let app: Router = Router::new()
///     .route("/api/fib/{n}", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_second(28));
/// # let _ = app;
/// ```
///
/// A layer has one limiter. Cloning the layer, or layering several services or routes with it, shares that limiter and so
/// the limit; two layers built separately never share. [`RateLimitLayer::sharing`] shares a limiter with other layers and
/// with direct calls.
///
/// By default requests are counted by the address at the other end of the connection ([`ClientIp`]), and one over the limit
/// is answered `429 Too Many Requests` with `Retry-After` and a line of text. gRPC requests get their own form of that
/// answer, see [`http`](crate::http#grpc).
#[derive(Debug)]
pub struct RateLimitLayer<K = ClientIp> {
    limiter: RateLimiter,
    key: Arc<K>,
    answers: Arc<Answers>,
    settings: Settings,
}

impl<K> Clone for RateLimitLayer<K> {
    fn clone(&self) -> Self {
        let Self { limiter, key, answers, settings } = self;
        Self { limiter: limiter.clone(), key: key.clone(), answers: answers.clone(), settings: settings.clone() }
    }
}

impl RateLimitLayer {
    /// `amount` per second for each client address.
    ///
    /// # Panics
    ///
    /// If `amount` is above 10⁹, as [`Quota::per_second`].
    #[track_caller]
    pub fn per_second(amount: u64) -> Self {
        Self::new(Quota::per_second(amount))
    }

    /// `amount` per minute for each client address.
    ///
    /// # Panics
    ///
    /// As [`Quota::per_minute`].
    #[track_caller]
    pub fn per_minute(amount: u64) -> Self {
        Self::new(Quota::per_minute(amount))
    }

    /// `amount` per hour for each client address.
    ///
    /// # Panics
    ///
    /// As [`Quota::per_hour`].
    #[track_caller]
    pub fn per_hour(amount: u64) -> Self {
        Self::new(Quota::per_hour(amount))
    }

    /// `amount` per day for each client address.
    ///
    /// # Panics
    ///
    /// As [`Quota::per_day`].
    #[track_caller]
    pub fn per_day(amount: u64) -> Self {
        Self::new(Quota::per_day(amount))
    }

    /// A policy for each client address, with a limiter of its own.
    ///
    /// To give limits as text, parse them first: `RateLimitLayer::new("5/minute; 100/day".parse::<Policy>()?)`.
    pub fn new(policy: impl IntoPolicy) -> Self {
        Self::sharing(&RateLimiter::new(policy))
    }

    /// A layer that charges this limiter, which other layers and direct calls may charge too.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimitLayer, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(28)).capacity(10_000).build();
    /// let layer = RateLimitLayer::sharing(&limiter);
    /// # let _ = layer;
    /// ```
    pub fn sharing(limiter: &RateLimiter) -> Self {
        Self {
            answers: Arc::new(Answers::new()),
            limiter: limiter.clone(),
            key: Arc::new(ClientIp::default()),
            settings: Settings::default(),
        }
    }
}

impl<K> RateLimitLayer<K> {
    /// Counts by something else than the peer's address: another extractor of [`http::key`](crate::http), a pair or triple
    /// of them, or a closure.
    ///
    /// ```
    /// use http::request::Parts;
    /// use tollgate::RateLimitLayer;
    ///
    /// let by_tenant = |head: &Parts| head.uri.host().map(str::to_owned);
    /// let layer = RateLimitLayer::per_minute(600).key(by_tenant);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn key<K2: KeyExtractor>(self, key: K2) -> RateLimitLayer<K2> {
        let Self { limiter, answers, settings, .. } = self;
        RateLimitLayer { limiter, key: Arc::new(key), answers, settings }
    }

    /// What happens to a request that has no key. Without this, it is refused.
    #[must_use]
    pub fn when_no_key(self, when: WhenNoKey) -> Self {
        self.answering(|answers| answers.when_no_key = when)
    }

    /// Tells clients where they stand, in these headers, on denials. Without this, denials carry `Retry-After` alone.
    /// (A gRPC denial has gRPC's own headers instead.)
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.answering(|answers| answers.headers = headers)
    }

    /// Sends the [`headers`](Self::headers) on every response that the limiter let pass, too. (`Retry-After` stays on
    /// denials alone.) Of several layers around each other the outermost one's are sent, but a denial's stay as they are.
    #[must_use]
    pub fn headers_on_every_response(self) -> Self {
        self.answering(|answers| answers.headers_when_allowed = true)
    }

    /// Adds a fixed header to denials, gRPC's too, as Envoy's `response_headers_to_add` does. It is set last, and replaces
    /// one of the same name, be it the limiter's own.
    #[must_use]
    pub fn denial_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.answering(|answers| answers.extra.push((name, value)))
    }

    /// The body of denials over plain HTTP: a line of text unless set. A [`denial_response`](Self::denial_response) goes
    /// before it.
    #[must_use]
    pub fn denial_body(self, body: Body) -> Self {
        self.answering(|answers| answers.body = body)
    }

    /// Builds denials by a closure. Its status becomes 429 and the limiter's headers are set after it, so it
    /// cannot lose them. It is called for plain HTTP only; gRPC clients would not see it.
    ///
    /// ```
    /// use http::{HeaderValue, Response, header::CONTENT_TYPE};
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28).denial_response(|denied, _head| {
    ///     let body = format!("{{\"limit\":{}}}", denied.status().limit());
    ///     let mut response = Response::new(body.into());
    ///     response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ///     response
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn denial_response<F>(self, build: F) -> Self
    where
        F: Fn(&Denied, &Parts) -> Response<bytes::Bytes> + Send + Sync + 'static,
    {
        self.answering(|answers| answers.build = Some(Arc::new(build)))
    }

    fn answering(mut self, change: impl FnOnce(&mut Answers)) -> Self {
        change(Arc::make_mut(&mut self.answers));
        self
    }

    pub(super) fn setting(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// What all services made by this layer now share.
    pub(super) fn shared(&self) -> Shared<K> {
        let Self { limiter, key, answers, settings } = self.clone();
        let watchers = settings.audience.watchers(&limiter.policy());
        limiter.reports().last_words(|| {
            let name = settings.audience.name.clone();
            move |unreported| log_last_words(name.as_deref(), unreported)
        });
        Shared { limiter, key, answers, settings, watchers }
    }

    /// The limiter that this layer charges.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }
}

impl<S, K> Layer<S> for RateLimitLayer<K> {
    type Service = RateLimit<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.shared())
    }
}
