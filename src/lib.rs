//! placeholder
mod algorithm;
mod clock;
mod decision;
#[cfg(feature = "tower")]
pub mod http;
mod key;
mod limiter;
mod name;
mod parse;
mod policy;
mod quota;
mod table;
mod throttle;

pub use clock::Clock;
pub use decision::{Denied, Permit, Status};
#[cfg(feature = "tower")]
pub use http::{ClientIp, RateLimit, RateLimitLayer};
pub use key::{Key, KeyText};
pub use limiter::{RateLimiter, RateLimiterBuilder, Stats};
pub use parse::ParseError;
pub use policy::{Policy, PolicyError, PolicyErrorKind};
pub use quota::{Algorithm, Quota, QuotaError, QuotaErrorKind};
pub use table::WhenFull;
