//! How messages are written: the line they begin with, and their fields.

use http::{Response, StatusCode};

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

pub(super) fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    write_number(length, out);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_date(date: &Date, out: &mut Vec<u8>) {
    out.extend_from_slice(b"date: ");
    date.write(out);
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
