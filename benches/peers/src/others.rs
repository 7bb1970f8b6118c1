//! Other limiters than governor, as each is used by a program that has one: a hot key, allowed and denied, one thread.
//!
//! Not all do the same. `ratelimit`, `leaky-bucket` and `tower::limit` are one limit for all, without keys; `pingora-limits`
//! estimates counts and leaves the decision to the program; `throttlecrab` wants `&mut`, so a lock stands around it here; and
//! `limitador` evaluates expressions over strings.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use axum07::async_trait;
use axum07::body::Body;
use axum07::extract::{ConnectInfo, FromRequestParts};
use axum07::response::IntoResponse;
use governor::clock::{DefaultClock, MonotonicClock};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use tollgate::{Quota, RateLimitLayer, RateLimiter};
use tollgate_benches::service::{Hello, answer};
use tower::{Layer, Service};

use crate::layer::{BATCH, batches};
use crate::limiters::{Governor, Work};
use crate::measure::{alternate, time, title};

const COUNT: usize = 5_000;
const ROUNDS: usize = 201;
const KEY: u64 = 42;
/// Where a key has to be a string.
const NAME: &str = "user:42";

pub fn run() {
    for (what, work, denied) in [("allowed", Work::allowed(), false), ("denied", Work::denied(), true)] {
        one(what, work, denied);
        layers(what, denied);
    }
}

fn one(what: &str, work: Work, denied: bool) {
    title(&format!("other limiters, one hot key, {what} ({ROUNDS} rounds of {COUNT})"));
    let ours = RateLimiter::new(work.ours);
    let quanta: Governor<u64> = work.governor(DefaultClock::default());
    let std: Governor<u64, _> = work.governor(MonotonicClock);
    let direct = governor::RateLimiter::direct(work.theirs);

    let gcra_quota = if denied {
        axum_gcra::gcra::Quota::simple(Duration::from_secs(3600))
    } else {
        axum_gcra::gcra::Quota::new(Duration::from_nanos(1), NonZeroU64::new(1_000_000_000).expect("not zero"))
    };
    let gcra = axum_gcra::gcra::RateLimiter::<u64, ahash::RandomState>::new(
        u64::MAX,
        ahash::RandomState::with_seeds(1, 2, 3, 4),
    );

    let ratelimit = match denied {
        true => ratelimit::Ratelimiter::builder(1).period(Duration::from_secs(3600)).max_tokens(1).initial_available(1),
        false => {
            ratelimit::Ratelimiter::builder(1_000_000_000).max_tokens(4_000_000_000).initial_available(4_000_000_000)
        }
    };
    let ratelimit = ratelimit.build().expect("the rate is valid");

    let (max, interval) =
        if denied { (1, Duration::from_secs(3600)) } else { (1_000_000_000, Duration::from_millis(1)) };
    let leaky = leaky_bucket::RateLimiter::builder().max(max).initial(max).refill(max).interval(interval).build();

    let crab = Mutex::new(throttlecrab::RateLimiter::new(throttlecrab::AdaptiveStore::new()));
    let (burst, count, period) = if denied { (2, 1, 3600) } else { (1_000_000, 1_000_000_000, 1) };
    let crab = || {
        let mut crab = crab.lock().expect("nobody panics");
        crab.rate_limit(NAME, burst, count, period, 1, SystemTime::now()).expect("the rate is valid").0
    };

    let rate = pingora_limits::rate::Rate::new(Duration::from_secs(if denied { 3600 } else { 1 }));
    let most = if denied { 1 } else { isize::MAX };

    let limitador = limitador::RateLimiter::new(1000);
    let user = "user".try_into().expect("an expression");
    let most_there = if denied { 1 } else { u64::MAX / 2 };
    limitador.add_limit(limitador::limit::Limit::new("bench", most_there, 3600, Vec::new(), vec![user]));
    let namespace = "bench".into();
    let limitador = || {
        let values = HashMap::from([("user".to_owned(), NAME.to_owned())]);
        !limitador.check_rate_limited_and_update(&namespace, &values.into(), 1).expect("in memory").limited
    };

    let key = &KEY;
    // One that denies lets the first pass.
    let _ = (ours.check(key), quanta.check_key(key), std.check_key(key), direct.check());
    let _ = (gcra.req_sync(KEY, gcra_quota, Instant::now()), ratelimit.try_wait(), leaky.try_acquire(1));
    let _ = (rate.observe(key, 1), limitador());
    // With a burst of 1 it denies nothing: what it stores has expired at once.
    let _ = (crab(), crab(), crab());
    assert_eq!(ours.check(key).is_err(), denied);
    assert_eq!(quanta.check_key(key).is_err(), denied);
    assert_eq!(gcra.req_sync(KEY, gcra_quota, Instant::now()).is_err(), denied, "axum_gcra");
    assert_eq!(ratelimit.try_wait().is_err(), denied, "ratelimit");
    assert_eq!(!leaky.try_acquire(1), denied, "leaky-bucket");
    assert_eq!(!crab(), denied, "throttlecrab");
    assert_eq!(!limitador(), denied, "limitador");
    alternate(
        ROUNDS,
        vec![
            ("tollgate", Box::new(|| time(COUNT, || ours.check(black_box(key)).is_ok()))),
            ("governor, keyed, quanta's clock", Box::new(|| time(COUNT, || quanta.check_key(black_box(key)).is_ok()))),
            ("governor, keyed, std's clock", Box::new(|| time(COUNT, || std.check_key(black_box(key)).is_ok()))),
            ("governor, one limit, no keys", Box::new(|| time(COUNT, || direct.check().is_ok()))),
            (
                "axum_gcra's limiter, keyed",
                Box::new(|| time(COUNT, || gcra.req_sync(*black_box(key), gcra_quota, Instant::now()).is_ok())),
            ),
            ("ratelimit, no keys", Box::new(|| time(COUNT, || ratelimit.try_wait().is_ok()))),
            ("leaky-bucket, no keys", Box::new(|| time(COUNT, || leaky.try_acquire(1)))),
            ("throttlecrab, keyed, in a lock", Box::new(|| time(COUNT, crab))),
            ("pingora-limits, an estimate", Box::new(|| time(COUNT, || rate.observe(black_box(key), 1) <= most))),
            ("limitador in memory, keyed", Box::new(|| time(COUNT / 10, limitador))),
        ],
    );
}

/// Who asks, for axum_gcra: the peer's address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

#[async_trait]
impl<S> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().expect("a server puts it there").0.ip()))
    }
}

fn request() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(tollgate::http::PeerAddr(peer));
    request
}

/// The layers of axum_gcra, which is for axum 0.7, and of tower itself, which delays and knows no clients, so it is only
/// measured where it lets pass.
fn layers(what: &str, denied: bool) {
    title(&format!("other layers around a service that does nothing, {what} ({ROUNDS} rounds of {BATCH})"));
    let mut bare = Hello;
    let quota = if denied { Quota::per_hour(1) } else { Quota::per_second(1_000_000_000) };
    // This body is not of the axum that the feature is for.
    let mut ours = RateLimitLayer::new(quota).any_body().layer(Hello);
    let interval = if denied { Duration::from_secs(3600) } else { Duration::from_nanos(1) };
    let burst = NonZeroU64::new(if denied { 1 } else { 1_000_000_000 }).expect("not zero");
    let gcra = axum_gcra::RateLimitLayer::<Peer>::builder()
        .with_default_quota(axum_gcra::gcra::Quota::new(interval, burst))
        .with_gc_interval(u64::MAX)
        .build();
    let mut gcra = gcra.layer(Hello);
    let mut gcra = || -> Response<Body> {
        let mut context = Context::from_waker(Waker::noop());
        let mut future = std::pin::pin!(gcra.call(request()));
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => answer.unwrap_or_else(|error| error.into_response()),
            Poll::Pending => panic!("the service answers at once"),
        }
    };
    let expected = if denied { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
    let _ = (answer(&mut ours, request()), gcra());
    assert_eq!((answer(&mut ours, request()).status(), gcra().status()), (expected, expected));
    // tower's makes a timer, though it never waits here.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut tower = tower::limit::RateLimitLayer::new(u64::MAX, Duration::from_secs(3600)).layer(Hello);
    let mut contenders: Vec<crate::measure::Contender<'_>> = vec![
        ("the bare service", Box::new(|| batches(&mut bare, request))),
        ("tollgate", Box::new(|| batches(&mut ours, request))),
        ("axum_gcra, the request made too", Box::new(|| time(BATCH, &mut gcra))),
        ("the bare service, the request made too", Box::new(|| time(BATCH, || answer(&mut Hello, request())))),
    ];
    if !denied {
        contenders.push(("tower::limit", Box::new(|| batches(&mut tower, request))));
    }
    alternate(ROUNDS, contenders);
}
