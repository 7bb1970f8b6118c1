//! A real axum server on a real socket: what counts is the client, not the connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::client::{Client, admitted, ask, soon};
use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, RETRY_AFTER};
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tollgate::{Clock, Denied, ManualClock, Policy, RateLimitLayer, RateLimiter};

/// A layer that counts by client address, on a clock that stands still.
fn limit(policy: &str) -> (RateLimitLayer, ManualClock) {
    let clock = Clock::manual();
    let policy: Policy = policy.parse().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(1024).clock(clock.clone()).build();
    (RateLimitLayer::sharing(&limiter), clock)
}

/// Serves an app as its author would.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    address
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_the_clients_whatever_its_connections() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let handler = move || {
        let counted = counted.clone();
        async move { counted.fetch_add(1, Relaxed).to_string() }
    };
    let (layer, clock) = limit("28/minute");
    let to = serve(Router::new().route("/", get(handler)).layer(layer)).await;

    // Forty connections at once, five requests on each.
    let mut tasks = JoinSet::new();
    for _ in 0..40 {
        tasks.spawn(async move {
            let mut client = Client::connect(to).await;
            let mut statuses = Vec::new();
            for _ in 0..5 {
                statuses.push(client.status("GET /").await);
            }
            statuses
        });
    }
    let statuses = soon(tasks.join_all()).await;
    assert_eq!((admitted(statuses.into_iter().flatten()), calls.load(Relaxed)), (28, 28));

    // A new connection does not help, an old one does not hurt.
    let mut old = Client::connect(to).await;
    assert_eq!(old.status("GET /").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(to, "GET /").await.status(), StatusCode::TOO_MANY_REQUESTS);
    clock.advance(Duration::from_secs(60));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(old.status("GET /").await);
        statuses.push(ask(to, "GET /").await.status());
    }
    assert_eq!((admitted(statuses), calls.load(Relaxed)), (28, 56));
}

#[tokio::test]
async fn whoever_honours_retry_after_is_admitted() {
    let (layer, clock) = limit("3/minute");
    let to = serve(hello().layer(layer)).await;
    let mut client = Client::connect(to).await;
    for _ in 0..3 {
        assert!(!client.ask("GET /").await.headers().contains_key(RETRY_AFTER));
    }
    for _ in 0..5 {
        let denial = client.ask("GET /").await;
        assert_eq!(denial.status(), StatusCode::TOO_MANY_REQUESTS);
        let seconds: u64 = denial.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(client.status("GET /").await, StatusCode::OK);
    }
}

/// Only Linux answers on all of 127.0.0.0/8 without being asked to.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_address_has_a_limit_of_its_own() {
    let to = serve(hello().layer(limit("3/minute").0)).await;
    for last in 1..=20 {
        let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, last), to).await;
        let mut again = Client::connect_from(Ipv4Addr::new(127, 0, 0, last), to).await;
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(client.status("GET /").await);
            statuses.push(again.status("GET /").await);
        }
        assert_eq!(admitted(statuses), 3, "127.0.0.{last}");
    }
}

/// Sends these bytes, and reads until the server closes the connection.
async fn raw(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn head_gets_the_headers_of_a_get_and_nothing_after_them() {
    let to = serve(hello().layer(limit("0/second").0)).await;
    let request = |method: &str| format!("{method} / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let head = raw(to, &request("HEAD")).await;
    let get = raw(to, &request("GET")).await;
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-length: 18\r\n"), "{head}");
    let headers = |text: &str| {
        let (headers, _) = text.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = headers.lines().filter(|line| !line.starts_with("date")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(headers(&head), headers(&get));
    assert!(get.ends_with("\r\n\r\ntoo many requests\n"), "{get}");
}

#[tokio::test]
async fn a_denied_upload_is_not_read() {
    let upload = post(|body: Bytes| async move { body.len().to_string() });
    let to = serve(Router::new().route("/", upload).layer(limit("1/minute").0)).await;
    let request = |body: &str| {
        let head = "POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4";
        format!("{head}\r\n\r\n{body}")
    };
    let allowed = raw(to, &request("data")).await;
    assert!(allowed.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{allowed}");
    // Not asked to go on, and answered though the body never comes.
    let denied = raw(to, &request("")).await;
    assert!(denied.starts_with("HTTP/1.1 429 "), "{denied}");
}

#[tokio::test]
async fn requests_sent_at_once_on_one_connection_are_counted_one_by_one() {
    let to = serve(hello().layer(limit("2/minute").0)).await;
    let request = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    let answers = raw(to, &format!("{request}{request}{request}{last}")).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "429", "429"]);
}

#[tokio::test]
async fn without_connect_info_the_answer_says_what_to_add() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let handler = get(move || async move { counted.fetch_add(1, Relaxed).to_string() });
    let (layer, _) = limit("1/minute");
    let app = Router::new().route("/", handler).layer(layer.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });

    for _ in 0..3 {
        let answer = ask(to, "GET /").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = String::from_utf8_lossy(answer.body());
        assert!(body.contains("into_make_service_with_connect_info::<SocketAddr>()"), "{body}");
    }
    let head = ask(to, "HEAD /").await;
    assert_eq!((head.status(), head.body().len()), (StatusCode::INTERNAL_SERVER_ERROR, 0));
    assert_eq!(calls.load(Relaxed), 0);
    assert_eq!(layer.limiter().stats().len, 0, "nobody was counted");
}

/// All of a response but its date.
fn told(response: Response<Bytes>) -> (StatusCode, Vec<(String, String)>, Bytes) {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = response.headers().iter().filter(|(name, _)| **name != DATE);
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort();
    (response.status(), headers, response.into_body())
}

#[tokio::test]
async fn a_denial_from_a_handler_is_the_same_as_the_layers() {
    let (layer, _) = limit("1/minute");
    let limiter = layer.limiter().clone();
    let handler = get(async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        limiter.check(&peer.ip())?;
        Ok::<_, Denied>("hello")
    });
    let app = Router::new().route("/handler", handler).merge(hello().layer(layer));
    let to = serve(app).await;

    assert_eq!(ask(to, "GET /handler").await.status(), StatusCode::OK);
    for method in ["GET", "HEAD"] {
        let handlers = told(ask(to, &format!("{method} /handler")).await);
        let layers = told(ask(to, &format!("{method} /")).await);
        // The layer counts the same address by the same limiter, so it denies what the handler has charged.
        assert_eq!(layers.0, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(handlers, layers);
        assert!(layers.1.contains(&(CONTENT_LENGTH.to_string(), "18".to_owned())));
    }
}

#[tokio::test]
async fn routes_wear_their_own_limits_or_share_one_or_none() {
    let (own, _) = limit("2/minute");
    let (shared, _) = limit("3/minute");
    let (whole, _) = limit("5/minute");
    let (methods, _) = limit("1/minute");
    let page = || get(|| async { "page" });
    let nested = Router::new().route("/a", page()).route("/b", page()).layer(whole);
    let app = Router::new()
        .route("/own", page().layer(own))
        .route("/shared/1", page().layer(shared.clone()))
        .route("/shared/2", page().layer(shared))
        .nest("/whole", nested)
        // Only what is routed before a layer is added wears it.
        .route("/post-only", post(|| async { "made" }).layer(methods).get(|| async { "page" }))
        .route("/exempt", page());
    let to = serve(app).await;
    let mut client = Client::connect(to).await;

    let mut count = async |requests: &[&str]| {
        let mut statuses = Vec::new();
        for n in 0..24 {
            statuses.push(client.status(requests[n % requests.len()]).await);
        }
        admitted(statuses)
    };
    assert_eq!(count(&["GET /own", "HEAD /own"]).await, 2);
    assert_eq!(count(&["GET /shared/1", "GET /shared/2"]).await, 3);
    assert_eq!(count(&["GET /whole/a", "GET /whole/b"]).await, 5);
    assert_eq!(count(&["POST /post-only", "GET /post-only"]).await, 13);
    assert_eq!(count(&["GET /exempt"]).await, 24);
}
