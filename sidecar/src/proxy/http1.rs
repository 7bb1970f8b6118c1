//! [`Http1`]: a client connection that speaks HTTP/1. Its guard comes first, and hyper is made when there is something for it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::{Ahead, Guard};
use super::line::Line;
use super::runtime::Timer;
use super::service::Service;
use super::serving::ClientConnection;
use super::thread::Thread;
use super::way::Ways;

/// A client connection that speaks HTTP/1.
#[derive(Debug)]
pub(super) struct Http1<T: AsyncRead + AsyncWrite + Unpin + 'static> {
    thread: Rc<Thread>,
    line: Rc<Line>,
    ways: Rc<Ways>,
    guard: Rc<RefCell<Guard<T>>>,
    hyper: Option<Connection<TokioIo<SharedGuard<T>>, Service>>,
    /// hyper has asked for a next head, and done nothing since.
    hyper_waits: Rc<Cell<bool>>,
    ending: bool,
}

/// A guard that hyper reads and writes through.
#[derive(Debug)]
struct SharedGuard<T> {
    guard: Rc<RefCell<Guard<T>>>,
    hyper_waits: Rc<Cell<bool>>,
}

/// How much of what a client does not read is kept for it, beside a head and what is read from the upstream at a time.
const BUFFERED: usize = 8 * 1024;

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Http1<T> {
    pub(super) fn new(thread: Rc<Thread>, line: Rc<Line>, ways: Rc<Ways>, guard: Guard<T>) -> Self {
        let (guard, hyper_waits) = (Rc::new(RefCell::new(guard)), Rc::new(Cell::new(true)));
        Self { thread, line, ways, guard, hyper: None, hyper_waits, ending: false }
    }

    /// The connection, and what has come on it and was not read.
    pub(super) fn into_parts(self) -> (T, Vec<u8>) {
        let read = self.hyper.map(|hyper| hyper.into_parts().read_buf);
        let guard = Rc::into_inner(self.guard).expect("hyper has let it go");
        let (io, kept) = guard.into_inner().into_parts();
        (io, [read.as_deref().unwrap_or_default(), &kept].concat())
    }

    fn hyper(&mut self) -> &mut Connection<TokioIo<SharedGuard<T>>, Service> {
        let Self { thread, line, ways, guard, hyper, hyper_waits, .. } = self;
        hyper.get_or_insert_with(|| {
            let mut builder = Builder::new();
            builder.timer(Timer).header_read_timeout(None).max_header_size(thread.caps.head_bytes);
            builder.max_buf_size(thread.caps.head_bytes + BUFFERED);
            // hyper's own default needs no room to be cleared for each request.
            if thread.caps.fields != 100 {
                builder.max_headers(thread.caps.fields);
            }
            let service = Service::new(line.clone(), ways.clone(), thread.clone());
            let guard = SharedGuard { guard: guard.clone(), hyper_waits: hyper_waits.clone() };
            builder.serve_connection(TokioIo::new(guard), service)
        })
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> ClientConnection for Http1<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hyper.is_none() && self.ending {
            return Pin::new(&mut *self.guard.borrow_mut()).poll_flush(cx);
        }
        if !self.ending && self.hyper_waits.get() && self.line.leaves_hyper_idle() {
            let ahead = self.guard.borrow_mut().poll_ahead(cx, &mut self.thread.room.borrow_mut());
            if let Ahead::Over = ready!(ahead)?
                && self.hyper.is_none()
            {
                return Poll::Ready(Ok(()));
            }
        }
        self.hyper_waits.set(false);
        Future::poll(Pin::new(self.hyper()), cx).map_err(io::Error::other)
    }

    fn graceful_shutdown(&mut self) {
        self.ending = true;
        if let Some(hyper) = &mut self.hyper {
            Pin::new(hyper).graceful_shutdown();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for SharedGuard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.guard.borrow_mut();
        let poll = Pin::new(&mut *guard).poll_read(cx, buf);
        self.hyper_waits.set(poll.is_pending() && guard.waits_for_head());
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for SharedGuard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.guard.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.guard.borrow_mut()).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.guard.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.guard.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.guard.borrow_mut()).poll_shutdown(cx)
    }
}
