//! The limiter's own answers: 429 over HTTP, its gRPC form, and what a request without a key gets.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::grpc;
use super::headers::{AnswerHeaders, Headers, number, replace};
use super::key::NoKey;
use crate::decision::Denied;
#[cfg(feature = "axum")]
use crate::demand::DeniedDemand;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const DEFAULT_BODY: &[u8] = b"too many requests\n";

/// Room for an answer's usual headers, so that the map is allocated once.
const HEADERS_EXPECTED: usize = 3;

/// What happens to a request that has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenNoKey {
    /// It is refused. If the client left the key out, the answer is `403 Forbidden`. If the server is not set up to know the
    /// key, it is `500 Internal Server Error`, and the body and a line in the log say what to add to the program.
    #[default]
    Refuse,
    /// It passes, uncounted.
    Allow,
    /// It is counted under one key that all such requests share.
    Share,
}

/// The body of a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DenialBody {
    /// This, of this content type.
    Fixed(HeaderValue, Bytes),
    /// A problem document (RFC 9457) of the type `quota-exceeded`, naming the quota that denied.
    ProblemJson,
}

impl DenialBody {
    /// This text.
    pub(super) fn text(text: Bytes) -> Self {
        Self::Fixed(TEXT, text)
    }

    fn content_type(&self) -> HeaderValue {
        match self {
            Self::Fixed(content_type, _) => content_type.clone(),
            Self::ProblemJson => PROBLEM_JSON,
        }
    }
}

type Build = dyn Fn(&Denied, &Parts) -> Response<Bytes> + Send + Sync;

/// What a layer answers by itself.
#[derive(Clone)]
pub(super) struct Denials {
    pub(super) extra: Vec<(HeaderName, HeaderValue)>,
    pub(super) build: Option<Arc<Build>>,
    pub(super) body: DenialBody,
    /// Whether gRPC clients are answered in gRPC's way.
    pub(super) grpc: bool,
    /// The headers of a denial over plain HTTP that no closure builds. The values that differ have their places held.
    prepared: HeaderMap,
    /// Whether an extra header has the name of one that differs, and so has to be set after it.
    extra_differs: bool,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            extra: Vec::new(),
            build: None,
            body: DenialBody::text(Bytes::from_static(DEFAULT_BODY)),
            grpc: true,
            prepared: HeaderMap::new(),
            extra_differs: false,
        }
    }
}

impl Denials {
    fn grpc_protocol(&self, head: &Parts) -> Option<grpc::Protocol> {
        if self.grpc { grpc::protocol(head) } else { None }
    }

    /// Prepares what no denial makes different. To be called when all is set.
    ///
    /// To copy the headers of an answer takes a third of what it takes to insert them, since `http` hashes each name by the byte.
    pub(super) fn prepare(&mut self, told: Headers) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(""));
        told.hold_places(&mut headers);
        self.extra_differs = self.extra.iter().any(|(name, _)| headers.contains_key(name));
        headers.insert(CONTENT_TYPE, self.body.content_type());
        headers.insert(CACHE_CONTROL, NO_STORE);
        self.insert_extra(&mut headers);
        self.prepared = headers;
    }

    fn insert_extra(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.extra {
            headers.insert(name, value.clone());
        }
        if !self.extra.is_empty() {
            take_leave_to_store(headers);
            headers.insert(CACHE_CONTROL, NO_STORE);
        }
    }

    /// The answer to a request over the limit, with what is told beside it. The head gives its extensions to the answer, since
    /// nobody else needs them any more.
    pub(super) fn answer(&self, denied: &Denied, head: &mut Parts, told: Option<AnswerHeaders>) -> Response<Bytes> {
        if let Some(protocol) = self.grpc_protocol(head) {
            let mut response = grpc::denial(protocol, *denied);
            self.insert_extra(response.headers_mut());
            return response;
        }
        if let Some(build) = &self.build {
            let mut response = build(denied, head);
            take_leave_to_store(response.headers_mut());
            make_denial(&mut response, *denied);
            if let Some(told) = told {
                told.insert_into(response.headers_mut());
            }
            fit(&mut response, &head.method);
            self.insert_extra(response.headers_mut());
            return response;
        }
        let body = match &self.body {
            DenialBody::Fixed(_, body) => body.clone(),
            DenialBody::ProblemJson => problem(denied.status().quota()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let headers = response.headers_mut();
        *headers = self.prepared.clone();
        if let Some(told) = told {
            told.replace_in(headers);
        }
        match denied.retry_after_secs() {
            Some(seconds) => replace(headers, &RETRY_AFTER, number(seconds)),
            None => drop(headers.remove(RETRY_AFTER)),
        }
        if self.extra_differs {
            self.insert_extra(headers);
        }
        *response.extensions_mut() = emptied(mem::take(&mut head.extensions));
        response.extensions_mut().insert(*denied);
        fit(&mut response, &head.method);
        response
    }

    /// The answer to a request that has no key.
    pub(super) fn without_key(&self, no_key: &NoKey, head: &Parts) -> Response<Bytes> {
        let told = no_key.told();
        let (status, text) = match no_key {
            NoKey::Absent(_) | NoKey::NotInserted(_) => {
                (StatusCode::FORBIDDEN, format!("this request lacks what it would be counted by: {told}\n"))
            }
            NoKey::Misconfigured(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("rate limiting is not set up: {told}\n"))
            }
        };
        if let Some(protocol) = self.grpc_protocol(head) {
            return grpc::refusal(protocol, status, text.trim_end());
        }
        let mut response = plain(Bytes::from(text), TEXT);
        *response.status_mut() = status;
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        fit(&mut response, &head.method);
        response
    }
}

fn plain(body: Bytes, content_type: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().reserve(HEADERS_EXPECTED);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The same extensions with nothing of the request in them: an answer takes the request's, because to free these and allocate
/// others is a tenth of it.
fn emptied(mut extensions: Extensions) -> Extensions {
    extensions.clear();
    extensions
}

/// Takes the body from the answer to a HEAD, and says in its place how long it was: a server that saw an empty body
/// would send a length of 0, which a GET's is not (RFC 9110, section 8.6).
#[inline]
fn fit(response: &mut Response<Bytes>, method: &Method) {
    if *method == Method::HEAD {
        let body = mem::take(response.body_mut());
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
    }
}

/// Makes a response the answer to a denial, whatever it was: its status, the headers that it must have, and the mark by
/// which an outer layer knows it.
fn make_denial(response: &mut Response<Bytes>, denied: Denied) {
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    match denied.retry_after_secs() {
        Some(seconds) => response.headers_mut().insert(RETRY_AFTER, number(seconds)),
        None => response.headers_mut().remove(RETRY_AFTER),
    };
    response.extensions_mut().insert(denied);
}

/// Removes the headers that some caches go by before `Cache-Control`: those that RFC 9213 calls targeted (`CDN-Cache-Control`,
/// and others of such a name), and older ones. A program may set them on whatever it answers.
fn take_leave_to_store(headers: &mut HeaderMap) {
    const OLDER: [&str; 3] = ["surrogate-control", "x-accel-expires", "edge-control"];
    let is_targeted = |name: &HeaderName| {
        let name = name.as_str();
        name.ends_with("-cache-control") || OLDER.contains(&name)
    };
    while let Some(name) = headers.keys().find(|name| is_targeted(name)).cloned() {
        headers.remove(name);
    }
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

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for DeniedDemand {
    /// As [`Denied`]'s.
    fn into_response(self) -> axum::response::Response {
        Denied::from(self).into_response()
    }
}
