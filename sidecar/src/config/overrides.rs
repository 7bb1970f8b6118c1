//! [`Overrides`]: what flags and the environment say. They beat the file.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Admin, Exemption, Limit, LogFormat, Ranges, Upstream};

/// What flags and the environment say. They beat the file, and a reload applies them again.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Overrides {
    /// Where to listen, and whether with TLS.
    pub listen: Option<(SocketAddr, bool)>,
    /// Where all requests go.
    pub upstream: Option<Upstream>,
    /// The one limit of a proxy without a file.
    pub limit: Option<Limit>,
    /// Headers of denials, beside those of the file.
    pub denial_headers: Vec<(HeaderName, HeaderValue)>,
    /// Instead of the file's.
    pub trusted_proxies: Option<Ranges>,
    /// Beside those of the file.
    pub exempt: Vec<Exemption>,
    /// Where the operator's page is served; `Some(None)` is nowhere.
    pub admin: Option<Option<Admin>>,
    /// How many of the keys that are denied most are kept.
    pub offenders: Option<usize>,
    /// Where the metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Where Redis is.
    pub redis: Option<String>,
    /// How log lines are written.
    pub log: Option<LogFormat>,
    /// Turns the access log on.
    pub access_log: bool,
    /// How long a drain may take.
    pub drain: Option<Duration>,
}
