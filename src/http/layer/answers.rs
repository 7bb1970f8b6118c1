//! What clients and handlers are told.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::decision::Denied;
use crate::http::denials::{DenialBody, WhenNoKey};
use crate::http::headers::Headers;

/// # Answers
///
/// Every answer of the layer's own carries `Cache-Control: no-store`. So no cache gives one client's answer to others.
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// What happens to a request that has no key. Without this, it is refused.
    #[must_use]
    pub fn when_no_key(self, when: WhenNoKey) -> Self {
        self.setting(|settings| settings.when_no_key = when)
    }

    /// Tells clients where they stand, in these headers, on denials. Without this, denials carry only `Retry-After`.
    /// (A gRPC denial has gRPC's own headers instead.)
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::Headers;
    ///
    /// let layer = RateLimitLayer::per_minute(100)
    ///     .headers(Headers::Draft)
    ///     .headers_on_every_response();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.setting(|settings| Arc::make_mut(&mut settings.telling).headers = headers)
    }

    /// Sends the [`headers`](Self::headers) also on the responses to requests that passed. (`Retry-After` stays on
    /// denials.) Where several layers stand around each other, the outermost one's are sent. A denial keeps its own.
    #[must_use]
    pub fn headers_on_every_response(self) -> Self {
        self.setting(|settings| Arc::make_mut(&mut settings.telling).on_every_response = true)
    }

    /// Adds a fixed header to denials, gRPC's too, as Envoy's `response_headers_to_add` does. It is set last, and replaces
    /// a header of the same name, even the limiter's own. But no denial loses its `Cache-Control: no-store`, and none keeps
    /// a header by which a cache would store it all the same (`CDN-Cache-Control`, `Surrogate-Control`, `X-Accel-Expires`).
    #[must_use]
    pub fn denial_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.setting(|settings| settings.denials.extra.push((name, value)))
    }

    /// Answers denials over plain HTTP with this text, as `text/plain`. Without this, the text is `too many requests` and a
    /// line's end. If [`denial_response`](Self::denial_response) is set too, that counts.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(29).denial_text("slow down\n");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn denial_text(self, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        self.setting(|settings| settings.denials.body = DenialBody::text(text))
    }

    /// Answers denials over plain HTTP with this body of this content type. If [`denial_response`](Self::denial_response) is set
    /// too, that counts.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tollgate::RateLimitLayer;
    ///
    /// // As Envoy's local_ratelimit answers, without a character set.
    /// let text = HeaderValue::from_static("text/plain");
    /// let layer = RateLimitLayer::per_second(29)
    ///     .denial_body(text, "local_rate_limited");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn denial_body(self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.setting(|settings| settings.denials.body = DenialBody::Fixed(content_type, body))
    }

    /// Answers denials over plain HTTP with a problem document (`application/problem+json`, RFC 9457) of the type
    /// `quota-exceeded`, which names the quota that denied. If [`denial_response`](Self::denial_response) is set too, that
    /// counts.
    #[must_use]
    pub fn denial_problem(self) -> Self {
        self.setting(|settings| settings.denials.body = DenialBody::ProblemJson)
    }

    /// Builds denials by a closure. The status becomes 429 and the limiter's headers are set after it, so the closure
    /// cannot lose them. Headers by which a cache would store the answer are removed. It is called for plain HTTP only, since
    /// gRPC clients would not see its response.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::request::Parts;
    /// use http::{HeaderValue, Response, header::CONTENT_TYPE};
    /// use tollgate::{Denied, RateLimitLayer};
    ///
    /// fn as_json(denied: &Denied, _head: &Parts) -> Response<Bytes> {
    ///     let body = format!("{{\"limit\":{}}}", denied.status().limit());
    ///     let mut response = Response::new(body.into());
    ///     let json = HeaderValue::from_static("application/json");
    ///     response.headers_mut().insert(CONTENT_TYPE, json);
    ///     response
    /// }
    ///
    /// let layer = RateLimitLayer::per_second(28).denial_response(as_json);
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
    /// `application/grpc` gets [gRPC's own form](crate::http#grpc) of each answer. Set this where no gRPC is served. Then a
    /// client that only says it speaks gRPC is told the same as all others.
    #[must_use]
    pub fn without_grpc(self) -> Self {
        self.setting(|settings| settings.denials.grpc = false)
    }

    /// Tells the handler where its client stands. Each request that was counted and passed carries a
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
    /// A request that passes uncounted carries none: one that is exempt, one that costs nothing, and one that
    /// [shadow mode](Self::shadow) let pass. So take an `Option<Extension<Standing>>` where there are such.
    #[must_use]
    pub fn tell_handler(self) -> Self {
        self.setting(|settings| settings.tells_handler = true)
    }

    /// This layer's answer to a request that was denied elsewhere, by a direct call such as [`check_all`](crate::check_all):
    /// with the headers and body that are set here, and in gRPC's form for gRPC. Nobody is told of the denial, and nothing is
    /// logged.
    ///
    /// ```
    /// use http::Request;
    /// use tollgate::{Quota, RateLimitLayer, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_minute(1));
    /// let answers = RateLimitLayer::sharing(&limiter);
    ///
    /// limiter.check("alice")?;
    /// let (head, ()) = Request::new(()).into_parts();
    /// if let Err(denied) = limiter.check("alice") {
    ///     let response = answers.denial(denied, head);
    ///     assert_eq!(response.status(), 429);
    ///     assert_eq!(response.headers()["retry-after"], "60");
    /// }
    /// # Ok::<(), tollgate::Denied>(())
    /// ```
    ///
    /// The draft's headers tell of this layer's own policy.
    pub fn denial(&self, denied: Denied, mut head: Parts) -> Response<Bytes> {
        let settings = &self.gate.settings;
        let limiter = settings.limiter.limiter();
        let told = settings.telling.when_denied(&denied, limiter, limiter.current_plan());
        settings.denials.answer(&denied, &mut head, told)
    }
}
