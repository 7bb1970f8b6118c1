//! The Tower layer's parts: what requests are counted by, and what clients and operators are told.
//!
//! [`RateLimitLayer`] stands around any service that answers with an `http::Response`.
//!
//! | about | items |
//! |---|---|
//! | What a request is counted by | [`ClientIp`], [`ExtensionKey`], [`BearerToken`], [`HeaderKey`], [`CookieKey`], [`HostKey`], [`GlobalKey`], closures, pairs and triples: see [`KeyExtractor`] |
#![cfg_attr(feature = "axum", doc = "| The same, as axum knows it | [`RouteKey`], [`MethodRouteKey`], [`PathParam`] |")]
//! | Several limits judged as one | [`RateLimitLayer::and`], [`JointLayer`] |
//! | Putting keys together | [`first_of`], [`AnyKey`] |
//! | Which addresses are meant | [`Networks`] |
//! | A request without a key | [`NoKey`], [`WhenNoKey`] |
//! | What a client is told | [`Headers`], [`denial_text`](RateLimitLayer::denial_text), [`denial_body`](RateLimitLayer::denial_body), [`denial_problem`](RateLimitLayer::denial_problem) |
//! | Counting and introducing limits | [`Counters`], [`Rollout`] |
//! | The response's body | [`AnswerBody`], [`ResponseBody`] |
//!
//! # gRPC
//!
//! A `POST` whose content type is `application/grpc` (or gRPC-Web) is answered in gRPC's way when it is over the limit:
//! HTTP 200 and, in the only header block, `grpc-status: 8` (RESOURCE_EXHAUSTED), a message, and
//! `grpc-retry-pushback-ms`. A bare 429 would reach gRPC clients as UNAVAILABLE. A client without a retry policy of its own,
//! as tonic's, finds the pushback in the status's metadata.
//!
//! A method has a limit of its own by its path, of which a gRPC server knows one spelling:
//!
//! ```
//! use tollgate::RateLimitLayer;
//!
//! // 28 calls per second for each client, and 5 new streams a minute, which
//! // are counted by themselves.
//! let limit = RateLimitLayer::per_second(28).when(
//!     |head| head.uri.path() == "/grpc.health.v1.Health/Watch",
//!     RateLimitLayer::per_minute(5),
//! );
//! # let _ = limit;
//! ```
//!
//! With the feature `tonic`, this goes around a tonic server (`Server::builder().layer(limit)`) or around one of its services
//! (`add_service(limit.layer(service))`, by `tower::Layer`), and knows the peer's address by itself. The example `tonic` does the
//! former.
//!
//! A client chooses its content type, and with it this form. The answer carries `Cache-Control: no-store`, so nobody else
//! receives it. Where no gRPC is served, switch it off by [`RateLimitLayer::without_grpc`].
//!
//! # Watching
//!
//! [`Counters`] count what became of requests. Hooks are told of denials. The feature `metrics` counts by the facade of that
//! name. See [`RateLimitLayer`](RateLimitLayer#watching).
//!
//! Each limiter logs its denials by `tracing` (target `tollgate`, level `INFO`): in each second the 1st, the 10th, the 100th
//! and so on. Each line says how many there were since the last one. No key is ever logged.
//!
//! A denial carries the [`Denied`](crate::Denied) in its extensions. So a metrics layer outside can tell it from the
//! application's own responses, and leave it out of what an autoscaler reads.

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
mod joint;
mod key;
mod layer;
mod member;
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
    AnyKey, BearerToken, ClientIp, CookieKey, Decoded, ExtensionKey, GlobalKey, HeaderKey, HostKey, Networks, PeerAddr,
};
pub use key::{KeyExtractor, NoKey, first_of};
#[cfg(feature = "axum")]
pub use key::{MethodRouteKey, PathParam, RouteKey};

pub use any_body::AnyBody;
pub use body::{AnswerBody, ResponseBody};
pub use counters::{Counters, LimiterCounts};
pub use denials::WhenNoKey;
pub use headers::Headers;
pub use layer::{JointLayer, RateLimitLayer};
pub use rollout::Rollout;
pub use service::RateLimit;
