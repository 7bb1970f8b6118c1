//! [`Door`]: answers what is denied whatever it asks, before hyper reads it.
//!
//! A flood is what limits are for, so a denial is to cost less than anything else. Where every limit counts every request, by its peer
//! or by nothing, a request's head has no say. Then the guard, which has found the request good and whole, asks here first.
//! What passes goes on to hyper, and is asked about again.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tollgate::http::PeerAddr;

use super::date::Date;
use super::metrics::Outcome;
use super::thread::Thread;

/// Answers what one client is denied, whatever it asks.
#[derive(Debug)]
pub(super) struct Door {
    thread: Rc<Thread>,
    peer: PeerAddr,
    /// Stands for the head of each of its requests: only the peer counts.
    head: Parts,
}

impl Door {
    pub(super) fn new(thread: Rc<Thread>, peer: SocketAddr) -> Self {
        let (mut head, ()) = Request::new(()).into_parts();
        let peer = PeerAddr(peer);
        head.extensions.insert(peer);
        Self { thread, peer, head }
    }

    /// Appends the answer to a request that is denied. `false`: it may pass, or its head has a say.
    pub(super) fn denies(&mut self, out: &mut Vec<u8>) -> bool {
        let current = self.thread.current();
        let Some(mut response) = current.enforcer().denial_of_any(&mut self.head) else { return false };
        self.thread.metrics.count(Outcome::Denied);
        write(&response, &self.thread.date, out);
        // The answer took the head's, and they have memory.
        self.head.extensions = std::mem::take(response.extensions_mut());
        self.head.extensions.insert(self.peer);
        true
    }
}

/// As hyper would write it.
fn write(response: &Response<Bytes>, date: &Date, out: &mut Vec<u8>) {
    let (status, body) = (response.status(), response.body());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        field(name.as_str(), value.as_bytes(), out);
    }
    field("content-length", body.len().to_string().as_bytes(), out);
    out.extend_from_slice(b"date: ");
    date.write(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
