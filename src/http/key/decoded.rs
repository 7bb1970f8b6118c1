//! [`Decoded`]: a value that a client sent, as what it is once decoded.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str;

use crate::key::{Key, KeyText};

/// The longest value that is decoded in place, to be hashed. Session ids and tokens are shorter.
const IN_PLACE_MAX: usize = 256;

/// The value of a header, a cookie or a path parameter: the key of [`HeaderKey`](super::HeaderKey),
/// [`CookieKey`](super::CookieKey), [`BearerToken`](super::BearerToken) and `PathParam`.
///
/// It counts as the string that it is once decoded, whatever its spelling was. So a direct call finds it by that string:
///
/// ```
/// use tollgate::http::Decoded;
/// use tollgate::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_minute(10));
/// limiter.check(&Decoded::percent("ab%63"))?;
/// assert_eq!(limiter.peek("abc").remaining(), 9);
/// # Ok::<(), tollgate::Denied>(())
/// ```
///
/// A value that is not UTF-8 counts by its bytes, and a direct call finds it by a `Decoded` of them. Nothing is allocated,
/// unless more than 256 bytes have to be decoded.
#[derive(Clone, Copy)]
pub struct Decoded<'a> {
    bytes: &'a [u8],
    /// Whether something is to be decoded.
    encoded: bool,
}

impl<'a> Decoded<'a> {
    /// These bytes as they are: the value of a header.
    pub fn plain(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { bytes: value.as_ref(), encoded: false }
    }

    /// These bytes percent-decoded, once: `%61` is `a` (RFC 3986, section 2.1). A `%` that no two hex digits follow is
    /// itself. This is the value of a cookie or a path parameter as the client spelled it.
    pub fn percent(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        let bytes = value.as_ref();
        Self { bytes, encoded: bytes.contains(&b'%') }
    }

    /// The decoded bytes.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        let Self { bytes: mut rest, encoded } = self;
        std::iter::from_fn(move || {
            if let [b'%', high, low, after @ ..] = rest {
                if let (true, Some(high), Some(low)) = (encoded, hex_digit(*high), hex_digit(*low)) {
                    rest = after;
                    return Some(high << 4 | low);
                }
            }
            let (&byte, after) = rest.split_first()?;
            rest = after;
            Some(byte)
        })
    }

    /// Calls this with the decoded bytes in one piece. Allocates where a long value has to be decoded.
    fn with_bytes<R>(self, take: impl FnOnce(&[u8]) -> R) -> R {
        if !self.encoded {
            return take(self.bytes);
        }
        if self.bytes.len() > IN_PLACE_MAX {
            let mut decoded = Vec::with_capacity(self.bytes.len());
            decoded.extend(self.bytes());
            return take(&decoded);
        }
        let mut piece = [0; IN_PLACE_MAX];
        let mut len = 0;
        for byte in self.bytes() {
            piece[len] = byte;
            len += 1;
        }
        take(&piece[..len])
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl PartialEq for Decoded<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.encoded || other.encoded { self.bytes().eq(other.bytes()) } else { self.bytes == other.bytes }
    }
}

impl Eq for Decoded<'_> {}

impl Hash for Decoded<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.with_bytes(|bytes| match str::from_utf8(bytes) {
            Ok(text) => text.hash(state),
            Err(_) => {
                // No string has this byte, so that no string hashes as these bytes do.
                state.write_u8(0xFE);
                bytes.hash(state);
            }
        });
    }
}

impl Key for Decoded<'_> {
    fn write(&self, text: &mut KeyText) {
        self.with_bytes(|bytes| text.part(bytes));
    }
}

impl fmt::Debug for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_bytes(|bytes| fmt::Debug::fmt(&String::from_utf8_lossy(bytes), f))
    }
}
