//! [`Meter`]: how much of a body was sent, told when it ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Counts the bytes of a body, and tells them when it is dropped: at the body's end, or wherever the client left.
pub struct Meter {
    bytes: u64,
    tell: Option<Box<dyn FnOnce(u64) + Send + Sync>>,
}

impl Meter {
    pub(super) fn new(tell: impl FnOnce(u64) + Send + Sync + 'static) -> Self {
        Self { bytes: 0, tell: Some(Box::new(tell)) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // The user's code is not called while another panic unwinds, since its own would end the process.
        if std::thread::panicking() {
            return;
        }
        if let Some(tell) = self.tell.take() {
            tell(self.bytes);
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

pin_project! {
    /// A body whose bytes are counted.
    #[derive(Debug)]
    pub(super) struct Metered<B> {
        #[pin]
        body: B,
        meter: Meter,
    }
}

impl<B> Metered<B> {
    pub(super) fn new(body: B, meter: Meter) -> Self {
        Self { body, meter }
    }
}

impl<B: Body> Body for Metered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            this.meter.bytes = this.meter.bytes.saturating_add(data.remaining() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
