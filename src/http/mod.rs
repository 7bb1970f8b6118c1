//! The Tower door: [`RateLimitLayer`] around any service that answers with [`http::Response`].
//!
//! # gRPC
//!
//! A request whose content type is `application/grpc` (or gRPC-Web) is answered the gRPC way when it is over the limit:
//! HTTP 200 and, in the only header block, `grpc-status: 8` (RESOURCE_EXHAUSTED), a message, and
//! `grpc-retry-pushback-ms`. A bare 429 would reach gRPC clients as UNAVAILABLE. A client without a retry policy of its own
//! (as tonic's is) finds the pushback in the status's metadata.
//!
//! # Watching
//!
//! [`Counters`] count what became of requests, hooks are told of denials, and the feature `metrics` counts by the facade
//! of that name; see [`RateLimitLayer`](RateLimitLayer#watching). At most once a second, each limiter logs how many
//! requests it denied (`tracing`, target `tollgate`, level `INFO`).
//!
//! The limiter's answer carries the [`Denied`](crate::Denied) in its extensions, so that a metrics layer outside can tell
//! it from the application's own responses and leave it out of what an autoscaler reads.

mod any_body;
mod body;
mod by_quota;
mod counters;
mod decide;
mod denials;
mod future;
mod gate;
mod grpc;
mod headers;
mod key;
mod layer;
mod meter;
#[cfg(feature = "metrics")]
mod metrics;
mod observers;
mod outcome;
mod rollout;
mod scope;
mod service;
mod settings;

pub use key::{
    AnyKey, BearerToken, ClientIp, CookieKey, Decoded, ExtensionKey, GlobalKey, HeaderKey, HostKey, PeerAddr,
};
pub use key::{ExtractorError, KeyExtractor, NoKey, Reason, first_of};
#[cfg(feature = "axum")]
pub use key::{MethodRouteKey, PathParam, RouteKey};

pub use any_body::{AnyBody, AnyBodyFuture, AnyBodyLayer};
pub use body::{AnswerBody, ResponseBody};
pub use counters::{Counters, LimiterCounts, QuotaCounts};
pub use denials::{DenialBody, WhenNoKey};
pub use future::ResponseFuture;
pub use headers::{Headers, ResetFormat};
pub use layer::RateLimitLayer;
pub use rollout::{PercentError, Rollout};
pub use service::RateLimit;
