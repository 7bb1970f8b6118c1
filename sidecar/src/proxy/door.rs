//! [`Door`]: decides about plain requests before hyper reads them.
//!
//! A flood is what limits are for, so a denial is to cost less than anything else. Where every limit counts every request, by its peer
//! or by nothing, a request's head has no say. Then the guard, which has found the request good and whole, asks here first. What is
//! denied is answered, and what passes goes [straight] on. Where the response has a say in what a request costs, or is to say
//! where the client stands, what would pass goes on to hyper, and is asked about again.
//!
//! [straight]: super::straight

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body as _;
use tokio::time::Instant;
use tollgate::Denied;
use tollgate::http::{PeerAddr, ResponseBody};
use tower_service::Service as _;

use super::date::Date;
use super::line::Line;
use super::metrics::Outcome;
use super::plain::{PlainLimits, PlainWay};
use super::straight::Straight;
use super::thread::Thread;
use super::upstream::Body;
use super::way::Ways;
use super::written::{write_date, write_length, write_start};

/// Decides about one client's plain requests.
#[derive(Debug)]
pub(super) struct Door {
    thread: Rc<Thread>,
    line: Rc<Line>,
    ways: Rc<Ways>,
    /// Those of each request: only the peer. Kept for their memory.
    extensions: Extensions,
}

/// What becomes of a plain request.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is answered.
    Answered,
    /// It is on its way.
    Straight(Box<Straight>),
    /// It is hyper's.
    Nothing,
}

impl Door {
    pub(super) fn new(thread: Rc<Thread>, line: Rc<Line>, ways: Rc<Ways>) -> Self {
        Self { thread, line, ways, extensions: Extensions::new() }
    }

    /// Decides about a plain request with this head and `Host`.
    pub(super) fn open(&mut self, head: &[u8], host: &[u8]) -> Opened {
        let mut way = self.ways.now();
        let current = way.current.clone();
        let (plain, forward) = way.plain();
        self.extensions.remove::<Denied>();
        if self.extensions.is_empty() {
            self.extensions.insert(PeerAddr(self.line.peer));
        }
        let mut request = Request::new(());
        *request.extensions_mut() = std::mem::take(&mut self.extensions);
        let (mut answer, upstream) = match plain {
            PlainWay::Ahead => {
                let (mut head, ()) = request.into_parts();
                let Some(denial) = current.enforcer().denial_of_any(&mut head) else {
                    self.extensions = head.extensions;
                    return Opened::Nothing;
                };
                (denial, None)
            }
            PlainWay::Straight { limited, passes, upstream } => {
                passes.forget();
                let response = match limited {
                    PlainLimits::Free => now(passes.call(request)).map(|response| response.map(|_| Bytes::new())),
                    PlainLimits::One(limited) => now(limited.call(request)).map(whole),
                    PlainLimits::Several(limited) => now(limited.call(request)).map(whole),
                };
                let Some(response) = response else { return Opened::Nothing };
                (response, passes.have_passed().then_some(upstream))
            }
        };
        self.extensions = std::mem::take(answer.extensions_mut());
        let Some(upstream) = upstream else {
            self.thread.metrics.count(Outcome::Denied);
            let now = Instant::now();
            self.line.answer_early(now, |out| write(&answer, &self.thread.date, now, out));
            return Opened::Answered;
        };
        let passing = forward.pass(upstream.clone(), head, host);
        Opened::Straight(Box::new(Straight::new(passing, self.thread.clone(), self.line.clone())))
    }
}

/// What limits in this process say: at once.
fn now<T>(future: impl Future<Output = Result<T, Infallible>>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(said)) => Some(said),
        Poll::Pending => None,
    }
}

/// An answer of the limits, whose body is there.
fn whole(response: Response<ResponseBody<Body>>) -> Response<Bytes> {
    response.map(|mut body| {
        let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        match frame {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        }
    })
}

/// Writes a denial as hyper would.
fn write(response: &Response<Bytes>, date: &Date, now: Instant, out: &mut Vec<u8>) {
    write_start(response, out);
    write_length(response.body().len() as u64, out);
    write_date(date, now, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(response.body());
}
