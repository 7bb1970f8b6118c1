//! [`Refusal`]: why a request is not forwarded, and what its sender is told.

use http::StatusCode;

/// An answer of the proxy's own, in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
}

const fn refusal(status: StatusCode, text: &'static str) -> Refusal {
    Refusal { status, text }
}

const fn bad(text: &'static str) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, text)
}

/// What clients do wrong.
impl Refusal {
    pub(super) const BARE_LF: Self = bad("a line ends without a carriage return");
    pub(super) const CONTROL: Self = bad("a control character");
    pub(super) const REQUEST_LINE: Self = bad("not a request line");
    pub(super) const METHOD_TOO_LONG: Self = refusal(StatusCode::NOT_IMPLEMENTED, "the method is too long");
    pub(super) const TARGET_TOO_LONG: Self = refusal(StatusCode::URI_TOO_LONG, "the request target is too long");
    pub(super) const TARGET: Self = bad("not a request target");
    pub(super) const VERSION: Self = refusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "speak HTTP/1.1 or HTTP/2");
    pub(super) const FIELD: Self = bad("not a header field");
    pub(super) const FOLDED: Self = bad("a header field continues on the next line");
    pub(super) const TOO_MANY_FIELDS: Self =
        refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
    pub(super) const HEAD_TOO_LARGE: Self =
        refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the header fields are too large");
    pub(super) const NO_HOST: Self = bad("no Host");
    pub(super) const HOST_TWICE: Self = bad("more than one Host");
    pub(super) const BAD_HOST: Self = bad("not a Host");
    pub(super) const OTHER_HOST: Self = bad("Host is not the host of the request target");
    pub(super) const CONNECTION: Self = bad("not a Connection");
    pub(super) const LENGTH: Self = bad("not a Content-Length");
    pub(super) const LENGTH_TWICE: Self = bad("more than one Content-Length");
    pub(super) const LENGTH_AND_CODING: Self = bad("both Content-Length and Transfer-Encoding");
    pub(super) const CODINGS: Self = bad("chunked is not the last transfer coding, or not once");
    pub(super) const CODED_TOO_EARLY: Self = bad("Transfer-Encoding in HTTP/1.0");
    pub(super) const UNKNOWN_CODING: Self =
        refusal(StatusCode::NOT_IMPLEMENTED, "no transfer coding but chunked is understood");
    pub(super) const EXPECTATION: Self =
        refusal(StatusCode::EXPECTATION_FAILED, "no expectation but 100-continue is met");
    pub(super) const CONNECT: Self = refusal(StatusCode::NOT_IMPLEMENTED, "this is not a tunnel");
    pub(super) const TRACE: Self = refusal(StatusCode::METHOD_NOT_ALLOWED, "TRACE is not forwarded");
    pub(super) const BODY_TOO_LARGE: Self = refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    pub(super) const CHUNK: Self = bad("not a chunk");
    pub(super) const TRAILER: Self = bad("a field that may not be a trailer");
    pub(super) const TRAILERS_TOO_LARGE: Self =
        refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the trailer fields are too large");
    pub(super) const CUT_OFF: Self = bad("the request ends in the middle");
    pub(super) const TOO_SLOW: Self = refusal(StatusCode::REQUEST_TIMEOUT, "the request did not come in time");
    pub(super) const MISDIRECTED: Self = refusal(StatusCode::MISDIRECTED_REQUEST, "no upstream is set for this host");
    pub(super) const PSEUDO: Self = bad("not the pseudo-header fields of a request");
    pub(super) const VALUE: Self = bad("not the value of a header field");
}

/// What is wrong behind the proxy.
impl Refusal {
    pub(super) const UNREACHABLE: Self = refusal(StatusCode::SERVICE_UNAVAILABLE, "the upstream cannot be reached");
    pub(super) const CONNECT_SLOW: Self =
        refusal(StatusCode::SERVICE_UNAVAILABLE, "the upstream did not accept the connection in time");
    pub(super) const NO_RESPONSE: Self = refusal(StatusCode::BAD_GATEWAY, "the upstream closed without an answer");
    pub(super) const GARBAGE: Self = refusal(StatusCode::BAD_GATEWAY, "the upstream's answer is not HTTP");
    pub(super) const RESPONSE_SLOW: Self = refusal(StatusCode::GATEWAY_TIMEOUT, "the upstream did not answer in time");
    pub(super) const LOOP: Self = refusal(StatusCode::LOOP_DETECTED, "the request has been here before");
}
