//! [`Asked`]: a request that somebody asks about, `GET /login from 1.2.3.4`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tollgate::http::PeerAddr;

use crate::config::{Config, words};

/// A request that somebody asks about.
#[derive(Clone, Debug)]
pub struct Asked {
    method: Method,
    target: Uri,
    /// The client's address; one of those for examples (RFC 5737), if none was given.
    from: Option<IpAddr>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A request that cannot be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedError(pub(super) String);

/// The client where none was given.
const EXAMPLE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl Asked {
    /// With a header, given as `name: value`.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn with_header(mut self, header: &str) -> Result<Self, AskedError> {
        let wrong = || AskedError(format!("{header:?} is not a header: write it as in \"x-username: alice\""));
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().parse().map_err(|_| wrong())?;
        let value = value.trim().parse().map_err(|_| wrong())?;
        self.headers.push((name, value));
        Ok(self)
    }

    /// The client's address.
    pub(super) fn client(&self) -> IpAddr {
        self.from.unwrap_or(EXAMPLE)
    }

    /// The range of the proxy that tells the client's address, if one must.
    pub(super) fn proxy<'a>(&self, config: &'a Config) -> Option<&'a str> {
        let trusted = &config.trusted_proxies;
        if trusted.contains(self.client()) || self.headers.iter().any(|(name, _)| name == "x-forwarded-for") {
            return None;
        }
        trusted.written().first().map(String::as_str)
    }

    /// The head of the request, as it comes to the proxy.
    pub(super) fn head(&self, config: &Config) -> Parts {
        let mut request = Request::builder().method(self.method.clone()).uri(self.target.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut peer = self.client();
        if let Some(proxy) = self.proxy(config) {
            let address = proxy.split('/').next().unwrap_or_default();
            peer = address.parse().unwrap_or(peer);
            request = request.header("x-forwarded-for", self.client().to_string());
        }
        let request = request.extension(PeerAddr(SocketAddr::new(peer, 0))).body(());
        request.expect("its parts were read one by one").into_parts().0
    }
}

/// `GET /login`, `/login`, `GET /login from 1.2.3.4`, `GET https://api.example/ from 1.2.3.4`.
impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Self, AskedError> {
        let wrong = |what: String| AskedError(format!("{what}: write a request as in \"GET /login from 192.0.2.7\""));
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let from = match words.iter().rposition(|word| *word == "from") {
            None => None,
            Some(at) => {
                let from = match words[at + 1..] {
                    [from] => from.parse().map_err(|_| wrong(format!("{from:?} is not an address")))?,
                    _ => return Err(wrong("\"from\" is followed by an address".to_owned())),
                };
                words.truncate(at);
                Some(from)
            }
        };
        let (method, target) = match words[..] {
            [target] if target.starts_with('/') => ("GET", target),
            [method, target] => (method, target),
            _ => return Err(wrong(format!("{text:?} is not a request"))),
        };
        let method = words::method(method).map_err(wrong)?;
        let target: Uri = target.parse().map_err(|_| wrong(format!("{target:?} is not a path")))?;
        if target.path().is_empty() || (target.scheme().is_none() && target.authority().is_some()) {
            return Err(wrong(format!("{target} is not a path")));
        }
        Ok(Self { method, target, from, headers: Vec::new() })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} from {}", self.method, self.target, self.client())?;
        if self.from.is_none() { f.write_str(" (an example)") } else { Ok(()) }
    }
}

impl fmt::Display for AskedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AskedError {}
