//! [`Config`]: what the proxy is to do, read and checked. The proxy takes it as it is.

mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tollgate::Policy;

pub use upstream::{Protocol, Upstream, UpstreamError};

/// All that `serve` needs to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// The certificate and key, where clients are to speak TLS.
    pub tls: Option<Tls>,
    /// Where requests go.
    pub upstream: Upstream,
    /// The limits. Every one that matches a request must pass.
    pub limits: Vec<Limit>,
    /// What denials carry besides.
    pub denial_headers: Vec<(HeaderName, HeaderValue)>,
    /// The proxies that are believed about who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics: Option<SocketAddr>,
    /// How long each thing may take.
    pub deadlines: Deadlines,
    /// How much of each thing there may be.
    pub caps: Caps,
    /// How many threads serve. Each has its own connections.
    pub threads: usize,
}

/// A limit and whom it counts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limit {
    /// The name by which logs and metrics call it.
    pub name: String,
    /// How much.
    pub policy: Policy,
    /// Counted by this.
    pub key: Key,
}

/// What a limit counts by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Key {
    /// The client's address.
    Address,
    /// Everything together.
    Global,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tls {
    /// The chain of certificates, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How long each thing may take, before it is given up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deadlines {
    /// Until the upstream has accepted a connection. Then the answer is 503.
    pub connect: Duration,
    /// From the first byte of a request's head to its last. Then the answer is 408. Also a TLS handshake.
    pub header: Duration,
    /// Without a request on a client's connection, and without a byte in the middle of one. Then it is closed.
    pub idle: Duration,
    /// From the end of a request until the upstream's response begins. Then the answer is 504.
    pub response: Duration,
    /// From SIGTERM until what is still under way is cut off.
    pub drain: Duration,
}

/// How much of each thing there may be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Caps {
    /// Client connections in all. Others wait in the listener's queue.
    pub connections: usize,
    /// Connections of one client address. More are closed at once.
    pub connections_per_client: usize,
    /// Bytes of a request's head. Above it, the answer is 431.
    pub head_bytes: usize,
    /// Header fields of a request. Above it, the answer is 431.
    pub fields: usize,
}

impl Config {
    /// Everything at its default, and no limit.
    pub fn new(listen: SocketAddr, upstream: Upstream) -> Self {
        Self {
            listen,
            tls: None,
            upstream,
            limits: Vec::new(),
            denial_headers: Vec::new(),
            trusted_proxies: Vec::new(),
            metrics: None,
            deadlines: Deadlines::default(),
            caps: Caps::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
        }
    }
}

impl Limit {
    /// A limit for each client address.
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        Self { name: name.into(), policy, key: Key::Address }
    }
}

impl Tls {
    /// The two files.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into() }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(250),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            response: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 20_000, connections_per_client: 10_000, head_bytes: 64 * 1024, fields: 100 }
    }
}
