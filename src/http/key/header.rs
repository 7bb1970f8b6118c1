//! [`HeaderKey`]: a header's value.

use http::HeaderName;
use http::request::Parts;

use super::decoded::Decoded;
use super::no_key::{NoKey, Reason};
use super::{KeyExtractor, SEVERAL};
use crate::setting_error::SettingError;

/// Counts by the value of a header, as for API keys.
///
/// Who sends the header chooses the value, and a value that does not exist is a fresh key. So limit the address as well,
/// with a layer outside of this one:
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
/// use tollgate::http::HeaderKey;
///
/// let api_key = HeaderKey::new("x-api-key")?;
/// let app: Router = Router::new()
///     .route("/", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_minute(600).key(api_key))
///     // Whatever keys it makes up, an address has this much.
///     .layer(RateLimitLayer::per_minute(1200));
/// # let _ = app;
/// # Ok::<(), tollgate::SettingError>(())
/// ```
///
/// The value counts byte for byte, at any length: only its fingerprint is remembered. It counts as the string that it is, see
/// [`Decoded`].
///
/// A request may have the header on several lines with different values. It counts by the empty value then, together with all
/// other such requests. Programs differ in which
/// line they take, so taking any would let a client rotate one that the program does not look at.
#[derive(Clone, Debug)]
pub struct HeaderKey {
    name: HeaderName,
    absent: Reason,
}

impl HeaderKey {
    /// Counts by this header. Takes a string in any case, or a [`HeaderName`].
    ///
    /// # Errors
    ///
    /// If this is not the name of a header (RFC 9110, section 5.1).
    pub fn new(name: impl AsRef<str>) -> Result<Self, SettingError> {
        let given = name.as_ref();
        let name: HeaderName = given.parse().map_err(|_| SettingError::about(given, "is not the name of a header"))?;
        Ok(Self { absent: format!("the header {name}").into(), name })
    }
}

impl KeyExtractor for HeaderKey {
    type Key<'a> = Decoded<'a>;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Decoded<'a>, NoKey> {
        let mut values = parts.headers.get_all(&self.name).iter();
        let value = values.next().ok_or_else(|| NoKey::Absent(self.absent.clone()))?;
        if values.any(|other| other != value) {
            return Ok(Decoded::plain(SEVERAL));
        }
        Ok(Decoded::plain(value))
    }
}
