//! The limiter's answers to gRPC clients, who would read a bare 429 as UNAVAILABLE.
//!
//! HTTP 200 with the status in the only header block, which gRPC calls Trailers-Only.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use crate::decision::Denied;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");

/// A gRPC request's protocol, as the content type to answer with.
pub(super) struct Kind(HeaderValue);

/// Which gRPC protocol a request speaks, if it does.
pub(super) fn kind(head: &Parts) -> Option<Kind> {
    let content_type = head.headers.get(CONTENT_TYPE)?.as_bytes();
    let answer = match content_type.strip_prefix(b"application/grpc")? {
        rest if rest.starts_with(b"-web-text") => "application/grpc-web-text",
        rest if rest.starts_with(b"-web") => "application/grpc-web",
        [] | [b'+' | b';', ..] => "application/grpc",
        _ => return None,
    };
    Some(Kind(HeaderValue::from_static(answer)))
}

/// RESOURCE_EXHAUSTED, with the pushback of gRPC's retry design (proposal A6): milliseconds, or negative for never.
pub(super) fn denial(kind: Kind, denied: Denied) -> Response<Bytes> {
    let mut response = trailers_only(kind, RESOURCE_EXHAUSTED, HeaderValue::from_static("rate limit reached"));
    let pushback = match denied.retry_after() {
        Some(wait) => u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).into(),
        None => HeaderValue::from_static("-1"),
    };
    response.headers_mut().insert(RETRY_PUSHBACK, pushback);
    response.extensions_mut().insert(denied);
    response
}

/// The answer to a request without a key: PERMISSION_DENIED for a 403, INTERNAL for a 500.
pub(super) fn refusal(kind: Kind, status: StatusCode, message: &str) -> Response<Bytes> {
    let status = if status == StatusCode::FORBIDDEN { "7" } else { "13" };
    trailers_only(kind, HeaderValue::from_static(status), percent_encoded(message))
}

fn trailers_only(Kind(content_type): Kind, status: HeaderValue, message: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(STATUS, status);
    headers.insert(MESSAGE, message);
    response
}

/// A `grpc-message`: printable ASCII but `%` as it is, every other byte percent-encoded.
fn percent_encoded(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).expect("printable ASCII")
}
