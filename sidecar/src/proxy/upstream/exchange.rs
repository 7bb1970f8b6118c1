//! [`Exchange`]: one request to an upstream that speaks HTTP/1.1, and its response.
//!
//! Both run in the task of the client's connection: no other task is woken, and the bytes of a request are kept until the
//! upstream has begun to answer. So a connection that the upstream was just about to close costs nobody a request.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::body::{Body, Broken, Coming};
use super::client::Client;
use super::connections::{Connection, UpstreamPool};
use super::outgoing::Outgoing;
use super::response::{BodyEnd, CameHead, FIELDS_MAX, FieldRoom, GoesOn, Passing, WrittenHead};
use crate::proxy::chunked::{ChunkPart, Chunks, may_trail};
use crate::proxy::fields::has_option;
use crate::proxy::refusal::Refusal;
use crate::proxy::tunnel::Tunnel;

/// A request under way.
#[derive(Debug)]
pub(super) struct Exchange {
    upstream: Rc<UpstreamPool>,
    connection: Option<Connection>,
    client: Client,

    /// How much of `out` is written.
    written: usize,
    /// Data too large to be copied, which follows `out`.
    chunk: Bytes,
    /// What is left to be sent of the request's body.
    sending: Option<Sending>,
    /// The upstream does not take more, but may still answer.
    deaf: bool,
    /// All of the request is in `out`, so it can be sent once more.
    can_repeat: bool,
    /// The client can be told something before the response: it speaks HTTP/1.1.
    takes_hints: bool,
    /// How many bytes of hints have come.
    hinted: usize,

    answered: bool,
    /// When the head of the response had come.
    answered_at: Instant,
    receiving: Receiving,
    reusable: bool,
    deadline: Instant,
}

#[derive(Debug)]
struct Sending {
    body: Outgoing,
    chunked: bool,
    /// Until the upstream says that it wants the body, or this time is over.
    held: Option<Pin<Box<Sleep>>>,
}

/// How long an upstream may take to say that it wants the body. Some never do, and clients wait as long.
const EXPECT_FOR: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Receiving {
    Done,
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClosed,
}

/// Room for a head of the usual size.
const OUT: usize = 1024;

/// How large the head of a response may be.
const HEAD_MAX: usize = 64 * 1024;

/// Data up to this is copied behind the head, so that both go out in one packet.
const COPIED_MAX: usize = 8 * 1024;

/// The buffer that is read into: what a connection needs for small messages, and for large ones.
const READ: usize = 4 * 1024;
const READ_MAX: usize = 64 * 1024;

/// Why there is no response.
enum Failure {
    Refused(Refusal),
    /// The connection was closed before the upstream had seen anything of the request.
    Stale,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

pub(super) async fn send(
    upstream: Rc<UpstreamPool>,
    request: Request<Incoming>,
    client: Client,
) -> Result<Response<Body>, Refusal> {
    let (parts, body) = request.into_parts();
    let mut outset = Outset::new(&upstream, is_idempotent(&parts.method));
    let sending = write_head(&mut outset.out, &upstream, &client, &parts, body);
    let upgrade = client.line.asks_upgrade(client.number).then_some(&parts.headers);
    let takes_hints = parts.version == Version::HTTP_11;
    let (exchange, response) = go::<Response<()>>(upstream, client, outset, sending, takes_hints).await?;
    exchange.respond(response, &parts.method, upgrade)
}

/// Sends a `GET` without a body, whose head is written at once. The head of the response is written on the client's line.
pub(super) fn send_plain(upstream: Rc<UpstreamPool>, client: Client, head: &[u8], host: &[u8]) -> Passing {
    let mut outset = Outset::new(&upstream, true);
    client.hop.plain_to_upstream(head, host, &mut outset.out);
    Box::pin(async move {
        let begun = outset.begun;
        let sent = go::<WrittenHead>(upstream.clone(), client, outset, None, true).await;
        let (exchange, head) = match sent {
            Ok((exchange, head)) => (exchange, head),
            Err(refusal) => {
                upstream.answered(begun.elapsed());
                return Err(refusal);
            }
        };
        upstream.answered(exchange.answered_at - begun);
        let body = exchange.into_body(head.status, false);
        Ok((head, body))
    })
}

/// What a request goes out by: a connection that waited, or none yet, and what is to be sent.
struct Outset {
    idle: Option<Connection>,
    out: Vec<u8>,
    safe_to_repeat: bool,
    begun: Instant,
}

impl Outset {
    fn new(upstream: &UpstreamPool, safe_to_repeat: bool) -> Self {
        let begun = Instant::now();
        let mut idle = upstream.take_idle(begun).filter(|connection| safe_to_repeat || !is_closed(&connection.io));
        let mut out = idle.as_mut().map_or_else(|| Vec::with_capacity(OUT), |idle| std::mem::take(&mut idle.out));
        out.clear();
        Self { idle, out, safe_to_repeat, begun }
    }
}

async fn go<H: GoesOn>(
    upstream: Rc<UpstreamPool>,
    client: Client,
    outset: Outset,
    sending: Option<Sending>,
    takes_hints: bool,
) -> Result<(Exchange, H), Refusal> {
    let Outset { idle, out, safe_to_repeat, begun } = outset;
    let can_repeat = idle.is_some() && safe_to_repeat;
    let connection = match idle {
        Some(connection) => connection,
        None => Connection::new(upstream.connect().await?),
    };
    let connection = Connection { out, ..connection };
    let mut exchange = Exchange::new(upstream, connection, client, sending, begun);
    (exchange.can_repeat, exchange.takes_hints) = (can_repeat, takes_hints);
    loop {
        match poll_fn(|cx| exchange.poll_head(cx)).await {
            Ok(head) => return Ok((exchange, head)),
            Err(Failure::Refused(refusal)) => return Err(refusal),
            Err(Failure::Stale) => {
                let out = exchange.connection.take().map(|connection| connection.out).unwrap_or_default();
                let io = exchange.upstream.connect().await?;
                exchange.connection = Some(Connection { out, ..Connection::new(io) });
                exchange.written = 0;
                exchange.can_repeat = false;
                exchange.deaf = false;
            }
        }
    }
}

/// Whether the client offered what the upstream agrees to.
fn asked_for(asks: Option<&HeaderMap>, agreed: Option<&HeaderValue>) -> bool {
    let (Some(headers), Some(Ok(agreed))) = (asks, agreed.map(HeaderValue::to_str)) else { return false };
    agreed.split(',').all(|one| headers.get_all(UPGRADE).iter().any(|offers| has_option(offers, one.trim())))
}

/// Whether a request may be sent twice without being done twice: RFC 9110 section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// Whether the other side has closed. What tokio knows may be older than what the kernel knows.
fn is_closed(io: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    !matches!(socket2::SockRef::from(io).peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl Exchange {
    fn new(
        upstream: Rc<UpstreamPool>,
        connection: Connection,
        client: Client,
        sending: Option<Sending>,
        begun: Instant,
    ) -> Self {
        let deadline = begun + upstream.deadlines.get().response;
        Self {
            upstream,
            takes_hints: false,
            hinted: 0,
            connection: Some(connection),
            client,
            written: 0,
            chunk: Bytes::new(),
            can_repeat: false,
            sending,
            deaf: false,
            answered: false,
            answered_at: begun,
            receiving: Receiving::Done,
            reusable: false,
            deadline,
        }
    }

    /// Sends, and reads the head of the response, which may come before all is sent.
    fn poll_head<H: GoesOn>(&mut self, cx: &mut Context<'_>) -> Poll<Result<H, Failure>> {
        if let Poll::Ready(Err(refusal)) = self.poll_send(cx) {
            return Poll::Ready(Err(refusal.into()));
        }
        loop {
            let connection = self.connection.as_mut().expect("a connection while a head is read");
            if !connection.read.is_empty() {
                let mut room: FieldRoom<'_> = [const { MaybeUninit::uninit() }; FIELDS_MAX];
                match CameHead::read(&connection.read, &mut room)? {
                    Some(head) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {
                        let (status, len) = (head.status, head.len());
                        // Without end they would be a response that never comes.
                        self.hinted += len;
                        if self.hinted > HEAD_MAX {
                            return Poll::Ready(Err(Refusal::GARBAGE.into()));
                        }
                        // A hint on what is to come goes to those who know such (RFC 9110, 15.2). `100` is for hyper to say.
                        if self.takes_hints && status != StatusCode::CONTINUE {
                            self.client.line.say(|out| head.write_hint(out));
                        }
                        connection.read.advance(len);
                        if status == StatusCode::CONTINUE {
                            self.go_on(cx)?;
                        }
                        continue;
                    }
                    Some(head) => {
                        let (goes_on, len) = (H::of(&head, &self.client.line)?, head.len());
                        self.receiving = match head.ends {
                            BodyEnd::Length(length) => Receiving::Length(length),
                            BodyEnd::Chunked => Receiving::Chunked(Box::new(Chunks::keeping_trailers())),
                            BodyEnd::Closed => Receiving::UntilClosed,
                        };
                        (self.answered, self.answered_at, self.reusable) = (true, Instant::now(), head.reusable);
                        self.upstream.is_old.set(head.is_old);
                        connection.read.advance(len);
                        if self.sending.as_ref().is_some_and(|sending| sending.held.is_some()) {
                            // It does not want the body.
                            (self.sending, self.deaf) = (None, true);
                        }
                        return Poll::Ready(Ok(goes_on));
                    }
                    None if connection.read.len() >= HEAD_MAX => return Poll::Ready(Err(Refusal::GARBAGE.into())),
                    None => {}
                }
            }
            match self.poll_read(cx) {
                Poll::Pending => {
                    return self.poll_deadline(cx).map(|()| Err(Refusal::RESPONSE_SLOW.into()));
                }
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    let nothing = self.connection.as_ref().is_some_and(|connection| connection.read.is_empty());
                    return Poll::Ready(Err(match nothing {
                        true if self.can_repeat => Failure::Stale,
                        true => Refusal::NO_RESPONSE.into(),
                        false => Refusal::GARBAGE.into(),
                    }));
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// The upstream wants the body. hyper tells the client so when the body is asked for.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if let Some(sending) = &mut self.sending {
            sending.held = None;
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(refusal)) => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    fn respond(
        mut self,
        mut response: Response<()>,
        method: &Method,
        asks: Option<&HeaderMap>,
    ) -> Result<Response<Body>, Refusal> {
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let agreed = response.headers().get(UPGRADE).cloned();
            let (true, Some(agreed), Some(connection)) =
                (asked_for(asks, agreed.as_ref()), agreed, self.connection.take())
            else {
                return Err(Refusal::GARBAGE);
            };
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, agreed);
            self.client.line.becomes(Tunnel {
                io: connection.io,
                first: connection.read.freeze(),
                _counted: connection.counted,
            });
            return Ok(response.map(|()| Body::Empty));
        }
        let body = self.into_body(status, method == Method::HEAD);
        Ok(response.map(|()| body))
    }

    /// The body of the response whose head was read.
    fn into_body(mut self, status: StatusCode, is_head: bool) -> Body {
        if is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            self.receiving = Receiving::Done;
        }
        match self.whole() {
            Some(body) => body,
            None => {
                self.deadline = Instant::now() + self.upstream.deadlines.get().idle;
                Body::Coming(Box::new(self))
            }
        }
    }

    /// The body, if it has come with the head. Then the connection is free already.
    fn whole(&mut self) -> Option<Body> {
        let connection = self.connection.as_mut()?;
        let bytes = match self.receiving {
            Receiving::Done => Bytes::new(),
            Receiving::Length(length) if length <= connection.read.len() as u64 => {
                let length = usize::try_from(length).expect("not more than is in memory");
                connection.read.split_to(length).freeze()
            }
            _ => return None,
        };
        self.receiving = Receiving::Done;
        if self.is_sent() {
            self.finish(self.answered_at);
        } else if bytes.is_empty() {
            // The upstream does not want the rest. It is not waited for.
            return Some(Body::Empty);
        }
        Some(if bytes.is_empty() { Body::Empty } else { Body::Whole(bytes) })
    }

    fn is_sent(&self) -> bool {
        self.sending.is_none()
            && self.chunk.is_empty()
            && !self.deaf
            && self.connection.as_ref().is_some_and(|connection| self.written == connection.out.len())
    }

    /// Both messages are over: the connection is free, or closed.
    fn finish(&mut self, now: Instant) {
        let sent = self.is_sent();
        self.receiving = Receiving::Done;
        if let Some(connection) = self.connection.take()
            && sent
            && self.reusable
            && connection.read.is_empty()
        {
            self.upstream.give_back(connection, now);
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(0)) };
        let read = &mut connection.read;
        if read.capacity() - read.len() < READ / 4 {
            // A body that fills what it is given gets more at a time.
            let more = if self.answered { READ_MAX / 2 } else { READ };
            read.reserve(more);
        }
        pin!(connection.io.read_buf(read)).poll(cx)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        let timer = connection.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    /// Sends what there is. Ready when all is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        loop {
            if self.deaf || self.connection.is_none() {
                return Poll::Ready(Ok(()));
            }
            // First more to send, so that the first piece of a body goes out with the head.
            let has_more = self.poll_body(cx)?;
            match self.poll_write(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => {
                    self.deaf = true;
                    // The rest is still wanted if it is sent once more.
                    if !self.can_repeat {
                        self.sending = None;
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => {}
            }
            match has_more {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Ready(true) => {}
            }
        }
    }

    /// Takes the next piece of the request's body, if all before it is written or little. `false`: that was all.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Refusal>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(false)) };
        let out = &mut self.connection.as_mut().expect("a connection while a body is sent").out;
        if !self.chunk.is_empty() || out.len() - self.written > COPIED_MAX {
            return Poll::Ready(Ok(true));
        }
        if !self.can_repeat && self.written == out.len() {
            out.clear();
            self.written = 0;
        }
        if let Some(held) = &mut sending.held {
            ready!(held.as_mut().poll(cx));
            sending.held = None;
        }
        let frame = match ready!(sending.body.poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(refusal)) => {
                self.connection = None;
                return Poll::Ready(Err(refusal));
            }
            None => {
                if sending.chunked {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
                self.sending = None;
                return Poll::Ready(Ok(false));
            }
        };
        // It goes on, so this is not the end of the time that the upstream has.
        self.deadline = Instant::now() + self.upstream.deadlines.get().response;
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if sending.chunked {
                    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                }
                if data.len() <= COPIED_MAX && out.len() + data.len() <= 2 * COPIED_MAX {
                    out.extend_from_slice(&data);
                    if sending.chunked {
                        out.extend_from_slice(b"\r\n");
                    }
                } else {
                    self.can_repeat = false;
                    self.chunk = data;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers()
                    && sending.chunked
                {
                    out.extend_from_slice(b"0\r\n");
                    for (name, value) in &trailers {
                        if may_trail(name.as_str().as_bytes()) {
                            field(out, name, value);
                        }
                    }
                    out.extend_from_slice(b"\r\n");
                }
                self.sending = None;
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.connection.as_mut().expect("a connection while something is sent");
        loop {
            let out = &connection.out[self.written..];
            let io = Pin::new(&mut connection.io);
            let len = match (out.is_empty(), self.chunk.is_empty()) {
                (true, true) => return Poll::Ready(Ok(())),
                (_, true) => ready!(io.poll_write(cx, out))?,
                _ => ready!(io.poll_write_vectored(cx, &[IoSlice::new(out), IoSlice::new(&self.chunk)]))?,
            };
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_out = len.min(out.len());
            self.written += of_out;
            if len > of_out {
                self.chunk.advance(len - of_out);
            }
            if len > of_out && self.chunk.is_empty() && self.sending.as_ref().is_some_and(|sending| sending.chunked) {
                connection.out.clear();
                self.written = 0;
                connection.out.extend_from_slice(b"\r\n");
            }
        }
    }
}

impl Coming for Exchange {
    fn is_end(&self) -> bool {
        matches!(self.receiving, Receiving::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self.receiving {
            Receiving::Done => SizeHint::with_exact(0),
            Receiving::Length(length) => SizeHint::with_exact(length),
            Receiving::Chunked(_) | Receiving::UntilClosed => SizeHint::default(),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // A client that is slow to send does not hold up what it is sent.
        if self.poll_send(cx).is_ready_err() {
            self.connection = None;
            return Poll::Ready(Some(Err(Broken)));
        }
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            let read = &mut connection.read;
            match &mut self.receiving {
                Receiving::Done => {
                    self.finish(Instant::now());
                    return Poll::Ready(None);
                }
                Receiving::Length(0) => {
                    self.finish(Instant::now());
                    return Poll::Ready(None);
                }
                _ if read.is_empty() => {}
                Receiving::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                    *left -= len as u64;
                    let (data, last) = (read.split_to(len).freeze(), *left == 0);
                    if last {
                        self.finish(Instant::now());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Receiving::UntilClosed => {
                    return Poll::Ready(Some(Ok(Frame::data(read.split().freeze()))));
                }
                Receiving::Chunked(chunks) => match chunks.next(read) {
                    Ok(ChunkPart::Framing(len)) => {
                        read.advance(len);
                        continue;
                    }
                    Ok(ChunkPart::Data(len)) => return Poll::Ready(Some(Ok(Frame::data(read.split_to(len).freeze())))),
                    Ok(ChunkPart::End(len)) => {
                        read.advance(len);
                        let trailers = std::mem::take(&mut **chunks).into_trailers();
                        self.finish(Instant::now());
                        return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    Err(refusal) => {
                        self.connection = None;
                        return Poll::Ready(Some(Err(refusal.into())));
                    }
                },
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) if matches!(self.receiving, Receiving::UntilClosed) => {
                    self.connection = None;
                    self.receiving = Receiving::Done;
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(Broken)));
                }
                Poll::Ready(Ok(_)) => self.deadline = Instant::now() + self.upstream.deadlines.get().idle,
                Poll::Pending => {
                    ready!(self.poll_deadline(cx));
                    self.connection = None;
                    return Poll::Ready(Some(Err(Refusal::RESPONSE_SLOW.into())));
                }
            }
        }
    }
}

trait ReadyErr {
    fn is_ready_err(&self) -> bool;
}

impl<T, E> ReadyErr for Poll<Result<T, E>> {
    fn is_ready_err(&self) -> bool {
        matches!(self, Poll::Ready(Err(_)))
    }
}

/// Writes the head of a request, and says what follows.
fn write_head(
    out: &mut Vec<u8>,
    upstream: &UpstreamPool,
    client: &Client,
    parts: &Parts,
    body: Incoming,
) -> Option<Sending> {
    let uri = &parts.uri;
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    match uri.path_and_query() {
        // RFC 9112, 3.2.4: without a path it asks about the server.
        Some(target) if uri.authority().is_some() && parts.method == Method::OPTIONS && target == "/" => {
            out.push(b'*');
        }
        Some(target) => {
            if target.as_str().starts_with('?') {
                out.push(b'/');
            }
            out.extend_from_slice(target.as_str().as_bytes());
        }
        None => out.push(b'/'),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = host(upstream, parts);
    let mut te = false;
    client.hop.to_upstream(parts, &host, |name, value| {
        te |= *name == TE;
        field(out, name, value);
    });
    if client.line.asks_upgrade(client.number) {
        out.extend_from_slice(b"connection: upgrade\r\n");
        for value in parts.headers.get_all(UPGRADE) {
            field(out, &UPGRADE, value);
        }
    } else if te {
        // RFC 9110, 10.1.4.
        out.extend_from_slice(b"connection: te\r\n");
    }
    let body = Outgoing::new(body, client);
    let sending = if body.is_end() {
        // A body of length 0 is not the same as none.
        if parts.headers.contains_key(CONTENT_LENGTH) || expects_body(&parts.method) {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        None
    } else {
        let length = body.size_hint().exact();
        match length {
            Some(length) => out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes()),
            None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        // RFC 9110, 10.1.1: the client is to hear the upstream, unless that is too old to speak.
        let expects = parts.version == Version::HTTP_11 && parts.headers.contains_key(EXPECT) && !upstream.is_old.get();
        let held = expects.then(|| {
            out.extend_from_slice(b"expect: 100-continue\r\n");
            Box::pin(tokio::time::sleep(EXPECT_FOR))
        });
        Some(Sending { body, chunked: length.is_none(), held })
    };
    out.extend_from_slice(b"\r\n");
    sending
}

fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// The host that the client asked: of the target where it names one (RFC 9112, 3.2.2), else of `Host`.
pub(super) fn host(upstream: &UpstreamPool, parts: &Parts) -> HeaderValue {
    match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).unwrap_or_else(|_| upstream.host.clone()),
        None => parts.headers.get(http::header::HOST).unwrap_or(&upstream.host).clone(),
    }
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
