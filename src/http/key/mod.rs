//! Keys of HTTP requests: [`KeyExtractor`] and the extractors that come with the crate.

mod any;
mod bearer;
mod client_ip;
mod cookie;
mod decoded;
mod error;
mod extension;
mod first_of;
mod forwarded;
mod header;
mod host;
mod no_key;
#[cfg(feature = "axum")]
mod path_param;
mod peer;
#[cfg(feature = "axum")]
mod route;
mod trusted;

use std::sync::Arc;

use http::request::Parts;

use crate::key::Key;

pub use any::AnyKey;
pub use bearer::BearerToken;
pub use client_ip::ClientIp;
pub use cookie::CookieKey;
pub use decoded::Decoded;
pub use error::ExtractorError;
pub use extension::ExtensionKey;
pub use first_of::first_of;
pub use header::HeaderKey;
pub use host::HostKey;
pub use no_key::{NoKey, Reason};
#[cfg(feature = "axum")]
pub use path_param::PathParam;
pub use peer::PeerAddr;
#[cfg(feature = "axum")]
pub use route::{MethodRouteKey, RouteKey};

/// Finds in a request's head what it is counted by.
///
/// The body is never seen, so a layer's type does not depend on it. Closures from `&Parts` to an `Option` of an
/// owned [`Key`] are extractors, and so are pairs and triples of extractors.
pub trait KeyExtractor {
    /// The key, which may borrow from the extractor or the request.
    type Key<'a>: Key
    where
        Self: 'a;

    /// The key of this request.
    ///
    /// # Errors
    ///
    /// [`NoKey`] says who would have to supply it; the layer's policy says what happens then.
    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey>;
}

/// The value that stands for several different ones.
const SEVERAL: &[u8] = b"";

impl<F, K> KeyExtractor for F
where
    F: Fn(&Parts) -> Option<K>,
    K: Key,
{
    type Key<'a>
        = K
    where
        Self: 'a;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<K, NoKey> {
        self(parts).ok_or(NoKey::Absent("what this route is counted by".into()))
    }
}

/// One limit for all requests together.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalKey;

impl KeyExtractor for GlobalKey {
    type Key<'a> = ();

    fn extract<'a>(&'a self, _: &'a Parts) -> Result<(), NoKey> {
        Ok(())
    }
}

/// An extractor that several layers share.
impl<E: KeyExtractor> KeyExtractor for Arc<E> {
    type Key<'a>
        = E::Key<'a>
    where
        Self: 'a;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey> {
        (**self).extract(parts)
    }
}

impl<A: KeyExtractor, B: KeyExtractor> KeyExtractor for (A, B) {
    type Key<'a>
        = (A::Key<'a>, B::Key<'a>)
    where
        Self: 'a;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey> {
        Ok((self.0.extract(parts)?, self.1.extract(parts)?))
    }
}

impl<A: KeyExtractor, B: KeyExtractor, C: KeyExtractor> KeyExtractor for (A, B, C) {
    type Key<'a>
        = (A::Key<'a>, B::Key<'a>, C::Key<'a>)
    where
        Self: 'a;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey> {
        Ok((self.0.extract(parts)?, self.1.extract(parts)?, self.2.extract(parts)?))
    }
}
