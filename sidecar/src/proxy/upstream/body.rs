//! [`Body`]: what a client gets.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::http2::Stream;
use crate::proxy::refusal::Refusal;

/// The body of a response.
#[derive(Debug)]
pub(in crate::proxy) enum Body {
    Empty,
    Whole(Bytes),
    /// It still comes from an upstream that speaks HTTP/1.1.
    Http1(Box<Exchange>),
    /// The same over HTTP/2.
    Http2(Box<Stream>),
}

/// The body ended before it should.
#[derive(Debug)]
pub(in crate::proxy) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the body ended before it should")
    }
}

impl std::error::Error for Broken {}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        tracing::debug!(reason = refusal.text, "a response ended in the middle");
        Self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Http1(exchange) => exchange.poll_frame(cx),
            Self::Http2(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Http1(exchange) => exchange.is_end(),
            Self::Http2(stream) => stream.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http1(exchange) => exchange.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
        }
    }
}

/// Whether a request has no body at all.
pub(super) fn is_empty(body: &Incoming) -> bool {
    http_body::Body::is_end_stream(body)
}
