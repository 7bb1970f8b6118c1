//! [`Body`]: what a client gets.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::proxy::refusal::Refusal;

/// The body of a response.
#[derive(Debug)]
pub(in crate::proxy) enum Body {
    Empty,
    Whole(Bytes),
    /// It still comes from the upstream.
    Coming(Box<dyn Coming>),
}

/// A body that still comes, in whatever way the upstream speaks.
pub(in crate::proxy) trait Coming: std::fmt::Debug {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>>;

    /// Whether there is nothing more of it.
    fn is_end(&self) -> bool;

    fn size_hint(&self) -> SizeHint;
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
            Self::Coming(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Coming(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Coming(body) => body.size_hint(),
        }
    }
}
