//! [`CameHead`]: the head of a response, read and checked. What two readers could take in two ways is garbage.

use std::mem::MaybeUninit;
use std::pin::Pin;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::Header;

use super::body::Body;
use crate::proxy::fields::{has, named_in};
use crate::proxy::head::{has_control, trim};
use crate::proxy::line::Line;
use crate::proxy::refusal::Refusal;
use crate::proxy::written::{write_line, write_status};

/// How many fields a response may have.
pub(super) const FIELDS_MAX: usize = 100;

/// Room for the fields of a head.
pub(super) type FieldRoom<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// The head of a response, as it came.
#[derive(Debug)]
pub(super) struct CameHead<'h, 'b> {
    pub(super) status: StatusCode,
    /// All of its bytes.
    bytes: &'b [u8],
    fields: &'h [Header<'b>],
    /// Those that are not for this hop, as bits.
    going: u128,
    /// The fields that `Connection` names.
    named: Vec<&'b [u8]>,
    pub(super) ends: BodyEnd,
    /// Whether the connection stays.
    pub(super) reusable: bool,
    /// It is of HTTP/1.0.
    pub(super) is_old: bool,
}

/// Where the body of a response ends, by its head.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyEnd {
    Length(u64),
    Chunked,
    Closed,
}

impl<'h, 'b> CameHead<'h, 'b> {
    /// `None`: the rest is still to come.
    pub(super) fn read(bytes: &'b [u8], room: &'h mut FieldRoom<'b>) -> Result<Option<Self>, Refusal> {
        let mut parsed = httparse::Response::new(&mut []);
        let len = match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, room) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Refusal::GARBAGE),
        };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Refusal::GARBAGE)?;
        let is_11 = parsed.version == Some(1);
        let fields: &'h [Header<'b>] = parsed.headers;
        let (mut length, mut codings, mut close, mut keep) = (None::<u64>, 0, false, false);
        let (mut named, mut going) = (Vec::new(), 0);
        for (index, Header { name, value }) in fields.iter().enumerate() {
            // httparse lets them through.
            if has_control(value) {
                return Err(Refusal::GARBAGE);
            }
            match role(name) {
                Role::Length => {
                    let lengths = read_lengths(value)?;
                    if length.replace(lengths).is_some_and(|before| before != lengths) {
                        return Err(Refusal::GARBAGE);
                    }
                }
                Role::Coding => {
                    codings += 1;
                    if !trim(value).eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal::GARBAGE);
                    }
                }
                Role::Connection if value.eq_ignore_ascii_case(b"keep-alive") => keep = true,
                Role::Connection => {
                    close |= has(value, "close");
                    keep |= has(value, "keep-alive");
                    named.extend(named_in(value));
                }
                Role::Upgrade if status != StatusCode::SWITCHING_PROTOCOLS => {}
                Role::Hop => {}
                Role::Upgrade | Role::Other => going |= 1 << index,
            }
        }
        let ends = match (codings, length) {
            (0, None) => BodyEnd::Closed,
            (0, Some(length)) => BodyEnd::Length(length),
            (1, None) if is_11 => BodyEnd::Chunked,
            _ => return Err(Refusal::GARBAGE),
        };
        // A response that has no body, and says that it has: its upstream may think that it sends one.
        let is_strange = status == StatusCode::NO_CONTENT && !matches!(ends, BodyEnd::Closed | BodyEnd::Length(0));
        let reusable = !close && (is_11 || keep) && !is_strange;
        Ok(Some(Self { status, bytes: &bytes[..len], fields, going, named, ends, reusable, is_old: !is_11 }))
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The fields that go on, but for `Content-Length`: that is once enough, and in one form.
    fn going(&self) -> impl Iterator<Item = &Header<'b>> {
        let going = self.fields.iter().enumerate().filter(|(index, _)| self.going & 1 << index != 0);
        going.map(|(_, field)| field).filter(|field| {
            self.named.is_empty() || !self.named.iter().any(|name| name.eq_ignore_ascii_case(field.name.as_bytes()))
        })
    }

    fn length(&self) -> Option<u64> {
        if let BodyEnd::Length(length) = self.ends { Some(length) } else { None }
    }

    /// Writes it down, for a response that is written as it came. Whether it has a date.
    fn write(&self, out: &mut Vec<u8>) -> bool {
        write_status(self.status, out);
        let mut has_date = false;
        for Header { name, value } in self.going() {
            has_date |= name.eq_ignore_ascii_case("date");
            let at = |part: &[u8]| part.as_ptr() as usize - self.bytes.as_ptr() as usize;
            let (start, end) = (at(name.as_bytes()), at(value) + value.len());
            // Its line ends behind the value, unless white space stands there.
            let end = if self.bytes[end..].starts_with(b"\r\n") { end + 2 } else { end };
            write_line(&self.bytes[start..end], name.len(), value, out);
        }
        has_date
    }

    /// Writes it down as a hint on what is to come.
    pub(super) fn write_hint(&self, out: &mut Vec<u8>) {
        self.write(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// What a head becomes that goes on.
pub(super) trait GoesOn: Sized {
    fn of(head: &CameHead<'_, '_>, line: &Line) -> Result<Self, Refusal>;
}

impl GoesOn for Response<()> {
    fn of(head: &CameHead<'_, '_>, _: &Line) -> Result<Self, Refusal> {
        // The values share these bytes.
        let bytes = Bytes::copy_from_slice(head.bytes);
        let start = head.bytes.as_ptr() as usize;
        let mut headers = HeaderMap::with_capacity(head.fields.len());
        for Header { name, value } in head.going() {
            let at = value.as_ptr() as usize - start;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refusal::GARBAGE)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(at..at + value.len()));
            headers.append(name, value.map_err(|_| Refusal::GARBAGE)?);
        }
        if let Some(length) = head.length() {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.version_mut() = Version::HTTP_11;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// A plain request on its way: the response's head is written then, and this is its body.
pub(in crate::proxy) type Passing = Pin<Box<dyn Future<Output = Result<(WrittenHead, Body), Refusal>>>>;

/// A head that is written on the client's line already, but for what frames the body, and for the date.
#[derive(Debug)]
pub(in crate::proxy) struct WrittenHead {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) has_date: bool,
}

impl GoesOn for WrittenHead {
    fn of(head: &CameHead<'_, '_>, line: &Line) -> Result<Self, Refusal> {
        let status = head.status;
        // Nobody asked for it.
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refusal::GARBAGE);
        }
        Ok(Self { status, has_date: line.answer(|out| head.write(out)) })
    }
}

/// What a field says.
#[derive(Debug, PartialEq)]
enum Role {
    Length,
    Coding,
    Connection,
    Upgrade,
    /// It is for this hop.
    Hop,
    Other,
}

fn role(name: &str) -> Role {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Role::Hop,
        7 if is("upgrade") => Role::Upgrade,
        10 if is("connection") => Role::Connection,
        10 if is("keep-alive") => Role::Hop,
        14 if is("content-length") => Role::Length,
        16 if is("proxy-connection") => Role::Hop,
        17 if is("transfer-encoding") => Role::Coding,
        _ => Role::Other,
    }
}

/// `Content-Length`, which may be repeated in a list (RFC 9112, 6.3).
fn read_lengths(value: &[u8]) -> Result<u64, Refusal> {
    let mut lengths = value.split(|&byte| byte == b',').map(|text| {
        let text = trim(text);
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
        text.parse::<u64>().ok().filter(|&length| length <= u64::MAX / 2)
    });
    let first = lengths.next().flatten().ok_or(Refusal::GARBAGE)?;
    if lengths.all(|length| length == Some(first)) { Ok(first) } else { Err(Refusal::GARBAGE) }
}
