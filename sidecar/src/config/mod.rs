//! [`Config`]: what the proxy is to do, read and checked. The proxy takes it as it is.
//!
//! A `Config` that was read can be run: what cannot be meant was refused, with the line and the place in it. Which request
//! meets which limit is not decided here but by [`Matcher`](crate::rules::Matcher), which is made of it.

mod answers;
mod changes;
mod file;
mod limit;
mod listener;
mod origin;
mod overrides;
mod pattern;
mod problem;
mod ranges;
mod reader;
mod upstream;
mod watch;
pub(crate) mod words;
mod written;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub use answers::{Denied, DeniedBody};
pub use changes::{Carried, Changes};
pub(crate) use file::limit_error;
pub use file::read;
pub use limit::{Cost, Key, KeyPart, Limit, Missing, Percent, Plans, Scope};
pub use listener::{Admin, Tls};
pub(crate) use origin::unreadable;
pub use origin::{Origin, OriginError};
pub use overrides::Overrides;
pub use pattern::{Path, Pattern, PatternError};
pub use problem::{FileError, Problem};
pub use ranges::Ranges;
pub use tollgate::http::Headers;
pub use upstream::{Protocol, Upstream, UpstreamError, Upstreams};
pub use watch::Watch;
pub(crate) use written::without_password;

/// The JSON Schema (draft 7) of the file, for editors.
pub const SCHEMA: &str = include_str!("../../tollgate.schema.json");

/// All that `serve` needs to know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// The certificate and key, where clients are to speak TLS.
    pub tls: Option<Tls>,
    /// Where requests go.
    pub upstreams: Upstreams,
    /// The proxies that are believed about who the client is, and about its plan and cost.
    pub trusted_proxies: Ranges,
    /// Which requests meet no limit at all.
    pub exempt: Vec<Exemption>,
    /// The limits, in the order of the file. Every one that matches a request must pass. At most
    /// [`LIMITS_MAX`](Self::LIMITS_MAX).
    pub limits: Vec<Limit>,
    /// What a denied client is told.
    pub denied: Denied,
    /// In which headers responses tell where the client stands.
    pub rate_headers: Headers,
    /// Where limits are counted; in this process if there is none.
    pub store: Option<Store>,
    /// Where the operator's page is served; nowhere if there is none.
    pub admin: Option<Admin>,
    /// How many of the keys that are denied most are kept for each limit, at most [`OFFENDERS_MAX`](Self::OFFENDERS_MAX). 0 keeps none.
    pub offenders: usize,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics: Option<SocketAddr>,
    /// Whether `/readyz` waits until an upstream has accepted a connection.
    pub requires_upstream: bool,
    /// How long each thing may take.
    pub deadlines: Deadlines,
    /// How much of each thing there may be.
    pub caps: Caps,
    /// How many threads serve. Each has its own connections.
    pub threads: usize,
    /// How log lines are written.
    pub log: LogFormat,
    /// Whether each request gets a line in the log.
    pub access_log: bool,
}

/// Requests that no limit counts: those of this path, from these addresses. At least one of the two is set.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemption {
    /// Where it stands in the file.
    pub line: Option<usize>,
    /// Which requests.
    pub scope: Scope,
    /// From which clients; all if it is empty.
    pub from: Ranges,
}

/// A store that several proxies share.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Store {
    /// Where Redis is: `redis://host:port`.
    pub redis: String,
    /// What answers while the store does not.
    pub on_failure: OnFailure,
    /// How long a request waits for its answer.
    pub deadline: Duration,
}

/// What answers while the store does not.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnFailure {
    /// This proxy alone, with this share of each limit.
    Local(Percent),
    /// Every request passes.
    Open,
    /// No request passes.
    Closed,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

/// How long each thing may take, before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Bytes of a request's body; any number, if there is no cap. Above it, the answer is 413.
    pub body_bytes: Option<u64>,
}

impl Config {
    /// The most limits there may be: each is looked at for each request.
    pub const LIMITS_MAX: usize = 64;

    /// The most keys that can be kept of those denied most: each denial looks through them.
    pub const OFFENDERS_MAX: usize = 1024;

    /// Everything at its default, and no limit.
    pub fn new(listen: SocketAddr, upstream: Upstream) -> Self {
        Self {
            listen,
            tls: None,
            upstreams: Upstreams::One(upstream),
            trusted_proxies: Ranges::default(),
            exempt: Vec::new(),
            limits: Vec::new(),
            denied: Denied::default(),
            rate_headers: Headers::None,
            store: None,
            admin: Some(Admin::default()),
            offenders: 0,
            metrics: None,
            requires_upstream: true,
            deadlines: Deadlines::default(),
            caps: Caps::default(),
            threads: Self::default_threads(),
            log: LogFormat::Text,
            access_log: false,
        }
    }

    /// One for each processor, and at most four: a proxy beside an application leaves it the others.
    fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(4)
    }

    /// The limit of this name.
    pub fn limit(&self, name: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.name == name)
    }
}

impl Exemption {
    /// The requests of this scope, from these clients.
    pub fn new(scope: Scope, from: Ranges) -> Self {
        Self { line: None, scope, from }
    }
}

/// As a person says it: `/healthz from 10.0.0.0/8`.
impl fmt::Display for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scope.fmt(f)?;
        if self.from.is_empty() { Ok(()) } else { write!(f, " from {}", self.from.written().join(" or ")) }
    }
}

impl Store {
    /// The share of each limit that each proxy allows by itself, unless told otherwise.
    pub const SHARE: Percent = Percent::of(50);

    /// How long a request waits for it, unless told otherwise.
    pub const DEADLINE: Duration = Duration::from_millis(25);

    /// A store at this address, and local limits while it is away.
    pub fn new(redis: impl Into<String>) -> Self {
        Self { redis: redis.into(), on_failure: OnFailure::Local(Self::SHARE), deadline: Self::DEADLINE }
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
        Self {
            connections: 20_000,
            connections_per_client: 10_000,
            head_bytes: 64 * 1024,
            fields: 100,
            body_bytes: None,
        }
    }
}
