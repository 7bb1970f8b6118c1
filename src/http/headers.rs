//! [`Headers`]: the dialects in which a response tells the client where it stands.

use std::sync::Arc;

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

    /// How many headers tell where a client stands.
    fn told_max(self) -> usize {
        match self {
            Self::None => 0,
            Self::Draft => 2,
            Self::XRateLimitDelta | Self::XRateLimitEpoch => 3,
        }
    }

    /// The name of the one with this number.
    fn told(self, index: usize) -> HeaderName {
        match (self, index) {
            (Self::Draft, 0) => RATELIMIT_POLICY,
            (Self::Draft, _) => RATELIMIT,
            (_, 0) => X_LIMIT,
            (_, 1) => X_REMAINING,
            _ => X_RESET,
        }
    }

    /// Holds the places of those that a denial will have, so that they are only [replaced](AnswerHeaders::replace_in) in it.
    pub(super) fn hold_places(self, headers: &mut HeaderMap) {
        for index in 0..self.told_max() {
            headers.insert(self.told(index), HeaderValue::from_static(""));
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

/// Headers to add to a response: at most three values, of the names of one dialect.
#[derive(Debug)]
pub(super) struct AnswerHeaders {
    headers: Headers,
    values: [Option<HeaderValue>; 3],
}

impl AnswerHeaders {
    /// In place of those of the same name.
    pub(super) fn insert_into(self, to: &mut HeaderMap) {
        for (index, value) in self.values.into_iter().enumerate() {
            if let Some(value) = value {
                to.insert(self.headers.told(index), value);
            }
        }
    }

    /// The same for headers that [hold the place](Headers::hold_places) of each: they are found without a hash.
    pub(super) fn replace_in(mut self, headers: &mut HeaderMap) {
        for (index, value) in self.values.iter_mut().enumerate().take(self.headers.told_max()) {
            let name = self.headers.told(index);
            match value.take() {
                Some(value) => replace(headers, &name, value),
                None => drop(headers.remove(name)),
            }
        }
    }
}

/// Replaces a header that is there. A few are gone through in less time than one is hashed.
pub(super) fn replace(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if let Some((_, place)) = headers.iter_mut().find(|(other, _)| *other == name) {
        *place = value;
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
    pub(super) fn tell(self, status: &Status) -> Option<AnswerHeaders> {
        self.telling.when_passed(status, &self.limiter, self.plan)
    }
}

impl Telling {
    /// Prepares what few responses make different. To be called when all is set.
    pub(super) fn prepare(&mut self, limiter: &RateLimiter) {
        if self.headers == Headers::Draft {
            self.policies.prepare(limiter);
        }
    }

    /// The headers that a response gets whose request was let pass, if any.
    pub(super) fn when_passed(&self, status: &Status, limiter: &RateLimiter, plan: Plan) -> Option<AnswerHeaders> {
        if !self.on_every_response || self.headers == Headers::None || plan == Plan::UNLIMITED {
            return None;
        }
        Some(self.tell(status, Some(status.reset_after_nanos.div_ceil(NANOS_PER_SECOND)), limiter, plan))
    }

    /// The headers of a denial, if there are any beside `Retry-After`.
    #[inline]
    pub(super) fn when_denied(&self, denied: &Denied, limiter: &RateLimiter, plan: Plan) -> Option<AnswerHeaders> {
        (self.headers != Headers::None).then(|| self.tell_of(denied, limiter, plan))
    }

    #[inline(never)]
    fn tell_of(&self, denied: &Denied, limiter: &RateLimiter, plan: Plan) -> AnswerHeaders {
        self.tell(&denied.status, denied.retry_after_secs(), limiter, plan)
    }

    /// What is told of a status. `wait` is `t` in seconds; there is none for what no wait helps.
    fn tell(&self, status: &Status, wait: Option<u64>, limiter: &RateLimiter, plan: Plan) -> AnswerHeaders {
        let values = match self.headers {
            Headers::None => [None, None, None],
            Headers::Draft => [Some(self.policies.of(limiter, plan)), Some(draft_state(status, wait)), None],
            Headers::XRateLimitDelta => x_rate_limit(status, wait.map(|_| status.reset_after_nanos)),
            Headers::XRateLimitEpoch => {
                let reset_at = || status.reset_after_nanos.saturating_add(limiter.clock().unix_nanos());
                x_rate_limit(status, wait.map(|_| reset_at()))
            }
        };
        AnswerHeaders { headers: self.headers, values }
    }
}

fn x_rate_limit(status: &Status, reset_nanos: Option<u64>) -> [Option<HeaderValue>; 3] {
    let reset = reset_nanos.map(|nanos| number(nanos.div_ceil(NANOS_PER_SECOND)));
    [Some(number(status.limit())), Some(number(status.remaining())), reset]
}

fn draft_state(status: &Status, wait: Option<u64>) -> HeaderValue {
    let mut state = HeaderText::default();
    state.push(b"\"");
    state.push(status.quota.as_bytes());
    state.push(b"\";r=");
    state.push_number(status.remaining().min(INTEGER_MAX));
    if let Some(seconds) = wait {
        state.push(b";t=");
        state.push_number(seconds);
    }
    state.value()
}

/// A number as the value of a header. Those of most denials need no allocation.
pub(super) fn number(number: u64) -> HeaderValue {
    if let Some(digits) = small(number) {
        return HeaderValue::from_static(digits);
    }
    let mut line = HeaderText::default();
    line.push_number(number);
    line.value()
}

/// The digits of a number of seconds up to an hour, as most `Retry-After`s are. They take 13 kB of the program, and an
/// allocation from each denial.
fn small(number: u64) -> Option<&'static str> {
    const DIGITS: &str = match std::str::from_utf8(&all_small()) {
        Ok(digits) => digits,
        Err(_) => unreachable!(),
    };
    let number = usize::try_from(number).ok()?;
    Some(match number {
        0..10 => &DIGITS[number..=number],
        10..100 => &DIGITS[10 + (number - 10) * 2..][..2],
        100..1000 => &DIGITS[190 + (number - 100) * 3..][..3],
        1000..SMALL_END => &DIGITS[2890 + (number - 1000) * 4..][..4],
        _ => return None,
    })
}

const SMALL_END: usize = 3601;

/// The digits of all these, in a row.
const fn all_small() -> [u8; 10 + 90 * 2 + 900 * 3 + (SMALL_END - 1000) * 4] {
    let mut digits = [0; 10 + 90 * 2 + 900 * 3 + (SMALL_END - 1000) * 4];
    let (mut number, mut at) = (0, 0);
    while number < SMALL_END {
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            digits[at] = b'0' + (number / power % 10) as u8; // a digit
            at += 1;
            power /= 10;
        }
        number += 1;
    }
    digits
}

/// A line that is written where it needs no allocation, since its value takes one of just the right length.
struct HeaderText {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

/// The longest line: a name, two numbers, and what stands between them.
const TEXT_MAX: usize = 31 + 2 * 20 + 8;

impl Default for HeaderText {
    fn default() -> Self {
        Self { bytes: [0; TEXT_MAX], len: 0 }
    }
}

impl HeaderText {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Writes a number in decimal, which takes a fifth of what formatting does.
    fn push_number(&mut self, mut number: u64) {
        let len = number.checked_ilog10().unwrap_or(0) as usize + 1; // at most 20
        for digit in self.bytes[self.len..][..len].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8; // a digit
            number /= 10;
        }
        self.len += len;
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.bytes[..self.len]).expect("names are printable ASCII without quotes")
    }
}

/// The `RateLimit-Policy` header of each plan: made once, and again when a policy has been replaced.
#[derive(Debug, Default)]
struct PolicyHeaders {
    /// That of the default plan, which most limiters keep: read without a lock.
    first: Option<(u64, HeaderValue)>,
    /// Those of other plans and later policies, by plan. Each with the version that it was made of.
    made: RwLock<Vec<Option<(u64, HeaderValue)>>>,
}

impl PolicyHeaders {
    fn prepare(&mut self, limiter: &RateLimiter) {
        self.first = Some((limiter.policy_version(), policy_value(&limiter.policy_of(Plan::DEFAULT))));
    }

    fn of(&self, limiter: &RateLimiter, plan: Plan) -> HeaderValue {
        let (version, index) = (limiter.policy_version(), plan.index().unwrap_or_default());
        if let (0, Some((made_of, value))) = (index, &self.first) {
            if *made_of == version {
                return value.clone();
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_elsewhere() {
        let large = (4..20).map(|power| 10_u64.pow(power)).flat_map(|power| [power - 1, power, power + 1]);
        for n in (0..5000).chain(large).chain([u64::MAX - 1, u64::MAX]) {
            assert_eq!(number(n), n.to_string());
        }
    }

    #[test]
    fn the_longest_line_has_room() {
        let name = "q".repeat(31);
        let limiter = RateLimiter::new(format!("{name}: 1/second").parse::<Policy>().expect("it is a policy"));
        let status = Status { remaining: u64::MAX, ..limiter.peek("key") };
        assert_eq!(
            draft_state(&status, Some(u64::MAX)),
            format!("\"{name}\";r=999999999999999;t=18446744073709551615")
        );
        assert_eq!(draft_state(&status, None), format!("\"{name}\";r=999999999999999"));
    }
}
