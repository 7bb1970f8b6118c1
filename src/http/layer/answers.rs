//! What clients and handlers are told.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::decision::Denied;
use crate::http::denials::{DenialBody, WhenNoKey};
use crate::http::headers::Headers;

/// # Answers
///
/// Whatever the layer answers by itself carries `Cache-Control: no-store`, so that no cache gives one client's answer to
/// others.
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// What happens to a request that has no key. Without this, it is refused.
    #[must_use]
    pub fn when_no_key(self, when: WhenNoKey) -> Self {
        self.setting(|settings| settings.when_no_key = when)
    }

    /// Tells clients where they stand, in these headers, on denials. Without this, denials carry `Retry-After` alone.
    /// (A gRPC denial has gRPC's own headers instead.)
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.setting(|settings| Arc::make_mut(&mut settings.telling).headers = headers)
    }

    /// Sends the [`headers`](Self::headers) on every response that the limiter let pass, too. (`Retry-After` stays on
    /// denials alone.) Of several layers around each other the outermost one's are sent, but a denial's stay as they are.
    #[must_use]
    pub fn headers_on_every_response(self) -> Self {
        self.setting(|settings| Arc::make_mut(&mut settings.telling).on_every_response = true)
    }

    /// Adds a fixed header to denials, gRPC's too, as Envoy's `response_headers_to_add` does. It is set last, and replaces
    /// one of the same name, be it the limiter's own; but no denial loses its `Cache-Control: no-store`.
    #[must_use]
    pub fn denial_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.setting(|settings| settings.denials.extra.push((name, value)))
    }

    /// The body of denials over plain HTTP: a line of text unless set. A [`denial_response`](Self::denial_response) goes
    /// before it.
    #[must_use]
    pub fn denial_body(self, body: DenialBody) -> Self {
        self.setting(|settings| settings.denials.body = body)
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
        self.setting(|settings| settings.denials.build = Some(Arc::new(build)))
    }

    /// Answers gRPC requests like any other, with a bare `429`. Without this, a `POST` whose content type is
    /// `application/grpc` gets [gRPC's own form](crate::http#grpc) of each answer. Set this where no gRPC is served, and
    /// a client that says it speaks gRPC is to be told nothing else than others.
    #[must_use]
    pub fn without_grpc(self) -> Self {
        self.setting(|settings| settings.denials.grpc = false)
    }

    /// Tells the handler where its client stands: each request that was counted and passed carries a
    /// [`Standing`](crate::Standing) in its extensions, with all quotas of the policy.
    ///
    /// ```
    /// use axum::{Extension, Router, routing::get};
    /// use tollgate::{RateLimitLayer, Standing};
    ///
    /// async fn account(Extension(standing): Extension<Standing>) -> String {
    ///     let tightest = standing.tightest();
    ///     format!("{} of {} left", tightest.remaining(), tightest.limit())
    /// }
    ///
    /// let app: Router = Router::new()
    ///     .route("/account", get(account))
    ///     .layer(RateLimitLayer::per_minute(60).tell_handler());
    /// # let _ = app;
    /// ```
    ///
    /// A request that passes uncounted carries none: one that is exempt or costs nothing, or that
    /// [shadow mode](Self::shadow) let pass.
    #[must_use]
    pub fn tell_handler(self) -> Self {
        self.setting(|settings| settings.tells_handler = true)
    }
}
