//! [`UpstreamPool`]: the program behind the proxy, asked in the way that it speaks.

mod body;
mod client;
mod connections;
mod exchange;
mod http2;
mod outgoing;
mod response;

use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

pub(super) use body::{Body, Broken};
pub(super) use client::Client;
pub(super) use connections::UpstreamPool;
pub(super) use response::{Passing, WrittenHead};

use super::refusal::Refusal;
use crate::config::Protocol;

impl UpstreamPool {
    /// Sends a request, and waits for the head of the response.
    pub(super) async fn send(
        self: Rc<Self>,
        request: Request<Incoming>,
        client: Client,
    ) -> Result<Response<Body>, Refusal> {
        match self.target.protocol {
            Protocol::Http1 => exchange::send(self, request, client).await,
            Protocol::H2c => http2::send(self, request, client).await,
        }
    }

    /// The same for a `GET` without a body to an upstream that speaks HTTP/1.1. Its head is written at once, and that of the response on
    /// the client's line.
    pub(super) fn send_plain(self: Rc<Self>, client: Client, head: &[u8], host: &[u8]) -> Passing {
        exchange::send_plain(self, client, head, host)
    }
}
