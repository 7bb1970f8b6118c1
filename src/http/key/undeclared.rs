//! Signs that proxies are not as the program says: each is warned of once, by name of the fix.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use http::HeaderMap;
use http::header::FORWARDED;

use super::forwarded::{List, X_FORWARDED_FOR};

/// How many requests are looked at for signs of a proxy that was not declared.
const WATCHED_REQUESTS: u32 = 1000;

/// Looks out for signs of a proxy where none was declared, and warns once.
#[derive(Debug)]
pub(super) struct UndeclaredProxy {
    /// How many requests are still to be looked at. A counter alone, that publishes nothing: all its accesses are relaxed.
    left: AtomicU32,
}

impl Default for UndeclaredProxy {
    fn default() -> Self {
        Self { left: AtomicU32::new(WATCHED_REQUESTS) }
    }
}

impl UndeclaredProxy {
    #[inline]
    pub(super) fn look(&self, peer: &SocketAddr, headers: &HeaderMap) {
        let left = self.left.load(Relaxed);
        if left > 0 {
            self.look_closely(left, peer, headers);
        }
    }

    #[cold]
    fn look_closely(&self, left: u32, peer: &SocketAddr, headers: &HeaderMap) {
        let Some(name) = [X_FORWARDED_FOR, FORWARDED].into_iter().find(|name| headers.contains_key(name)) else {
            // One that fails has lost against another request, or against the warning, whose 0 must stay.
            let _ = self.left.compare_exchange(left, left - 1, Relaxed, Relaxed);
            return;
        };
        if self.left.swap(0, Relaxed) == 0 {
            return;
        }
        // A private address is most likely a proxy's, and it names nobody.
        let peer = peer.ip().to_canonical();
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

/// Looks out for chains of proxies that are shorter than was declared, and warns once of each kind.
#[derive(Debug, Default)]
pub(super) struct ShortChain {
    /// Whether a request with fewer addresses than proxies was seen. These flags publish nothing: relaxed.
    short: AtomicBool,
    /// The same for one without any. It has a flag of its own, since a health check may be the first and explain itself.
    none: AtomicBool,
}

impl ShortChain {
    #[cold]
    pub(super) fn is_short(&self, found: usize, proxies: usize, list: List) {
        let warned = if found == 0 { &self.none } else { &self.short };
        // A look first, so that requests of this kind do not all write.
        if warned.load(Relaxed) || warned.swap(true, Relaxed) {
            return;
        }
        let name = list.name();
        if found == 0 {
            tracing::warn!(
                target: "tollgate",
                "a request carries no address in {name}, but ClientIp::behind_hops({proxies}) declares proxies that write it. \
                 If one of them does not, clients choose what they are counted by; if there is a way past them, \
                 who takes it can: close it, or declare the proxies by address, with ClientIp::behind([\"10.0.0.0/8\"]). \
                 A health check is no harm"
            );
        } else {
            tracing::warn!(
                target: "tollgate",
                "a request carries {found} readable address(es) in {name}, fewer than ClientIp::behind_hops({proxies}) declares \
                 proxies. If there are no more than {found}, clients choose what they are counted by: \
                 use ClientIp::behind_hops({found}), or declare the proxies by address, with ClientIp::behind([\"10.0.0.0/8\"])"
            );
        }
    }
}
