//! [`Body`]: what a client gets.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::Client;
use super::exchange::Exchange;
use super::http2::Stream;
use crate::proxy::line::Line;
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

/// The body of a request, as far as it may go.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: Incoming,
    line: Rc<Line>,
    number: u64,
    /// How much more it may have.
    left: u64,
}

impl Outgoing {
    pub(super) fn new(body: Incoming, client: &Client) -> Self {
        Self { body, line: client.line.clone(), number: client.number, left: client.body_max }
    }

    /// The next frame, or what is wrong with the body.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|_| self.line.body_refusal(self.number).unwrap_or(Refusal::CUT_OFF))?;
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.left = self.left.checked_sub(len).ok_or_else(|| {
                // A connection of HTTP/1 is of no use then. (Requests of HTTP/2 have no number here.)
                if self.number > 0 {
                    self.line.refuse_body_of(self.number, Refusal::BODY_TOO_LARGE);
                }
                Refusal::BODY_TOO_LARGE
            })?;
            Ok(frame)
        }))
    }

    /// Whether there is nothing more of it.
    pub(super) fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
