//! [`ClientIp`]: the client's address.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;

use super::{KeyExtractor, NoKey};

/// The peer's address, for servers that have no way of their own to say it: put one into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// Counts by the client's address: by default, the address at the other end of the connection.
#[derive(Clone, Debug, Default)]
pub struct ClientIp {}

impl KeyExtractor for ClientIp {
    type Key<'a> = IpAddr;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<IpAddr, NoKey> {
        let peer = peer(parts).ok_or(NoKey::Misconfigured(
            "no peer address on the request: serve with `.into_make_service_with_connect_info::<SocketAddr>()` (axum), \
             or insert `tollgate::http::PeerAddr` into the request's extensions",
        ))?;
        Ok(peer.ip().to_canonical())
    }
}

/// The other end of the connection, as the framework tells it.
fn peer(parts: &Parts) -> Option<SocketAddr> {
    let extensions = &parts.extensions;
    if let Some(PeerAddr(peer)) = extensions.get() {
        return Some(*peer);
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(peer)) = extensions.get() {
        return Some(*peer);
    }
    None
}
