//! [`AnyKey`]: an extractor that is chosen while the program runs.

use std::any::type_name;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::request::Parts;

use super::KeyExtractor;
use super::no_key::NoKey;
use crate::key::{Key, KeyText};

/// Any extractor, as one type: for one that a configuration file chooses, or a layer in a field of a struct.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::{AnyKey, ClientIp, GlobalKey};
///
/// fn limit(each_client: bool) -> RateLimitLayer<AnyKey> {
///     let key = if each_client {
///         AnyKey::new(ClientIp::peer())
///     } else {
///         AnyKey::new(GlobalKey)
///     };
///     RateLimitLayer::per_second(28).key(key)
/// }
/// # limit(true);
/// ```
///
/// Its key counts as the inner extractor's: it has the same hash and the same text. So layers with the one and the other can
/// share a limiter, and direct calls use the inner key. Each request costs an allocation, for the key, and calls that
/// are not inlined; name the type where you can.
#[derive(Clone)]
pub struct AnyKey(Arc<dyn Extractor>);

impl AnyKey {
    /// Counts by this extractor.
    pub fn new(key: impl KeyExtractor + Send + Sync + 'static) -> Self {
        Self(Arc::new(key))
    }
}

impl KeyExtractor for AnyKey {
    type Key<'a> = Boxed<'a>;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Boxed<'a>, NoKey> {
        self.0.extract_boxed(parts)
    }
}

impl fmt::Debug for AnyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyKey").field(&self.0.name()).finish()
    }
}

/// [`KeyExtractor`] without its associated type.
trait Extractor: Send + Sync {
    fn extract_boxed<'a>(&'a self, parts: &'a Parts) -> Result<Boxed<'a>, NoKey>;

    fn name(&self) -> &'static str;
}

impl<E: KeyExtractor + Send + Sync> Extractor for E {
    fn extract_boxed<'a>(&'a self, parts: &'a Parts) -> Result<Boxed<'a>, NoKey> {
        Ok(Boxed(Box::new(self.extract(parts)?)))
    }

    fn name(&self) -> &'static str {
        type_name::<E>()
    }
}

/// A key of some type.
pub struct Boxed<'a>(Box<dyn Counted + 'a>);

/// [`Key`] without a type parameter, which [`Hash`] has.
trait Counted {
    fn hash_into(&self, state: &mut dyn Hasher);

    fn write_into(&self, text: &mut KeyText);
}

impl<K: Key> Counted for K {
    fn hash_into(&self, mut state: &mut dyn Hasher) {
        self.hash(&mut state);
    }

    fn write_into(&self, text: &mut KeyText) {
        self.write(text);
    }
}

impl Hash for Boxed<'_> {
    /// Makes the same calls of the hasher as the key itself.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash_into(state);
    }
}

impl Key for Boxed<'_> {
    fn write(&self, text: &mut KeyText) {
        self.0.write_into(text);
    }
}

impl fmt::Debug for Boxed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Boxed").field(&KeyText::of(self)).finish()
    }
}
