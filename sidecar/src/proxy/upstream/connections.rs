//! [`UpstreamPool`]: the connections that one thread has to the program behind the proxy.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderValue;
use hyper::client::conn::http2::SendRequest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};

use super::outgoing::RequestBody;
use crate::config::{self, Deadlines};
use crate::durations::Durations;
use crate::proxy::metrics::{Connected, Metrics};
use crate::proxy::refusal::Refusal;

/// The connections of one thread to the upstream.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamPool {
    pub(super) target: config::Upstream,
    pub(super) host: HeaderValue,
    pub(super) deadlines: Cell<Deadlines>,
    /// Connections that wait, the last used at the end.
    idle: RefCell<Vec<Connection>>,
    addresses: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    /// The connection over HTTP/2 that all requests of a thread share, while it lives.
    pub(super) http2: RefCell<Option<SendRequest<RequestBody>>>,
    /// Its last response was of HTTP/1.0.
    pub(super) is_old: Cell<bool>,
    metrics: Metrics,
    answers: Arc<Durations>,
    /// Whether it has accepted a connection.
    ready: Arc<AtomicBool>,
}

/// A connection to the upstream that speaks HTTP/1.1, between two requests or in the middle of one.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) io: TcpStream,
    /// What has come and is not read yet.
    pub(super) read: BytesMut,
    /// What is to be sent, kept for its memory between requests.
    pub(super) out: Vec<u8>,
    pub(super) idle_since: Instant,
    /// The timer of whoever uses it, kept because to move one costs less than to make one.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) counted: Connected,
}

/// How long a connection may wait for its next request. Servers close theirs, and what is sent then is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// How many connections of a thread may wait.
const IDLE_CONNECTIONS: usize = 256;

/// How long an address that a name has is believed.
const ADDRESSES_FOR: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn new((io, counted): (TcpStream, Connected)) -> Self {
        Self { io, read: BytesMut::new(), out: Vec::new(), idle_since: Instant::now(), timer: None, counted }
    }

    /// Whether nothing has come since the last response: neither the end, nor what a next request would take for its response. That
    /// is what tokio knows, without asking the kernel, and it knows what came before the request did.
    fn is_quiet(&self) -> bool {
        matches!(self.io.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl UpstreamPool {
    pub(in crate::proxy) fn new(
        target: config::Upstream,
        deadlines: Deadlines,
        metrics: Metrics,
        ready: Arc<AtomicBool>,
    ) -> Self {
        let host = HeaderValue::from_str(target.authority.as_str()).expect("an authority is plain text");
        Self {
            host,
            deadlines: Cell::new(deadlines),
            idle: RefCell::default(),
            addresses: RefCell::default(),
            http2: RefCell::default(),
            is_old: Cell::default(),
            answers: metrics.answers_of(target.to_string()),
            target,
            metrics,
            ready,
        }
    }

    /// Where it is.
    pub(in crate::proxy) fn target(&self) -> &config::Upstream {
        &self.target
    }

    /// Changes how long each thing may take.
    pub(in crate::proxy) fn set_deadlines(&self, deadlines: Deadlines) {
        self.deadlines.set(deadlines);
    }

    pub(super) async fn connect(&self) -> Result<(TcpStream, Connected), Refusal> {
        match timeout(self.deadlines.get().connect, self.connect_to_any()).await {
            Ok(Ok(io)) => {
                self.ready.store(true, Relaxed);
                Ok((io, self.metrics.upstream()))
            }
            Ok(Err(error)) => {
                tracing::debug!(upstream = %self.target, %error, "the upstream cannot be reached");
                Err(Refusal::UNREACHABLE)
            }
            Err(_) => Err(Refusal::CONNECT_SLOW),
        }
    }

    async fn connect_to_any(&self) -> io::Result<TcpStream> {
        let mut last = None;
        let addresses = self.addresses().await?;
        for (index, address) in addresses.iter().enumerate() {
            match TcpStream::connect(address).await {
                Ok(io) => {
                    io.set_nodelay(true)?;
                    if index > 0 {
                        self.prefer(*address);
                    }
                    return Ok(io);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some((until, addresses)) = &*self.addresses.borrow()
            && *until > Instant::now()
        {
            return Ok(addresses.clone());
        }
        let authority = &self.target.authority;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(80);
        let addresses: Vec<SocketAddr> = match host.parse() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port)).await?.collect(),
        };
        *self.addresses.borrow_mut() = Some((Instant::now() + ADDRESSES_FOR, addresses.clone()));
        Ok(addresses)
    }

    /// Tries this address first the next time.
    fn prefer(&self, address: SocketAddr) {
        if let Some((_, addresses)) = &mut *self.addresses.borrow_mut() {
            addresses.sort_by_key(|other| *other != address);
        }
    }

    /// That it took so long to answer, or not to.
    pub(in crate::proxy) fn answered(&self, after: Duration) {
        self.answers.count(after);
    }

    /// The connection that was used last, of those on which nothing has come.
    pub(super) fn take_idle(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            // What waits longest lies below: if this one is too old, all are.
            if now - connection.idle_since > IDLE_MAX {
                idle.clear();
            } else if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn give_back(&self, mut connection: Connection, now: Instant) {
        connection.idle_since = now;
        if connection.out.capacity() > 16 * 1024 {
            connection.out = Vec::new();
        }
        if connection.read.capacity() > 16 * 1024 {
            connection.read = BytesMut::new();
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }

    /// Closes what has waited too long. To be called now and then.
    pub(in crate::proxy) fn sweep(&self) {
        let old = |connection: &Connection| connection.idle_since.elapsed() > IDLE_MAX;
        let mut idle = self.idle.borrow_mut();
        let keep_from = idle.iter().position(|connection| !old(connection)).unwrap_or(idle.len());
        idle.drain(..keep_from);
        idle.retain(Connection::is_quiet);
    }
}
