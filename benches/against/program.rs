//! One program with this tree's tollgate and an older one, each as a crate of its own; see `run`.

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tower::{Layer, Service};

#[derive(Clone)]
struct Hello;
impl Service<Request<Body>> for Hello {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    #[inline(never)]
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Body::empty())))
    }
}
fn ask<S: Service<Request<Body>, Error = Infallible>>(service: &mut S, request: Request<Body>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let Poll::Ready(r) = pin!(service.call(request)).poll(&mut cx) else { unreachable!() };
    let _ = black_box(r);
}
fn request() -> Request<Body> {
    let mut r = Request::new(Body::empty());
    r.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 5000))));
    r
}
#[inline(never)]
fn run<S: Service<Request<Body>, Error = Infallible>>(service: &mut S, n: u64) {
    for _ in 0..n {
        ask(service, black_box(request()));
    }
}
#[inline(never)]
fn old_check(l: &old::RateLimiter, n: u64) {
    for _ in 0..n {
        let _ = black_box(l.check(black_box(&7_u64)));
    }
}
#[inline(never)]
fn new_check(l: &new::RateLimiter, n: u64) {
    for _ in 0..n {
        let _ = black_box(l.check(black_box(&7_u64)));
    }
}
fn main() {
    let what = std::env::args().nth(1).unwrap();
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let t = Instant::now();
    let wide_old = || old::RateLimitLayer::per_second(1_000_000_000);
    let wide_new = || new::RateLimitLayer::per_second(1_000_000_000);
    let shut_old = || old::RateLimitLayer::per_day(0);
    let shut_new = || new::RateLimitLayer::per_day(0);
    match what.as_str() {
        "bare" => run(&mut Hello, n),
        "old-allowed" => run(&mut wide_old().layer(Hello), n),
        "new-allowed" => run(&mut wide_new().layer(Hello), n),
        "old-denied" => run(&mut shut_old().layer(Hello), n),
        "new-denied" => run(&mut shut_new().layer(Hello), n),
        "old-draft" => {
            run(&mut wide_old().headers(old::http::Headers::Draft).headers_on_every_response().layer(Hello), n)
        }
        "new-draft" => {
            run(&mut wide_new().headers(new::http::Headers::Draft).headers_on_every_response().layer(Hello), n)
        }
        "old-check" => old_check(&old::RateLimiter::new(old::Quota::per_second(1_000_000_000)), n),
        "new-check" => new_check(&new::RateLimiter::new(new::Quota::per_second(1_000_000_000)), n),
        "old-deny" => {
            let l = old::RateLimiter::new(old::Quota::per_hour(1));
            old_check(&l, n)
        }
        "new-deny" => {
            let l = new::RateLimiter::new(new::Quota::per_hour(1));
            new_check(&l, n)
        }
        "old-man" => old_check(
            &old::RateLimiter::builder(old::Quota::per_second(1_000_000_000)).clock(old::Clock::manual()).build(),
            n.min(900_000_000),
        ),
        "new-man" => new_check(
            &new::RateLimiter::builder(new::Quota::per_second(1_000_000_000)).clock(new::Clock::manual()).build(),
            n.min(900_000_000),
        ),
        "old-clock" => {
            let c = old::Clock::system();
            for _ in 0..n {
                black_box(c.elapsed());
            }
        }
        "new-clock" => {
            let c = new::Clock::system();
            for _ in 0..n {
                black_box(c.elapsed());
            }
        }
        "size" => {
            fn size<S: Service<Request<Body>>>(_: &S) -> usize {
                std::mem::size_of::<S::Future>()
            }
            println!(
                "bare {} old {} new {}",
                size(&Hello),
                size(&wide_old().layer(Hello)),
                size(&wide_new().layer(Hello))
            );
        }
        _ => panic!(),
    }
    println!("{what}: {:.1} ns", t.elapsed().as_nanos() as f64 / n as f64);
}
