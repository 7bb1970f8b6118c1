//! [`AnswerBody`]: bodies that the limiter can put its own answer into, and [`ResponseBody`], which makes one of any other.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt as _, Full};
use pin_project_lite::pin_project;

use super::meter::{Meter, Metered};

/// A response body that can hold the limiter's own answer, so that a limited service keeps its type of response.
///
/// Those of axum and tonic can (with the features of their names), and [`BoxBody`] and [`UnsyncBoxBody`] of [`Bytes`]. For
/// a service with another body, [`RateLimitLayer::any_body`](super::RateLimitLayer::any_body) wraps it in a
/// [`ResponseBody`]. Sealed.
#[diagnostic::on_unimplemented(
    message = "the limit cannot put its own answers into a response body of type `{Self}`",
    label = "this response body keeps its type, so it has to be able to hold the limit's answers",
    note = "call `.any_body()` on the layer, after all else is set: it wraps the body in `tollgate::http::ResponseBody`",
    note = "axum's body needs tollgate's feature `axum`, and tonic's the feature `tonic`"
)]
pub trait AnswerBody: seal::Sealed {
    /// The body of an answer.
    #[doc(hidden)]
    fn answer(bytes: Bytes) -> Self;

    /// This body, with its bytes counted.
    #[doc(hidden)]
    fn metered(self, meter: Meter) -> Self;
}

impl<E: 'static> AnswerBody for BoxBody<Bytes, E> {
    fn answer(bytes: Bytes) -> Self {
        Full::new(bytes).map_err(|never| match never {}).boxed()
    }

    fn metered(self, meter: Meter) -> Self {
        Metered::new(self, meter).boxed()
    }
}

impl<E: 'static> AnswerBody for UnsyncBoxBody<Bytes, E> {
    fn answer(bytes: Bytes) -> Self {
        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
    }

    fn metered(self, meter: Meter) -> Self {
        Metered::new(self, meter).boxed_unsync()
    }
}

#[cfg(feature = "axum")]
impl AnswerBody for axum::body::Body {
    fn answer(bytes: Bytes) -> Self {
        Self::from(bytes)
    }

    fn metered(self, meter: Meter) -> Self {
        Self::new(Metered::new(self, meter))
    }
}

#[cfg(feature = "tonic")]
impl AnswerBody for tonic::body::Body {
    fn answer(bytes: Bytes) -> Self {
        Self::new(Full::new(bytes))
    }

    fn metered(self, meter: Meter) -> Self {
        Self::new(Metered::new(self, meter))
    }
}

mod seal {
    /// Keeps [`AnswerBody`](super::AnswerBody) to the bodies of this file.
    pub trait Sealed {}

    impl<E> Sealed for super::BoxBody<super::Bytes, E> {}
    impl<E> Sealed for super::UnsyncBoxBody<super::Bytes, E> {}
    #[cfg(feature = "axum")]
    impl Sealed for axum::body::Body {}
    #[cfg(feature = "tonic")]
    impl Sealed for tonic::body::Body {}
    impl<B> Sealed for super::ResponseBody<B> {}
}

pin_project! {
    /// A service's body, or the limiter's short answer in its place: for bodies that cannot hold that themselves. See
    /// [`RateLimitLayer::any_body`](super::RateLimitLayer::any_body).
    ///
    /// It is a [`Body`] if the service's is, and if [`Bytes`] can become its data, as they are for nearly all servers.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        content: Content<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = ContentProjection]
    enum Content<B> {
        Inner { #[pin] body: B },
        Metered { #[pin] body: Pin<Box<Metered<ResponseBody<B>>>> },
        Answer { bytes: Bytes },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { content: Content::Inner { body } }
    }
}

impl<B> Default for ResponseBody<B> {
    /// An empty body. Layers outside of the limit want one that answer by themselves, as tower-http's `TimeoutLayer` does.
    fn default() -> Self {
        Self { content: Content::Answer { bytes: Bytes::new() } }
    }
}

impl<B> AnswerBody for ResponseBody<B> {
    fn answer(bytes: Bytes) -> Self {
        Self { content: Content::Answer { bytes } }
    }

    fn metered(self, meter: Meter) -> Self {
        Self { content: Content::Metered { body: Box::pin(Metered::new(self, meter)) } }
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
        match self.project().content.project() {
            ContentProjection::Inner { body } => body.poll_frame(cx),
            ContentProjection::Metered { body } => body.poll_frame(cx),
            ContentProjection::Answer { bytes } if bytes.is_empty() => Poll::Ready(None),
            ContentProjection::Answer { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes).into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Inner { body } => body.is_end_stream(),
            Content::Metered { body } => body.is_end_stream(),
            Content::Answer { bytes } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Inner { body } => body.size_hint(),
            Content::Metered { body } => body.size_hint(),
            Content::Answer { bytes } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
