//! [`ClientIp`]: the client's address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderName;
use http::header::FORWARDED;
use http::request::Parts;

use super::forwarded::{HOPS_MAX, List, X_FORWARDED_FOR, lone_address};
use super::glance::Glance;
use super::networks::Networks;
use super::no_key::NoKey;
use super::undeclared::{ShortChain, UndeclaredProxy};
use super::{KeyExtractor, peer};
use crate::setting_error::SettingError;

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
/// let layer = RateLimitLayer::per_second(28)
///     .key(ClientIp::behind(["10.0.0.0/8"])?);
/// # let _ = (layer, the_same);
/// # Ok::<(), tollgate::SettingError>(())
/// ```
///
/// The key is an [`IpAddr`], see [`key_of`](Self::key_of). Every spelling of an address is one key: an IPv4-mapped
/// `::ffff:192.0.2.7` is `192.0.2.7`, and zones (`fe80::1%eth0`) are left out. One IPv6 client has a whole network to send
/// from. So IPv6 clients count by their /64, or by [another prefix](Self::ipv6_prefix). IPv4 clients count by their full
/// address.
///
/// # Where the peer's address comes from
///
/// From the request's extensions. Of several that are there, the first in this table counts:
///
/// | server | what to do |
/// |---|---|
/// | any | insert [`PeerAddr`](super::PeerAddr) into each request's extensions |
/// | axum | serve with `app.into_make_service_with_connect_info::<SocketAddr>()` |
/// | any | insert a plain [`SocketAddr`](std::net::SocketAddr) |
/// | axum in tests | layer with `MockConnectInfo` |
/// | tonic | turn on the feature `tonic`; nothing else, with or without TLS |
///
/// Where it is missing, nothing is guessed. The extractor answers [`NoKey::Misconfigured`]. By default, the layer then refuses
/// the request and says what to add.
///
/// # Behind a proxy
///
/// Behind a reverse proxy or load balancer, all connections come from the proxy. The peer's address is the proxy's, and all
/// clients together would share one limit. The proxy writes the address that it saw into a header. But anybody can write a
/// header. So it is believed only where the program says whose to believe. There are two ways.
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
/// let key = ClientIp::behind(["10.0.0.0/8"])?.forwarded()?;
/// // A content network that says it in a header of its own.
/// let networks = ["173.245.48.0/20", "2400:cb00::/32"];
/// let key = ClientIp::behind(networks)?.header("CF-Connecting-IP")?;
/// # let _ = key;
/// # Ok::<(), tollgate::SettingError>(())
/// ```
///
/// If the peer is not one of these, the peer is the client, whatever headers it sends. If it is, the header is read from its
/// right end, where the nearest proxy wrote. Addresses of trusted proxies are skipped. The first that is not trusted is the
/// client. With proxies `10.0.0.1` and `10.0.0.2`:
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
/// - One header is read: `X-Forwarded-For`, unless `forwarded` or `header` says otherwise. It is never two, because a proxy that
///   writes one of them passes the other on as the client sent it.
/// - All lines of the header count as one, in order. Ports, brackets, quotes and white space are understood.
/// - Reading stops at an entry that cannot be read (`unknown`, `_hidden`, an empty one, anything else that is not an
///   address). Then the last address before it counts: that of the proxy which did not say more. If every address is trusted,
///   the leftmost is the client. Without any header, the peer is.
/// - At most 32 entries and the last 8 KiB are looked at, and nothing is allocated, however long the header is.
///
/// ## What an attacker can do, and cannot
///
/// - Sending headers to a server that declares no proxy, or from outside the trusted addresses, changes nothing.
/// - Behind proxies that append to the header, or replace it, whatever a client sends stands left of its own address, and is not
///   looked at. It cannot shed its own limit, nor use up another client's.
/// - If a trusted proxy does neither but passes on the client's header, the client chooses its key. To append, nginx needs
///   `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;`, and HAProxy needs `option forwardfor`.
/// - Trusting too much is the usual mistake. A machine that can connect from a trusted address, as any in `10.0.0.0/8`,
///   chooses its key. Trusting everyone, as with `0.0.0.0/0`, lets everybody choose. That is allowed, since some networks are
///   closed, but the log has a warning.
/// - Counting hops holds only if every request passes through that many proxies. A client that reaches this server, or an
///   inner proxy, in another way chooses its key. So does every client where fewer proxies stand than the program says.
/// - A client with several addresses has several limits. An IPv6 client may have more than a /64: homes often have a /56, and
///   tunnels give out /48s. A shorter [prefix](Self::ipv6_prefix) limits those better.
///
/// ## If a proxy was not declared
///
/// Without a declared proxy, an extractor looks at its first 1000 requests. If one of them carries `X-Forwarded-For` or
/// `Forwarded`, it logs one warning, which names the fix.
///
/// # What this does not do
///
/// It does not speak the PROXY protocol. Insert a [`PeerAddr`](super::PeerAddr) from your accept loop. It does not take the
/// IPv4 address out of NAT64 addresses (`64:ff9b::/96`). Where IPv4 clients arrive in that form, choose a prefix of 128.
#[derive(Clone, Debug)]
pub struct ClientIp {
    teller: Teller,
    prefix: Ipv6Prefix,
}

/// Who tells the client's address.
#[derive(Clone, Debug)]
enum Teller {
    Peer(Arc<UndeclaredProxy>),
    Proxies { trusted: Arc<Networks>, source: ToldIn },
    Hops { proxies: usize, list: List, chain: Arc<ShortChain> },
}

/// Where proxies write it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ToldIn {
    List(List),
    Header(HeaderName),
}

impl ClientIp {
    /// The address at the other end of the connection, whatever headers say. The default.
    pub fn peer() -> Self {
        Self::told_by(Teller::Peer(Arc::default()))
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
    pub fn behind<I>(trusted: I) -> Result<Self, SettingError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let trusted = Networks::new(trusted)?;
        if trusted.is_empty() {
            return Err(SettingError::new("no trusted proxy is given; without proxies, use ClientIp::peer()"));
        }
        if trusted.is_everyone() {
            tracing::warn!(
                target: "tollgate",
                "ClientIp::behind trusts every address, so that every client can choose what it is counted by; \
                 give the addresses of your proxies only, as in ClientIp::behind([\"10.0.0.0/8\"])"
            );
        }
        let source = ToldIn::List(List::XForwardedFor);
        Ok(Self::told_by(Teller::Proxies { trusted: Arc::new(trusted), source }))
    }

    /// The client as told by the outermost of this many proxies; see [Behind a proxy](#behind-a-proxy).
    ///
    /// The proxies' addresses are not looked at, so this holds only if there is no other way to this server. Prefer
    /// [`behind`](Self::behind) where you can. If the header has fewer addresses, the leftmost counts; if it has none, the
    /// peer's does.
    ///
    /// **Give the exact number.** With one too many, a client can write the address that it counts by. A request that does so
    /// looks as it should. But the requests of honest clients then have fewer addresses than proxies are declared. The first
    /// of them makes the extractor log one warning, and so does the first without any address.
    ///
    /// ```text
    /// X-Forwarded-For: 6.6.6.6, 203.0.113.9                      (there is one proxy)
    ///                  |        `- behind_hops(1): the client, as the proxy saw it
    ///                  `- behind_hops(2): what the client wrote
    /// ```
    ///
    /// # Errors
    ///
    /// If the number is 0, which would be [`ClientIp::peer`], or above 32.
    pub fn behind_hops(proxies: usize) -> Result<Self, SettingError> {
        if proxies == 0 {
            return Err(SettingError::new("0 is not a number of proxies; without proxies, use ClientIp::peer()"));
        }
        if proxies > HOPS_MAX {
            return Err(SettingError::new(format!("{proxies} proxies are more than the {HOPS_MAX} that are read")));
        }
        Ok(Self::told_by(Teller::Hops { proxies, list: List::XForwardedFor, chain: Arc::default() }))
    }

    fn told_by(teller: Teller) -> Self {
        Self { teller, prefix: Ipv6Prefix::default() }
    }

    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`: the `for` parameter of each of its elements.
    ///
    /// # Errors
    ///
    /// Without proxies ([`peer`](Self::peer)), since anybody can send the header; or if a [`header`](Self::header) is set.
    pub fn forwarded(mut self) -> Result<Self, SettingError> {
        match &mut self.teller {
            Teller::Peer(_) => return Err(SettingError::new(format!("`.forwarded()` {ONLY_BEHIND}"))),
            Teller::Proxies { source: ToldIn::Header(name), .. } => {
                return Err(SettingError::new(format!(
                    "`.forwarded()` and `.header({name:?})` are two headers and one is read: leave out either"
                )));
            }
            Teller::Proxies { source: ToldIn::List(list), .. } | Teller::Hops { list, .. } => *list = List::Forwarded,
        }
        Ok(self)
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
    /// If this is not the name of a header, or the name of one that holds a list; if another one is set; or without
    /// proxies that are known by their address ([`behind`](Self::behind)), since anybody can send the header.
    pub fn header(mut self, name: impl AsRef<str>) -> Result<Self, SettingError> {
        let given = name.as_ref();
        let name: HeaderName = given.parse().map_err(|_| SettingError::about(given, "is not the name of a header"))?;
        if name == X_FORWARDED_FOR {
            return Err(SettingError::about(given, "holds a list and is read by default; leave out `.header(..)`"));
        }
        if name == FORWARDED {
            return Err(SettingError::about(given, "holds a list; use `.forwarded()` instead of `.header(..)`"));
        }
        match &mut self.teller {
            Teller::Peer(_) => return Err(SettingError::about(given, &format!("as `.header(..)` {ONLY_BEHIND}"))),
            Teller::Hops { .. } => {
                return Err(SettingError::about(
                    given,
                    "holds one address, of which no hops can be counted, and anybody can send it: \
                     say by address who may, as in ClientIp::behind([\"10.0.0.0/8\"])",
                ));
            }
            Teller::Proxies { source, .. } => {
                let new = ToldIn::Header(name);
                if ![&ToldIn::List(List::XForwardedFor), &new].contains(&&*source) {
                    return Err(SettingError::about(
                        given,
                        "would be a second header, and one is read: leave out either",
                    ));
                }
                *source = new;
            }
        }
        Ok(self)
    }

    /// Counts IPv6 clients by this many leading bits of their address, instead of 64: 32 to 128.
    ///
    /// # Errors
    ///
    /// If it is less or more.
    pub fn ipv6_prefix(self, bits: u8) -> Result<Self, SettingError> {
        Ok(Self { prefix: Ipv6Prefix::new(bits)?, ..self })
    }

    /// The key that a client of this address counts by, for direct calls. An IPv4 address is its own key, in IPv6's form
    /// of it as well. An IPv6 address counts as the first of its [network](Self::ipv6_prefix).
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use tollgate::http::ClientIp;
    /// use tollgate::{Quota, RateLimitLayer, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_second(28));
    /// let by_address = ClientIp::behind(["10.0.0.0/8"])?;
    /// let layer = RateLimitLayer::sharing(&limiter).key(by_address.clone());
    ///
    /// // Where does the client of this address stand?
    /// let address: IpAddr = "2001:db8::1:2:3:4".parse()?;
    /// println!("{}", limiter.peek(&by_address.key_of(address)).remaining());
    /// # let _ = layer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn key_of(&self, address: IpAddr) -> IpAddr {
        self.prefix.network(address.to_canonical())
    }
}

/// What is wrong with reading a header where no proxy is declared.
const ONLY_BEHIND: &str = "is read behind proxies only, since anybody can send it: \
    say by address who may, as in ClientIp::behind([\"10.0.0.0/8\"])";

impl Default for ClientIp {
    fn default() -> Self {
        Self::peer()
    }
}

impl KeyExtractor for ClientIp {
    type Key<'a> = IpAddr;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<IpAddr, NoKey> {
        self.glance(Glance::at(parts), |key| key)
    }

    const GLANCES: bool = true;

    #[inline]
    fn glance<'a, R>(&'a self, head: Glance<'a>, then: impl FnOnce(Result<Self::Key<'a>, NoKey>) -> R) -> R {
        if let Teller::Peer(watch) = &self.teller {
            if let Some(peer) = peer::peer(head.extensions) {
                watch.look(peer, head.headers);
                if let SocketAddr::V4(peer) = peer {
                    return then(Ok(IpAddr::V4(*peer.ip())));
                }
            }
        }
        self.glance_closely(head, then)
    }
}

impl ClientIp {
    /// Out of the way of the most common client.
    #[inline(never)]
    fn glance_closely<R>(&self, head: Glance<'_>, then: impl FnOnce(Result<IpAddr, NoKey>) -> R) -> R {
        then(self.told(head).map(|client| self.prefix.network(client)))
    }

    /// The client as it is told, in canonical form.
    fn told(&self, head: Glance<'_>) -> Result<IpAddr, NoKey> {
        match &self.teller {
            Teller::Peer(_) => peer(head),
            Teller::Proxies { trusted, source } => by_proxies(trusted, source, head),
            Teller::Hops { proxies, list, chain } => by_hops(*proxies, *list, chain, head),
        }
    }
}

fn peer(head: Glance<'_>) -> Result<IpAddr, NoKey> {
    Ok(peer::peer(head.extensions).ok_or_else(peer::missing)?.ip().to_canonical())
}

fn by_proxies(trusted: &Networks, source: &ToldIn, head: Glance<'_>) -> Result<IpAddr, NoKey> {
    let peer = peer(head)?;
    Ok(match source {
        _ if !trusted.contains(peer) => peer,
        ToldIn::List(list) => first_untrusted(peer, list.hops(head.headers), |address| trusted.contains(address)),
        ToldIn::Header(name) => lone_address(head.headers, name).unwrap_or(peer),
    })
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

fn by_hops(proxies: usize, list: List, chain: &ShortChain, head: Glance<'_>) -> Result<IpAddr, NoKey> {
    let mut found = 0;
    let mut client = None;
    for hop in list.hops(head.headers).take(proxies) {
        found += 1;
        client = Some(hop);
    }
    if found < proxies {
        chain.is_short(found, proxies, list);
    }
    match client {
        Some(client) => Ok(client),
        None => peer(head),
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
    fn new(bits: u8) -> Result<Self, SettingError> {
        match bits {
            32..=128 => Ok(Self(bits)),
            _ => Err(SettingError::new(format!("{bits} is not a prefix of IPv6 clients: give 32 to 128 bits"))),
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
