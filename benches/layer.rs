//! What the layer adds to a service that answers at once, with each of its options unused and used.
//!
//! ```text
//! cargo bench -p tollgate-benches --bench layer
//! ```
//!
//! `by hand` is the least that limiting costs: a direct check in front of the service. What an unused option costs is in
//! the difference between `by hand` and `allowed/plain`, all of them together; what one costs that is used, in its own line.

#![allow(missing_docs, reason = "criterion_group makes a public function")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Method, Request, Response};
use tollgate::http::{AnyBody, Counters, GlobalKey, Headers, Rollout};
use tollgate::{Quota, RateLimit, RateLimitLayer, RateLimiter};
use tollgate_benches::service::{Hello, answer};
use tower::{Layer, Service};

/// A limiter in front of a service, as somebody would write it who needs nothing else.
#[derive(Clone)]
struct ByHand(RateLimiter, Hello);

impl Service<Request<()>> for ByHand {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Hello as Service<Request<()>>>::poll_ready(&mut self.1, cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        match self.0.check(&()) {
            Ok(_) => self.1.call(request),
            Err(_) => ready(Ok(Response::new(()))),
        }
    }
}

/// Makes one request and drops the answer.
fn ask<S, B>(service: &mut S)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    black_box(answer(service, Request::new(())));
}

/// Never reached in a bench.
fn wide() -> RateLimitLayer<GlobalKey> {
    RateLimitLayer::sharing(&RateLimiter::new(Quota::per_second(1_000_000_000))).key(GlobalKey)
}

/// Always reached.
fn shut() -> RateLimitLayer<GlobalKey> {
    RateLimitLayer::sharing(&RateLimiter::new(Quota::per_day(0))).key(GlobalKey)
}

fn layer(criterion: &mut Criterion) {
    let mut bench = |name: &str, service: &mut RateLimit<AnyBody<Hello>, RateLimitLayer<GlobalKey>>| {
        criterion.bench_function(name, |bencher| bencher.iter(|| ask(service)));
    };
    let mut used = |name: &str, option: &dyn Fn(RateLimitLayer<GlobalKey>) -> RateLimitLayer<GlobalKey>| {
        bench(&format!("allowed/{name}"), &mut option(wide()).any_body().layer(Hello));
        bench(&format!("denied/{name}"), &mut option(shut()).any_body().layer(Hello));
    };
    let counters = Counters::new();
    let whole = Rollout::new();
    let half = Rollout::new();
    half.set_enabled_percent(50).unwrap();
    half.set_enforced_percent(50).unwrap();

    used("plain", &|layer| layer);
    used("exempt, but not this one", &|layer| layer.exempt(|head| head.uri.path() == "/health"));
    used("exempt_preflight", &|layer| layer.exempt_preflight());
    used("methods", &|layer| layer.methods([Method::POST, Method::GET]));
    used("when, but not this one", &|layer| layer.when(|head| head.uri.path() == "/login", shut()));
    used("cost", &|layer| layer.cost(|head| u64::from(head.method == Method::GET)));
    used("rollout of the whole", &|layer| layer.rollout(&whole));
    used("rollout of a half", &|layer| layer.rollout(&half));
    used("shadow", &|layer| layer.shadow());
    used("charge_when", &|layer| layer.charge_when(|response| response.status.is_success()));
    used("settle_by_body", &|layer| layer.settle_by_body(|bytes| bytes));
    used("count_into", &|layer| layer.count_into(&counters));
    used("metrics, without a recorder", &|layer| layer.metrics());
    used("on_denied", &|layer| {
        layer.on_denied(|denied, _| {
            black_box(denied);
        })
    });
    used("headers on every response", &|layer| layer.headers(Headers::Draft).headers_on_every_response());

    bench("exempt/by predicate", &mut wide().exempt(|head| head.method == Method::GET).any_body().layer(Hello));
    bench("exempt/by cost", &mut wide().cost(|_| 0).any_body().layer(Hello));
}

/// What everything is compared to.
fn bare(criterion: &mut Criterion) {
    criterion.bench_function("bare service", |bencher| bencher.iter(|| ask(&mut Hello)));
    let mut by_hand = ByHand(wide().limiter().clone(), Hello);
    criterion.bench_function("by hand", |bencher| bencher.iter(|| ask(&mut by_hand)));
    let mut clock = wide().limiter().clone();
    criterion.bench_function("clock", |bencher| bencher.iter(|| black_box(&mut clock).clock().elapsed()));
}

criterion_group!(benches, bare, layer);
criterion_main!(benches);
