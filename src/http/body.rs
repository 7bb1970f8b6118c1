//! [`ResponseBody`]: the inner service's body, or the limiter's own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::outcome::Meter;

pin_project! {
    /// The body of a [`RateLimit`](super::RateLimit)'s response: the inner service's, or the limiter's short answer.
    ///
    /// It is a [`Body`] if the inner one is, and if [`Bytes`] can become its data, as they are for nearly all servers.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Metered { #[pin] body: B, meter: Box<Meter> },
        Answer { bytes: Bytes },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    /// The inner service's body, whose bytes shall be counted.
    pub(super) fn metered(body: B, meter: Meter) -> Self {
        Self { kind: Kind::Metered { body, meter: Box::new(meter) } }
    }

    pub(super) fn answer(bytes: Bytes) -> Self {
        Self { kind: Kind::Answer { bytes } }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Metered { body, meter } => {
                let frame = ready!(body.poll_frame(cx));
                if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
                    meter.count(data.remaining());
                }
                Poll::Ready(frame)
            }
            KindProjection::Answer { bytes } if bytes.is_empty() => Poll::Ready(None),
            KindProjection::Answer { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes).into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } | Kind::Metered { body, .. } => body.is_end_stream(),
            Kind::Answer { bytes } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } | Kind::Metered { body, .. } => body.size_hint(),
            Kind::Answer { bytes } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
