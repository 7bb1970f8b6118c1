//! [`ExtensionKey`]: what an earlier layer put into the request's extensions.

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;

use http::request::Parts;

use super::KeyExtractor;
use super::no_key::{NoKey, Reason};
use crate::key::Key;

/// Counts by something that a layer outside of this one has put into the request's extensions: the authenticated user, by all
/// means the best key there is.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::ExtensionKey;
///
/// // Inserted by the layer that checks tokens.
/// #[derive(Clone)]
/// struct User {
///     id: u64,
/// }
///
/// let layer = RateLimitLayer::per_minute(600).key(ExtensionKey::<User>::new(|user: &User| user.id));
/// # let _ = layer;
/// ```
///
/// The closure gives an owned [`Key`]; for a text, keep it in an `Arc<str>` and clone that. The layer that inserts the value must
/// run first: in axum, be added *after* the limit, since layers added later are further outside.
pub struct ExtensionKey<T, F = ()> {
    key: F,
    absent: Reason,
    of: PhantomData<fn(&T)>,
}

impl<T> ExtensionKey<T> {
    /// Counts by what the closure takes out of the extension of type `T`.
    pub fn new<F, K>(key: F) -> ExtensionKey<T, F>
    where
        F: Fn(&T) -> K,
        K: Key,
    {
        let absent = format!("the request extension {}", type_name::<T>()).into();
        ExtensionKey { key, absent, of: PhantomData }
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
            None => Err(NoKey::Absent(self.absent.clone())),
        }
    }
}

impl<T, F: Clone> Clone for ExtensionKey<T, F> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), absent: self.absent.clone(), of: PhantomData }
    }
}

impl<T, F> fmt::Debug for ExtensionKey<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExtensionKey").field(&type_name::<T>()).finish()
    }
}
