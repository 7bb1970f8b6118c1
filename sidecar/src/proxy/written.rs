//! How messages are written: the line they begin with, and their fields.

use http::{Response, StatusCode};
use tokio::time::Instant;

use super::date::Date;

/// Writes the head of a response as far as its fields.
pub(super) fn write_start<B>(response: &Response<B>, out: &mut Vec<u8>) {
    write_status(response.status(), out);
    for (name, value) in response.headers() {
        write_field(name.as_str(), value.as_bytes(), out);
    }
}

/// The line with which a response begins.
pub(super) fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a field with its name in small letters. `line` is how it came, with a name of this length, and this value. It may lack its end.
pub(super) fn write_line(line: &[u8], name: usize, value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // Most come as they go.
    if line[name..].starts_with(b": ") && line.len() == name + 2 + value.len() + 2 && line.ends_with(b"\r\n") {
        out.extend_from_slice(line);
    } else {
        out.extend_from_slice(&line[..name]);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out[start..start + name].make_ascii_lowercase();
}

pub(super) fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    write_number(length, out);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_date(date: &Date, now: Instant, out: &mut Vec<u8>) {
    out.extend_from_slice(b"date: ");
    date.write(now, out);
    out.extend_from_slice(b"\r\n");
}

/// In decimal.
fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let len = number.checked_ilog10().unwrap_or(0) as usize + 1; // at most 20
    let start = out.len();
    out.resize(start + len, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8; // a digit
        number /= 10;
    }
}
