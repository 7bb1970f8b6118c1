//! [`HostKey`]: the host that a request is for.

use std::cmp::Ordering;

use http::header::{HOST, HeaderValue};
use http::request::Parts;

use super::KeyExtractor;
use super::no_key::NoKey;
use crate::setting_error::SettingError;

/// Counts by the host that a request is for, of those that are listed: one limit for each site or tenant.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::{ClientIp, HostKey};
///
/// // Each client has 28 per second on each of these sites.
/// let sites = HostKey::among(["example.com", "api.example.com"])?;
/// let layer = RateLimitLayer::per_second(28)
///     .key((sites, ClientIp::peer()));
/// # let _ = layer;
/// # Ok::<(), tollgate::SettingError>(())
/// ```
///
/// A client writes any host it likes into a request. So only those listed are keys, and there are no wildcards. Any other
/// name is [`NoKey::Absent`]. The layer then answers `403 Forbidden`, unless
/// [`WhenNoKey`](crate::http::WhenNoKey) says otherwise. Where tenants come and go, let the program find the tenant, and count
/// by [`ExtensionKey`](super::ExtensionKey).
///
/// The host is read from the request's target (`:authority` in HTTP/2, the absolute form in HTTP/1) and from the `Host`
/// header. If there are several, all must name the same one, or it is [`NoKey::Absent`]. Programs differ in which they take.
/// So a client could be served one site on the account of another. Case, a port and a dot at the end make no
/// difference. The key is the name as it was listed, in lower case.
///
/// Behind a proxy, the proxy must pass the client's `Host` on: in nginx, `proxy_set_header Host $host;`. `X-Forwarded-Host` and
/// `Forwarded` are not read.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// Sorted, in lower case.
    hosts: Box<[Box<str>]>,
}

impl HostKey {
    /// Counts by these hosts: names or addresses, without a port. Names beyond ASCII are given as they are sent, in
    /// Punycode (`xn--...`).
    ///
    /// # Errors
    ///
    /// If one of them is not a host, or there is none.
    pub fn among<I>(hosts: I) -> Result<Self, SettingError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let lower = |host: I::Item| {
            let host = host.as_ref();
            match name(host.as_bytes()) {
                Some(name) if name.len() == host.trim_end_matches('.').len() => {
                    Ok(host.trim_end_matches('.').to_ascii_lowercase().into())
                }
                _ => Err(SettingError::about(
                    host,
                    "is not a host: write its name alone, as in \"example.com\", without a scheme, a port or a path, \
                     and in Punycode (\"xn--...\") where it is not ASCII",
                )),
            }
        };
        let mut hosts = hosts.into_iter().map(lower).collect::<Result<Vec<Box<str>>, _>>()?;
        if hosts.is_empty() {
            return Err(SettingError::new("no host is given, so no request would have a key"));
        }
        hosts.sort_unstable();
        hosts.dedup();
        Ok(Self { hosts: hosts.into() })
    }

    /// The host of that name, as it is listed.
    fn find(&self, given: &[u8]) -> Option<&str> {
        let given = name(given)?;
        let at = self.hosts.binary_search_by(|host| compare(host.as_bytes(), given)).ok()?;
        Some(&self.hosts[at])
    }
}

impl KeyExtractor for HostKey {
    type Key<'a> = &'a str;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<&'a str, NoKey> {
        let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        let lines = parts.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let mut found: Option<&str> = None;
        for given in target.into_iter().chain(lines) {
            match (self.find(given), found) {
                (Some(host), None) => found = Some(host),
                (Some(host), Some(before)) if host == before => {}
                _ => return Err(absent()),
            }
        }
        found.ok_or_else(absent)
    }
}

fn absent() -> NoKey {
    NoKey::Absent("one host that this server knows".into())
}

/// The name or address in an authority (RFC 3986, section 3.2), without a port and a dot at the end. None if it cannot be a
/// host's. User information (`user@`) is an error in requests (RFC 9110, section 4.2.4).
fn name(authority: &[u8]) -> Option<&[u8]> {
    let (host, after) = match authority {
        [b'[', inside @ ..] => {
            let end = 1 + inside.iter().position(|&byte| byte == b']')?;
            let is_v6 = authority[1..end].iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
            (is_v6.then_some(&authority[..=end])?, &authority[end + 1..])
        }
        _ => {
            let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
            let host = authority[..end].strip_suffix(b".").unwrap_or(&authority[..end]);
            let is_name = host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
            (is_name.then_some(host)?, &authority[end..])
        }
    };
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let fine = match after {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    };
    (fine && !host.is_empty()).then_some(host)
}

/// Compares a host in lower case with one in any.
fn compare(host: &[u8], given: &[u8]) -> Ordering {
    host.iter().copied().cmp(given.iter().map(u8::to_ascii_lowercase))
}
