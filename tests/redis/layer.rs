//! The layer over a limit that is on a server.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tollgate::http::GlobalKey;
use tollgate::redis::{RedisLimiter, WhenUnreachable};
use tollgate::{Quota, RateLimitLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::server::{Server, free_port, program};
use crate::{eventually, limiter, patient};

async fn hello(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = if request.uri().path() == "/fails" { 401 } else { 200 };
    Ok(Response::builder().status(status).body(Full::from("hello")).unwrap())
}

fn request(path: &str) -> Request<()> {
    Request::builder().uri(path).body(()).unwrap()
}

#[tokio::test]
async fn a_layer_counts_for_all_programs_together() {
    let Some(server) = Server::start() else { return };
    let programs = [(); 2].map(|()| {
        let layer = RateLimitLayer::sharing(&limiter(&server, "api", Quota::per_day(3))).key(GlobalKey).any_body();
        layer.layer(service_fn(hello))
    });
    let mut answers = Vec::new();
    for n in 0..6 {
        let response = programs[n % 2].clone().oneshot(request("/")).await.unwrap();
        answers.push(response.status().as_u16());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let retry: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((28_000..=28_800).contains(&retry), "{retry}");
        }
    }
    assert_eq!(answers, [200, 200, 200, 429, 429, 429]);
}

#[tokio::test]
async fn a_layer_charges_by_the_outcome() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "login", Quota::per_day(3));
    let layer =
        RateLimitLayer::sharing(&limiter).key(GlobalKey).charge_when(|head: &http::response::Parts| head.status == 401);
    let mut service = layer.any_body().layer(service_fn(hello));
    for _ in 0..10 {
        assert_eq!(service.ready().await.unwrap().call(request("/")).await.unwrap().status(), 200);
        // The charge is given back without anybody waiting for it.
        eventually("it is given back", || {
            let peeked = limiter.peek(&());
            async { peeked.await.unwrap().remaining() == 3 }
        })
        .await;
    }
    for left in [2, 1, 0] {
        assert_eq!(service.ready().await.unwrap().call(request("/fails")).await.unwrap().status(), 401);
        assert_eq!(limiter.peek(&()).await.unwrap().remaining(), left);
    }
    assert_eq!(service.ready().await.unwrap().call(request("/fails")).await.unwrap().status(), 429);
    assert_eq!(limiter.stats().unsettled, 0);
}

#[tokio::test]
async fn a_layer_without_a_server_answers_as_its_limiter_does() {
    let Some(_) = program() else { return };
    let store = patient(&format!("redis://127.0.0.1:{}", free_port()));
    for (when, expected) in [
        (WhenUnreachable::local(1), [200, 200, 429]),
        (WhenUnreachable::Open, [200, 200, 200]),
        (WhenUnreachable::Closed, [429, 429, 429]),
    ] {
        let limiter = RedisLimiter::builder(&store, "api", Quota::per_day(2)).when_unreachable(when).build().unwrap();
        let service = RateLimitLayer::sharing(&limiter).key(GlobalKey).any_body().layer(service_fn(hello));
        for status in expected {
            assert_eq!(service.clone().oneshot(request("/")).await.unwrap().status(), status, "{when:?}");
        }
    }
}

#[tokio::test]
async fn a_layer_delays_before_it_denies() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_second(20).burst(1));
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).delay(Duration::from_millis(400)).any_body();
    let service = layer.layer(service_fn(hello));
    let requests: Vec<_> = (0..20).map(|_| tokio::spawn(service.clone().oneshot(request("/")))).collect();
    let mut passed = 0;
    for request in requests {
        passed += u32::from(request.await.unwrap().unwrap().status() == StatusCode::OK);
    }
    // One at once, and one each 50 ms; what is on its way when the time is over may be late.
    assert!((2..=9).contains(&passed), "{passed}");
    // In shadow mode nothing is delayed, and nothing denied.
    let shadow = RateLimitLayer::sharing(&limiter).key(GlobalKey).delay(Duration::from_secs(60)).shadow().any_body();
    let shadow = shadow.layer(service_fn(hello));
    for _ in 0..10 {
        assert_eq!(shadow.clone().oneshot(request("/")).await.unwrap().status(), 200);
    }
}
