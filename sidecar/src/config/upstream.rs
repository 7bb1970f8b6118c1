//! [`Upstream`]: the program behind the proxy.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// Where requests go, as `http://localhost:5000` or `h2c://localhost:50051`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What is spoken to it.
    pub protocol: Protocol,
    /// Host and port. The port is always there.
    pub authority: Authority,
}

/// Where the requests for each host go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// All to one, whatever the host.
    One(Upstream),
    /// Those for these hosts, which are in lower case and without a port. Other hosts are answered 421.
    ByHost(Vec<(String, Upstream)>),
}

impl Upstreams {
    /// Where a request for this host goes, given in lower case and without a port.
    pub fn of(&self, host: Option<&str>) -> Option<&Upstream> {
        match self {
            Self::One(upstream) => Some(upstream),
            Self::ByHost(upstreams) => {
                let host = host?;
                upstreams.iter().find(|(listed, _)| listed == host).map(|(_, upstream)| upstream)
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Upstream> {
        let (one, by_host) = match self {
            Self::One(upstream) => (Some(upstream), &[][..]),
            Self::ByHost(upstreams) => (None, &upstreams[..]),
        };
        one.into_iter().chain(by_host.iter().map(|(_, upstream)| upstream))
    }

    /// The hosts that are listed, if any are.
    pub fn hosts(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::One(_) => None,
            Self::ByHost(upstreams) => Some(upstreams.iter().map(|(host, _)| host.as_str())),
        }
    }
}

/// What is spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, from the first byte.
    H2c,
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let uri: Uri = text.parse().map_err(|_| UpstreamError)?;
        let protocol = match uri.scheme_str() {
            Some("http") => Protocol::Http1,
            Some("h2c") => Protocol::H2c,
            _ => return Err(UpstreamError),
        };
        let authority = uri.authority().ok_or(UpstreamError)?;
        if uri.path_and_query().is_some_and(|path| path != "/") || authority.as_str().contains('@') {
            return Err(UpstreamError);
        }
        let authority = match authority.port_u16() {
            Some(_) => authority.clone(),
            None => format!("{}:80", authority.host()).parse().map_err(|_| UpstreamError)?,
        };
        Ok(Self { protocol, authority })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http1 => "http",
            Protocol::H2c => "h2c",
        };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// Text that is not an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError;

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an upstream: http://HOST:PORT, or h2c://HOST:PORT for HTTP/2 without TLS")
    }
}

impl std::error::Error for UpstreamError {}
