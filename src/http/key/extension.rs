//! [`ExtensionKey`]: what an earlier layer put into the request's extensions.

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;

use http::request::Parts;

use super::KeyExtractor;
use super::no_key::{NoKey, Reason};
use crate::key::Key;

/// Counts by something that a layer outside of this one has put into the request's extensions. The authenticated user is
/// the best key there is: a client cannot choose it.
///
/// ```
/// use axum::{Router, middleware, routing::get};
/// use tollgate::RateLimitLayer;
/// use tollgate::http::ExtensionKey;
/// # use axum::{extract::Request, middleware::Next, response::Response};
/// # async fn authenticate(request: Request, next: Next) -> Response {
/// #     next.run(request).await
/// # }
///
/// // Inserted by `authenticate`, which checks tokens.
/// #[derive(Clone)]
/// struct User {
///     id: u64,
/// }
///
/// let by_user = ExtensionKey::new(|user: &User| user.id);
/// let app: Router = Router::new()
///     .route("/", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_minute(600).key(by_user))
///     .layer(middleware::from_fn(authenticate));
/// # let _ = app;
/// ```
///
/// What the closure gives is the key: an owned [`Key`]. For a text, keep it in an `Arc<str>` and clone that.
///
/// # The order of layers
///
/// The layer that inserts the value must run first. In axum it is added *after* the limit, since layers added later are
/// further outside. In the other order no request has the value: every one is [`NoKey::NotInserted`], which is refused with
/// `403 Forbidden`, and once a second a line in the log says what to do.
///
/// A limit that runs after the authentication does not protect it. Limit addresses before it, too, with a layer outside of it.
///
/// To count clients who are not logged in by their address, use [`first_of`](super::first_of).
pub struct ExtensionKey<T, F = ()> {
    key: F,
    not_inserted: Reason,
    of: PhantomData<fn(&T)>,
}

impl<T> ExtensionKey<T> {
    /// Counts by what the closure takes out of the extension of type `T`.
    pub fn new<F, K>(key: F) -> ExtensionKey<T, F>
    where
        F: Fn(&T) -> K,
        K: Key,
    {
        let not_inserted = format!(
            "nothing outside of the limit has put a {} into the request's extensions. If that is so for every request, \
             let the layer that inserts it run first: in axum, add it after the limit. If some clients have none, \
             count them by something else: first_of(ExtensionKey::new(..), ClientIp::peer())",
            type_name::<T>()
        );
        ExtensionKey { key, not_inserted: not_inserted.into(), of: PhantomData }
    }
}

impl<T, F, K> KeyExtractor for ExtensionKey<T, F>
where
    T: Any + Send + Sync,
    F: Fn(&T) -> K,
    K: Key,
{
    type Key<'a>
        = K
    where
        Self: 'a;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<K, NoKey> {
        match parts.extensions.get() {
            Some(value) => Ok((self.key)(value)),
            None => Err(NoKey::NotInserted(self.not_inserted.clone())),
        }
    }
}

impl<T, F: Clone> Clone for ExtensionKey<T, F> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), not_inserted: self.not_inserted.clone(), of: PhantomData }
    }
}

impl<T, F> fmt::Debug for ExtensionKey<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExtensionKey").field(&type_name::<T>()).finish()
    }
}
