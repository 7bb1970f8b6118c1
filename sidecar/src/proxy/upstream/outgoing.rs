//! [`Outgoing`]: what a client sends, on its way to an upstream; and [`RequestBody`], the same over HTTP/2.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::Broken;
use super::client::Client;
use crate::proxy::chunked::may_trail;
use crate::proxy::line::Line;
use crate::proxy::refusal::Refusal;

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

/// The client's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct RequestBody {
    pub(super) body: Outgoing,
    pub(super) watched: Rc<Watched>,
}

/// What the one who waits for the response must know of the body.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) last_frame: Cell<Instant>,
    pub(super) broken: Cell<Option<Refusal>>,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let frame = ready!(this.body.poll_frame(cx));
        this.watched.last_frame.set(Instant::now());
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(filtered(frame))),
            Some(Err(refusal)) => {
                this.watched.broken.set(Some(refusal));
                Some(Err(Broken))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A frame, with only those trailers that may be there.
pub(super) fn filtered(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(only_trailers(trailers)),
        Err(frame) => frame,
    }
}

fn only_trailers(trailers: HeaderMap) -> HeaderMap {
    if trailers.keys().all(|name| may_trail(name.as_str().as_bytes())) {
        return trailers;
    }
    let mut good = HeaderMap::new();
    for (name, value) in &trailers {
        if may_trail(name.as_str().as_bytes()) {
            good.append(name, value.clone());
        }
    }
    good
}
