//! Keys of HTTP requests: [`KeyExtractor`] and the extractors that come with the crate.

mod any;
mod bearer;
mod client_ip;
mod cookie;
mod decoded;
mod extension;
mod first_of;
mod forwarded;
mod glance;
mod header;
mod host;
mod networks;
mod no_key;
#[cfg(feature = "axum")]
mod path_param;
mod peer;
#[cfg(feature = "axum")]
mod route;
mod undeclared;

use std::sync::Arc;

use http::request::Parts;

use crate::key::Key;

pub use any::AnyKey;
pub use bearer::BearerToken;
pub use client_ip::ClientIp;
pub use cookie::CookieKey;
pub use decoded::Decoded;
pub use extension::ExtensionKey;
pub use first_of::first_of;
pub(super) use glance::Glance;
pub use header::HeaderKey;
pub use host::HostKey;
pub use networks::Networks;
pub use no_key::NoKey;
#[cfg(feature = "axum")]
pub use path_param::PathParam;
pub use peer::PeerAddr;
#[cfg(feature = "axum")]
pub use route::{MethodRouteKey, RouteKey};

/// Finds in a request's head what it is counted by.
///
/// The body is never seen, so a layer's type does not depend on it. Pairs and triples of extractors are extractors, and so are
/// an [`Arc`] of one and closures:
///
/// ```
/// use http::request::Parts;
/// use tollgate::RateLimitLayer;
/// use tollgate::http::ClientIp;
///
/// // Each client has a limit for reading and another for writing.
/// let kind = |head: &Parts| {
///     Some(if head.method.is_safe() { "read" } else { "write" })
/// };
/// let layer = RateLimitLayer::per_second(28)
///     .key((kind, ClientIp::peer()));
/// # let _ = layer;
/// ```
///
/// A key must be something that a client cannot choose. One that it can write into a request gives it a new limit for each
/// request. So a closure should not give the path, the query, the host or a header as they are, unless a second limit counts the
/// address.
///
/// # Closures
///
/// A closure names the type of its argument, and gives an *owned* key or `None`. A key that borrows from the request makes the
/// compiler say "lifetime may not live long enough":
///
/// ```compile_fail
/// # use http::request::Parts;
/// # use tollgate::RateLimitLayer;
/// // Inserted by a layer outside of the limit.
/// #[derive(Clone)]
/// struct Tenant(String);
///
/// let tenant = |head: &Parts| {
///     head.extensions.get::<Tenant>().map(|tenant| tenant.0.as_str())
/// };
/// let layer = RateLimitLayer::per_second(28).key(tenant);
/// ```
///
/// Own it (`.to_owned()`), or implement this trait for a type of yours, where a key may borrow. Without the type of the
/// argument, the compiler says "type annotations needed" or "implementation of `FnOnce` is not general enough":
///
/// ```compile_fail
/// # use tollgate::RateLimitLayer;
/// # #[derive(Clone)]
/// # struct Tenant(String);
/// let tenant = |head| {
///     head.extensions.get::<Tenant>().map(|tenant| tenant.0.clone())
/// };
/// let layer = RateLimitLayer::per_second(28).key(tenant);
/// ```
///
/// Both together are right:
///
/// ```
/// # use http::request::Parts;
/// # use tollgate::RateLimitLayer;
/// # #[derive(Clone)]
/// # struct Tenant(String);
/// let tenant = |head: &Parts| {
///     head.extensions.get::<Tenant>().map(|tenant| tenant.0.clone())
/// };
/// let layer = RateLimitLayer::per_second(28).key(tenant);
/// # let _ = layer;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor of keys",
    label = "not a `KeyExtractor`",
    note = "an extractor is one of `tollgate::http` (`ClientIp::peer()`, `HeaderKey::new(\"x-api-key\")?`, ..), a pair or \
            triple of them, or a closure that gives an owned key: `|head: &http::request::Parts| Some(7)`",
    note = "if this is a `Result`, add `?`; if it is a `Box` or a `&`, use an `Arc` or `AnyKey`"
)]
pub trait KeyExtractor {
    /// The key, which may borrow from the extractor or the request.
    type Key<'a>: Key
    where
        Self: 'a;

    /// The key of this request.
    ///
    /// # Errors
    ///
    /// [`NoKey`] says why there is no key. What happens then is up to the layer's
    /// [`when_no_key`](super::RateLimitLayer::when_no_key).
    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey>;

    /// Whether it [glances](Self::glance), too.
    #[doc(hidden)]
    const GLANCES: bool = false;

    /// Finds the same key in a request that is whole, and goes on with it.
    ///
    /// It is handed on, and not back, so that it stays in registers: an address that is given back is written in parts and
    /// read as a whole, for which the processor waits.
    #[doc(hidden)]
    fn glance<'a, R>(&'a self, _: Glance<'a>, _: impl FnOnce(Result<Self::Key<'a>, NoKey>) -> R) -> R {
        unreachable!("what does not glance is not asked to")
    }
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

/// One limit for all requests together. Its key is `()`.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalKey;

impl KeyExtractor for GlobalKey {
    type Key<'a> = ();

    fn extract<'a>(&'a self, _: &'a Parts) -> Result<(), NoKey> {
        Ok(())
    }

    const GLANCES: bool = true;

    #[inline]
    fn glance<'a, R>(&'a self, _: Glance<'a>, then: impl FnOnce(Result<Self::Key<'a>, NoKey>) -> R) -> R {
        then(Ok(()))
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

    const GLANCES: bool = E::GLANCES;

    #[inline]
    fn glance<'a, R>(&'a self, head: Glance<'a>, then: impl FnOnce(Result<Self::Key<'a>, NoKey>) -> R) -> R {
        (**self).glance(head, then)
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

    const GLANCES: bool = A::GLANCES && B::GLANCES;

    #[inline]
    fn glance<'a, R>(&'a self, head: Glance<'a>, then: impl FnOnce(Result<Self::Key<'a>, NoKey>) -> R) -> R {
        self.0.glance(head, |a| match a {
            Ok(a) => self.1.glance(head, |b| then(b.map(|b| (a, b)))),
            Err(no_key) => then(Err(no_key)),
        })
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
