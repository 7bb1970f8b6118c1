//! [`Straight`]: a plain request on its way to the upstream and back, past hyper.
//!
//! Most requests are a `GET` without a body. Their heads are read by the guard anyway, so hyper has nothing to add to them: it would read
//! them again into a map, and write the response's fields out of another.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use tokio::time::Instant;

use super::forward::refused;
use super::line::Line;
use super::metrics::Outcome;
use super::refusal::Refusal;
use super::thread::Thread;
use super::upstream::{Body, Broken, Passing, WrittenHead};
use super::written::{write_date, write_length, write_start};

/// A plain request, and its response.
pub(super) struct Straight {
    stage: PassingStage,
    closes: bool,
    thread: Rc<Thread>,
    line: Rc<Line>,
}

enum PassingStage {
    Asked(Passing),
    Answering { body: Body, is_chunked: bool },
    Over,
}

/// What is to be written to the client next.
pub(super) enum Next {
    /// What was said on the line, and then this.
    Data(Bytes),
    /// Nothing more.
    End,
}

/// Data up to this is copied behind what is said, so that both go out in one packet.
const COPIED_MAX: usize = 8 * 1024;

impl Straight {
    pub(super) fn new(passing: Passing, thread: Rc<Thread>, line: Rc<Line>) -> Self {
        line.begin_straight();
        Self { stage: PassingStage::Asked(passing), closes: false, thread, line }
    }

    /// Whether the client was told that the connection closes. Then nothing more is answered on it (RFC 9112, 9.6).
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The next piece. To be asked when the one before is written.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Broken>> {
        loop {
            match &mut self.stage {
                PassingStage::Asked(passing) => {
                    let answer = ready!(passing.as_mut().poll(cx));
                    self.stage = match answer {
                        Ok((head, body)) => self.begin(&head, body),
                        Err(refusal) => self.refuse(refusal),
                    };
                }
                PassingStage::Answering { body, is_chunked } => {
                    let frame = match body.is_end_stream() {
                        true => None,
                        false => ready!(Pin::new(&mut *body).poll_frame(cx)).transpose()?,
                    };
                    let (is_chunked, is_over) = (*is_chunked, frame.is_none() || body.is_end_stream());
                    if is_over {
                        self.stage = PassingStage::Over;
                    }
                    // Nobody asked for trailers.
                    let data = frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
                    return Poll::Ready(Ok(Next::Data(self.say(data, is_chunked, is_over))));
                }
                PassingStage::Over => return Poll::Ready(Ok(Next::End)),
            }
        }
    }

    /// Ends the head of a response as hyper would.
    fn begin(&mut self, head: &WrittenHead, body: Body) -> PassingStage {
        self.thread.metrics.count(Outcome::Forwarded);
        self.closes = self.thread.drain.has_begun();
        let has_none = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = body.size_hint().exact();
        let is_chunked = length.is_none() && !has_none;
        self.line.answer(|out| {
            match length.filter(|_| !has_none) {
                Some(length) => write_length(length, out),
                None if is_chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
                None => {}
            }
            self.end_head(head.has_date, out);
        });
        PassingStage::Answering { body, is_chunked }
    }

    /// Says that there is no response.
    fn refuse(&mut self, refusal: Refusal) -> PassingStage {
        let is_ours = refusal.status.is_server_error();
        self.thread.metrics.count(if is_ours { Outcome::Failed } else { Outcome::Rejected });
        self.closes = self.thread.drain.has_begun();
        let response = refused(refusal);
        self.line.answer(|out| {
            write_start(&response, out);
            write_length(response.body().size_hint().lower(), out);
            self.end_head(false, out);
        });
        PassingStage::Answering { body: response.into_body(), is_chunked: false }
    }

    fn end_head(&self, has_date: bool, out: &mut Vec<u8>) {
        if self.closes {
            out.extend_from_slice(b"connection: close\r\n");
        }
        if !has_date {
            write_date(&self.thread.date, Instant::now(), out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Says a piece of the body, but for what is too large to be copied.
    fn say(&self, data: Bytes, is_chunked: bool, is_last: bool) -> Bytes {
        if !is_chunked && data.len() > COPIED_MAX {
            return data;
        }
        self.line.answer(|out| {
            let is_piece = is_chunked && !data.is_empty();
            if is_piece {
                out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            }
            out.extend_from_slice(&data);
            if is_piece {
                out.extend_from_slice(b"\r\n");
            }
            if is_chunked && is_last {
                out.extend_from_slice(b"0\r\n\r\n");
            }
        });
        Bytes::new()
    }
}

impl Drop for Straight {
    fn drop(&mut self) {
        self.line.end_straight();
    }
}

impl std::fmt::Debug for Straight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Straight")
    }
}
