//! [`first_of`]: one key, or else another.

use std::hash::{Hash, Hasher};

use http::request::Parts;

use super::KeyExtractor;
use super::no_key::NoKey;
use crate::key::{Key, KeyText};

/// Counts by the first of two keys that a request has: users who are logged in by their number, all others by their address.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::{ClientIp, ExtensionKey, first_of};
///
/// // Inserted by the layer that checks tokens, which stands outside of the limit.
/// #[derive(Clone)]
/// struct User {
///     id: u64,
/// }
///
/// let user = ExtensionKey::new(|user: &User| user.id);
/// let layer = RateLimitLayer::per_minute(600)
///     .key(first_of(user, ClientIp::peer()));
/// # let _ = layer;
/// ```
///
/// It goes on to the second only where the request has no first key ([`NoKey::Absent`], [`NoKey::NotInserted`]). Where the
/// server is not set up to know it ([`NoKey::Misconfigured`]) it stops: a mistake must not change what is counted. Where the
/// request has neither, the second one's reason is given. For three keys, nest it: `first_of(a, first_of(b, c))`.
///
/// Let the first be something that a client cannot choose, as an authenticated user. A header that anybody can
/// fill lets a client have a new key for each request. And a client that has both keys can leave out the first and so has both
/// limits.
///
/// # What the key is
///
/// It says which of the two it was, so that a user named `192.0.2.7` is not that address. It counts as the pair
/// `("first", key)` or `("second", key)`, and its text is `first:key` or `second:key`:
///
/// ```
/// use http::Request;
/// use tollgate::http::{ClientIp, ExtensionKey, KeyExtractor, first_of};
/// use tollgate::{KeyText, Quota, RateLimiter};
///
/// // Inserted by the layer that checks tokens.
/// #[derive(Clone)]
/// struct User {
///     name: String,
/// }
///
/// let user = ExtensionKey::new(|user: &User| user.name.clone());
/// let key = first_of(user, ClientIp::peer());
/// let limiter = RateLimiter::new(Quota::per_minute(10));
///
/// let (head, ()) = Request::builder()
///     .extension(User { name: "192.0.2.7".to_owned() })
///     .body(())?
///     .into_parts();
/// let user = key.extract(&head)?;
/// limiter.check(&user)?;
/// assert_eq!(KeyText::of(&user), "first:192.0.2.7");
/// assert_eq!(limiter.peek(&("first", "192.0.2.7")).remaining(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its type has no name. [`AnyKey`](super::AnyKey) gives it one where you have to write it down, and can be cloned.
#[must_use]
pub fn first_of<A, B>(first: A, second: B) -> impl KeyExtractor
where
    A: KeyExtractor,
    B: KeyExtractor,
{
    FirstOf(first, second)
}

struct FirstOf<A, B>(A, B);

impl<A: KeyExtractor, B: KeyExtractor> KeyExtractor for FirstOf<A, B> {
    type Key<'a>
        = OneOf<A::Key<'a>, B::Key<'a>>
    where
        Self: 'a;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey> {
        match self.0.extract(parts) {
            Ok(key) => Ok(OneOf::First(key)),
            Err(no_key) if no_key.is_usual() => Ok(OneOf::Second(self.1.extract(parts)?)),
            Err(no_key) => Err(no_key),
        }
    }
}

/// The key of one of two extractors, and which.
enum OneOf<A, B> {
    First(A),
    Second(B),
}

const FIRST: &str = "first";
const SECOND: &str = "second";

impl<A: Hash, B: Hash> Hash for OneOf<A, B> {
    /// As the pair of the word and the key.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::First(key) => (FIRST, key).hash(state),
            Self::Second(key) => (SECOND, key).hash(state),
        }
    }
}

impl<A: Key, B: Key> Key for OneOf<A, B> {
    fn write(&self, text: &mut KeyText) {
        match self {
            Self::First(key) => (FIRST, key).write(text),
            Self::Second(key) => (SECOND, key).write(text),
        }
    }
}
