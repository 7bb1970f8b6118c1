//! [`Content`]: the body of an answer, whoever gives it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tollgate::http::ResponseBody;

use super::upstream::Body;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Own(Body),
    /// It has come through the limits.
    Limited(ResponseBody<Body>),
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx),
            Self::Limited(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Limited(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Limited(body) => body.size_hint(),
        }
    }
}
