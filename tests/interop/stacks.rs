//! The limit among tower-http's layers, on both sides of it, and around every body that keeps its type.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tollgate::http::{GlobalKey, Headers};
use tollgate::{Clock, Denied, Policy, RateLimitLayer, RateLimiter};
use tower::util::option_layer;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::client::soon;

/// A limit for everybody together, on a clock that stands still.
fn limit(policy: &str) -> RateLimitLayer<GlobalKey> {
    let policy: Policy = policy.parse().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(64).clock(Clock::manual()).build();
    RateLimitLayer::sharing(&limiter).key(GlobalKey)
}

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/long", get(|| async { "hello ".repeat(1000) }))
        .route(
            "/panics",
            get(|| async {
                if true {
                    panic!("in the handler")
                }
            }),
        )
        .route("/sleeps", get(std::future::pending::<()>))
}

fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET])
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(10))
}

/// Asks for a path as a browser does from another site, and as one that reads gzip.
async fn ask<S, B>(service: &S, path: &str) -> Response<Bytes>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let request = Request::builder().uri(path).header(ORIGIN, "https://a.example").header(ACCEPT_ENCODING, "gzip");
    let response = service.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// One passes, whatever it is, and the next is denied.
async fn check<S, B>(service: S, path: &str, first: StatusCode)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    assert_eq!(ask(&service, path).await.status(), first, "{path}");
    let denial = ask(&service, path).await;
    assert_eq!(denial.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
    assert_eq!(denial.body(), "too many requests\n");
    assert_eq!(denial.headers()[RETRY_AFTER], "60");
    assert_eq!(denial.headers()["cache-control"], "no-store");
    assert!(denial.extensions().get::<Denied>().is_some());
}

/// What a handler does, and what comes of it behind the layers.
const HANDLERS: [(&str, StatusCode); 4] = [
    ("/", StatusCode::OK),
    ("/long", StatusCode::OK),
    ("/panics", StatusCode::INTERNAL_SERVER_ERROR),
    ("/sleeps", StatusCode::REQUEST_TIMEOUT),
];

#[tokio::test(start_paused = true)]
async fn inside_them_all() {
    for (path, first) in HANDLERS {
        let stack = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(cors())
            .layer(CompressionLayer::new())
            .layer(CatchPanicLayer::new())
            .layer(timeout())
            .option_layer(Some(cors()))
            .layer(limit("1/minute"));
        check(app().layer(stack), path, first).await;
    }
}

#[tokio::test(start_paused = true)]
async fn outside_them_all() {
    for (path, first) in HANDLERS {
        let stack = ServiceBuilder::new()
            .layer(limit("1/minute").any_body())
            .layer(TraceLayer::new_for_http())
            .layer(CompressionLayer::new())
            .layer(cors())
            .layer(timeout())
            .layer(CatchPanicLayer::new());
        check(app().layer(stack), path, first).await;
    }
}

/// Those that need a body with a default stand outside of `any_body`, too.
#[tokio::test(start_paused = true)]
async fn in_the_midst_of_them() {
    for (path, first) in HANDLERS {
        let stack = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(cors())
            .layer(timeout())
            .layer(limit("1/minute").any_body())
            .layer(TraceLayer::new_for_http()) // whose body has no default
            .layer(CompressionLayer::new())
            .layer(CatchPanicLayer::new());
        check(app().layer(stack), path, first).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_body_keeps_its_type_nothing_has_to_be_said() {
    for (path, first) in HANDLERS {
        let stack = ServiceBuilder::new()
            .layer(CatchPanicLayer::new())
            .layer(timeout())
            .layer(cors())
            .layer(limit("1/minute"))
            .option_layer(Some(limit("5/minute")))
            .option_layer(None::<RateLimitLayer>)
            .layer(cors())
            .layer(timeout());
        check(app().layer(stack), path, first).await;
    }
}

/// axum's own way, whose router makes every body its own again.
#[tokio::test(start_paused = true)]
async fn layer_by_layer_on_a_router() {
    for (path, first) in HANDLERS {
        let app = app()
            .layer(CatchPanicLayer::new())
            .layer(TraceLayer::new_for_http())
            .layer(CompressionLayer::new())
            .layer(option_layer(Some(limit("1/minute"))))
            .layer(option_layer(None::<RateLimitLayer>))
            .layer(timeout())
            .layer(cors());
        check(app, path, first).await;
    }
    // On a route, and as one layer of several in one option.
    let one = get(|| async { "hello" }).layer(option_layer(Some((cors(), limit("1/minute"), timeout()))));
    check(Router::new().route("/", one), "/", StatusCode::OK).await;
}

#[tokio::test(start_paused = true)]
async fn with_all_that_a_layer_can_do_around_and_inside() {
    for (path, first) in HANDLERS {
        let limit = limit("1/minute").headers(Headers::Draft).headers_on_every_response().tell_handler();
        let limit = limit.settle(|_| Some(1)).settle_by_body(|bytes| bytes).delay(Duration::from_secs(1));
        let limit = limit.cost(|_| 1);
        let inside =
            ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(cors()).layer(timeout()).layer(limit.clone());
        check(app().layer(inside), path, first).await;
        limit.limiter().limiter().reset(&());
        let any = ServiceBuilder::new()
            .layer(timeout())
            .option_layer(Some(limit.clone()))
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(TraceLayer::new_for_http())
            .layer(CompressionLayer::new())
            .layer(CatchPanicLayer::new());
        check(app().layer(any), path, first).await;
    }
}

#[tokio::test]
async fn bytes_are_counted_on_the_side_where_the_limit_stands() {
    // Inside the compression, as the handler made them; outside of it, as they are sent.
    let inside = limit("10000/day").cost(|_| 7000).settle_by_body(|bytes| bytes);
    let answer =
        ask(&app().layer(ServiceBuilder::new().layer(CompressionLayer::new()).layer(inside.clone())), "/long").await;
    assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(10_000 - inside.limiter().peek(&()).remaining(), 6000);

    let outside = limit("10000/day").cost(|_| 7000).settle_by_body(|bytes| bytes);
    let stack = ServiceBuilder::new().layer(outside.clone().any_body()).layer(CompressionLayer::new());
    let answer = ask(&app().layer(stack), "/long").await;
    assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(10_000 - outside.limiter().peek(&()).remaining(), answer.body().len() as u64);
    assert!(answer.body().len() < 1000);
}

/// What a program hooks in runs on the request's task: its panics are caught as a handler's are.
#[tokio::test]
async fn panics_of_what_is_hooked_in_are_caught_outside() {
    type Layers = RateLimitLayer<GlobalKey>;
    type Hook = fn(Layers) -> Layers;
    let hooks: [(&str, Hook); 7] = [
        ("0/day", |layer| layer.on_denied(|_, _| panic!("hook"))),
        ("0/day", |layer| layer.on_shadow_denied(|_, _| panic!("hook")).shadow()),
        ("0/day", |layer| layer.denial_response(|_, _| panic!("hook"))),
        ("9/day", |layer| layer.cost(|_| panic!("hook"))),
        ("9/day", |layer| layer.exempt(|_| panic!("hook"))),
        ("9/day", |layer| layer.plan(|_| panic!("hook"))),
        ("9/day", |layer| layer.settle(|_| panic!("hook"))),
    ];
    for (index, (policy, hook)) in hooks.into_iter().enumerate() {
        let app = app().layer(ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(hook(limit(policy))));
        for _ in 0..2 {
            assert_eq!(ask(&app, "/").await.status(), StatusCode::INTERNAL_SERVER_ERROR, "{index}");
        }
    }
}

/// What a script of another site can read of a response: the headers that CORS exposes, and no other.
fn readable(response: &Response<Bytes>) -> HeaderMap {
    assert_eq!(response.headers()["access-control-allow-origin"], "*", "the browser gives the script nothing at all");
    let exposed = response.headers().get_all("access-control-expose-headers");
    let exposed: Vec<_> = exposed.iter().flat_map(|value| value.to_str().unwrap().split(',')).map(str::trim).collect();
    let all = response.headers().clone().into_iter().filter_map(|(name, value)| Some((name?, value)));
    all.filter(|(name, _)| exposed.contains(&name.as_str())).collect()
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_script_of_another_site_reads_what_it_is_told() {
    for (headers, denied, passed) in [
        (Headers::None, &["retry-after"][..], &[][..]),
        (Headers::Draft, &["ratelimit", "ratelimit-policy", "retry-after"], &["ratelimit", "ratelimit-policy"]),
        (
            Headers::XRateLimitDelta,
            &["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
            &["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
        ),
    ] {
        let limit = limit("1/minute").headers(headers).headers_on_every_response();
        let app = app().layer(limit.clone()).layer(cors().expose_headers(headers.names()));
        // The browser asks before, and that is answered without being counted.
        for _ in 0..5 {
            let preflight = Request::builder()
                .method(Method::OPTIONS)
                .uri("/")
                .header(ORIGIN, "https://a.example")
                .header("access-control-request-method", "GET");
            let answer = app.clone().oneshot(preflight.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        assert_eq!(names(&readable(&ask(&app, "/").await)), passed, "{headers:?}");
        let denial = ask(&app, "/").await;
        assert_eq!(denial.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(names(&readable(&denial)), denied, "{headers:?}");

        // The other way round, a browser gives the script nothing of a denial: it looks like a broken network.
        let wrong = self::app().layer(cors().expose_headers(headers.names())).layer(limit);
        assert!(!ask(&wrong, "/").await.headers().contains_key("access-control-allow-origin"));
    }
}

/// A server of hyper's alone, whose requests have hyper's own body.
async fn serve<S, B>(service: S) -> TcpStream
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        connection.await.ok();
    });
    TcpStream::connect(to).await.unwrap()
}

async fn over_a_socket<S, B>(service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let stream = serve(service).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut ask = async |method: &str| {
        sender.ready().await.unwrap();
        let request =
            Request::builder().method(method).uri("/").header("host", "a").body(Full::new(Bytes::from("sent")));
        let (head, body) = sender.send_request(request.unwrap()).await.unwrap().into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    };
    let (status, _, body) = soon(ask("POST")).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"sent"[..]));
    let (status, headers, body) = soon(ask("POST")).await;
    assert_eq!((status, &body[..]), (StatusCode::TOO_MANY_REQUESTS, &b"too many requests\n"[..]));
    assert_eq!((&headers["content-length"], &headers[RETRY_AFTER]), (&HeaderValue::from(18), &HeaderValue::from(60)));
    let (status, headers, body) = soon(ask("HEAD")).await;
    assert_eq!((status, body.len()), (StatusCode::TOO_MANY_REQUESTS, 0));
    assert_eq!(headers["content-length"], "18");
}

async fn sent(request: Request<Incoming>) -> Full<Bytes> {
    Full::new(request.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn around_hypers_bodies() {
    let boxed = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(BoxBody::new(sent(request).await)))
    });
    let unsync = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(UnsyncBoxBody::new(sent(request).await)))
    });
    let full = service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(Response::new(sent(request).await)));
    let metered = || limit("4/minute").cost(|_| 4).settle_by_body(|bytes| bytes);
    let delayed = || limit("1/minute").delay(Duration::from_secs(1));
    over_a_socket(limit("1/minute").layer(boxed)).await;
    over_a_socket(limit("1/minute").layer(unsync)).await;
    over_a_socket(limit("1/minute").any_body().layer(full)).await;
    over_a_socket(metered().layer(boxed)).await;
    over_a_socket(metered().layer(unsync)).await;
    over_a_socket(metered().any_body().layer(full)).await;
    over_a_socket(delayed().layer(boxed)).await;
    over_a_socket(delayed().layer(unsync)).await;
    over_a_socket(delayed().any_body().layer(full)).await;
}

/// Over HTTP/2, where a body ends with trailers: metered, they come through.
#[tokio::test]
async fn around_tonics_body() {
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Endpoint, Server};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let limit = limit("100/minute").cost(|_| 60).settle_by_body(|bytes| bytes.max(1));
    let limiter = limit.limiter().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let stack = ServiceBuilder::new().layer(cors()).layer(limit).layer(cors()).into_inner();
    let server = Server::builder().layer(stack).add_service(health);
    tokio::spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await });

    let channel = Endpoint::from_shared(to).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    soon(client.check(HealthCheckRequest::default())).await.unwrap();
    // Five bytes before the message, and the message.
    let left = limiter.peek(&()).remaining();
    assert!((80..95).contains(&left), "{left}");
    limiter.check_n(&(), left).unwrap();
    let denied = soon(client.check(HealthCheckRequest::default())).await.unwrap_err();
    assert_eq!(denied.code(), tonic::Code::ResourceExhausted);
    assert!(denied.metadata().contains_key("grpc-retry-pushback-ms"));
}

/// One service of a server is limited by itself, and keeps its name: the server finds it by that.
#[tokio::test]
async fn around_one_of_tonics_services() {
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Endpoint, Server};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(limit("2/minute").layer(health));
    tokio::spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await });

    let mut client = HealthClient::new(Endpoint::from_shared(to).unwrap().connect().await.unwrap());
    for _ in 0..2 {
        soon(client.check(HealthCheckRequest::default())).await.unwrap();
    }
    let denied = soon(client.check(HealthCheckRequest::default())).await.unwrap_err();
    assert_eq!(denied.code(), tonic::Code::ResourceExhausted);
}

/// The documented limit of one method, by its path: no other spelling reaches the method, and what reaches none counts with the rest.
#[tokio::test]
async fn around_tonics_methods() {
    const WATCH: &str = "/grpc.health.v1.Health/Watch";
    let [all, streams] = [limit("100/minute"), limit("1/minute")];
    let [calls, watched] = [&all, &streams].map(|layer| layer.limiter().clone());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let app = tonic::service::Routes::new(health).into_axum_router();
    let app = app.layer(all.when(|head| head.uri.path() == WATCH, streams));
    let status = async |path: &str| {
        // An empty message: not compressed, of length 0.
        let request = Request::post(path).header("content-type", "application/grpc").body(Body::from(&[0_u8; 5][..]));
        let answer = app.clone().oneshot(request.unwrap()).await.unwrap();
        answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
    };
    assert_eq!(status(WATCH).await, None, "it is served: its status comes at the end");
    for spelling in [WATCH, "/grpc.health.v1.Health/Watch?again"] {
        assert_eq!(status(spelling).await.as_deref(), Some("8"), "{spelling}");
    }
    assert_eq!((watched.peek(&()).remaining(), calls.peek(&()).remaining()), (0, 100));
    let others = [
        "/grpc.health.v1.Health/%57atch",
        "/grpc.health.v1.%48ealth/Watch",
        "/grpc.health.v1.Health/watch",
        "/GRPC.health.v1.Health/Watch",
        "/grpc.health.v1.Health/Watch/",
        "/grpc.health.v1.Health//Watch",
        "//grpc.health.v1.Health/Watch",
        "/grpc.health.v1.Health/./Watch",
        "/grpc.health.v1.Health/Watch%3f",
        "/x/../grpc.health.v1.Health/Watch",
    ];
    for spelling in others {
        assert_eq!(status(spelling).await.as_deref(), Some("12"), "{spelling} is no method");
    }
    assert_eq!(calls.peek(&()).remaining(), 100 - others.len() as u64);
}

/// The request's body is of no concern either.
#[tokio::test]
async fn whatever_is_sent() {
    let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from("hello"))));
    let limit = limit("3/minute");
    limit.layer(hello).oneshot(Request::new(Empty::<Bytes>::new())).await.unwrap();
    let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from("hello"))));
    limit.layer(hello).oneshot(Request::new("text")).await.unwrap();
}
