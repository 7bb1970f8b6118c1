//! [`Forward`]: the service behind the limits.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::refusal::Refusal;
use super::thread::Current;
use super::upstream::{Body, Client, Passing, UpstreamPool};

/// Sends requests on.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    pub(super) current: Rc<Current>,
    pub(super) client: Client,
}

/// That the proxy itself answered, since nothing else could, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed(pub(super) Refusal);

/// A request on its way.
pub(super) type Forwarding = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

impl Forward {
    /// Sends a [plain](super::head::Checked::plain) request on, to an upstream that speaks HTTP/1.1.
    pub(super) fn pass(&self, upstream: Rc<UpstreamPool>, head: &[u8], host: &[u8]) -> Passing {
        upstream.send_plain(self.client.clone(), head, host)
    }
}

impl tower_service::Service<Request<Incoming>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Forwarding;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Forwarding {
        // Requests of HTTP/1 come one after the other, and the limits do not delay them: it is the last one.
        let number = if request.version() == Version::HTTP_2 { 0 } else { self.client.line.served() };
        let client = Client { number, ..self.client.clone() };
        let (head, body) = request.into_parts();
        let upstream = self.current.upstreams.of(&head).cloned();
        Box::pin(async move {
            let Some(upstream) = upstream else { return Ok(failed(Refusal::MISDIRECTED)) };
            let begun = Instant::now();
            let response = upstream.clone().send(Request::from_parts(head, body), client).await;
            upstream.answered(begun.elapsed());
            Ok(response.unwrap_or_else(failed))
        })
    }
}

/// The proxy's own answer, where nothing else could.
fn failed(refusal: Refusal) -> Response<Body> {
    let mut response = refused(refusal);
    response.extensions_mut().insert(Failed(refusal));
    response
}

/// The proxy's own answer.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    own(refusal.status, Bytes::from_static(refusal.text.as_bytes())).map(Body::Whole)
}

pub(super) fn own(status: StatusCode, text: Bytes) -> Response<Bytes> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
