//! Requests to an upstream that speaks HTTP/2 without TLS, all over one connection of the thread.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, timeout};

use super::body::{Body, Broken, Coming};
use super::client::Client;
use super::connections::UpstreamPool;
use super::exchange::host;
use super::outgoing::{Outgoing, RequestBody, Watched, filtered};
use crate::proxy::fields::strip_response;
use crate::proxy::refusal::Refusal;
use crate::proxy::runtime::{Here, Timer};

pub(super) async fn send(
    upstream: Rc<UpstreamPool>,
    request: Request<Incoming>,
    client: Client,
) -> Result<Response<Body>, Refusal> {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let mut outgoing = Request::new(());
    *outgoing.version_mut() = Version::HTTP_2;
    let host = host(&upstream, &parts);
    let path = match parts.uri.path_and_query().map_or("/", |path| path.as_str()) {
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    *outgoing.uri_mut() = Uri::builder()
        .scheme("http")
        .authority(host.as_bytes())
        .path_and_query(path)
        .build()
        .map_err(|_| Refusal::BAD_HOST)?;
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 6);
    client.hop.to_upstream(&parts, &host, |name, value| {
        if *name != http::header::HOST {
            headers.append(name, value.clone());
        }
    });
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || parts.headers.contains_key(CONTENT_LENGTH))
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    *outgoing.headers_mut() = headers;
    *outgoing.method_mut() = parts.method;

    let watched = Rc::new(Watched { last_frame: Cell::new(Instant::now()), broken: Cell::default() });
    let mut request = outgoing.map(|()| RequestBody { body: Outgoing::new(body, &client), watched: watched.clone() });
    let mut tries = 0;
    let response = loop {
        tries += 1;
        let mut sender = sender(&upstream).await?;
        let mut response = std::pin::pin!(sender.try_send_request(request));
        let answer = loop {
            let wait = upstream.deadlines.get().response.saturating_sub(watched.last_frame.get().elapsed());
            match timeout(wait, &mut response).await {
                Ok(answer) => break answer,
                Err(_) if watched.last_frame.get().elapsed() >= upstream.deadlines.get().response => {
                    return Err(Refusal::RESPONSE_SLOW);
                }
                Err(_) => {}
            }
        };
        match answer {
            Ok(response) => break response,
            Err(mut error) => match error.take_message() {
                // The connection was at its end, and nothing was sent.
                Some(unsent) if tries < 3 => {
                    upstream.http2.borrow_mut().take();
                    request = unsent;
                }
                _ => return Err(watched.broken.get().unwrap_or(Refusal::NO_RESPONSE)),
            },
        }
    };
    let (mut parts, body) = response.into_parts();
    if parts.status.is_informational() {
        return Err(Refusal::GARBAGE);
    }
    strip_response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let none = is_head || parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED;
    let body = if none || body.is_end_stream() {
        Body::Empty
    } else {
        Body::Coming(Box::new(Http2Body { body, upstream, waits: None }))
    };
    Ok(Response::from_parts(parts, body))
}

/// A handle of the connection, which is made if there is none.
async fn sender(upstream: &Rc<UpstreamPool>) -> Result<SendRequest<RequestBody>, Refusal> {
    if let Some(sender) = &*upstream.http2.borrow()
        && !sender.is_closed()
    {
        return Ok(sender.clone());
    }
    let (io, counted) = upstream.connect().await?;
    let handshake = hyper::client::conn::http2::Builder::new(Here)
        .timer(Timer)
        .keep_alive_interval(Some(std::time::Duration::from_secs(20)))
        .max_header_list_size(64 * 1024)
        .handshake(TokioIo::new(io));
    let (sender, connection) = match timeout(upstream.deadlines.get().response, handshake).await {
        Ok(Ok(both)) => both,
        Ok(Err(_)) => return Err(Refusal::GARBAGE),
        Err(_) => return Err(Refusal::RESPONSE_SLOW),
    };
    tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the upstream ended");
        }
    });
    *upstream.http2.borrow_mut() = Some(sender.clone());
    Ok(sender)
}

/// The body of a response that comes over HTTP/2.
#[derive(Debug)]
struct Http2Body {
    body: Incoming,
    upstream: Rc<UpstreamPool>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Coming for Http2Body {
    fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waits = None;
            return Poll::Ready(frame.map(|frame| frame.map(filtered).map_err(|_| Broken)));
        }
        let idle = self.upstream.deadlines.get().idle;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Some(Err(Refusal::RESPONSE_SLOW.into())))
    }
}
