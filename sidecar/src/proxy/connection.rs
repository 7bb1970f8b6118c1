//! One client connection: which protocol it speaks, how long it may take over each thing, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;

use super::door::Door;
use super::guard::Guard;
use super::head::{Head, HeadBounds};
use super::http1::Http1;
use super::line::Line;
use super::refusal::Refusal;
use super::runtime::{Streams, Timer};
use super::service::Service;
use super::serving::{ClientConnection, Serving};
use super::thread::{EndNotice, Thread};
use super::tls::Acceptor;
use super::tunnel;
use super::way::Ways;

/// Where a client's bytes come from.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Tls(_) => "Tls",
        })
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the head of a frame is.
const FRAME_HEAD: usize = 9;

/// How long, and for how many bytes, a client is listened to that was already told all. To close at once would make the
/// system take back what was told, if something more comes in.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// How much of what a client does not read is kept for it of each stream of HTTP/2. It has 128 of those.
const STREAM_BUFFERED: usize = 32 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(thread: Rc<Thread>, stream: TcpStream, peer: SocketAddr) {
    let current = thread.current();
    let tls = current.tls().cloned();
    let deadline = current.config().deadlines.header;
    drop(current);
    let is_tls = tls.is_some();
    // Boxed, as all is that few connections come to, or none for long: each would hold room for it to its end.
    let stream = match tls {
        None => Ok(Stream::Tcp(stream)),
        Some(acceptor) => Box::pin(handshake(acceptor, stream, deadline)).await,
    };
    let result = match stream {
        Ok(stream) => serve_stream(&thread, stream, peer, is_tls).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

async fn handshake(acceptor: Acceptor, stream: TcpStream, deadline: Duration) -> io::Result<Stream> {
    let stream = timeout(deadline, acceptor.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(Stream::Tls(Box::new(stream)))
}

async fn serve_stream(thread: &Rc<Thread>, mut stream: Stream, peer: SocketAddr, tls: bool) -> io::Result<()> {
    let Some((first, late)) = first_bytes(thread, &mut stream).await? else { return Ok(()) };
    let line = Rc::new(Line::new(peer));
    if late {
        line.give_up(Refusal::TOO_SLOW);
    }
    let ways = Rc::new(Ways::new(line.clone(), tls, thread.clone()));
    // Boxed, so that a connection that has not spoken yet is small.
    match first.strip_prefix(PREFACE) {
        None => Box::pin(serve_http1(thread, stream, line, ways, first)).await,
        Some(frames) if begins_with_settings(frames) => Box::pin(serve_http2(thread, stream, line, ways, first)).await,
        Some(_) => Box::pin(refuse_http2(stream)).await,
    }
}

/// What the client says first, and whether that took too long: HTTP/2's preface and the head of a frame, or a whole head of HTTP/1. Until then a
/// connection is a few bytes, and no hyper. `None`: nothing came.
async fn first_bytes(thread: &Rc<Thread>, stream: &mut Stream) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut first = Vec::new();
    let mut head = Head::default();
    let deadline = Instant::now() + thread.current().config().deadlines.header;
    let mut watch = EndNotice::new(thread.clone());
    loop {
        let silent = first.is_empty();
        let drained = std::future::poll_fn(|cx| watch.poll(cx));
        let read = async {
            // No memory until there is something to put into it.
            if let Stream::Tcp(stream) = &*stream {
                stream.readable().await?;
            }
            first.reserve(512);
            stream.read_buf(&mut first).await
        };
        tokio::select! {
            biased;
            read = tokio::time::timeout_at(deadline, read) => match read {
                Ok(Ok(0)) if silent => return Ok(None),
                // The guard meets the end once more, and says what it thinks of it.
                Ok(Ok(0)) => return Ok(Some((first, false))),
                Ok(result) => result?,
                Err(_) if silent => return Ok(None),
                Err(_) => return Ok(Some((first, true))),
            },
            () = drained, if silent => return Ok(None),
        };
        let is_whole = match first.starts_with(PREFACE) {
            true => first.len() >= PREFACE.len() + FRAME_HEAD,
            false => !PREFACE.starts_with(&first) && !matches!(head.advance(&mut first, limits(thread)), Ok(None)),
        };
        if is_whole {
            return Ok(Some((first, false)));
        }
    }
}

fn limits(thread: &Thread) -> HeadBounds {
    HeadBounds { bytes: thread.caps.head_bytes, fields: thread.caps.fields }
}

async fn serve_http1(
    thread: &Rc<Thread>,
    stream: Stream,
    line: Rc<Line>,
    ways: Rc<Ways>,
    first: Vec<u8>,
) -> io::Result<()> {
    let door = Door::new(thread.clone(), line.clone(), ways.clone());
    let guard = Guard::new(stream, line.clone(), door, limits(thread), first);
    let connection = Http1::new(thread.clone(), line.clone(), ways, guard);
    let mut serving = Serving::new(thread.clone(), line.clone(), connection);
    (&mut serving).await?;
    // A tunnel may live for long, so the service ends here.
    let (mut stream, first) = serving.take().into_parts();
    match line.tunnel() {
        Some(tunnel) => Box::pin(tunnel::run(stream, first, tunnel, thread.current().config().deadlines.idle)).await,
        None if line.saw_end() => {
            let _ = timeout(LINGER, stream.shutdown()).await;
            Ok(())
        }
        None => Box::pin(linger(stream)).await,
    }
}

/// Hears a client out that does not know yet that all is said.
async fn linger(mut stream: Stream) -> io::Result<()> {
    let _ = timeout(LINGER, async {
        stream.shutdown().await?;
        let mut heard = 0;
        let mut buffer = [0; 2048];
        while heard < LINGER_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                len => heard += len,
            }
        }
        io::Result::Ok(())
    })
    .await;
    Ok(())
}

/// RFC 9113, 3.4: the preface ends with settings, which are no acknowledgement and of no stream. hyper does not look.
fn begins_with_settings(frames: &[u8]) -> bool {
    matches!(frames, [_, _, _, 4, flags, stream, 0, 0, 0, ..] if flags & 1 == 0 && stream & 0x7f == 0)
}

/// Says that this is not HTTP/2: with settings of its own, as it must, and PROTOCOL_ERROR.
async fn refuse_http2(mut stream: Stream) -> io::Result<()> {
    const SETTINGS: [u8; FRAME_HEAD] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; FRAME_HEAD + 8] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    stream.write_all(&[&SETTINGS[..], &GOAWAY].concat()).await?;
    linger(stream).await
}

async fn serve_http2(
    thread: &Rc<Thread>,
    stream: Stream,
    line: Rc<Line>,
    ways: Rc<Ways>,
    first: Vec<u8>,
) -> io::Result<()> {
    let service = Service::new(line.clone(), ways, thread.clone());
    let deadlines = thread.current().config().deadlines;
    let connection = http2::Builder::new(Streams { patience: deadlines.response + deadlines.idle })
        .timer(Timer)
        .max_concurrent_streams(128)
        .max_send_buf_size(STREAM_BUFFERED)
        .max_header_list_size(thread.caps.head_bytes.try_into().unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(Guard::raw(stream, line.clone(), first)), service);
    Serving::new(thread.clone(), line, connection).await
}

impl ClientConnection for http2::Connection<TokioIo<Guard<Stream>>, Service, Streams> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Future::poll(Pin::new(self), cx).map_err(io::Error::other)
    }

    fn graceful_shutdown(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
