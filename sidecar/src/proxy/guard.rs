//! [`Guard`]: stands between a client's bytes and hyper, and lets hyper see only what is strictly HTTP/1.1.
//!
//! A head is handed on when it is whole and good. Then hyper cannot read it in another way than it was checked, so both know
//! the same place where its body ends. A head that is refused never reaches hyper. It sees a request of ours in its place,
//! which the service answers with the refusal. So the answers to what came before are written first, and hyper closes.
//!
//! Bytes are checked where hyper will read them. Only what is not whole yet is copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunked::{ChunkPart, Chunks};
use super::door::{Door, Opened};
use super::head::{Framing, Head, HeadBounds};
use super::line::Line;
use super::refusal::Refusal;
use super::straight::{Next, Straight};

/// A client's connection, as hyper may see it.
#[derive(Debug)]
pub(super) struct Guard<T> {
    io: T,
    line: Rc<Line>,
    /// Who may answer in hyper's place.
    door: Option<Door>,
    limits: HeadBounds,
    at: Reading,
    /// What has come and is not handed on.
    kept: Vec<u8>,
    /// So much of it may be handed on.
    good: usize,
    /// More has come into `kept` than has been looked at.
    fresh: bool,
    head_request: bool,
    /// A request that is under way past hyper, and data of its response to be written behind what is said.
    straight: Option<Box<Straight>>,
    data: Bytes,
    /// What was written may wait for the client in TLS.
    unflushed: bool,
}

#[derive(Debug)]
enum Reading {
    Head(Head),
    Length(u64),
    Chunked(Box<Chunks>),
    /// Not HTTP/1 (any more).
    Raw,
    /// A refusal is to be handed on, or a broken body to be told.
    Refused,
    Broken,
    /// Nothing is read any more.
    Over,
}

impl<T> Guard<T> {
    /// Checks HTTP/1. These bytes have come already.
    pub(super) fn new(io: T, line: Rc<Line>, door: Door, limits: HeadBounds, first: Vec<u8>) -> Self {
        let fresh = !first.is_empty();
        let raw = Self::raw(io, line, first);
        Self { door: Some(door), limits, at: Reading::Head(Head::default()), good: 0, fresh, ..raw }
    }

    /// Checks nothing.
    pub(super) fn raw(io: T, line: Rc<Line>, first: Vec<u8>) -> Self {
        let good = first.len();
        let limits = HeadBounds { bytes: 0, fields: 0 };
        Self {
            io,
            line,
            door: None,
            limits,
            at: Reading::Raw,
            kept: first,
            good,
            fresh: false,
            head_request: false,
            straight: None,
            data: Bytes::new(),
            unflushed: false,
        }
    }

    /// The connection, and what has come and was not handed on.
    pub(super) fn into_parts(self) -> (T, Vec<u8>) {
        (self.io, self.kept)
    }

    /// Does not wait for the rest of a head or body any more.
    fn give_up(&mut self, refusal: Refusal) {
        match self.at {
            Reading::Head(_) => self.refuse(refusal),
            Reading::Length(_) | Reading::Chunked(_) => {
                self.line.refuse_body(refusal);
                self.at = Reading::Broken;
            }
            Reading::Raw | Reading::Refused | Reading::Broken | Reading::Over => {}
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.line.refuse(refusal);
        self.at = Reading::Refused;
    }

    fn in_body(&self) -> bool {
        matches!(self.at, Reading::Length(_) | Reading::Chunked(_))
    }

    /// How many of these bytes may be handed on. The others are to be kept, if they are still wanted. `None`: they are a request that is
    /// answered, or under way.
    fn look(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let mut good = 0;
        while good < bytes.len() {
            let rest = &mut bytes[good..];
            match &mut self.at {
                Reading::Head(head) => match head.advance(rest, self.limits) {
                    Ok(None) => {
                        if head.has_begun(rest) {
                            self.line.head_begins();
                        }
                        break;
                    }
                    Ok(Some(checked)) => {
                        if let Some(host) = checked.plain.filter(|_| checked.len == bytes.len())
                            && self.opens(bytes, host)
                        {
                            self.at = Reading::Head(Head::default());
                            return None;
                        }
                        good += checked.len;
                        self.line.hand_on(checked.upgrade);
                        self.at = match checked.body {
                            Framing::Length(0) => Reading::Head(Head::default()),
                            Framing::Length(length) => Reading::Length(length),
                            Framing::Chunked => Reading::Chunked(Box::default()),
                        };
                        if checked.upgrade {
                            // Whether what follows is HTTP is not known yet.
                            self.fresh = true;
                            break;
                        }
                    }
                    Err(refusal) => {
                        self.head_request = trim_lines(rest).starts_with(b"HEAD ");
                        self.refuse(refusal);
                        break;
                    }
                },
                Reading::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    good += len;
                    *left -= len as u64;
                    if *left == 0 {
                        self.at = Reading::Head(Head::default());
                    }
                }
                Reading::Chunked(chunks) => match chunks.next(rest) {
                    Ok(ChunkPart::Framing(len) | ChunkPart::Data(len)) => good += len,
                    Ok(ChunkPart::End(len)) => {
                        good += len;
                        self.at = Reading::Head(Head::default());
                    }
                    Err(refusal) => {
                        self.line.refuse_body(refusal);
                        self.at = Reading::Broken;
                        break;
                    }
                },
                Reading::Raw => good = bytes.len(),
                Reading::Refused | Reading::Broken | Reading::Over => break,
            }
        }
        Some(good)
    }

    /// Whether a plain request is answered, or goes its way past hyper.
    fn opens(&mut self, head: &[u8], host: (usize, usize)) -> bool {
        let Some(door) = self.door.as_mut().filter(|_| self.line.is_quiet()) else { return false };
        match door.open(head, &head[host.0..host.1]) {
            Opened::Nothing => return false,
            Opened::Answered => {}
            Opened::Straight(straight) => self.straight = Some(straight),
        }
        true
    }

    /// Hands on what may be, as far as there is room.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.good.min(buf.remaining());
        buf.put_slice(&self.kept[..len]);
        self.kept.drain(..len);
        self.good -= len;
        if self.kept.is_empty() {
            // A connection that waits keeps no memory for what it once sent.
            self.kept = Vec::new();
        }
    }

    /// The request in place of a refused one.
    fn stand_in(&self) -> &'static [u8] {
        if self.head_request {
            b"HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n"
        } else {
            b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(refusal) = this.line.given_up() {
            this.give_up(refusal);
        }
        loop {
            if this.straight.is_some() && this.poll_straight(cx)?.is_pending() {
                // What the client sends meanwhile waits for its turn. If it leaves, nobody waits for the response.
                if !this.kept.is_empty() {
                    return Poll::Pending;
                }
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                this.kept.extend_from_slice(&buf.filled()[before..]);
                if this.kept.is_empty() {
                    this.line.ends();
                    return Poll::Ready(Ok(()));
                }
                buf.set_filled(before);
                this.fresh = true;
                return Poll::Pending;
            }
            if this.good > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match this.at {
                Reading::Refused => {
                    this.at = Reading::Over;
                    this.kept = Vec::new();
                    buf.put_slice(this.stand_in());
                    return Poll::Ready(Ok(()));
                }
                Reading::Broken => {
                    this.at = Reading::Over;
                    this.kept = Vec::new();
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the body is broken")));
                }
                Reading::Over => return Poll::Pending,
                _ if this.line.is_held(cx) => return Poll::Pending,
                _ => {}
            }
            if this.fresh {
                this.fresh = false;
                let mut kept = std::mem::take(&mut this.kept);
                if let Some(good) = this.look(&mut kept) {
                    (this.good, this.kept) = (good, kept);
                }
                continue;
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    this.line.read_waits(this.in_body());
                    return Poll::Pending;
                }
            }
            this.line.has_read();
            let came = buf.filled().len() - before;
            if came == 0 {
                this.line.ends();
                let cut = matches!(&this.at, Reading::Head(head) if head.has_begun(&this.kept));
                if cut {
                    this.refuse(Refusal::CUT_OFF);
                    continue;
                }
                return Poll::Ready(Ok(()));
            }
            if this.kept.is_empty() {
                let Some(good) = this.look(&mut buf.filled_mut()[before..]) else {
                    buf.set_filled(before);
                    continue;
                };
                if !matches!(this.at, Reading::Refused | Reading::Broken) {
                    this.kept.extend_from_slice(&buf.filled()[before + good..]);
                }
                buf.set_filled(before + good);
                if good > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.kept.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
                this.fresh = true;
            }
        }
    }
}

/// What reading ahead of hyper has come to.
#[derive(Debug)]
pub(super) enum Ahead {
    /// There is something for hyper.
    Hyper,
    /// The client has ended between two requests.
    Over,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Guard<T> {
    /// Whether whoever reads here waits for a head, and for nothing else.
    pub(super) fn waits_for_head(&self) -> bool {
        matches!(self.at, Reading::Head(_)) && self.line.leaves_hyper_idle()
    }

    /// Reads while hyper has nothing to do, and deals with plain requests. It is read into `room`.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<Ahead>> {
        let mut buf = ReadBuf::new(room);
        let poll = Pin::new(&mut *self).poll_read(cx, &mut buf)?;
        // What was answered is written now.
        let _: Poll<()> = self.poll_say(cx)?;
        ready!(poll);
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(Ahead::Over));
        }
        self.kept.splice(..0, buf.filled().iter().copied());
        self.good += buf.filled().len();
        Poll::Ready(Ok(Ahead::Hyper))
    }
}

impl<T: AsyncWrite + Unpin> Guard<T> {
    /// Writes what is to be written before anything of hyper's.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut said = match self.line.take_said() {
            None if self.data.is_empty() && !self.unflushed => return Poll::Ready(Ok(())),
            said => said.unwrap_or_default(),
        };
        let mut written = 0;
        let result = loop {
            if written == said.len() && self.data.is_empty() {
                let flushed = Pin::new(&mut self.io).poll_flush(cx);
                self.unflushed = flushed.is_pending();
                break self.note(flushed);
            }
            let both = [IoSlice::new(&said[written..]), IoSlice::new(&self.data)];
            let poll = match self.data.is_empty() {
                true => Pin::new(&mut self.io).poll_write(cx, &said[written..]),
                false => Pin::new(&mut self.io).poll_write_vectored(cx, &both),
            };
            match self.note(poll) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(len)) => {
                    let of_said = len.min(said.len() - written);
                    written += of_said;
                    self.data.advance(len - of_said);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        said.drain(..written);
        self.line.give_back_said(said);
        result
    }

    /// Goes on with the request that is under way past hyper. Ready when its response is written.
    fn poll_straight(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.data.is_empty() || self.line.has_much_to_say() {
                ready!(self.poll_say(cx))?;
            }
            let Some(straight) = &mut self.straight else { return Poll::Ready(Ok(())) };
            match straight.poll_next(cx) {
                Poll::Ready(Ok(Next::Data(data))) => self.data = data,
                Poll::Ready(Ok(Next::End)) => {
                    ready!(self.poll_say(cx))?;
                    if self.straight.take().is_some_and(|straight| straight.closes()) {
                        self.at = Reading::Over;
                    }
                }
                Poll::Ready(Err(_)) => {
                    (self.straight, self.at) = (None, Reading::Over);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the response is broken")));
                }
                Poll::Pending => {
                    ready!(self.poll_say(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }

    fn note<R>(&self, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match poll {
            Poll::Pending => self.line.write_waits(),
            Poll::Ready(_) => self.line.has_written(),
        }
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_say(cx))?;
        let poll = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_say(cx))?;
        let poll = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_say(cx))?;
        let poll = Pin::new(&mut this.io).poll_flush(cx);
        this.note(poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// Without the empty lines before it.
fn trim_lines(bytes: &[u8]) -> &[u8] {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    &bytes[begin..]
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes all that is written, as TLS does, and sends it when it is flushed and may.
    #[derive(Default)]
    struct Holding {
        held: usize,
        sent: usize,
        may_send: bool,
    }

    impl AsyncWrite for Holding {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.held += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.may_send {
                return Poll::Pending;
            }
            self.sent += std::mem::take(&mut self.held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[test]
    fn what_is_said_is_sent_though_nothing_comes_behind_it() {
        let line = Rc::new(Line::new(([127, 0, 0, 1], 1).into()));
        let mut guard = Guard::raw(Holding::default(), line.clone(), Vec::new());
        let mut cx = Context::from_waker(Waker::noop());
        line.answer(|out| out.extend_from_slice(b"the end"));
        for _ in 0..2 {
            assert!(guard.poll_say(&mut cx).is_pending());
            assert!(line.write_waits_since().is_some(), "it is known to wait");
        }
        guard.io.may_send = true;
        assert!(matches!(guard.poll_say(&mut cx), Poll::Ready(Ok(()))));
        assert_eq!((guard.io.sent, line.write_waits_since()), (7, None));
    }
}
