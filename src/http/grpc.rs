//! The limiter's answers to gRPC clients, who would read a bare 429 as UNAVAILABLE.
//!
//! HTTP 200 with the status in the only header block, which gRPC calls Trailers-Only.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::decision::Denied;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");

/// The protocols, by the media types of their messages; which encoding follows after a `+` does not matter in an answer
/// without messages.
const MEDIA_TYPES: [&str; 3] = ["application/grpc", "application/grpc-web", "application/grpc-web-text"];

/// A gRPC request's protocol, as the content type to answer with.
pub(super) struct Protocol(HeaderValue);

/// Which gRPC protocol a request speaks, if it does.
///
/// Every call is a POST (the protocol's HTTP/2 mapping, "Requests"). Anything else that says it is gRPC gets the plain
/// answer: a cache could keep a 200 for a GET, and give it to everybody.
pub(super) fn protocol(head: &Parts) -> Option<Protocol> {
    if head.method != Method::POST {
        return None;
    }
    let content_type = head.headers.get(CONTENT_TYPE)?.as_bytes();
    let end = content_type.iter().position(|byte| matches!(byte, b'+' | b';' | b' ' | b'\t'));
    let media_type = &content_type[..end.unwrap_or(content_type.len())];
    let name = MEDIA_TYPES.iter().find(|name| media_type.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(Protocol(HeaderValue::from_static(name)))
}

/// RESOURCE_EXHAUSTED, with the pushback of gRPC's retry design (proposal A6): milliseconds in 32 bits, or negative for
/// "do not retry", which is also right for a wait beyond those bits (24 days).
pub(super) fn denial(protocol: Protocol, denied: Denied) -> Response<Bytes> {
    let mut response = trailers_only(protocol, RESOURCE_EXHAUSTED, HeaderValue::from_static("rate limit reached"));
    let millis = denied.retry_after().and_then(|wait| i32::try_from(wait.as_nanos().div_ceil(1_000_000)).ok());
    response.headers_mut().insert(RETRY_PUSHBACK, millis.unwrap_or(-1).into());
    response.extensions_mut().insert(denied);
    response
}

/// The answer to a request without a key: PERMISSION_DENIED for a 403, INTERNAL for a 500.
pub(super) fn refusal(protocol: Protocol, status: StatusCode, message: &str) -> Response<Bytes> {
    let status = if status == StatusCode::FORBIDDEN { "7" } else { "13" };
    trailers_only(protocol, HeaderValue::from_static(status), percent_encoded(message))
}

fn trailers_only(Protocol(content_type): Protocol, status: HeaderValue, message: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
