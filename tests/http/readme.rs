//! What the README shows of requests is what comes of them. The rest of it is compiled and run with the library's documentation, and
//! the whole answers are compared with the example's by `tests/interop/examples.rs`.

use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Router, http};
use http::header::RETRY_AFTER;
use http::{Method, Request};
use tollgate::http::PeerAddr;
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter};
use tower::ServiceExt as _;

/// The lines that the README's loop prints.
fn shown() -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let (_, after) = readme.split_once("$ while sleep 0.4; do").expect("the loop");
    let (_, after) = after.split_once("> done\n").expect("its end");
    after.split("```").next().expect("what it prints").lines().collect()
}

#[tokio::test]
async fn the_loop_prints_what_the_readme_shows() {
    let limit: Policy = "2 per second".parse().unwrap();
    let clock = Clock::manual();
    let limiter = RateLimiter::builder(limit).capacity(64).clock(clock.clone()).build();
    let app = Router::new().route("/api/fib/{n}", get(|| async { "1" })).layer(RateLimitLayer::sharing(&limiter));
    let shown = shown();
    let mut printed = Vec::new();
    while printed.len() < shown.len() {
        // The sleep, and about as long as curl takes.
        clock.advance(Duration::from_millis(400 + 10));
        let client = PeerAddr("127.0.0.1:50000".parse().unwrap());
        let request = Request::builder().method(Method::HEAD).uri("/api/fib/1").extension(client);
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        printed.push(format!("HTTP/1.1 {} {}", status.as_str(), status.canonical_reason().unwrap()));
        let wait = answer.headers().get(RETRY_AFTER);
        printed.extend(wait.map(|wait| format!("retry-after: {}", wait.to_str().unwrap())));
    }
    assert_eq!(printed, shown);
}
