//! [`PeerAddr`], and where each framework keeps the address at the other end of the connection.

use std::net::SocketAddr;

use http::Extensions;

use super::no_key::NoKey;

/// What to add where the peer's address is missing.
const MISSING: &str = "the request carries no peer address. \
    axum: serve with `app.into_make_service_with_connect_info::<SocketAddr>()`; \
    tonic: turn on tollgate's feature `tonic` and serve over TCP; \
    hyper and others: insert `tollgate::http::PeerAddr(address)` into the request's extensions, \
    as tests and Unix sockets need, too";

/// The address at the other end of the connection.
///
/// This is for servers that have no way of their own to say it. Put one into each request's extensions, before the layer. It
/// counts before what axum or tonic say.
///
/// ```
/// use std::net::SocketAddr;
/// use tollgate::http::PeerAddr;
///
/// # fn serve_connection(peer: SocketAddr, mut request: http::Request<()>) {
/// // In hyper's accept loop, where there is
/// // `let (stream, peer) = listener.accept().await?;`, for each request:
/// request.extensions_mut().insert(PeerAddr(peer));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// The other end of the connection, as the framework tells it.
///
/// Each look-up costs some 20 instructions, and this is most of what the address costs: so no more than needed, in the order
/// of what is common.
#[inline]
pub(super) fn peer(extensions: &Extensions) -> Option<&SocketAddr> {
    match extensions.get() {
        Some(PeerAddr(peer)) => Some(peer),
        None => by_axum::connection(extensions).or_else(|| others(extensions)),
    }
}

#[cold]
fn others(extensions: &Extensions) -> Option<&SocketAddr> {
    extensions.get().or_else(|| by_axum::mock(extensions)).or_else(|| by_tonic::peer(extensions))
}

#[cold]
pub(super) fn missing() -> NoKey {
    NoKey::Misconfigured(MISSING.into())
}

#[cfg(feature = "axum")]
mod by_axum {
    use super::{Extensions, SocketAddr};
    use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

    #[inline]
    pub(super) fn connection(extensions: &Extensions) -> Option<&SocketAddr> {
        extensions.get().map(|ConnectInfo(peer)| peer)
    }

    pub(super) fn mock(extensions: &Extensions) -> Option<&SocketAddr> {
        extensions.get().map(|MockConnectInfo(peer)| peer)
    }
}

#[cfg(not(feature = "axum"))]
mod by_axum {
    use super::{Extensions, SocketAddr};

    pub(super) fn connection(_: &Extensions) -> Option<&SocketAddr> {
        None
    }

    pub(super) fn mock(_: &Extensions) -> Option<&SocketAddr> {
        None
    }
}

#[cfg(feature = "tonic")]
mod by_tonic {
    use super::{Extensions, SocketAddr};
    use tonic::transport::server::TcpConnectInfo;

    /// tonic puts this type beside its `TlsConnectInfo`, so it is there with TLS as well.
    pub(super) fn peer(extensions: &Extensions) -> Option<&SocketAddr> {
        extensions.get::<TcpConnectInfo>()?.remote_addr.as_ref()
    }
}

#[cfg(not(feature = "tonic"))]
mod by_tonic {
    use super::{Extensions, SocketAddr};

    pub(super) fn peer(_: &Extensions) -> Option<&SocketAddr> {
        None
    }
}
