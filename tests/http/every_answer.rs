//! Law 12: whatever the layer answers by itself, no cache may store, and no client can choose a form of it that others then
//! receive. Every kind of answer, to every method, however the request dresses itself up.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tollgate::http::{AnyKey, ClientIp, ExtensionKey, GlobalKey, HeaderKey, Headers, KeyExtractor};
use tollgate::http::{Rollout, WhenNoKey};
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter};
use tower::{Layer, Service, service_fn};

fn limit(policy: &str) -> RateLimitLayer<AnyKey> {
    let policy: Policy = policy.parse().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(64).clock(Clock::manual()).build();
    by(RateLimitLayer::sharing(&limiter), GlobalKey)
}

fn by<K: KeyExtractor>(
    layer: RateLimitLayer<K>,
    key: impl KeyExtractor + Send + Sync + 'static,
) -> RateLimitLayer<AnyKey> {
    layer.key(AnyKey::new(key))
}

/// What the careless builder of a denial might set.
fn careless() -> Response<Bytes> {
    Response::builder()
        .header(CACHE_CONTROL, "public, max-age=600")
        .header(CACHE_CONTROL, "immutable")
        .header("content-type", "text/html")
        .header("CDN-Cache-Control", "max-age=600")
        .header("Cloudflare-CDN-Cache-Control", "max-age=600")
        .header("Surrogate-Control", "max-age=600")
        .header("X-Accel-Expires", "600")
        .header("X-Accel-Expires", "601")
        .body("<p>slow down".into())
        .unwrap()
}

const UNAVAILABLE: u16 = 500;

/// Each kind of answer, by a layer that gives nothing else.
fn kinds() -> Vec<(&'static str, u16, RateLimitLayer<AnyKey>)> {
    let spent = || {
        let layer = limit("1/hour");
        layer.limiter().check(&()).unwrap();
        layer
    };
    let cacheable = HeaderValue::from_static("public, max-age=600");
    let header = || HeaderKey::new("x-api-key").unwrap();
    vec![
        ("text", 429, spent()),
        ("own text", 429, spent().denial_text("local_rate_limited")),
        ("own body", 429, spent().denial_body(HeaderValue::from_static("text/plain"), "local_rate_limited")),
        ("problem", 429, spent().denial_problem()),
        ("closure", 429, spent().denial_response(|_, _| careless())),
        ("fixed header", 429, spent().denial_header(CACHE_CONTROL, cacheable.clone())),
        ("closure and fixed", 429, spent().denial_response(|_, _| careless()).denial_header(CACHE_CONTROL, cacheable)),
        ("fixed header for one cache", 429, {
            let targeted = |layer: RateLimitLayer<AnyKey>, name| {
                layer.denial_header(HeaderName::from_static(name), HeaderValue::from_static("600"))
            };
            targeted(targeted(spent(), "x-accel-expires"), "akamai-cache-control")
        }),
        ("draft", 429, spent().headers(Headers::Draft).headers_on_every_response()),
        ("x-ratelimit", 429, spent().headers(Headers::XRateLimitEpoch)),
        ("without gRPC", 429, spent().without_grpc()),
        ("for good", 429, limit("0/second")),
        ("for good by its cost", 429, limit("5/second").cost(|_| 6)),
        ("of several quotas", 429, limit("5/second; 0/day").headers(Headers::Draft)),
        ("settled", 429, spent().settle(|_| Some(0)).settle_by_body(|bytes| bytes)),
        ("acted on", 429, spent().rollout(&Rollout::new())),
        ("by method", 429, spent().methods([Method::GET, Method::POST, Method::PUT, Method::OPTIONS])),
        ("of another layer", 429, limit("9/hour").when(|_| true, spent())),
        ("no key, absent", 403, by(limit("5/second"), header())),
        ("no key, not inserted", 403, by(limit("5/second"), ExtensionKey::new(|id: &u64| *id))),
        ("no key, misconfigured", UNAVAILABLE, by(limit("5/second"), ClientIp::peer())),
        ("no key, shared", 429, by(limit("0/second"), header()).when_no_key(WhenNoKey::Share)),
    ]
}

/// What a client may claim, so that it is answered in another way than others.
const CLAIMS: [(&str, &str); 14] = [
    ("content-type", "application/grpc"),
    ("content-type", "application/grpc+proto"),
    ("content-type", "application/grpc-web"),
    ("content-type", "application/grpc-web-text+proto"),
    ("content-type", "APPLICATION/GRPC; x=\"application/grpc\""),
    ("accept", "application/problem+json"),
    ("accept", "application/grpc"),
    ("te", "trailers"),
    ("x-http-method-override", "POST"),
    ("if-none-match", "*"),
    ("range", "bytes=0-0"),
    ("upgrade", "websocket"),
    ("cache-control", "only-if-cached"),
    ("origin", "null"),
];

struct Answer {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: Bytes,
}

fn ask(layer: &RateLimitLayer<AnyKey>, method: &Method, claim: Option<(&str, &str)>) -> Answer {
    let mut request = Request::builder().method(method).uri("/a.B/C");
    if let Some((name, value)) = claim {
        request = request.header(name, value);
    }
    let inner = service_fn(async |_: Request<()>| -> Result<Response<Body>, Infallible> { panic!("let pass") });
    let answer = pin!(layer.layer(inner).call(request.body(()).unwrap())).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(response)) = answer else { panic!("an answer is there at once") };
    read(response)
}

fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let hint = body.size_hint().exact();
    let is_over = body.is_end_stream();
    let Poll::Ready(body) = pin!(body.collect()).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the body is there at once")
    };
    let body = body.unwrap().to_bytes();
    assert_eq!((hint, is_over), (Some(body.len() as u64), body.is_empty()), "what the body says of itself is true");
    let text = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
    let mut headers: Vec<_> = head.headers.iter().map(text).collect();
    headers.sort();
    Answer { status: head.status, headers, body }
}

impl Answer {
    /// Some caches go by other headers before `Cache-Control` (RFC 9213, Akamai's, Fastly's and nginx's own).
    #[track_caller]
    fn is_for_no_cache(&self, kind: &str) {
        for (name, value) in &self.headers {
            let is_for_caches = name.contains("cache-control") || name.contains("surrogate") || name.contains("accel");
            assert!(!is_for_caches || name == "cache-control", "{kind}: {name}: {value}");
        }
    }

    fn all(&self, name: &HeaderName) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name.as_str()).map(|(_, value)| value.as_str()).collect()
    }
}

#[test]
fn no_cache_may_store_it_and_no_client_chooses_its_form() {
    let methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS"];
    let odd = ["DELETE", "PATCH", "TRACE", "CONNECT", "PURGE", "QUERY", "get"];
    for (kind, status, layer) in kinds() {
        let methods = methods.iter().chain(odd.iter().filter(|_| kind != "by method"));
        for method in methods.map(|method| Method::from_bytes(method.as_bytes()).unwrap()) {
            let plain = ask(&layer, &method, None);
            plain.is_for_no_cache(kind);
            assert_eq!(plain.status, status, "{kind}, {method}");
            assert_eq!(plain.all(&CACHE_CONTROL), ["no-store"], "{kind}, {method}");
            if method == Method::HEAD {
                let length = ask(&layer, &Method::GET, None).body.len().to_string();
                assert_eq!((plain.all(&CONTENT_LENGTH), plain.body.len()), (vec![length.as_str()], 0), "{kind}");
            }
            for claim in CLAIMS {
                let answer = ask(&layer, &method, Some(claim));
                assert_eq!(answer.all(&CACHE_CONTROL), ["no-store"], "{kind}, {method}, {claim:?}");
                answer.is_for_no_cache(kind);
                let is_grpc = claim.0 == "content-type" && method == Method::POST && kind != "without gRPC";
                if is_grpc {
                    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0), "{kind}, {claim:?}");
                    let code = answer.all(&HeaderName::from_static("grpc-status"));
                    let expected = match status {
                        429 => "8",
                        403 => "7",
                        _ => "13",
                    };
                    assert_eq!(code, [expected], "{kind}, {claim:?}");
                } else {
                    assert_eq!(answer.status, plain.status, "{kind}, {method}, {claim:?}");
                    assert_eq!(answer.headers, plain.headers, "{kind}, {method}, {claim:?}");
                    assert_eq!(answer.body, plain.body, "{kind}, {method}, {claim:?}");
                }
            }
        }
    }
}

/// The answers that a handler gives in the limiter's name.
#[tokio::test]
async fn nor_what_a_handler_answers_in_its_name() {
    for policy in ["1/hour", "0/second"] {
        let limiter = limit(policy).limiter().clone();
        limiter.check(&()).ok();
        let denied = limiter.check(&()).unwrap_err();
        let answer = read(denied.into_response());
        assert_eq!((answer.status.as_u16(), answer.all(&CACHE_CONTROL)), (429, vec!["no-store"]), "{policy}");
        #[cfg(feature = "tokio")]
        {
            let wait = limiter.until_ready(&()).within(std::time::Duration::from_secs(1));
            let answer = read(wait.await.unwrap_err().into_response());
            assert_eq!((answer.status.as_u16(), answer.all(&CACHE_CONTROL)), (429, vec!["no-store"]), "{policy}");
        }
    }
}

/// What a client is told that waited in vain, or that found no place to wait.
#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn nor_what_is_answered_after_waiting() {
    use std::time::Duration;

    let limiter = RateLimiter::builder("1/second".parse::<Policy>().unwrap())
        .capacity(64)
        .waiters(1)
        .clock(Clock::manual())
        .build();
    limiter.check(&()).unwrap();
    // The limiter's clock stands still, so nobody's turn comes.
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey);
    let layer = layer.delay(Duration::from_millis(1500));
    for (method, claim, status) in
        [("GET", "application/grpc", 429), ("HEAD", "", 429), ("POST", "", 429), ("POST", "application/grpc", 200)]
    {
        let call = || {
            let inner = service_fn(async |_: Request<()>| -> Result<Response<Body>, Infallible> { panic!("let pass") });
            let request = Request::builder().method(method).header("content-type", claim).body(()).unwrap();
            layer.layer(inner).call(request)
        };
        let (waits, has_no_place) = (call(), call());
        for answer in [waits.await.unwrap(), has_no_place.await.unwrap()] {
            let answer = read(answer);
            assert_eq!(answer.status.as_u16(), status, "{method} {claim}");
            assert_eq!(answer.all(&CACHE_CONTROL), ["no-store"], "{method} {claim}");
        }
    }
}
