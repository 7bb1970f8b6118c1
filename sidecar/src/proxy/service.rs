//! [`Service`]: what becomes of a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, VIA};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tollgate::Denied;
use tollgate::http::{AnyBody, JointLayer, PeerAddr};
use tollgate::{RateLimit, RateLimiter, RedisLimiter};
use tower_service::Service as _;

use super::access::Record;
use super::content::Content;
use super::fields::has_option;
use super::forward::{Failed, Forward, Forwarding, own, refused};
use super::head::{has_control, is_host, is_target};
use super::line::Line;
use super::metrics::Outcome;
use super::refusal::Refusal;
use super::thread::{Current, Thread};
use super::upstream::Body;
use super::way::{Limited, Way, Ways};
use crate::rules::Ruling;

/// Answers the requests of one connection.
#[derive(Debug)]
pub(super) struct Service {
    line: Rc<Line>,
    thread: Rc<Thread>,
    ways: Rc<Ways>,
}

impl Way {
    /// Asks the limits.
    fn ask(&mut self, request: Request<Incoming>) -> Work {
        let (ruling, request) = self.judge(request);
        match ruling {
            Ruling::Count => {}
            Ruling::Pass => return Work::Forwarded { future: self.forward.clone().call(request), exempt: false },
            Ruling::Exempt => return Work::Forwarded { future: self.forward.clone().call(request), exempt: true },
            Ruling::Lacks(what) => return Work::Lacks(what),
        }
        let forward = self.forward.clone();
        match self.limited() {
            Limited::Free => Work::Forwarded { future: { forward }.call(request), exempt: false },
            Limited::One(limited) => Work::Limited { future: limited.call(request) },
            Limited::Several(limited) => Work::Limited { future: limited.call(request) },
            Limited::There(limited) => Work::LimitedThere { future: Box::pin(limited.call(request)) },
        }
    }

    /// What is to happen to a request. It is not taken apart where there is nothing to judge.
    fn judge(&self, request: Request<Incoming>) -> (Ruling, Request<Incoming>) {
        let enforcer = self.current.enforcer();
        if enforcer.counts_all() {
            return (Ruling::Count, request);
        }
        let (mut head, body) = request.into_parts();
        let ruling = enforcer.judge(&mut head);
        (ruling.unwrap_or_else(|no_peer| Ruling::Lacks(no_peer.to_string())), Request::from_parts(head, body))
    }
}

impl Service {
    pub(super) fn new(line: Rc<Line>, ways: Rc<Ways>, thread: Rc<Thread>) -> Self {
        Self { line, ways, thread }
    }

    /// Begins a line of the access log.
    fn record<B>(&self, current: &Rc<Current>, request: Request<B>, is_request: bool) -> (Box<Record>, Request<B>) {
        let (mut head, body) = request.into_parts();
        let peer = self.line.peer.ip().to_canonical();
        let client = if is_request { current.enforcer().client(&head).unwrap_or(peer) } else { peer };
        let mut record = Box::new(Record::new(self.thread.access.clone(), current.clone(), client));
        if is_request {
            record.asks(&head);
            head.extensions.insert(record.denied_by.clone());
        }
        (record, Request::from_parts(head, body))
    }

    /// What speaks against this request before anybody is asked.
    fn refuse(&self, request: &Request<Incoming>) -> Option<Refusal> {
        if request.version() == Version::HTTP_2
            && let Err(refusal) = check_http2(request)
        {
            return Some(refusal);
        }
        if http_body::Body::size_hint(request.body()).lower() > self.thread.body_max() {
            return Some(Refusal::BODY_TOO_LARGE);
        }
        let looped = request
            .headers()
            .get_all(VIA)
            .iter()
            .any(|via| self.thread.via.to_str().is_ok_and(|own| has_option(via, own)));
        looped.then_some(Refusal::LOOP)
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Handling;

    fn call(&self, mut request: Request<Incoming>) -> Handling {
        let (number, malformed) = self.line.begin();
        let is_http2 = request.version() == Version::HTTP_2;
        let under_way = UnderWay { line: self.line.clone(), number };
        request.extensions_mut().insert(PeerAddr(self.line.peer));
        let mut way = self.ways.now();
        let mut record = None;
        if way.current.config().access_log {
            let written;
            (written, request) = self.record(&way.current, request, malformed.is_none());
            record = Some(written);
        }
        let work = match malformed.or_else(|| self.refuse(&request)) {
            Some(refusal) => Work::Refused(refusal),
            None => way.ask(request),
        };
        Handling { work, record, under_way: Some(under_way), thread: self.thread.clone(), is_http2 }
    }
}

/// RFC 9113, 8.3.1: what hyper leaves to its user.
fn check_http2(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::CONNECT);
    }
    if request.method() == Method::TRACE {
        return Err(Refusal::TRACE);
    }
    let uri = request.uri();
    let path = uri.path();
    if !(path.starts_with('/') || path == "*" && request.method() == Method::OPTIONS) {
        return Err(Refusal::PSEUDO);
    }
    // Without an authority, hyper does not tell the scheme.
    let scheme = match uri.scheme_str() {
        Some("http" | "https") => true,
        Some(_) => false,
        None => uri.authority().is_none(),
    };
    if !scheme || !uri.path_and_query().is_some_and(|target| is_target(target.as_str().as_bytes())) {
        return Err(Refusal::PSEUDO);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::HOST_TWICE);
    }
    match (uri.authority(), host) {
        (None, None) => return Err(Refusal::NO_HOST),
        (Some(authority), _) if !is_host(authority.as_str().as_bytes()) => return Err(Refusal::BAD_HOST),
        (None, Some(host)) if !is_host(host.as_bytes()) => return Err(Refusal::BAD_HOST),
        (Some(authority), Some(host)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            return Err(Refusal::OTHER_HOST);
        }
        _ => {}
    }
    for value in request.headers().values() {
        if value.as_bytes().trim_ascii().len() != value.len() || has_control(value.as_bytes()) {
            return Err(Refusal::VALUE);
        }
    }
    Ok(())
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Handling {
    work: Work,
    record: Option<Box<Record>>,
    under_way: Option<UnderWay>,
    thread: Rc<Thread>,
    is_http2: bool,
}

type Decided<L = RateLimiter> =
    <RateLimit<AnyBody<Forward>, JointLayer<L>> as tower_service::Service<Request<Incoming>>>::Future;

enum Work {
    Refused(Refusal),
    Lacks(String),
    Limited {
        future: Decided,
    },
    /// Boxed, since the request waits in it.
    LimitedThere {
        future: Pin<Box<Decided<RedisLimiter>>>,
    },
    Forwarded {
        future: Forwarding,
        exempt: bool,
    },
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused(_) => "Refused",
            Self::Lacks(_) => "Lacks",
            Self::Limited { .. } => "Limited",
            Self::LimitedThere { .. } => "LimitedThere",
            Self::Forwarded { .. } => "Forwarded",
        })
    }
}

impl Future for Handling {
    type Output = Result<Response<ProxyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut reason = None;
        let (mut response, outcome) = match &mut this.work {
            Work::Refused(refusal) => {
                reason = Some(refusal.text);
                let mut response = refused(*refusal).map(Content::Own);
                if !this.is_http2 && *refusal != Refusal::LOOP {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                (response, Outcome::Rejected)
            }
            Work::Lacks(what) => {
                reason = Some("it lacks what a limit counts by");
                let response = own(StatusCode::BAD_REQUEST, std::mem::take(what).into()).map(Body::Whole);
                (response.map(Content::Own), Outcome::Rejected)
            }
            Work::Forwarded { future, exempt } => {
                let Ok(response) = ready!(future.as_mut().poll(cx));
                let outcome = match outcome(&response) {
                    Outcome::Forwarded if *exempt => Outcome::Exempt,
                    outcome => outcome,
                };
                (response.map(Content::Own), outcome)
            }
            Work::Limited { future } => {
                let Ok(response) = ready!(Pin::new(future).poll(cx));
                let outcome = outcome(&response);
                (response.map(Content::Limited), outcome)
            }
            Work::LimitedThere { future } => {
                let Ok(response) = ready!(future.as_mut().poll(cx));
                let outcome = outcome(&response);
                (response.map(Content::Limited), outcome)
            }
        };
        this.thread.metrics.count(outcome);
        if let Some(record) = &mut this.record {
            record.answer = Some((response.status(), outcome));
            record.reason = reason.or_else(|| response.extensions().get().map(|Failed(refusal)| refusal.text));
        }
        let under_way = this.under_way.take().expect("polled once more after it was ready");
        if response.status() != 101 {
            under_way.line.stays(under_way.number);
        }
        // The response is ours now, whatever version the upstream spoke.
        *response.version_mut() = if this.is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        if under_way.line.body_refusal(under_way.number).is_some() && !this.is_http2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let record = this.record.take();
        Poll::Ready(Ok(response.map(|content| ProxyBody { content, record, _under_way: under_way })))
    }
}

fn outcome<B>(response: &Response<B>) -> Outcome {
    let extensions = response.extensions();
    if extensions.get::<Denied>().is_some() {
        Outcome::Denied
    } else if extensions.get::<Failed>().is_some() {
        if response.status().is_server_error() { Outcome::Failed } else { Outcome::Rejected }
    } else {
        Outcome::Forwarded
    }
}

/// A request that has no whole response yet. Dropped, it has.
#[derive(Debug)]
struct UnderWay {
    line: Rc<Line>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.line.finish();
    }
}

/// Says of a response that was not taken whole that it was not.
impl Drop for ProxyBody {
    fn drop(&mut self) {
        let is_whole = hyper::body::Body::is_end_stream(self);
        if let Some(record) = &mut self.record {
            record.ended(is_whole);
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct ProxyBody {
    content: Content,
    record: Option<Box<Record>>,
    _under_way: UnderWay,
}

impl hyper::body::Body for ProxyBody {
    type Data = Bytes;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.content).poll_frame(cx);
        match (&mut this.record, &frame) {
            (None, _) => {}
            (Some(record), Poll::Ready(Some(Ok(frame)))) => {
                record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            (Some(record), Poll::Ready(Some(Err(_)))) => record.reason = Some("the response was cut off"),
            (Some(record), Poll::Ready(None)) => record.saw_end = true,
            (Some(_), Poll::Pending) => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
