//! Rate limiting for Rust services: one limiter, to call directly or to wrap around HTTP services as a Tower layer.
//!
#![cfg_attr(feature = "axum", doc = include_str!("guide/first.md"))]
//!
//! Direct calls, with any hashable key:
//!
//! ```
//! use tollgate::{Quota, RateLimiter};
//!
//! let limiter = RateLimiter::new(Quota::per_minute(100));
//! let permit = limiter.check("alice")?;
//! assert_eq!(permit.status().remaining(), 99);
//! # Ok::<(), tollgate::Denied>(())
//! ```
//!
//! # Where to find what
//!
#![cfg_attr(
    feature = "tower",
    doc = "- [`RateLimitLayer`] is the Tower layer. [`http`] has what it counts by ([`ClientIp`] and others) and what it answers."
)]
//! - [`RateLimiter`] is what decides: [`check`](RateLimiter::check), [`check_n`](RateLimiter::check_n),
//!   [`peek`](RateLimiter::peek), [`reset`](RateLimiter::reset), [`reserve`](RateLimiter::reserve) and others. It answers
//!   [`Permit`] or [`Denied`]. Its page says how much memory it takes.
//! - [`Quota`] is how much in how long, how much at once, and by which algorithm. [`Policy`] is several quotas judged as one.
//!   Both can be parsed from text, such as `"5/minute; 100/day"`. A [`Plan`] is another policy for some keys.
#![cfg_attr(
    feature = "tokio",
    doc = "- [`until_ready`](RateLimiter::until_ready) waits instead of being denied, first come first served: see [`wait`]."
)]
//! - [`check_all`] judges several limits as one: all are charged, or none is.
#![cfg_attr(
    feature = "redis",
    doc = "- [`redis`] has limits that programs and machines share: [`RedisLimiter`], on a [`RedisStore`]."
)]
//! - [`Clock`] is the system's, or one moved by hand in tests.
#![cfg_attr(
    all(any(doc, doctest), feature = "axum", feature = "serde", feature = "tokio"),
    doc = "- [`guide`] has recipes: behind a proxy, per user with plans, failed logins, tests, and more."
)]
//!
//! # What it promises
//!
//! 1. Never more than `burst + rate·t` in any interval `t`, for any number of threads.
//! 2. A client that waits as long as [`Denied::retry_after`] says is admitted, if it is alone.
//! 3. A denial changes nothing, for any quota of the policy.
//! 4. Memory never exceeds the configured capacity, whatever keys arrive, and no check pauses to make room.
//! 5. Time that stands still or steps back delays admissions by as much, and admits nothing extra.
//! 6. Rates from 1 per 10 years to 10⁹ per second. A quota that cannot be kept is refused when it is built.
//!
//! Each has its tests in `tests/limiter/laws.rs`.
//!
//! # What it does not do
//!
//! - It does not share a limit between machines, unless by the feature `redis`: each process counts for itself.
//! - It does not keep limits across a restart of the program, unless they are on a server (feature `redis`).
//! - It does not bound how many requests run at the same time. Use tower's `ConcurrencyLimit` for that.
//! - It does not read what is in a body, and it does not slow down the bytes of a response.
//! - It does not know who a client is. It counts by what it is given: an address, or what the program has authenticated.
//! - It does not stop a flood of connections. A denial is cheap, but it is still an answer.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` (default) | the peer's address as axum tells it, keys by route and path parameter, and `Denied` as a response; includes `tower` |
//! | `tower` | the layer, for any service that answers with `http::Response` |
//! | `tonic` | the peer's address as tonic tells it; includes `tower` |
//! | `tokio` | waiting: `until_ready`, and with `tower` the layer's `delay` |
//! | `redis` | limits that programs and machines share through Redis or Valkey: see its module; includes `tokio`; needs Rust 1.88 |
//! | `redis-tls` | the same, to servers that speak TLS, by `rustls` |
//! | `serde` | quotas and policies in configuration files, as text or as tables |
//! | `metrics` | the layer's `metrics`: counters of the `metrics` facade; includes `tower` |
//!
//! Without default features this crate is the bare limiter, with four dependencies of its own. A feature adds items and
//! never changes what the rest does. A method that is missing may need its feature: each page says which.
#![cfg_attr(docsrs, feature(doc_cfg))]

// First, so that the page of `RateLimiter` begins with how one is made, before what other files add to it. (The empty line keeps
// it from being sorted with the rest.)
mod limiter;

mod account;
mod algorithm;
#[cfg(feature = "tower")]
mod backend;
mod clock;
mod decision;
mod demand;
mod engine;
mod error;
mod fingerprint;
#[cfg(all(any(doc, doctest), feature = "axum", feature = "serde", feature = "tokio"))]
#[cfg_attr(docsrs, doc(auto_cfg = false))] // the recipes are there for everybody who reads
pub mod guide;
#[cfg(feature = "tower")]
pub mod http;
mod key;
mod name;
mod offenders;
mod parse;
mod plan;
mod policy;
mod queue;
mod quota;
#[cfg(feature = "redis")]
pub mod redis;
mod reservation;
mod rules;
#[cfg(feature = "serde")]
mod serde;
mod setting_error;
mod table;
mod throttle;
#[cfg(feature = "tokio")]
pub mod wait;

pub use limiter::{RateLimiter, RateLimiterBuilder, Stats};
pub use table::WhenFull;

pub use quota::{Algorithm, Quota};

pub use policy::{IntoPolicy, Policy};

pub use error::PolicyError;

pub use plan::Plan;

pub use setting_error::SettingError;

pub use offenders::Offender;

pub use account::Account;

pub use demand::{Demand, DeniedDemand, check_all, reserve_all};

pub use reservation::{Reservation, SettleError};

pub use parse::ParseError;

pub use decision::{Denied, Permit, Standing, Status};

#[cfg(all(feature = "tower", feature = "tokio"))]
pub use backend::Delay;
#[cfg(feature = "tower")]
pub use backend::{Backend, Resize};

pub use clock::{Clock, ManualClock};

pub use key::{Key, KeyText};

#[cfg(feature = "redis")]
#[doc(inline)]
pub use self::redis::{RedisLimiter, RedisStore};

#[cfg(feature = "tokio")]
#[doc(inline)]
pub use wait::{NotReady, UntilReady};

#[cfg(feature = "tower")]
#[doc(inline)]
pub use http::{ClientIp, RateLimit, RateLimitLayer};

/// The README's examples, compiled and run.
#[cfg(all(doctest, feature = "axum", feature = "redis"))]
#[doc = include_str!("../README.md")]
struct Readme;
