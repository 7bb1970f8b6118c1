//! What clients are told: SEMANTICS of 429 over HTTP, as whole answers.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use tollgate::http::{GlobalKey, Headers, KeyExtractor};
use tollgate::{Clock, Denied, ManualClock, Policy, RateLimitLayer, RateLimiter};
use tower::{Layer, Service};

/// The limited application.
#[derive(Clone, Debug)]
struct App;

impl<B> Service<Request<B>> for App {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new("hello".to_owned())))
    }
}

/// A layer for everybody, with a clock that stands at 2001-09-09 01:46:40 UTC, which is 10⁹.
fn limit(policy: &str) -> (RateLimitLayer<GlobalKey>, ManualClock) {
    let clock = Clock::manual();
    let policy: Policy = policy.parse().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build();
    (RateLimitLayer::sharing(&limiter).key(GlobalKey), clock)
}

/// The answer to a request given as text: a line of method and path, then headers.
fn answer<S, B>(service: &mut S, request: &str) -> Response<Vec<u8>>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes>,
{
    let mut lines = request.lines();
    let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_ready());
    let Poll::Ready(Ok(response)) = pin!(service.call(builder.body(()).unwrap())).poll(cx) else { panic!("no answer") };
    response.map(|body| {
        let mut bytes = Vec::new();
        let mut body = pin!(body);
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) {
            bytes.extend(frame.into_data().unwrap());
        }
        bytes
    })
}

/// A response as text, its headers sorted.
fn transcript(response: &Response<Vec<u8>>) -> String {
    let mut headers: Vec<_> = response.headers().iter().map(|(name, value)| (name.as_str(), value)).collect();
    headers.sort();
    let mut text = format!("{}\n", response.status());
    for (name, value) in headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    if !response.body().is_empty() {
        write!(text, "\n{}", String::from_utf8_lossy(response.body())).unwrap();
    }
    text
}

/// Makes requests, and compares each answer as a whole.
#[track_caller]
fn check<K, S, B>(layer: RateLimitLayer<K>, app: S, exchanges: &[(&str, &str)])
where
    K: KeyExtractor,
    S: Service<Request<()>, Response = Response<B>> + Clone,
    B: http_body::Body<Data = Bytes>,
{
    let mut service = layer.clone().any_body().layer(app);
    for (index, (request, expected)) in exchanges.iter().enumerate() {
        let got = transcript(&answer(&mut service, request));
        let expected: String = expected.trim().lines().map(|line| format!("{}\n", line.trim_start())).collect();
        assert_eq!(got.trim_end(), expected.trim_end(), "answer {index}, to {request:?}");
    }
}

const HELLO: &str = "200 OK

    hello";

/// A denial as it is by default, with this many seconds to wait.
macro_rules! too_many {
    ($retry_after:literal) => {
        concat!(
            "429 Too Many Requests\n",
            "cache-control: no-store\n",
            "content-type: text/plain; charset=utf-8\n",
            "retry-after: ",
            $retry_after,
            "\n\ntoo many requests\n"
        )
    };
}

#[test]
fn by_default() {
    check(limit("2/minute").0, App, &[("GET /", HELLO), ("GET /", HELLO), ("GET /", too_many!("30"))]);
}

#[test]
fn retry_after_is_rounded_up_and_never_below_one() {
    for (policy, spend, wait, expected) in [
        ("28/second", 28, Duration::ZERO, "1"),
        ("1000000000/second burst 1", 1, Duration::ZERO, "1"),
        ("1/second", 1, Duration::ZERO, "1"),
        ("1/second", 1, Duration::from_nanos(999_999_999), "1"),
        ("1/minute", 1, Duration::ZERO, "60"),
        ("1/minute", 1, Duration::from_nanos(1), "60"),
        ("1/minute", 1, Duration::from_secs(1), "59"),
        ("1/minute", 1, Duration::from_nanos(58_000_000_001), "2"),
        ("1/minute", 1, Duration::from_nanos(59_000_000_001), "1"),
        ("90/hour burst 1", 1, Duration::ZERO, "40"),
        ("1 per 1500 ms", 1, Duration::ZERO, "2"),
        ("3/minute fixed", 3, Duration::from_millis(100), "60"),
        ("3/minute sliding", 3, Duration::ZERO, "80"),
        // The longest wait of those that must end.
        ("5/second; 2/hour", 2, Duration::ZERO, "1800"),
        ("1 per 3650 days", 1, Duration::ZERO, "315360000"),
    ] {
        let (layer, clock) = limit(policy);
        let mut service = layer.clone().any_body().layer(App);
        for _ in 0..spend {
            assert_eq!(answer(&mut service, "GET /").status(), StatusCode::OK, "{policy}");
        }
        clock.advance(wait);
        assert_eq!(answer(&mut service, "GET /").headers()[RETRY_AFTER], expected, "{policy} after {wait:?}");
    }
}

#[test]
fn whoever_waits_as_told_is_admitted() {
    for policy in [
        "28/second",
        "7/minute",
        "3 per 700 ms",
        "5/minute fixed",
        "5/minute sliding",
        "5/minute strict",
        "4/second; 30/minute",
    ] {
        let (layer, clock) = limit(policy);
        let mut service = layer.headers(Headers::Draft).headers_on_every_response().any_body().layer(App);
        let mut told = false;
        // Odd steps, so that every part of a second is met.
        for step in 0..2000_u64 {
            let response = answer(&mut service, "GET /");
            if response.status() == StatusCode::OK {
                assert!(!response.headers().contains_key(RETRY_AFTER), "{policy}: Retry-After on a 200");
                clock.advance(Duration::from_nanos(step * 7_919));
                told = false;
            } else {
                assert!(!told, "{policy}: denied after waiting as told");
                let seconds: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
                assert!(seconds >= 1);
                clock.advance(Duration::from_secs(seconds));
                told = true;
            }
        }
    }
}

#[test]
fn a_denial_that_never_ends_promises_nothing() {
    let never = "429 Too Many Requests
        cache-control: no-store
        content-type: text/plain; charset=utf-8";
    let draft =
        format!("{never}\nratelimit: \"0/second\";r=0\nratelimit-policy: \"0/second\";q=0;w=1\n\ntoo many requests");
    check(limit("0/second").0.headers(Headers::Draft), App, &[("GET /", &draft)]);
    let x = format!("{never}\nx-ratelimit-limit: 0\nx-ratelimit-remaining: 0\n\ntoo many requests");
    check(limit("0/second").0.headers(Headers::XRateLimitDelta), App, &[("GET /", &x)]);
    // A cost above all that is ever granted is denied by a limit that has all of it left.
    let costly = limit("5/minute").0.cost(|_| 6).headers(Headers::Draft).denial_problem();
    let response = answer(&mut costly.any_body().layer(App), "GET /");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!response.headers().contains_key(RETRY_AFTER));
    assert_eq!(response.headers()["ratelimit"], "\"5/minute\";r=5");
    assert!(response.extensions().get::<Denied>().unwrap().is_permanent());
    // Not even when a closure promises.
    let promise = |_: &Denied, _: &http::request::Parts| {
        Response::builder().header(RETRY_AFTER, "0").body("later".into()).unwrap()
    };
    let bare = "429 Too Many Requests
        cache-control: no-store

        later";
    check(limit("0/second").0.denial_response(promise), App, &[("GET /", bare)]);
}

#[test]
fn in_the_drafts_headers() {
    let (layer, clock) = limit("burst: 2/minute fixed; daily: 1000/day fixed");
    let layer = layer.headers(Headers::Draft).headers_on_every_response();
    let policy = r#"ratelimit-policy: "burst";q=2;w=60, "daily";q=1000;w=86400"#;
    let allowed = |state: &str| format!("200 OK\nratelimit: {state}\n{policy}\n\nhello");
    let denied = |retry_after: u8, state: &str| {
        format!(
            "429 Too Many Requests
            cache-control: no-store
            content-type: text/plain; charset=utf-8
            ratelimit: {state}
            {policy}
            retry-after: {retry_after}

            too many requests"
        )
    };
    check(layer.clone(), App, &[("GET /", &allowed(r#""burst";r=1;t=60"#))]);
    clock.advance(Duration::from_millis(59_500));
    check(
        layer.clone(),
        App,
        &[("GET /", &allowed(r#""burst";r=0;t=1"#)), ("GET /", &denied(1, r#""burst";r=0;t=1"#))],
    );
    clock.advance(Duration::from_millis(500));
    check(layer, App, &[("GET /", &allowed(r#""burst";r=1;t=60"#))]);

    // Without being asked, an allowed response stays as the application made it.
    check(limit("1/minute").0.headers(Headers::Draft), App, &[("GET /", HELLO)]);
}

#[test]
fn in_x_ratelimit_headers() {
    for (headers, allowed, denied) in [
        (Headers::XRateLimitEpoch, "1000000060", "1000000060"), // a window that opened at 10⁹
        (Headers::XRateLimitDelta, "60", "58"),
    ] {
        let (layer, clock) = limit("2/minute fixed");
        let layer = layer.headers(headers).headers_on_every_response();
        let state = |remaining: u8, reset: &str| {
            format!("x-ratelimit-limit: 2\nx-ratelimit-remaining: {remaining}\nx-ratelimit-reset: {reset}\n")
        };
        check(layer.clone(), App, &[("GET /", &format!("200 OK\n{}\nhello", state(1, allowed)))]);
        check(layer.clone(), App, &[("GET /", &format!("200 OK\n{}\nhello", state(0, allowed)))]);
        clock.advance(Duration::from_millis(2_500));
        let expected = format!(
            "429 Too Many Requests
            cache-control: no-store
            content-type: text/plain; charset=utf-8
            retry-after: 58
            {}
            too many requests",
            state(0, denied)
        );
        check(layer, App, &[("GET /", &expected)]);
    }
}

#[test]
fn as_envoy_does() {
    let layer = limit("1/minute").0.denial_body(HeaderValue::from_static("text/plain"), "local_rate_limited");
    let layer = layer.denial_header(HeaderName::from_static("x-local-rate-limit"), HeaderValue::from_static("true"));
    let denial = "429 Too Many Requests
        cache-control: no-store
        content-type: text/plain
        retry-after: 60
        x-local-rate-limit: true

        local_rate_limited";
    check(layer.clone(), App, &[("GET /", HELLO), ("GET /", denial)]);
    assert_eq!(answer(&mut layer.clone().any_body().layer(App), "GET /").body().len(), 18);
}

#[test]
fn fixed_headers_are_as_many_as_were_given_and_replace_their_namesakes() {
    let text = HeaderValue::from_static("text/html");
    let layer = limit("0/second").0.denial_header(CONTENT_TYPE, text);
    let name = HeaderName::from_static("x-a");
    let layer = layer.denial_header(name.clone(), HeaderValue::from_static("1"));
    let layer = layer.denial_header(name, HeaderValue::from_static("2"));
    let denial = "429 Too Many Requests
        cache-control: no-store
        content-type: text/html
        x-a: 2

        too many requests";
    check(layer, App, &[("GET /", denial)]);
}

#[test]
fn as_a_problem_document() {
    let (layer, _) = limit("1/minute fixed; login: 100/day");
    let mut service = layer.denial_problem().any_body().layer(App);
    assert_eq!(answer(&mut service, "GET /").status(), StatusCode::OK);
    let response = answer(&mut service, "GET /");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    let expected = serde_json::json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "violated-policies": ["1/minute"],
    });
    assert_eq!(document, expected);

    // The quota that denied is the one that is named.
    let (layer, _) = limit("5/second; login: 1/day");
    let mut service = layer.denial_problem().any_body().layer(App);
    let second = (0..2).map(|_| answer(&mut service, "GET /")).last().unwrap();
    let document: serde_json::Value = serde_json::from_slice(second.body()).unwrap();
    assert_eq!(document["violated-policies"], serde_json::json!(["login"]));
}

#[test]
fn a_closure_builds_the_body_and_cannot_lose_the_rest() {
    let careless = |denied: &Denied, head: &http::request::Parts| {
        let body = format!("{} {} {}", head.method, head.uri.path(), denied.status().quota());
        Response::builder()
            .status(StatusCode::OK)
            .header(RETRY_AFTER, "0")
            .header(RETRY_AFTER, "0.5")
            .header("cache-control", "max-age=600")
            .header("ratelimit", "\"closure\";r=100")
            .header("x-request-id", "7")
            .body(body.into())
            .unwrap()
    };
    let denial = r#"429 Too Many Requests
        cache-control: no-store
        ratelimit: "1/minute";r=0;t=60
        ratelimit-policy: "1/minute";q=1;w=60
        retry-after: 60
        x-request-id: 7

        GET /a 1/minute"#;
    let (layer, _) = limit("1/minute");
    let layer = layer.headers(Headers::Draft).denial_response(careless);
    check(layer.clone(), App, &[("GET /", HELLO), ("GET /a", denial)]);
    assert!(answer(&mut layer.clone().any_body().layer(App), "GET /").extensions().get::<Denied>().is_some());
}

/// RFC 9110, section 9.3.2: no content, but the headers that a GET would have.
#[test]
fn head_has_no_body() {
    let closure = |_: &Denied, _: &http::request::Parts| Response::new("slow down".into());
    let layers = [
        limit("1/minute").0,
        limit("1/minute").0.denial_text("local_rate_limited"),
        limit("1/minute").0.denial_problem().headers(Headers::Draft),
        limit("1/minute").0.denial_response(closure),
    ];
    for layer in layers {
        let mut service = layer.clone().any_body().layer(App);
        assert_eq!(answer(&mut service, "HEAD /").status(), StatusCode::OK);
        let get = answer(&mut service, "GET /");
        let mut head = answer(&mut service, "HEAD /");
        assert!(!get.body().is_empty());
        assert!(head.body().is_empty());
        // Servers take the length of a GET from its body. A HEAD has none left to take it from.
        assert_eq!(head.headers_mut().remove(CONTENT_LENGTH).unwrap(), get.body().len().to_string());
        assert_eq!(head.headers(), get.headers());
        assert_eq!(head.status(), get.status());
    }
}

#[test]
fn grpc_is_told_in_trailers_only() {
    let grpc = |content_type: &str, pushback: &str| {
        format!(
            "200 OK
            cache-control: no-store
            content-type: {content_type}
            grpc-message: rate limit reached
            grpc-retry-pushback-ms: {pushback}
            grpc-status: 8"
        )
    };
    for (asked, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc"),
        ("application/grpc+json; charset=utf-8", "application/grpc"),
        ("application/grpc;x=y", "application/grpc"),
        ("Application/GRPC", "application/grpc"), // media types ignore case, RFC 9110 section 8.3.1
        ("application/grpc-web", "application/grpc-web"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
        ("application/grpc-web-text+proto", "application/grpc-web-text"),
    ] {
        // Neither the dialect nor the body is for gRPC.
        let layer = limit("1/minute").0.headers(Headers::Draft).denial_problem();
        let request = format!("POST /a.B/C\ncontent-type: {asked}");
        check(layer.clone(), App, &[(&request, HELLO), (&request, &grpc(answered, "60000"))]);
        let denial = answer(&mut layer.clone().any_body().layer(App), &request);
        assert_eq!(denial.extensions().get::<Denied>().unwrap().status().quota(), "1/minute");
    }
    for not_grpc in ["application/json", "application/grpcx", "application/grp", "text/plain", "\t", ""] {
        let request = format!("POST /\ncontent-type: {not_grpc}");
        check(limit("1/minute").0, App, &[(&request, HELLO), (&request, too_many!("60"))]);
    }

    // Every gRPC call is a POST. What only says it is gRPC, and could be cached, gets the plain answer: a cache gave an
    // empty 200 to a GET to everybody.
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let request = format!("{method} /a.B/C\ncontent-type: application/grpc");
        let response = answer(&mut limit("0/minute").0.any_body().layer(App), &request);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{method}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{method}");
    }
    // And nothing is gRPC where the layer is told so.
    let post = "POST /a.B/C\ncontent-type: application/grpc";
    check(limit("1/minute").0.without_grpc(), App, &[(post, HELLO), (post, too_many!("60"))]);

    // Milliseconds, rounded up; an int32 in gRPC's retry design, so what is longer, or never ends, is "do not retry".
    let request = "POST /\ncontent-type: application/grpc";
    for (policy, pushback) in [
        ("1/second", "1000"),
        ("1000000000/second burst 1", "1"),
        ("1 per 24 days", "2073600000"),
        ("1 per 25 days", "-1"),
    ] {
        check(limit(policy).0, App, &[(request, HELLO), (request, &grpc("application/grpc", pushback))]);
    }
    check(limit("0/second").0, App, &[(request, &grpc("application/grpc", "-1"))]);

    // Fixed headers are, and a closure is not even called.
    let layer = limit("0/second").0.denial_response(|_, _| panic!("a gRPC client would not see this"));
    let layer = layer.denial_header(HeaderName::from_static("x-local-rate-limit"), HeaderValue::from_static("true"));
    let expected = format!("{}\nx-local-rate-limit: true", grpc("application/grpc", "-1"));
    check(layer, App, &[(request, &expected)]);
}

#[test]
fn a_denial_is_marked_for_the_layers_outside() {
    let (layer, _) = limit("1/minute");
    let mut service = layer.clone().any_body().layer(App);
    assert!(answer(&mut service, "GET /").extensions().get::<Denied>().is_none());
    let denial = answer(&mut service, "GET /");
    let denied = denial.extensions().get::<Denied>().unwrap();
    assert_eq!((denied.retry_after_secs(), denied.status().remaining()), (Some(60), 0));
}

#[test]
fn a_handlers_denial_is_the_layers() {
    for policy in ["1/minute", "0/second", "1 per 3650 days"] {
        let (layer, _) = limit(policy);
        let mut service = layer.clone().any_body().layer(App);
        let by_layer = (0..2).map(|_| answer(&mut service, "GET /")).last().unwrap();
        let by_handler = layer.limiter().check(&()).unwrap_err().into_response();
        assert_eq!(by_handler.status(), by_layer.status());
        assert_eq!(by_handler.headers(), by_layer.headers());
        assert_eq!(by_handler.extensions().get::<Denied>(), by_layer.extensions().get::<Denied>());
        let mut body = pin!(by_handler.into_body());
        let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) else {
            panic!("no body")
        };
        assert_eq!(frame.into_data().unwrap(), by_layer.body().as_slice());
    }
}

#[test]
fn around_each_other_the_denial_inside_is_what_the_client_reads() {
    let draft = |policy| limit(policy).0.headers(Headers::Draft).headers_on_every_response();
    let inner = draft("inner: 1/minute").any_body().layer(App);
    check(
        draft("outer: 90/minute"),
        inner,
        &[
            (
                "GET /",
                r#"200 OK
                ratelimit: "outer";r=89;t=1
                ratelimit-policy: "outer";q=90;w=60

                hello"#,
            ),
            (
                "GET /",
                r#"429 Too Many Requests
                cache-control: no-store
                content-type: text/plain; charset=utf-8
                ratelimit: "inner";r=0;t=60
                ratelimit-policy: "inner";q=1;w=60
                retry-after: 60

                too many requests"#,
            ),
        ],
    );
}
