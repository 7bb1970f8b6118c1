//! The limiter's own answers: 429 over HTTP, its gRPC form, and what a request without a key gets.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::grpc;
use super::headers::{Headers, PolicyHeader};
use super::key::NoKey;
use crate::decision::{Denied, Status};
use crate::limiter::RateLimiter;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const DEFAULT_BODY: &[u8] = b"too many requests\n";

/// Room for a denial's usual headers, so that the map is allocated once.
const HEADERS_EXPECTED: usize = 3;

/// What happens to a request that has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenNoKey {
    /// It is not served. What the client left out is answered `403 Forbidden`; what the server is not set up to know,
    /// `500 Internal Server Error` with a body and a log line that say what to add to the program.
    #[default]
    Refuse,
    /// It passes, uncounted.
    Allow,
    /// It is counted under one key that all such requests share.
    Share,
}

/// The body of a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// This text, as `text/plain`.
    Text(Bytes),
    /// A problem document (RFC 9457) of the type `quota-exceeded`, naming the quota that denied.
    ProblemJson,
}

type Build = dyn Fn(&Denied, &Parts) -> Response<Bytes> + Send + Sync;

/// All that a layer answers by itself, prepared as far as it does not change.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) when_no_key: WhenNoKey,
    pub(super) headers: Headers,
    pub(super) headers_when_allowed: bool,
    pub(super) extra: Vec<(HeaderName, HeaderValue)>,
    pub(super) build: Option<Arc<Build>>,
    policy: PolicyHeader,
    pub(super) body: Body,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            when_no_key: WhenNoKey::default(),
            headers: Headers::default(),
            headers_when_allowed: false,
            extra: Vec::new(),
            build: None,
            policy: PolicyHeader::default(),
            body: Body::Text(Bytes::from_static(DEFAULT_BODY)),
        }
    }

    /// The headers that a response gets whose request was let pass, if any.
    pub(super) fn when_passed(&self, status: &Status, limiter: &RateLimiter) -> Option<Box<HeaderMap>> {
        let unlimited = status.limit() == u64::MAX;
        if !self.headers_when_allowed || self.headers == Headers::None || unlimited {
            return None;
        }
        let mut headers = HeaderMap::with_capacity(Headers::COUNT_MAX);
        self.headers.add_allowed(&mut headers, status, &self.policy, limiter);
        Some(Box::new(headers))
    }

    /// The answer to a request over the limit.
    pub(super) fn denial(&self, denied: Denied, head: &Parts, limiter: &RateLimiter) -> Response<Bytes> {
        let mut response = if let Some(kind) = grpc::kind(head) {
            grpc::denial(kind, denied)
        } else {
            let mut response = match &self.build {
                Some(build) => build(&denied, head),
                None => match &self.body {
                    Body::Text(text) => plain(text.clone(), TEXT),
                    Body::ProblemJson => plain(problem(denied.status().quota()), PROBLEM_JSON),
                },
            };
            make_denial(&mut response, denied);
            self.headers.add_denied(response.headers_mut(), &denied, &self.policy, limiter);
            fit(response, head)
        };
        for (name, value) in &self.extra {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    /// The answer to a request that has no key.
    pub(super) fn no_key(&self, no_key: &NoKey, head: &Parts) -> Response<Bytes> {
        let told = no_key.told();
        let (status, text) = match no_key {
            NoKey::Absent(_) | NoKey::NotInserted(_) => {
                (StatusCode::FORBIDDEN, format!("this request lacks what it would be counted by: {told}\n"))
            }
            NoKey::Misconfigured(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("rate limiting is not set up: {told}\n"))
            }
        };
        if let Some(kind) = grpc::kind(head) {
            return grpc::refusal(kind, status, text.trim_end());
        }
        let mut response = plain(Bytes::from(text), TEXT);
        *response.status_mut() = status;
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        fit(response, head)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("when_no_key", &self.when_no_key)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

fn plain(body: Bytes, content_type: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().reserve(HEADERS_EXPECTED);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Takes the body from the answer to a HEAD, and says in its place how long it was: a server that saw an empty body
/// would send a length of 0, which a GET's is not (RFC 9110, section 8.6).
fn fit(mut response: Response<Bytes>, head: &Parts) -> Response<Bytes> {
    if head.method == Method::HEAD {
        let body = std::mem::take(response.body_mut());
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
    }
    response
}

/// Makes a response the answer to a denial, whatever it was: its status, the headers that it must have, and the mark by
/// which an outer layer knows it.
fn make_denial(response: &mut Response<Bytes>, denied: Denied) {
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    match denied.retry_after_secs() {
        Some(seconds) => response.headers_mut().insert(RETRY_AFTER, seconds.into()),
        None => response.headers_mut().remove(RETRY_AFTER),
    };
    response.extensions_mut().insert(denied);
}

/// The problem document of a quota. Names need no escaping: they are printable ASCII without quotes.
fn problem(quota: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
         \"title\":\"Request cannot be satisfied as assigned quota has been exceeded\",\
         \"status\":429,\"violated-policies\":[\"{quota}\"]}}"
    ))
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Denied {
    /// The 429 that a [`RateLimitLayer`](super::RateLimitLayer) with its default settings answers.
    fn into_response(self) -> axum::response::Response {
        let mut response = plain(Bytes::from_static(DEFAULT_BODY), TEXT);
        make_denial(&mut response, self);
        response.map(axum::body::Body::from)
    }
}
