//! [`Decoded`]: bytes that count as what they are once percent-decoded.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::key::{Key, KeyText};

/// A piece of a request, equal to every other spelling of it: `%61` is `a` (RFC 3986, section 2.1), decoded once. A `%` that no
/// two hex digits follow is itself.
#[derive(Clone, Copy)]
pub struct Decoded<'a> {
    encoded: &'a [u8],
}

impl<'a> Decoded<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Self { encoded }
    }

    /// The decoded bytes.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        let mut rest = self.encoded;
        std::iter::from_fn(move || {
            if let [b'%', high, low, after @ ..] = rest {
                if let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) {
                    rest = after;
                    return Some(high << 4 | low);
                }
            }
            let (&byte, after) = rest.split_first()?;
            rest = after;
            Some(byte)
        })
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
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Decoded<'_> {}

impl Hash for Decoded<'_> {
    /// Feeds the decoded bytes in pieces whose ends depend on nothing else: hashers tell `"ab"` from `"a"` and `"b"`.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut piece = [0; 64];
        let mut len = 0;
        for byte in self.bytes() {
            let at = len % piece.len();
            piece[at] = byte;
            len += 1;
            if at + 1 == piece.len() {
                state.write(&piece);
            }
        }
        state.write(&piece[..len % piece.len()]);
        // So that the parts of a pair cannot run into each other.
        state.write_usize(len);
    }
}

impl Key for Decoded<'_> {
    fn write(&self, text: &mut KeyText) {
        text.part(&self.bytes().collect::<Vec<u8>>());
    }
}

impl fmt::Debug for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.bytes().collect::<Vec<u8>>()), f)
    }
}
