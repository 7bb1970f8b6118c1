//! What was a request and became a tunnel, such as a WebSocket: bytes go through both ways.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::metrics::Connected;

/// The upstream's end of what was a request.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) io: TcpStream,
    /// What it has sent already.
    pub(super) first: Bytes,
    pub(super) _counted: Connected,
}

/// Until both sides have ended, or neither has said anything for so long.
pub(super) async fn run(
    client: impl AsyncRead + AsyncWrite,
    first: Vec<u8>,
    tunnel: Tunnel,
    idle: Duration,
) -> io::Result<()> {
    let last = Cell::new(Instant::now());
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let mut upstream = tunnel.io;
    let (mut from_upstream, mut to_upstream) = upstream.split();
    let up = async {
        to_upstream.write_all(&first).await?;
        copy(&mut from_client, &mut to_upstream, &last).await
    };
    let down = async {
        to_client.write_all(&tunnel.first).await?;
        copy(&mut from_upstream, &mut to_client, &last).await
    };
    let silence = async {
        while last.get().elapsed() < idle {
            sleep_until(last.get() + idle).await;
        }
    };
    tokio::select! {
        both = async { tokio::try_join!(up, down) } => both.map(|_| ()),
        () = silence => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; 8 * 1024];
    loop {
        let len = from.read(&mut buffer).await?;
        last.set(Instant::now());
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..len]).await?;
        last.set(Instant::now());
    }
}
