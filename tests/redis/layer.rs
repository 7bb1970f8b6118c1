//! The layer over a limit that is on a server.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tollgate::http::{GlobalKey, HeaderKey, KeyExtractor, NoKey, Rollout};
use tollgate::redis::{RedisLimiter, WhenUnreachable};
use tollgate::{Quota, RateLimitLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::server::{Server, free_port, program};
use crate::{eventually, limiter, patient};

async fn hello(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = if request.uri().path() == "/fails" { 401 } else { 200 };
    Ok(Response::builder().status(status).body(Full::from("hello")).unwrap())
}

/// The key of requests that are another layer's.
#[derive(Clone, Copy, Debug)]
struct Login;

impl KeyExtractor for Login {
    type Key<'a> = &'static str;

    fn extract(&self, _: &Parts) -> Result<&'static str, NoKey> {
        Ok("login")
    }
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

/// Nobody waits for it. All the same it is sent again where nothing was done, and counted where nothing is known.
#[tokio::test]
async fn what_a_layer_gives_back_reaches_a_server_that_forgot_the_script_or_is_counted() {
    let Some(server) = Server::start() else { return };
    let server = Arc::new(Mutex::new(server));
    let limiter = limiter(&server.lock().unwrap(), "login", Quota::per_day(3));
    let layer =
        RateLimitLayer::sharing(&limiter).key(GlobalKey).charge_when(|head: &http::response::Parts| head.status == 401);
    let meanwhile = |what: fn(&mut Server)| {
        let (server, layer) = (server.clone(), layer.clone());
        layer.any_body().layer(service_fn(move |request| {
            what(&mut server.lock().unwrap());
            hello(request)
        }))
    };
    let forgets = meanwhile(|server| _ = server.raw().ask(&["SCRIPT", "FLUSH"]));
    for _ in 0..5 {
        assert_eq!(forgets.clone().oneshot(request("/")).await.unwrap().status(), 200);
        eventually("it is given back", || {
            let peeked = limiter.peek(&());
            async { peeked.await.unwrap().remaining() == 3 }
        })
        .await;
    }
    assert_eq!(limiter.stats().unsettled, 0);
    let dies = meanwhile(Server::kill);
    assert_eq!(dies.oneshot(request("/")).await.unwrap().status(), 200);
    eventually("it is counted", || async { limiter.stats().unsettled == 1 }).await;
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
        let limiter =
            RedisLimiter::builder(&store, "api", Quota::per_day(2)).when_unreachable(when).try_build().unwrap();
        let service = RateLimitLayer::sharing(&limiter).key(GlobalKey).any_body().layer(service_fn(hello));
        for status in expected {
            assert_eq!(service.clone().oneshot(request("/")).await.unwrap().status(), status, "{when:?}");
        }
    }
}

#[tokio::test]
async fn a_layer_delays_before_it_denies() {
    let Some(server) = Server::start() else { return };
    let quick = limiter(&server, "quick", Quota::per_second(20).burst(1));
    let layer = RateLimitLayer::sharing(&quick).key(GlobalKey).delay(Duration::from_secs(60)).any_body();
    let service = layer.layer(service_fn(hello));
    let requests: Vec<_> = (0..6).map(|_| tokio::spawn(service.clone().oneshot(request("/")))).collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), 200, "each has its turn");
    }
    // Who would have to wait too long is told so at once.
    let limiter = limiter(&server, "slow", Quota::per_hour(1));
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).delay(Duration::from_secs(60)).any_body();
    let service = layer.layer(service_fn(hello));
    assert_eq!(service.clone().oneshot(request("/")).await.unwrap().status(), 200);
    assert_eq!(service.clone().oneshot(request("/")).await.unwrap().status(), 429);
    // What is left to another layer is not delayed, and counted by that.
    let (login, rest) =
        (RateLimitLayer::sharing(&limiter).key(Login), RateLimitLayer::sharing(&limiter).key(GlobalKey));
    let layer = rest.when(|head: &Parts| head.uri.path() == "/login", login).delay(Duration::from_secs(60)).any_body();
    let service = layer.layer(service_fn(hello));
    for (path, status) in [("/login", 200), ("/login", 429), ("/", 429)] {
        assert_eq!(service.clone().oneshot(request(path)).await.unwrap().status(), status, "{path}");
    }
    // In shadow mode nothing is delayed, and nothing denied.
    let shadow = RateLimitLayer::sharing(&limiter).key(GlobalKey).delay(Duration::from_secs(60)).shadow().any_body();
    let shadow = shadow.layer(service_fn(hello));
    for _ in 0..10 {
        assert_eq!(shadow.clone().oneshot(request("/")).await.unwrap().status(), 200);
    }
}

/// By a request, as in process; but what they tell comes later.
#[tokio::test]
async fn a_layer_looks_at_a_client_and_resets_it() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_day(3));
    let head = |name: &str| {
        let request = Request::builder().header("x-api-key", name).body(()).unwrap();
        request.into_parts().0
    };
    let layer = RateLimitLayer::sharing(&limiter).key(HeaderKey::new("x-api-key").unwrap());
    limiter.check_n("alice", 3).await.unwrap();
    assert_eq!(layer.peek(&head("alice")).unwrap().await.unwrap().tightest().remaining(), 0);
    assert_eq!(layer.peek(&head("bob")).unwrap().await.unwrap().tightest().remaining(), 3);
    layer.reset(&head("alice")).unwrap().await.unwrap();
    let delaying = layer.clone().delay(Duration::from_secs(1));
    assert_eq!(delaying.peek(&head("alice")).unwrap().await.unwrap().tightest().remaining(), 3);
    let nobody = Request::builder().body(()).unwrap().into_parts().0;
    assert!(layer.peek(&nobody).is_err() && layer.reset(&nobody).is_err());
    drop(server);
    assert!(layer.peek(&head("alice")).unwrap().await.is_err(), "there is no server");
}

/// Before a request may wait, the layer is asked whether it acts. It is not asked once more when the answer is there.
#[tokio::test]
async fn a_delaying_layer_takes_the_share_of_its_rollout_once() {
    let Some(server) = Server::start() else { return };
    let rollout = Rollout::new();
    rollout.set_enforced_percent(10).unwrap();
    let limiter = limiter(&server, "api", crate::policy("0/hour"));
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).rollout(&rollout).delay(Duration::from_millis(1));
    let service = layer.any_body().layer(service_fn(hello));
    let mut denied = 0;
    for _ in 0..200 {
        let response = service.clone().oneshot(request("/")).await.unwrap();
        denied += u32::from(response.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!((17..=23).contains(&denied), "{denied} of 200 instead of 20");
}
