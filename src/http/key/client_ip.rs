//! [`ClientIp`]: the client's address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::header::FORWARDED;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::error::ExtractorError;
use super::forwarded::{HOPS_MAX, List, X_FORWARDED_FOR, lone_address};
use super::no_key::NoKey;
use super::trusted::Trusted;
use super::{KeyExtractor, peer};

/// How many requests are looked at for signs of a proxy that was not declared.
const WATCHED_REQUESTS: u32 = 1000;

/// The network that an IPv6 client counts by, unless told otherwise: the smallest that providers give out (RFC 6177).
const IPV6_PREFIX: u8 = 64;

/// Counts by the client's address: by default, the address at the other end of the connection.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::ClientIp;
///
/// // Clients connect to this server: the default.
/// let layer = RateLimitLayer::per_second(28);
/// let the_same = RateLimitLayer::per_second(28).key(ClientIp::peer());
///
/// // Clients connect to a proxy, which has an address in 10.0.0.0/8.
/// let layer = RateLimitLayer::per_second(28).key(ClientIp::behind(["10.0.0.0/8"])?);
/// # let _ = (layer, the_same);
/// # Ok::<(), tollgate::http::ExtractorError>(())
/// ```
///
/// The key is an [`IpAddr`]. Every spelling of an address is one key: an IPv4-mapped `::ffff:192.0.2.7` is `192.0.2.7`, and
/// zones (`fe80::1%eth0`) are left out. Since one IPv6 client has a whole network to send from, IPv6 clients count by their
/// /64, or by [another prefix](Self::ipv6_prefix). IPv4 clients count by their full address.
///
/// # Where the peer's address comes from
///
/// From the request's extensions, whichever is found first:
///
/// | server | what to do |
/// |---|---|
/// | any | insert [`PeerAddr`](super::PeerAddr), or a plain [`SocketAddr`](std::net::SocketAddr), into each request's extensions |
/// | axum | serve with `app.into_make_service_with_connect_info::<SocketAddr>()` (`MockConnectInfo` will do in tests) |
/// | tonic | turn on the feature `tonic`; nothing else, with or without TLS |
///
/// Where it is missing, there is no accidental answer such as one limit for all: the extractor answers
/// [`NoKey::Misconfigured`], and by default the layer refuses the request and says what to add.
///
/// # Behind a proxy
///
/// Behind a reverse proxy or load balancer, all connections come from the proxy: the peer's address is the proxy's, and all
/// clients together would share one limit. The proxy writes the address it saw into a header. But so can anybody, therefore
/// the header means something only if the program says who may write it. There are two ways.
///
/// **By address** ([`behind`](Self::behind), the better one). Give the addresses of your proxies as seen from this server:
///
/// ```
/// use tollgate::http::ClientIp;
///
/// // One nginx on the same machine.
/// let key = ClientIp::behind(["127.0.0.1", "::1"])?;
/// // A load balancer somewhere in the private network.
/// let key = ClientIp::behind(["10.0.0.0/8", "fd00::/8"])?;
/// // A proxy that writes the standard header, `Forwarded` (RFC 7239), instead.
/// let key = ClientIp::behind(["10.0.0.0/8"])?.forwarded();
/// // A content network that says it in a header of its own.
/// let key = ClientIp::behind(["173.245.48.0/20", "2400:cb00::/32"])?.header("CF-Connecting-IP")?;
/// # let _ = key;
/// # Ok::<(), tollgate::http::ExtractorError>(())
/// ```
///
/// If the peer is not one of these, the peer is the client, whatever headers it sends. If it is, the header is read from its
/// right end, where the nearest proxy wrote: addresses of trusted proxies are skipped, and the first that is not trusted is
/// the client. With proxies `10.0.0.1` and `10.0.0.2`:
///
/// ```text
/// X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2        (the peer is 10.0.0.1)
///                  |        |            `- trusted, skipped
///                  |        `- the client: a trusted proxy says so
///                  `- what the client itself sent; never looked at
/// ```
///
/// **By number** ([`behind_hops`](Self::behind_hops)), where the proxies' addresses cannot be known, as on many
/// platforms. `behind_hops(1)` takes the last address of the header.
///
/// Either way:
///
/// - One header is read: `X-Forwarded-For`, unless `forwarded` or `header` says otherwise. Never two; a proxy that writes one
///   of them passes the other on as the client sent it.
/// - All lines of the header count as one, in order. Ports, brackets, quotes and white space are understood.
/// - Reading stops at an entry that cannot be read (`unknown`, `_hidden`, an empty one, anything else that is not an
///   address), and the last address before it counts: the nearest proxy that did not tell. If every address is trusted, the
///   leftmost is the client. Without any header, the peer is.
/// - At most 32 entries and the last 8 KiB are looked at, and nothing is allocated, however long the header is.
///
/// ## What an attacker can do, and cannot
///
/// - Sending headers to a server that declares no proxy, or from outside the trusted addresses, changes nothing.
/// - Behind proxies that append to the header, or replace it, whatever a client sends stands left of its own address, and is not
///   looked at. It cannot shed its own limit, nor use up another client's.
/// - If a trusted proxy does neither but passes on the client's header, the client chooses its key. nginx needs
///   `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;` for this; HAProxy, `option forwardfor`.
/// - Trusting too much is the usual mistake. Who can connect from a trusted address, such as any machine in a `10.0.0.0/8`,
///   chooses its key. Trusting everyone, as with `0.0.0.0/0`, lets everybody choose; it is accepted, since some networks are
///   closed, but building it logs a warning.
/// - Counting hops holds only if every request passes through that many proxies. Who can reach this server, or an inner proxy,
///   in another way chooses its key.
/// - A client with several addresses has several limits; an IPv6 client with more than a /64 (homes often have a /56, and
///   tunnels give out /48s) is better limited with a shorter [prefix](Self::ipv6_prefix), too.
///
/// ## If a proxy was not declared
///
/// The first of 1000 requests to carry `X-Forwarded-For` or `Forwarded` without a declared proxy makes an extractor log one
/// warning, which names the fix. Later requests are not looked at.
///
/// # What this does not do
///
/// It does not speak the PROXY protocol (insert a [`PeerAddr`](super::PeerAddr) from your accept loop), and it does not take
/// the IPv4 address out of NAT64 addresses (`64:ff9b::/96`): where IPv4 clients arrive in that form, choose a prefix of 128.
#[derive(Clone, Debug)]
pub struct ClientIp(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Peer { watch: Arc<Watch>, prefix: Ipv6Prefix },
    Proxies(BehindProxies),
    Hops(BehindHops),
}

impl ClientIp {
    /// The address at the other end of the connection, whatever headers say. The default.
    pub fn peer() -> Self {
        Self(Kind::Peer { watch: Arc::default(), prefix: Ipv6Prefix::default() })
    }

    /// The client as told by proxies with these addresses, and by nobody else; see
    /// [Behind a proxy](#behind-a-proxy).
    ///
    /// Takes networks (`10.0.0.0/8`) and addresses (`192.0.2.7`), of IPv4 and IPv6, as many as you like. White space around
    /// them is left out. Bits right of the prefix do not matter: `10.1.2.3/8` is `10.0.0.0/8`. IPv4-mapped ranges are
    /// taken as IPv4; other IPv6 ranges, even `::/0`, hold no IPv4 address.
    ///
    /// # Errors
    ///
    /// If one of them is neither (the error shows which), or there is none at all: that would be [`ClientIp::peer`].
    pub fn behind<I>(trusted: I) -> Result<BehindProxies, ExtractorError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let trusted = Trusted::new(trusted)?;
        if trusted.is_empty() {
            return Err(ExtractorError::new("no trusted proxy is given; without proxies, use ClientIp::peer()"));
        }
        if trusted.is_everyone() {
            tracing::warn!(
                target: "tollgate",
                "ClientIp::behind trusts every address, so that every client can choose what it is counted by; \
                 give the addresses of your proxies only, as in ClientIp::behind([\"10.0.0.0/8\"])"
            );
        }
        let source = Source::List(List::XForwardedFor);
        Ok(BehindProxies { trusted: Arc::new(trusted), source, prefix: Ipv6Prefix::default() })
    }

    /// The client as told by the outermost of this many proxies; see [Behind a proxy](#behind-a-proxy).
    ///
    /// The proxies' addresses are not looked at, so this holds only if there is no other way to this server. Prefer
    /// [`behind`](Self::behind) where you can. If the header has fewer addresses, the leftmost counts; if it has none, the
    /// peer's does.
    ///
    /// # Errors
    ///
    /// If the number is 0, which would be [`ClientIp::peer`], or above 32.
    pub fn behind_hops(proxies: usize) -> Result<BehindHops, ExtractorError> {
        if proxies == 0 {
            return Err(ExtractorError::new("0 is not a number of proxies; without proxies, use ClientIp::peer()"));
        }
        if proxies > HOPS_MAX {
            return Err(ExtractorError::new(format!("{proxies} proxies are more than the {HOPS_MAX} that are read")));
        }
        Ok(BehindHops { proxies, list: List::XForwardedFor, prefix: Ipv6Prefix::default() })
    }

    /// Counts IPv6 clients by this many leading bits of their address, instead of 64: 32 to 128.
    ///
    /// # Errors
    ///
    /// If it is less or more.
    pub fn ipv6_prefix(self, bits: u8) -> Result<Self, ExtractorError> {
        Ok(Self(match self.0 {
            Kind::Peer { watch, .. } => Kind::Peer { watch, prefix: Ipv6Prefix::new(bits)? },
            Kind::Proxies(behind) => Kind::Proxies(behind.ipv6_prefix(bits)?),
            Kind::Hops(behind) => Kind::Hops(behind.ipv6_prefix(bits)?),
        }))
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::peer()
    }
}

impl From<BehindProxies> for ClientIp {
    fn from(behind: BehindProxies) -> Self {
        Self(Kind::Proxies(behind))
    }
}

impl From<BehindHops> for ClientIp {
    fn from(behind: BehindHops) -> Self {
        Self(Kind::Hops(behind))
    }
}

impl KeyExtractor for ClientIp {
    type Key<'a> = IpAddr;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<IpAddr, NoKey> {
        match &self.0 {
            Kind::Peer { watch, prefix } => {
                let peer = peer::peer(&parts.extensions).ok_or_else(peer::missing)?;
                watch.look(peer, &parts.headers);
                Ok(prefix.network(peer))
            }
            Kind::Proxies(behind) => behind.extract(parts),
            Kind::Hops(behind) => behind.extract(parts),
        }
    }
}

/// Counts by the address that trusted proxies tell. Made by [`ClientIp::behind`], and turns into a [`ClientIp`] where one
/// type has to hold any of them.
#[derive(Clone, Debug)]
pub struct BehindProxies {
    trusted: Arc<Trusted>,
    source: Source,
    prefix: Ipv6Prefix,
}

#[derive(Clone, Debug)]
enum Source {
    List(List),
    Header(HeaderName),
}

impl BehindProxies {
    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`: the `for` parameter of each of its elements.
    #[must_use]
    pub fn forwarded(self) -> Self {
        Self { source: Source::List(List::Forwarded), ..self }
    }

    /// Reads a header that holds one address, such as `CF-Connecting-IP`, `True-Client-IP`, `Fly-Client-IP` or `X-Real-IP`,
    /// instead of `X-Forwarded-For`.
    ///
    /// Only from a trusted peer. That peer must set the header itself on every request, whatever the client sent. If
    /// further trusted proxies stand between it and this server, nobody else may reach those, since they pass on any such
    /// header. Where it is missing, cannot be read, or is there more than once, the peer's own address counts.
    ///
    /// # Errors
    ///
    /// If this is not the name of a header, or the name of one that holds a list.
    pub fn header(self, name: impl AsRef<str>) -> Result<Self, ExtractorError> {
        let given = name.as_ref();
        let name: HeaderName =
            given.parse().map_err(|_| ExtractorError::about(given, "is not the name of a header"))?;
        if name == X_FORWARDED_FOR {
            return Err(ExtractorError::about(given, "holds a list and is read by default; leave out `.header(..)`"));
        }
        if name == FORWARDED {
            return Err(ExtractorError::about(given, "holds a list; use `.forwarded()` instead of `.header(..)`"));
        }
        Ok(Self { source: Source::Header(name), ..self })
    }

    /// As [`ClientIp::ipv6_prefix`].
    ///
    /// # Errors
    ///
    /// If it is below 32 or above 128.
    pub fn ipv6_prefix(self, bits: u8) -> Result<Self, ExtractorError> {
        Ok(Self { prefix: Ipv6Prefix::new(bits)?, ..self })
    }
}

impl KeyExtractor for BehindProxies {
    type Key<'a> = IpAddr;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<IpAddr, NoKey> {
        let peer = peer::peer(&parts.extensions).ok_or_else(peer::missing)?;
        let client = match &self.source {
            _ if !self.trusted.contains(peer) => peer,
            Source::List(list) => {
                first_untrusted(peer, list.hops(&parts.headers), |address| self.trusted.contains(address))
            }
            Source::Header(name) => lone_address(&parts.headers, name).unwrap_or(peer),
        };
        Ok(self.prefix.network(client))
    }
}

/// The first address that is not trusted or, failing that, the last one.
fn first_untrusted(peer: IpAddr, hops: impl Iterator<Item = IpAddr>, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    for hop in hops {
        client = hop;
        if !trusted(hop) {
            break;
        }
    }
    client
}

/// Counts by the address that the outermost of a number of proxies tells. Made by [`ClientIp::behind_hops`], and turns into a
/// [`ClientIp`] where one type has to hold any of them.
#[derive(Clone, Debug)]
pub struct BehindHops {
    proxies: usize,
    list: List,
    prefix: Ipv6Prefix,
}

impl BehindHops {
    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`: the `for` parameter of each of its elements.
    #[must_use]
    pub fn forwarded(self) -> Self {
        Self { list: List::Forwarded, ..self }
    }

    /// As [`ClientIp::ipv6_prefix`].
    ///
    /// # Errors
    ///
    /// If it is below 32 or above 128.
    pub fn ipv6_prefix(self, bits: u8) -> Result<Self, ExtractorError> {
        Ok(Self { prefix: Ipv6Prefix::new(bits)?, ..self })
    }
}

impl KeyExtractor for BehindHops {
    type Key<'a> = IpAddr;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<IpAddr, NoKey> {
        let client = match self.list.hops(&parts.headers).take(self.proxies).last() {
            Some(client) => client,
            None => peer::peer(&parts.extensions).ok_or_else(peer::missing)?,
        };
        Ok(self.prefix.network(client))
    }
}

/// How many leading bits of an IPv6 address make the client: 32 to 128.
#[derive(Clone, Copy, Debug)]
struct Ipv6Prefix(u8);

impl Default for Ipv6Prefix {
    fn default() -> Self {
        Self(IPV6_PREFIX)
    }
}

impl Ipv6Prefix {
    fn new(bits: u8) -> Result<Self, ExtractorError> {
        match bits {
            32..=128 => Ok(Self(bits)),
            _ => Err(ExtractorError::new(format!("{bits} is not a prefix of IPv6 clients: give 32 to 128 bits"))),
        }
    }

    /// The first address of the network of an address in canonical form.
    fn network(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                let host_bits = u32::from(128 - self.0); // at most 96
                let mask = u128::MAX << host_bits;
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        }
    }
}

/// Looks out for signs of a proxy where none was declared, and warns once.
#[derive(Debug)]
struct Watch {
    /// How many requests are still to be looked at. A counter alone, that publishes nothing: all its accesses are relaxed.
    left: AtomicU32,
}

impl Default for Watch {
    fn default() -> Self {
        Self { left: AtomicU32::new(WATCHED_REQUESTS) }
    }
}

impl Watch {
    #[inline]
    fn look(&self, peer: IpAddr, headers: &HeaderMap) {
        let left = self.left.load(Relaxed);
        if left > 0 {
            self.look_closely(left, peer, headers);
        }
    }

    #[cold]
    fn look_closely(&self, left: u32, peer: IpAddr, headers: &HeaderMap) {
        let Some(name) = [X_FORWARDED_FOR, FORWARDED].into_iter().find(|name| headers.contains_key(name)) else {
            // One that fails has lost against another request, or against the warning, whose 0 must stay.
            let _ = self.left.compare_exchange(left, left - 1, Relaxed, Relaxed);
            return;
        };
        if self.left.swap(0, Relaxed) == 0 {
            return;
        }
        // A private address is a proxy's by all odds, and names nobody.
        let proxy = if is_internal(peer) { peer.to_string() } else { "10.0.0.0/8".to_owned() };
        tracing::warn!(
            target: "tollgate",
            "a request carries {name}, but no proxy is declared, so clients are counted by the peer's address alone. \
             If a proxy stands in front of this server, all its clients share one limit: \
             declare it with ClientIp::behind([\"{proxy}\"]). If none does, a client sent the header, to no effect"
        );
    }
}

fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    }
}
