//! The Tower layer around a service that does nothing: what it adds to a request, and what a whole 429 costs.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum_governor::extractor::PeerIp;
use axum_governor::nz;
use http::{Request, Response, StatusCode};
use tollgate::http::Headers;
use tollgate::{Quota, RateLimitLayer};
use tollgate_benches::service::{Hello, answer};
use tower::{Layer, Service};
use tower_governor::governor::GovernorConfigBuilder;

use crate::measure::{Samples, alternate, at_most, fact, title};

/// Requests made ahead of the time that is measured.
pub const BATCH: usize = 1000;
const ROUNDS: usize = 501;

pub fn run() {
    for work in [Work::Allowed, Work::Denied] {
        time(work);
        routed(work);
    }
}

#[derive(Clone, Copy)]
pub enum Work {
    /// 10^9 a second: never empty.
    Allowed,
    /// One an hour: empty after the first.
    Denied,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Allowed => StatusCode::OK,
            Self::Denied => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

fn time(work: Work) {
    let what = work.name();
    title(&format!("the layer around a service that does nothing, {what} ({ROUNDS} rounds of {})", BATCH));
    let (mut bare, mut ours, mut draft) = (Hello, tollgate(work), with_draft_headers(work));
    let (mut tower_governor, mut axum_governor) = (tower_governor(work), axum_governor(work));
    settle(&mut ours, work);
    settle(&mut draft, work);
    settle(&mut tower_governor, work);
    settle(&mut axum_governor, work);
    let samples = alternate(
        ROUNDS,
        vec![
            ("the bare service", Box::new(|| batches(&mut bare, request))),
            ("tollgate", Box::new(|| batches(&mut ours, request))),
            ("tollgate, draft headers on every response", Box::new(|| batches(&mut draft, request))),
            ("tower_governor", Box::new(|| batches(&mut tower_governor, request))),
            ("axum-governor", Box::new(|| batches(&mut axum_governor, request))),
        ],
    );
    let [bare, ours, draft, tower_governor, axum_governor] = &samples[..] else {
        unreachable!("as many samples as contenders")
    };
    let over = |samples: &Samples| samples.median() - bare.median();
    match work {
        Work::Allowed => at_most("tollgate over the bare service in ns, allowed", over(ours), 50.0),
        Work::Denied => at_most("tollgate over the bare service in ns, the whole 429", over(ours), 250.0),
    }
    fact(&format!("tower_governor over the bare service in ns, {what}"), over(tower_governor));
    fact(&format!("axum-governor over the bare service in ns, {what}"), over(axum_governor));
    let more = draft.median() - ours.median();
    at_most(&format!("draft headers on every response, ns more, {what}"), more, 150.0);
}

/// An axum router in process, as a server calls it for each request.
fn routed(work: Work) {
    let what = work.name();
    title(&format!("an axum router in process, {what} ({ROUNDS} rounds of {BATCH})"));
    let app = || Router::new().route("/", get(|| async { "hello" }));
    let quota = match work {
        Work::Allowed => Quota::per_second(1_000_000_000),
        Work::Denied => Quota::per_hour(1),
    };
    let (mut bare, mut ours) = (app(), app().layer(RateLimitLayer::new(quota)));
    let mut tower_governor = app().layer(tower_governor::GovernorLayer::new(governor_config(work)));
    settle(&mut ours, work);
    settle(&mut tower_governor, work);
    let samples = alternate(
        ROUNDS,
        vec![
            ("the bare router", Box::new(|| batches(&mut bare, request))),
            ("tollgate", Box::new(|| batches(&mut ours, request))),
            ("tower_governor", Box::new(|| batches(&mut tower_governor, request))),
        ],
    );
    let [bare, ours, tower_governor] = &samples[..] else { unreachable!("as many samples as contenders") };
    let over = |samples: &Samples| samples.median() - bare.median();
    match work {
        Work::Allowed => at_most("tollgate over the bare router in ns, allowed", over(ours), 150.0),
        Work::Denied => fact("tollgate over the bare router in ns, denied", over(ours)),
    }
    fact(&format!("tower_governor over the bare router in ns, {what}"), over(tower_governor));
}

/// Counts allocations of one request each. They are counted in a run of its own, because counting takes time.
#[cfg(feature = "allocations")]
pub fn count() {
    for work in [Work::Allowed, Work::Denied] {
        title(&format!("allocations of a request, {}", work.name()));
        let (mut ours, mut tower_governor, mut axum_governor) =
            (tollgate(work), tower_governor(work), axum_governor(work));
        settle(&mut ours, work);
        settle(&mut tower_governor, work);
        settle(&mut axum_governor, work);
        let bare = allocations(&mut Hello);
        let ours = allocations(&mut ours);
        let [tower_governor, axum_governor] = [allocations(&mut tower_governor), allocations(&mut axum_governor)];
        println!("  bare {bare}, tollgate {ours}, tower_governor {tower_governor}, axum-governor {axum_governor}");
        if let Work::Allowed = work {
            at_most("allocations of tollgate's layer, allowed", ours as f64 - bare as f64, 0.0);
        }
    }
}

#[cfg(feature = "allocations")]
fn allocations<S, B>(service: &mut S) -> usize
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    let request = request();
    let region = stats_alloc::Region::new(crate::ALLOCATOR);
    let response = answer(service, request);
    let change = region.change();
    drop(response);
    change.allocations + change.reallocations
}

/// The first request takes what there is, if there is only one.
fn settle<S, B>(service: &mut S, work: Work)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    answer(service, request());
    assert_eq!(answer(service, request()).status(), work.status());
}

pub fn tollgate(
    work: Work,
) -> impl Service<Request<Body>, Response = Response<impl http_body::Body>, Error = Infallible> {
    let quota = match work {
        Work::Allowed => Quota::per_second(1_000_000_000),
        Work::Denied => Quota::per_hour(1),
    };
    RateLimitLayer::new(quota).layer(Hello)
}

pub fn with_draft_headers(
    work: Work,
) -> impl Service<Request<Body>, Response = Response<impl http_body::Body>, Error = Infallible> {
    let quota = match work {
        Work::Allowed => Quota::per_second(1_000_000_000),
        Work::Denied => Quota::per_hour(1),
    };
    RateLimitLayer::new(quota).headers(Headers::Draft).headers_on_every_response().layer(Hello)
}

pub fn tower_governor(work: Work) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    tower_governor::GovernorLayer::new(governor_config(work)).layer(Hello)
}

type GovernorConfig = tower_governor::governor::GovernorConfig<
    tower_governor::key_extractor::PeerIpKeyExtractor,
    governor::middleware::NoOpMiddleware<governor::clock::QuantaInstant>,
>;

fn governor_config(work: Work) -> GovernorConfig {
    let (period, burst) = match work {
        Work::Allowed => (Duration::from_nanos(1), 1_000_000_000),
        Work::Denied => (Duration::from_secs(3600), 1),
    };
    GovernorConfigBuilder::default().period(period).burst_size(burst).finish().expect("the quota is valid")
}

pub fn axum_governor(work: Work) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    let quota = match work {
        Work::Allowed => axum_governor::Quota::requests_per_second(nz!(1_000_000_000_u32)),
        Work::Denied => axum_governor::Quota::requests_per_hour(nz!(1_u32)),
    };
    let config = axum_governor::GovernorConfigBuilder::default()
        .with_extractor(PeerIp::default())
        .expect_connect_info()
        .quota_default(quota)
        .gc_disable()
        .finish()
        .expect("the configuration is valid");
    axum_governor::GovernorLayer::new(config).layer(Hello)
}

/// A request as axum hands it on, with the address that the connection came from.
fn request() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 40_000))));
    request
}

/// Makes a request and drops the answer.
pub fn ask<S, B>(service: &mut S)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    black_box(answer(service, request()));
}

/// Nanoseconds per request, from the call to the response dropped, without making the request.
pub fn batches<S, Q, B>(service: &mut S, request: impl Fn() -> Request<Q>) -> f64
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
{
    let requests: Vec<_> = (0..BATCH).map(|_| request()).collect();
    let start = Instant::now();
    for request in requests {
        black_box(answer(service, request));
    }
    start.elapsed().as_nanos() as f64 / BATCH as f64
}
