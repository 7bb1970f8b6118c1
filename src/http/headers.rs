//! [`Headers`]: the dialects in which a response tells the client where it stands.

use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::decision::{Denied, Status};
use crate::limiter::RateLimiter;
use crate::plan::Plan;
use crate::policy::Policy;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The largest Integer of Structured Fields (RFC 9651, section 3.3.1). A number beyond it is sent as this.
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// Which headers tell a client where it stands. All numbers are integers; of several quotas, the one is told that denied
/// or has least left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Headers {
    /// None but `Retry-After`.
    #[default]
    None,
    /// `RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400` and `RateLimit: "burst";r=0;t=5`
    /// (draft-ietf-httpapi-ratelimit-headers-11, as Structured Fields, RFC 9651).
    ///
    /// `q` and `w` are the quota's amount and its period in seconds (`w` is left out unless that is a whole number of
    /// them), `r` is what remains, which for a token bucket with a burst can be above `q`, and `t` is the seconds until
    /// the request would pass (on a denial) or the limit is whole again; a denial that no wait helps has none.
    Draft,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`: what may pass at once, what remains, and
    /// when the limit is whole again (left out of a denial that no wait helps). Whether that is a point in time or a
    /// span differs between services, so say it.
    XRateLimit(Reset),
}

/// What `X-RateLimit-Reset` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// Seconds since the Unix epoch, as GitHub and Flask-Limiter have it. By the wall clock when the limiter was made plus
    /// the time since; later corrections of the wall clock are not followed.
    Epoch,
    /// Seconds from now, as Envoy has it.
    Delta,
}

/// The `RateLimit-Policy` header of a limiter: made once, and again when the policy has been replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyHeader {
    made: Arc<Mutex<Option<(u64, Plan, HeaderValue)>>>,
}

impl PolicyHeader {
    /// The value for what this handle enforces now.
    fn value(&self, limiter: &RateLimiter) -> HeaderValue {
        let (version, plan) = (limiter.policy_version(), limiter.current_plan());
        let mut made = self.made.lock();
        match &*made {
            Some((of_version, of_plan, value)) if (*of_version, *of_plan) == (version, plan) => value.clone(),
            _ => {
                let value = policy_value(&limiter.policy());
                *made = Some((version, plan, value.clone()));
                value
            }
        }
    }
}

fn policy_value(policy: &Policy) -> HeaderValue {
    let quotas = policy.quotas().map(|(name, quota)| {
        let (period, subsec) = (quota.period().as_secs(), quota.period().subsec_nanos());
        let window = if subsec == 0 { format!(";w={period}") } else { String::new() };
        format!("\"{name}\";q={}{window}", quota.amount().min(INTEGER_MAX))
    });
    let quotas = quotas.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(quotas).expect("names are printable ASCII without quotes")
}

impl Headers {
    /// How many headers this adds at most.
    pub(super) const COUNT_MAX: usize = 3;

    /// Adds what is told of a status. `wait` is `t` in seconds; there is none for what no wait helps.
    fn add(self, to: &mut HeaderMap, status: &Status, wait: Option<u64>, policy: &PolicyHeader, limiter: &RateLimiter) {
        match self {
            Self::None => {}
            Self::Draft => {
                to.insert(RATELIMIT_POLICY, policy.value(limiter));
                let mut state = format!("\"{}\";r={}", status.quota(), status.remaining().min(INTEGER_MAX));
                if let Some(seconds) = wait {
                    write!(state, ";t={seconds}").expect("a String takes any text");
                }
                to.insert(RATELIMIT, HeaderValue::try_from(state).expect("names are printable ASCII without quotes"));
            }
            Self::XRateLimit(reset) => {
                let nanos = match reset {
                    Reset::Delta => status.reset_after_nanos,
                    Reset::Epoch => status.reset_after_nanos.saturating_add(limiter.clock().unix_nanos()),
                };
                to.insert(X_LIMIT, status.limit().into());
                to.insert(X_REMAINING, status.remaining().into());
                if wait.is_some() {
                    to.insert(X_RESET, nanos.div_ceil(NANOS_PER_SECOND).into());
                }
            }
        }
    }

    pub(super) fn add_allowed(self, to: &mut HeaderMap, status: &Status, policy: &PolicyHeader, limiter: &RateLimiter) {
        self.add(to, status, Some(status.reset_after_nanos.div_ceil(NANOS_PER_SECOND)), policy, limiter);
    }

    pub(super) fn add_denied(self, to: &mut HeaderMap, denied: &Denied, policy: &PolicyHeader, limiter: &RateLimiter) {
        self.add(to, &denied.status, denied.retry_after_secs(), policy, limiter);
    }
}
