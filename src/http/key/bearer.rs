//! [`BearerToken`]: the token of the `Authorization` header.

use http::header::{AUTHORIZATION, HeaderValue};
use http::request::Parts;

use super::decoded::Decoded;
use super::no_key::NoKey;
use super::{KeyExtractor, SEVERAL};

/// Counts by the bearer token of the `Authorization` header (RFC 6750, section 2.1), however it is spelled: `Bearer abc`,
/// `bearer  abc` and `BEARER abc` are one key.
///
/// The token is not verified here, so a client that makes up tokens has a new key for each. Limit the address
/// as well, with a layer outside of this one:
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
/// use tollgate::http::BearerToken;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_minute(600).key(BearerToken))
///     // Whatever tokens it sends, an address has this much.
///     .layer(RateLimitLayer::per_minute(1200));
/// # let _ = app;
/// ```
///
/// One user may have many tokens, and one signed token may have several spellings that a decoder takes for the same. Where
/// the program knows the user, [`ExtensionKey`](super::ExtensionKey) is the better key.
///
/// | the request has | it counts by |
/// |---|---|
/// | a token | the token |
/// | no `Authorization`, another scheme, or no token after the scheme | nothing: [`NoKey::Absent`] |
/// | several `Authorization` lines that differ | the empty value, as do all such requests together |
/// | a token with white space, a comma, a semicolon, a quote, or bytes that are not ASCII inside | the same |
///
/// Programs differ in what they take of the last two, so taking any would let a client rotate what the program does not
/// look at. A direct call finds a token by its string, without the scheme.
#[derive(Clone, Copy, Debug, Default)]
pub struct BearerToken;

impl KeyExtractor for BearerToken {
    type Key<'a> = Decoded<'a>;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Decoded<'a>, NoKey> {
        let mut lines = parts.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let first = lines.next().map(Credentials::of).unwrap_or(Credentials::Other(b""));
        if lines.any(|line| Credentials::of(line) != first) {
            return Ok(Decoded::plain(SEVERAL));
        }
        match first {
            Credentials::Bearer(b"") | Credentials::Other(_) => Err(NoKey::Absent("a bearer token".into())),
            Credentials::Bearer(token) if token.iter().all(is_of_token) => Ok(Decoded::plain(token)),
            Credentials::Bearer(_) => Ok(Decoded::plain(SEVERAL)),
        }
    }
}

/// What a line of `Authorization` says.
#[derive(PartialEq)]
enum Credentials<'a> {
    /// What follows the scheme.
    Bearer(&'a [u8]),
    /// The whole line.
    Other(&'a [u8]),
}

impl<'a> Credentials<'a> {
    /// Schemes are compared without regard to case (RFC 9110, section 11.1).
    fn of(line: &'a [u8]) -> Self {
        let line = line.trim_ascii();
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (scheme, after) = line.split_at(end);
        if scheme.eq_ignore_ascii_case(b"bearer") { Self::Bearer(after.trim_ascii()) } else { Self::Other(line) }
    }
}

/// More than RFC 6750 allows, since there are programs that make such tokens, but nothing at which any would cut one in two.
fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !b",;\"".contains(byte)
}
