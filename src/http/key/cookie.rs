//! [`CookieKey`]: a cookie's value.

use http::header::{COOKIE, HeaderValue};
use http::request::Parts;

use super::decoded::Decoded;
use super::no_key::{NoKey, Reason};
use super::{KeyExtractor, SEVERAL};
use crate::setting_error::SettingError;

/// The most bytes of cookies that are read: 16 KiB. Servers commonly refuse requests with more than 8 KiB.
const BYTES_MAX: usize = 16 * 1024;

/// Counts by the value of a cookie, as for sessions.
///
/// Who sends the cookie chooses the value, and a session that does not exist is a fresh key. So limit the address as well,
/// with a layer outside of this one:
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
/// use tollgate::http::CookieKey;
///
/// let session = CookieKey::new("session")?;
/// let app: Router = Router::new()
///     .route("/", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_minute(600).key(session))
///     // Whatever sessions it makes up, an address has this much.
///     .layer(RateLimitLayer::per_minute(1200));
/// # let _ = app;
/// # Ok::<(), tollgate::SettingError>(())
/// ```
///
/// Names are told apart by case (RFC 6265). Quotes around a value are left out and both name and value are
/// percent-decoded, since programs do so: `session=abc`, `session="abc"` and `%73ession=a%62c` are one key.
/// The value counts as the string that it is once decoded, see [`Decoded`].
///
/// A request may have the cookie several times with different values, or more than 16 KiB of cookies. It counts by the empty
/// value then, together with all other such requests. Programs differ in which one they take, so taking any would let a client
/// rotate one that the program does not look at.
#[derive(Clone, Debug)]
pub struct CookieKey {
    name: Box<str>,
    absent: Reason,
}

impl CookieKey {
    /// Counts by this cookie.
    ///
    /// # Errors
    ///
    /// If this is not the name of a cookie: letters, digits and ``!#$%&'*+-.^_`|~`` (RFC 6265, section 4.1.1).
    pub fn new(name: impl AsRef<str>) -> Result<Self, SettingError> {
        let name = name.as_ref();
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            return Err(SettingError::about(name, "is not the name of a cookie"));
        }
        Ok(Self { name: name.into(), absent: format!("the cookie {name}").into() })
    }

    fn is_name(&self, name: &[u8]) -> bool {
        let expected = self.name.as_bytes();
        name == expected || (name.contains(&b'%') && Decoded::percent(name) == Decoded::percent(expected))
    }
}

impl KeyExtractor for CookieKey {
    type Key<'a> = Decoded<'a>;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Decoded<'a>, NoKey> {
        // HTTP/2 may send each cookie on a line of its own (RFC 9113, section 8.2.3).
        let lines = parts.headers.get_all(COOKIE);
        let mut found: Option<Decoded<'a>> = None;
        let mut bytes_left = BYTES_MAX;
        for line in lines.iter().map(HeaderValue::as_bytes) {
            // An empty line costs something, too.
            bytes_left = match bytes_left.checked_sub(line.len() + 1) {
                Some(left) => left,
                None => return Ok(Decoded::plain(SEVERAL)),
            };
            for pair in line.split(|&byte| byte == b';') {
                let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
                if !self.is_name(pair[..equals].trim_ascii()) {
                    continue;
                }
                let value = match pair[equals + 1..].trim_ascii() {
                    [b'"', inner @ .., b'"'] => inner,
                    value => value,
                };
                let value = Decoded::percent(value);
                match found {
                    Some(found) if found != value => return Ok(Decoded::plain(SEVERAL)),
                    _ => found = Some(value),
                }
            }
        }
        found.ok_or_else(|| NoKey::Absent(self.absent.clone()))
    }
}
