//! [`Headers`]: the dialects in which a response tells the client where it stands.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use parking_lot::RwLock;

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

/// Which headers tell a client where it stands. All numbers are integers. If there are several quotas, the headers tell of the
/// one that denied, or of the one that has least left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Headers {
    /// None but `Retry-After`.
    #[default]
    None,
    /// `RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400` and `RateLimit: "burst";r=0;t=5`
    /// (draft-ietf-httpapi-ratelimit-headers-11, as Structured Fields, RFC 9651).
    ///
    /// `q` is the quota's amount and `w` its period in seconds, which is left out unless it is a whole number. `r` is what
    /// remains; for a token bucket with a burst it can be above `q`. `t` is the seconds until the request would pass
    /// (on a denial) or the limit is whole again. A denial that no wait helps has no `t`.
    Draft,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`: what may pass at once, what remains, and
    /// when the limit is whole again, in seconds from now, as Envoy has it. (A denial that no wait helps has no
    /// `X-RateLimit-Reset`.) Services differ in what the last one means, so say it to your clients.
    XRateLimitDelta,
    /// The same, with `X-RateLimit-Reset` in seconds since the Unix epoch, as GitHub and Flask-Limiter have it. This is the wall
    /// clock of when the limiter was made, plus the time since. Later corrections of the wall clock are not followed.
    XRateLimitEpoch,
}

impl Headers {
    /// The names of all headers by which a denial tells a client where it stands, for `CorsLayer::expose_headers`; see
    /// [CORS](super::RateLimitLayer#cors).
    ///
    /// ```
    /// use tollgate::http::Headers;
    ///
    /// assert_eq!(
    ///     Headers::Draft.names(),
    ///     ["retry-after", "ratelimit-policy", "ratelimit"]
    /// );
    /// ```
    pub fn names(self) -> Vec<HeaderName> {
        match self {
            Self::None => vec![RETRY_AFTER],
            Self::Draft => vec![RETRY_AFTER, RATELIMIT_POLICY, RATELIMIT],
            Self::XRateLimitDelta | Self::XRateLimitEpoch => vec![RETRY_AFTER, X_LIMIT, X_REMAINING, X_RESET],
        }
    }
}

/// In which headers a layer tells where a client stands, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Telling {
    pub(super) headers: Headers,
    pub(super) on_every_response: bool,
    policies: PolicyHeaders,
}

/// Headers to add to a response: no more than three, so that they need no allocation, or one where they wait.
#[derive(Debug)]
pub(super) struct Told([Option<(HeaderName, HeaderValue)>; 3]);

impl Told {
    /// In place of those of the same name.
    pub(super) fn insert_into(self, headers: &mut HeaderMap) {
        for (name, value) in self.0.into_iter().flatten() {
            headers.insert(name, value);
        }
    }
}

/// Tells later where a client stands, when that is known.
#[derive(Debug)]
pub(super) struct ToldLater {
    pub(super) telling: Arc<Telling>,
    pub(super) limiter: RateLimiter,
    pub(super) plan: Plan,
}

impl ToldLater {
    pub(super) fn tell(self, status: &Status) -> Option<Told> {
        self.telling.when_passed(status, &self.limiter, self.plan)
    }
}

impl Telling {
    /// The headers that a response gets whose request was let pass, if any.
    pub(super) fn when_passed(&self, status: &Status, limiter: &RateLimiter, plan: Plan) -> Option<Told> {
        if !self.on_every_response || self.headers == Headers::None || plan == Plan::UNLIMITED {
            return None;
        }
        Some(self.tell(status, Some(status.reset_after_nanos.div_ceil(NANOS_PER_SECOND)), limiter, plan))
    }

    /// The headers of a denial.
    pub(super) fn when_denied(&self, denied: &Denied, limiter: &RateLimiter, plan: Plan) -> Told {
        self.tell(&denied.status, denied.retry_after_secs(), limiter, plan)
    }

    /// What is told of a status. `wait` is `t` in seconds; there is none for what no wait helps.
    fn tell(&self, status: &Status, wait: Option<u64>, limiter: &RateLimiter, plan: Plan) -> Told {
        Told(match self.headers {
            Headers::None => [None, None, None],
            Headers::Draft => [
                Some((RATELIMIT_POLICY, self.policies.of(limiter, plan))),
                Some((RATELIMIT, draft_state(status, wait))),
                None,
            ],
            Headers::XRateLimitDelta => x_rate_limit(status, wait.map(|_| status.reset_after_nanos)),
            Headers::XRateLimitEpoch => {
                let reset_at = || status.reset_after_nanos.saturating_add(limiter.clock().unix_nanos());
                x_rate_limit(status, wait.map(|_| reset_at()))
            }
        })
    }
}

fn x_rate_limit(status: &Status, reset_nanos: Option<u64>) -> [Option<(HeaderName, HeaderValue)>; 3] {
    let reset = reset_nanos.map(|nanos| (X_RESET, nanos.div_ceil(NANOS_PER_SECOND).into()));
    [Some((X_LIMIT, status.limit().into())), Some((X_REMAINING, status.remaining().into())), reset]
}

fn draft_state(status: &Status, wait: Option<u64>) -> HeaderValue {
    let mut state = Vec::with_capacity(STATE_LEN_MAX);
    state.push(b'"');
    state.extend_from_slice(status.quota().as_bytes());
    state.extend_from_slice(b"\";r=");
    push_number(&mut state, status.remaining().min(INTEGER_MAX));
    if let Some(seconds) = wait {
        state.extend_from_slice(b";t=");
        push_number(&mut state, seconds);
    }
    // Not copied: the bytes are handed on.
    HeaderValue::from_maybe_shared(Bytes::from(state)).expect("names are printable ASCII without quotes")
}

/// The longest state: a name, two numbers, and what stands between them.
const STATE_LEN_MAX: usize = 31 + 2 * 20 + 8;

/// Writes a number in decimal, which takes a fifth of what formatting does.
fn push_number(to: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8; // a digit
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[at..]);
}

/// The `RateLimit-Policy` header of each plan: made once, and again when a policy has been replaced.
#[derive(Debug, Default)]
struct PolicyHeaders {
    /// By plan, with the version that it was made of.
    made: RwLock<Vec<Option<(u64, HeaderValue)>>>,
}

impl PolicyHeaders {
    fn of(&self, limiter: &RateLimiter, plan: Plan) -> HeaderValue {
        let (version, index) = (limiter.policy_version(), plan.index().unwrap_or_default());
        if let Some(Some((made_of, value))) = self.made.read().get(index) {
            if *made_of == version {
                return value.clone();
            }
        }
        let value = policy_value(&limiter.policy_of(plan));
        let mut made = self.made.write();
        if made.len() <= index {
            made.resize(index + 1, None);
        }
        made[index] = Some((version, value.clone()));
        value
    }
}

impl Clone for PolicyHeaders {
    /// Nothing is made yet: the clone may be for another limiter.
    fn clone(&self) -> Self {
        Self::default()
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
