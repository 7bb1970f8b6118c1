//! [`Chunks`]: whether a chunked body is one, byte by byte, and where it ends.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{has_control, is_token, name_and_value, trim};
use super::refusal::Refusal;

/// How far a chunked body has come (RFC 9112, section 7.1). It keeps a line of the trailers at most.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    size: u64,
    digits: u8,
    /// Bytes of extensions so far. Nobody uses them, and they can be sent without end.
    extension: usize,
    trailers: usize,
    line: Vec<u8>,
    /// The trailers, where they are wanted. Then one that may not be there is left out, and is no reason to refuse.
    kept: Option<HeaderMap>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum At {
    #[default]
    Size,
    /// White space behind the size or behind an extension: before a `;`, and not before the line's end.
    Gap,
    Name,
    NameGap,
    Value,
    Quoted,
    Escaped,
    AfterValue,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    End,
}

const EXTENSION_MAX: usize = 4 * 1024;
const TRAILERS_MAX: usize = 8 * 1024;

/// Fields that change what a message is, where it goes or who sent it: RFC 9110 section 6.5.1.
const NEVER_TRAILERS: [&str; 41] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-real-ip",
];

/// Whether a field of this name may come behind a body. Some programs put trailers among the other fields, and some cannot tell `_` there
/// from `-`.
pub(super) fn may_trail(name: &[u8]) -> bool {
    let begins = |with: &str| {
        let same = |(byte, with): (&u8, u8)| byte.to_ascii_lowercase() == with || *byte == b'_' && with == b'-';
        name.len() >= with.len() && name.iter().zip(with.bytes()).all(same)
    };
    !NEVER_TRAILERS.iter().any(|never| name.len() == never.len() && begins(never)) && !begins("x-forwarded-")
}

/// A part of a chunked body.
#[derive(Debug, PartialEq)]
pub(super) enum ChunkPart {
    /// So many bytes of framing, and more to come.
    Framing(usize),
    /// So many bytes of data.
    Data(usize),
    /// So many bytes of framing, and the body ends with them.
    End(usize),
}

impl Chunks {
    /// For a body whose trailers are wanted.
    pub(super) fn keeping_trailers() -> Self {
        Self { kept: Some(HeaderMap::new()), ..Self::default() }
    }

    /// The trailers, when the body has ended.
    pub(super) fn into_trailers(self) -> Option<HeaderMap> {
        self.kept.filter(|trailers| !trailers.is_empty())
    }

    /// The next part, which `bytes` begin with. They may not be empty.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<ChunkPart, Refusal> {
        if self.at == At::Data {
            let len = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
            self.size -= len as u64;
            if self.size == 0 {
                self.at = At::DataCr;
            }
            return Ok(ChunkPart::Data(len));
        }
        for (index, &byte) in bytes.iter().enumerate() {
            self.at = self.step(byte)?;
            match self.at {
                At::Data => return Ok(ChunkPart::Framing(index + 1)),
                At::End => return Ok(ChunkPart::End(index + 1)),
                _ => {}
            }
        }
        Ok(ChunkPart::Framing(bytes.len()))
    }

    /// How many bytes have come of trailers.
    #[cfg(test)]
    fn trailers(&self) -> usize {
        self.trailers
    }

    fn step(&mut self, byte: u8) -> Result<At, Refusal> {
        use At::*;
        if matches!(self.at, Gap | Name | NameGap | Value | Quoted | Escaped | AfterValue) {
            self.extension += 1;
            if self.extension > EXTENSION_MAX || has_control(&[byte]) && byte != b'\r' {
                return Err(Refusal::CHUNK);
            }
        }
        Ok(match (self.at, byte) {
            (Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                self.digits += 1;
                // 16 digits fill 64 bits. No body has 2^63 bytes, but a sum of two lengths may overflow.
                if self.digits > 16 || self.size > (u64::MAX >> 5) {
                    return Err(Refusal::CHUNK);
                }
                self.size = self.size << 4 | digit;
                Size
            }
            (Size, b'\r') if self.digits > 0 => SizeLf,
            (Size | Gap, b';') if self.digits > 0 => Name,
            (Size, b' ' | b'\t') if self.digits > 0 => Gap,
            (Gap, b' ' | b'\t') => Gap,
            (Name, b' ' | b'\t') if self.line.is_empty() => Name,
            (Name, byte) if is_token(byte) => {
                // Only to know that there was one.
                self.line.clear();
                self.line.push(byte);
                Name
            }
            (Name, b' ' | b'\t') => NameGap,
            (NameGap, b' ' | b'\t') => NameGap,
            (Name | NameGap, b'=') if !self.line.is_empty() => {
                self.line.clear();
                Value
            }
            (Name, b';') if !self.line.is_empty() => {
                self.line.clear();
                Name
            }
            (NameGap, b';') => {
                self.line.clear();
                Name
            }
            (Name, b'\r') if !self.line.is_empty() => {
                self.line.clear();
                SizeLf
            }
            (Value, b' ' | b'\t') if self.line.is_empty() => Value,
            (Value, b'"') if self.line.is_empty() => Quoted,
            (Value, byte) if is_token(byte) => {
                self.line.clear();
                self.line.push(byte);
                Value
            }
            (Value, b' ' | b'\t' | b';' | b'\r') if !self.line.is_empty() => {
                self.line.clear();
                match byte {
                    b';' => Name,
                    b'\r' => SizeLf,
                    _ => Gap,
                }
            }
            (Quoted, b'"') => AfterValue,
            (Quoted, b'\\') => Escaped,
            (Quoted, b'\r') | (Escaped, b'\r') => return Err(Refusal::CHUNK),
            (Quoted | Escaped, _) => Quoted,
            (AfterValue, b';') => Name,
            (AfterValue, b' ' | b'\t') => Gap,
            (AfterValue, b'\r') => SizeLf,
            (SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 { Trailer } else { Data }
            }
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size,
            (Trailer, byte) => return self.trailer(byte),
            _ => return Err(Refusal::CHUNK),
        })
    }

    fn trailer(&mut self, byte: u8) -> Result<At, Refusal> {
        self.trailers += 1;
        if self.trailers > TRAILERS_MAX {
            return Err(Refusal::TRAILERS_TOO_LARGE);
        }
        if byte != b'\n' {
            if self.line.last() == Some(&b'\r') {
                return Err(Refusal::CONTROL);
            }
            self.line.push(byte);
            return Ok(At::Trailer);
        }
        if self.line.pop() != Some(b'\r') {
            return Err(Refusal::BARE_LF);
        }
        if self.line.is_empty() {
            return Ok(At::End);
        }
        let (name, value_at) = name_and_value(&self.line)?;
        match &mut self.kept {
            None if !may_trail(name) => return Err(Refusal::TRAILER),
            Some(kept) if may_trail(name) => {
                let name = HeaderName::from_bytes(name).map_err(|_| Refusal::FIELD)?;
                let value = HeaderValue::from_bytes(trim(&self.line[value_at..])).map_err(|_| Refusal::FIELD)?;
                kept.append(name, value);
            }
            _ => {}
        }
        self.line.clear();
        Ok(At::Trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a body, however it is cut.
    fn check(body: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let whole = read(body, body.len());
        for piece in [1, 2, 3, 7] {
            assert_eq!(read(body, piece), whole, "{:?} by {piece}", String::from_utf8_lossy(body));
        }
        whole
    }

    fn read(body: &[u8], piece: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let mut chunks = Chunks::default();
        let mut data = Vec::new();
        for mut bytes in body.chunks(piece) {
            while !bytes.is_empty() {
                let len = match chunks.next(bytes)? {
                    ChunkPart::Framing(len) => len,
                    ChunkPart::Data(len) => {
                        data.extend_from_slice(&bytes[..len]);
                        len
                    }
                    ChunkPart::End(_) => {
                        assert!(chunks.trailers() >= 2);
                        return Ok(Some(data));
                    }
                };
                bytes = &bytes[len..];
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_is_read_in_any_pieces() {
        for (body, data) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"5;a\r\nhello\r\n00;b=c;d=\"e;\\\"f\"\r\nx: y\r\n\r\n", b"hello"),
            (b"5 ; a = b ; c\r\nhello\r\n000\r\n\r\n", b"hello"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
        ] {
            assert_eq!(check(body), Ok(Some(data.to_vec())), "{:?}", String::from_utf8_lossy(body));
        }
        assert_eq!(check(b"5\r\nhel"), Ok(None));
    }

    #[test]
    fn what_is_no_body_is_refused() {
        for (body, refusal) in [
            (&b"\r\n"[..], Refusal::CHUNK),
            (b"0x5\r\nhello\r\n", Refusal::CHUNK),
            (b"+5\r\n", Refusal::CHUNK),
            (b"-5\r\n", Refusal::CHUNK),
            (b" 5\r\n", Refusal::CHUNK),
            (b"5 \r\n", Refusal::CHUNK),
            (b"5\n", Refusal::CHUNK),
            (b"5\rhello", Refusal::CHUNK),
            (b"5;\r\n", Refusal::CHUNK),
            (b"5;a\n", Refusal::CHUNK),
            (b"5;a=\r\n", Refusal::CHUNK),
            (b"5;a=b c\r\n", Refusal::CHUNK),
            (b"5;a=\"b\r\n", Refusal::CHUNK),
            (b"5;a\x07\r\n", Refusal::CHUNK),
            (b"5\r\nhelloX", Refusal::CHUNK),
            (b"5\r\nhello\n", Refusal::CHUNK),
            (b"00000000000000005\r\n", Refusal::CHUNK),
            (b"ffffffffffffffff\r\n", Refusal::CHUNK),
            (b"10000000000000000\r\n", Refusal::CHUNK),
            (b"0\r\nHost: a\r\n", Refusal::TRAILER),
            (b"0\r\nX-Forwarded-For: a\r\n", Refusal::TRAILER),
            (b"0\r\ncontent-length: 5\r\n", Refusal::TRAILER),
            (b"0\r\na b: c\r\n", Refusal::FIELD),
            (b"0\r\n b: c\r\n", Refusal::FOLDED),
            (b"0\r\nb: \x7f\r\n", Refusal::CONTROL),
            (b"0\r\nb: c\n", Refusal::BARE_LF),
            (b"0\r\nb: c\rd", Refusal::CONTROL),
        ] {
            assert_eq!(check(body), Err(refusal), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
