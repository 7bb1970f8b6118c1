//! Rate limiting for Rust services.
//!
//! One limiter that a program calls directly or wraps around its HTTP services as a Tower layer:
//!
//! ```
//! use tollgate::{Quota, RateLimiter};
//!
//! let limiter = RateLimiter::new(Quota::per_minute(100));
//! let answer = limiter.check("alice");
//! assert_eq!(answer.unwrap().status().remaining(), 99);
//! ```
//!
//! # Where to find what
//!
//! - [`Quota`]: how much in how long, how much at once, by which algorithm. [`Policy`]: several quotas judged as one.
//!   Both can be parsed from strings such as `"5/minute; 100/day"`.
//! - [`RateLimiter`]: [`check`](RateLimiter::check), [`check_n`](RateLimiter::check_n), [`peek`](RateLimiter::peek),
//!   [`reset`](RateLimiter::reset), [`stats`](RateLimiter::stats), answering [`Permit`] or [`Denied`]. Its documentation
//!   says what it takes in memory and how to size it; [`WhenFull`] what happens when it is full.
//!   [`reserve`](RateLimiter::reserve) charges an estimate to be settled, [`on`](RateLimiter::on) judges by a [`Plan`], and
//!   [`replace_policy`](RateLimiter::replace_policy) changes the limit while it runs.
//! - [`Clock`]: the system's, or one moved by hand in tests.
#![cfg_attr(
    feature = "tokio",
    doc = "- [`until_ready`](RateLimiter::until_ready) and [`wait`]: waiting instead of being denied, first come first served."
)]
#![cfg_attr(
    feature = "tower",
    doc = "- [`RateLimitLayer`] and [`http`]: the Tower layer, who the client is ([`ClientIp`]), and"
)]
#![cfg_attr(feature = "tower", doc = "  what it is told.")]
//!
//! # What it promises
//!
//! 1. Never more than `burst + rate·t` in any interval `t`, for any number of threads.
//! 2. A client that waits as long as [`Denied::retry_after`] says is admitted, if it is alone.
//! 3. A denial changes nothing, for any quota of the policy.
//! 4. Memory never exceeds the configured capacity, whatever keys arrive, and no check pauses to make room.
//! 5. Time that stands still or steps back delays admissions by as much, and admits nothing extra.
//! 6. Rates from 1 per 10 years to 10⁹ per second; what cannot be kept is refused when it is built.
//!
//! Each has its tests in `tests/limiter/laws.rs`.
//!
//! # Features
//!
//! `axum` (default) includes `tower`, the layer, and understands axum's types; `tokio` adds waiting, and `serde`
//! limits in configuration files. Without default features this crate is the bare limiter. A feature adds API and never changes what the rest does.

mod algorithm;
#[cfg(feature = "tower")]
mod backend;
mod clock;
mod decision;
mod engine;
mod error;
mod fingerprint;
#[cfg(feature = "tower")]
pub mod http;
mod key;
mod limiter;
mod name;
mod parse;
mod plan;
mod policy;
mod queue;
mod quota;
mod reservation;
mod rules;
#[cfg(feature = "serde")]
mod serde;
mod table;
mod throttle;
#[cfg(feature = "tokio")]
pub mod wait;

pub use limiter::{RateLimiter, RateLimiterBuilder, Stats};
pub use table::WhenFull;

pub use quota::{Algorithm, Quota};

pub use policy::{IntoPolicy, Policy};

pub use error::{PolicyError, PolicyErrorKind};

pub use plan::{Plan, PlanError, PlanErrorKind};

pub use reservation::{Reservation, SettleError};

pub use parse::ParseError;

pub use decision::{Denied, Permit, Standing, Status};

#[cfg(feature = "tower")]
pub use backend::Backend;

pub use clock::{Clock, ManualClock};

pub use key::{Key, KeyText};

#[cfg(feature = "tokio")]
pub use wait::{NotReady, NotReadyKind, UntilReady};

#[cfg(feature = "tower")]
pub use http::{ClientIp, RateLimit, RateLimitLayer};

/// The README's examples, compiled and run.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
