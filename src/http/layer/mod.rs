//! [`RateLimitLayer`]: what is set on the door, and the limiter that all its services share.
//!
//! Here are the setters and what they promise. How it is done is in the files beside this folder.

use std::fmt;
use std::sync::Arc;

pub use self::joint::JointLayer;
use super::any_body::AnyBody;
use super::gate::Gate;
use super::key::ClientIp;
use super::scope::Scope;
use super::settings::Settings;
use crate::backend::Backend;
use crate::limiter::RateLimiter;

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
/// Each client has 28 per second here, over all routes together. By default, a client is the address at the other
/// end of the connection ([`ClientIp`]). In axum, serve with `app.into_make_service_with_connect_info::<SocketAddr>()`, so
/// that this address is known. A request over the limit is answered `429 Too Many Requests` with `Retry-After` and a line of
/// text. gRPC requests get [gRPC's form](crate::http#grpc) of that answer.
///
/// A layer has one limiter. Clones of the layer share it, and so do all services and routes that are layered with one layer.
/// Two layers that were built separately share nothing. [`RateLimitLayer::sharing`] shares a limiter with other layers and
/// with direct calls.
pub struct RateLimitLayer<K = ClientIp, L = RateLimiter> {
    pub(super) gate: Arc<Gate<K, L>>,
}

impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Lets the layer stand around services with any response body. It wraps the body in a
    /// [`ResponseBody`](super::ResponseBody). Call this last: all else is set before it.
    ///
    /// Without this, the response keeps its type. Then its body must be able to hold the limiter's answers
    /// ([`AnswerBody`](super::AnswerBody)), as axum's, tonic's, `BoxBody` and `UnsyncBoxBody` can.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use tollgate::RateLimitLayer;
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// async fn hello(
    ///     _: Request<()>,
    /// ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    ///     Ok(Response::new("hello".into()))
    /// }
    ///
    /// let service = ServiceBuilder::new()
    ///     .layer(RateLimitLayer::per_second(28).any_body())
    ///     .service(service_fn(hello));
    /// # let _ = service;
    /// ```
    ///
    /// Layers between the service and this one may change the body. Of tower-http's, `CorsLayer` and `TimeoutLayer` do
    /// not. `CompressionLayer`, `TraceLayer` and `CatchPanicLayer` do, and need this where they stand inside the limit. An
    /// axum router makes every body its own again after each layer.
    ///
    /// An `option_layer` needs one type of body, whether there is a limit or none. So in a `ServiceBuilder` put those layers
    /// outside of an optional limit, as the example `stack` does. Then this is not needed.
    ///
    /// Without it the compiler refuses, and names it:
    ///
    /// ```compile_fail
    /// # use bytes::Bytes;
    /// # use http::{Request, Response};
    /// # use http_body_util::Full;
    /// # use tollgate::RateLimitLayer;
    /// # use tower::{Service, ServiceBuilder, service_fn};
    /// # async fn hello(
    /// #     _: Request<()>,
    /// # ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    /// #     Ok(Response::new("hello".into()))
    /// # }
    /// let mut service = ServiceBuilder::new()
    ///     .layer(RateLimitLayer::per_second(28))
    ///     .service(service_fn(hello));
    /// let answer = service.call(Request::new(()));
    /// ```
    #[must_use]
    pub fn any_body(self) -> AnyBody<Self> {
        AnyBody::new(self)
    }

    /// Changes what is set beside scope and key.
    fn setting(mut self, change: impl FnOnce(&mut Settings<L>)) -> Self {
        Arc::make_mut(&mut self.gate).change(|_, settings| change(settings));
        self
    }

    /// Changes which requests are counted.
    fn scoping(mut self, change: impl FnOnce(&mut Scope<L>)) -> Self {
        Arc::make_mut(&mut self.gate).change(|scope, _| change(scope));
        self
    }
}

impl<K, L> Clone for RateLimitLayer<K, L> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone() }
    }
}

impl<K: fmt::Debug, L: fmt::Debug> fmt::Debug for RateLimitLayer<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gate { key, scope, settings, .. } = &*self.gate;
        f.debug_struct("RateLimitLayer").field("key", key).field("scope", scope).field("settings", settings).finish()
    }
}

// From common to rare, which is the order in which the documentation shows them, before what is in this file. (An empty line
// keeps one from being sorted with the next.)
mod constructors;

mod answers;

mod scope;

#[cfg(feature = "axum")]
mod routes;

mod joint;

mod watching;

mod charge;

mod rollout;

#[cfg(feature = "tokio")]
mod delay;

mod admin;
