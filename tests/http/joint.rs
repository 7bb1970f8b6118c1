//! Several layers judged as one: a request passes all and is charged to all, or to none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Method, Request, StatusCode};
use tollgate::http::{Counters, ExtensionKey, GlobalKey, Headers, JointLayer, KeyExtractor, Rollout, WhenNoKey};
use tollgate::{Clock, ManualClock, Plan, Policy, Quota, RateLimitLayer, RateLimiter, Standing, check_all};
use tower::ServiceExt;

fn limiter(policy: &str) -> (ManualClock, RateLimiter) {
    let clock = Clock::manual();
    let policy: Policy = policy.parse().expect("a policy");
    (clock.clone(), RateLimiter::builder(policy).capacity(64).clock(clock).build())
}

/// A layer with one limit for all.
fn limit(policy: &str) -> RateLimitLayer<GlobalKey> {
    RateLimitLayer::sharing(&limiter(policy).1).key(GlobalKey)
}

/// What is left of the limit for all.
fn left(limit: &RateLimitLayer<GlobalKey>) -> u64 {
    let (head, ()) = Request::new(()).into_parts();
    limit.peek(&head).expect("one key for all").tightest().remaining()
}

fn app(limit: JointLayer) -> Router {
    Router::new().route("/", get(|| async { "fine" }).post(|| async { "done" })).layer(limit)
}

async fn ask(app: &Router, request: http::request::Builder) -> Response {
    app.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible")
}

async fn get_it(app: &Router) -> Response {
    ask(app, Request::get("/")).await
}

#[tokio::test]
async fn a_denial_by_one_charges_none() {
    for strict_at in 0..3 {
        let limits: Vec<_> = (0..3).map(|at| limit(if at == strict_at { "2/hour" } else { "10/hour" })).collect();
        let app = app(limits[0].clone().and(limits[1].clone()).and(limits[2].clone()));
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(get_it(&app).await.status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 429, 429, 429]);
        for (at, limit) in limits.iter().enumerate() {
            assert_eq!(left(limit), if at == strict_at { 0 } else { 8 }, "{at}, with the strict one at {strict_at}");
        }
    }
}

/// Stacked layers tell the wait of the one that denies first, and the client comes back too early.
#[tokio::test]
async fn the_denial_is_that_of_the_longest_wait() {
    let short = limit("1/second").denial_text("short");
    let long = limit("1/hour").denial_text("long").denial_header("x-long".parse().unwrap(), "yes".parse().unwrap());
    for limit in [short.clone().and(long.clone()), long.and(short)] {
        let app = app(limit);
        let _ = get_it(&app).await;
        let denied = get_it(&app).await;
        assert_eq!(
            (denied.status(), &denied.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"3600".parse().unwrap())
        );
        assert_eq!(
            (&denied.headers()["x-long"], &denied.headers()["cache-control"]),
            (&"yes".parse().unwrap(), &"no-store".parse().unwrap())
        );
        assert_eq!(axum::body::to_bytes(denied.into_body(), 100).await.unwrap(), "long");
    }
}

#[tokio::test]
async fn each_counts_the_requests_that_it_is_for() {
    let all = limit("10/hour");
    let posts = limit("1/hour").methods([Method::POST]);
    let instead = limit("100/hour");
    let partners = all.clone().when(|head| head.headers.contains_key("x-test"), instead.clone());
    let app = app(partners.and(posts.clone()));
    for (request, status, left_of) in [
        (Request::get("/"), 200, [9, 1, 100]),
        (Request::post("/"), 200, [8, 0, 100]),
        (Request::post("/"), 429, [8, 0, 100]),
        (Request::get("/"), 200, [7, 0, 100]),
        (Request::get("/").header("x-test", "1"), 200, [7, 0, 99]),
        (Request::post("/").header("x-test", "1"), 429, [7, 0, 99]),
    ] {
        assert_eq!(ask(&app, request).await.status(), status);
        assert_eq!([&all, &posts, &instead].map(left), left_of);
    }
}

#[tokio::test]
async fn costs_and_plans_are_each_ones_own() {
    let clock = Clock::manual();
    let quota = Quota::per_hour(10);
    let builder = RateLimiter::builder(quota).capacity(64).clock(clock);
    let plans = builder.plan("pro", Quota::per_hour(1000)).unwrap().build();
    let pro = plans.plan("pro").unwrap();
    let by_plan = RateLimitLayer::sharing(&plans)
        .key(GlobalKey)
        .plan(move |head| if head.extensions.get::<()>().is_some() { pro } else { Plan::DEFAULT });
    let dear = limit("100/hour").cost(|head| if head.method == Method::POST { 40 } else { 0 });
    let app = app(by_plan.clone().and(dear.clone()));
    for _ in 0..10 {
        assert_eq!(get_it(&app).await.status(), 200);
    }
    assert_eq!((get_it(&app).await.status(), left(&dear)), (StatusCode::TOO_MANY_REQUESTS, 100));
    for status in [200, 200, 429] {
        assert_eq!(ask(&app, Request::post("/").extension(())).await.status(), status);
    }
    assert_eq!(
        (
            plans.on(pro).unwrap().standing(&GlobalKey.extract(&Request::new(()).into_parts().0).unwrap())[0]
                .remaining(),
            left(&dear)
        ),
        (988, 20)
    );
}

#[tokio::test]
async fn a_request_that_one_has_no_key_for_is_refused_and_charged_to_none() {
    let all = limit("10/hour");
    let by_user = RateLimitLayer::sharing(&limiter("10/hour").1).key(ExtensionKey::<u64>::new(|user: &u64| *user));
    for limit in [all.clone().and(by_user.clone()), by_user.clone().and(all.clone())] {
        assert_eq!(get_it(&app(limit)).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(left(&all), 10);
    let shared = by_user.when_no_key(tollgate::http::WhenNoKey::Share);
    assert_eq!(get_it(&app(all.clone().and(shared))).await.status(), StatusCode::OK);
    assert_eq!(left(&all), 9);
}

/// What is only rehearsed neither denies a request nor keeps the others from counting it.
#[tokio::test]
async fn a_shadow_is_asked_after_the_others_and_denies_nobody() {
    let counters = Counters::new();
    let (_, rehearsed) = limiter("1/hour");
    let shadow = RateLimitLayer::sharing(&rehearsed).key(GlobalKey).count_into(&counters).shadow();
    let acting = limit("3/hour");
    let app = app(shadow.clone().and(acting.clone()));
    for status in [200, 200, 200, 429, 429] {
        assert_eq!(get_it(&app).await.status(), status);
    }
    let counts = &counters.snapshot()[0];
    // Those that the acting limit denied were not put to the shadow.
    assert_eq!((counts.looked_at(), counts.shadow_denied(), counts.denied()), (3, 2, 0));
    assert_eq!(left(&acting), 0);
}

#[tokio::test]
async fn each_is_counted_for_itself_and_a_denial_where_it_was_denied() {
    let counters = Counters::new();
    let named = |name: &str, amount| {
        let limiter = RateLimiter::builder(Quota::per_hour(amount)).name(name).capacity(64).clock(Clock::manual());
        RateLimitLayer::sharing(&limiter.build()).key(GlobalKey).count_into(&counters)
    };
    let denied = Arc::new(AtomicU64::new(0));
    let hook = {
        let denied = denied.clone();
        move |_: &tollgate::Denied, _: &http::request::Parts| {
            denied.fetch_add(1, Relaxed);
        }
    };
    let app = app(named("a", 5).on_denied(|_, _| panic!("this one does not deny")).and(named("b", 2).on_denied(hook)));
    for _ in 0..5 {
        get_it(&app).await;
    }
    let counts = |name| counters.limiter(name).map(|counts| (counts.looked_at(), counts.denied())).unwrap();
    assert_eq!((counts("a"), counts("b"), denied.load(Relaxed)), ((2, 0), (5, 3), 3));
}

#[tokio::test]
async fn charges_are_settled_each_by_its_own_rule() {
    let failures = limit("3/hour").charge_when(|response| !response.status.is_success());
    let bytes = limit("100/hour").cost(|_| 50).settle_by_body(|bytes| bytes);
    let all = limit("10/hour");
    let app = app(failures.clone().and(bytes.clone()).and(all.clone()));
    let response = get_it(&app).await;
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "fine");
    assert_eq!([&failures, &bytes, &all].map(left), [3, 96, 9]);
    // A body that nobody reads to its end stays charged as estimated.
    drop(get_it(&app).await);
    assert_eq!([&failures, &bytes, &all].map(left), [3, 96, 8]);
    assert_eq!(ask(&app, Request::put("/")).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(left(&failures), 2);
}

#[tokio::test]
async fn the_tightest_is_told() {
    let telling = |policy| limit(policy).headers(Headers::XRateLimitDelta).headers_on_every_response().tell_handler();
    for limit in [telling("9/hour").and(telling("3/hour")), telling("3/hour").and(telling("9/hour"))] {
        let handler =
            get(|standing: axum::Extension<Standing>| async move { standing[0].quota().to_owned().into_response() });
        let app = Router::new().route("/", handler).layer(limit);
        let response = get_it(&app).await;
        assert_eq!(response.headers()["x-ratelimit-limit"], "3");
        assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "3/hour");
    }
}

/// However they are joined, all are asked and charged.
#[tokio::test]
async fn how_they_are_grouped_does_not_matter() {
    type Join = fn([RateLimitLayer<GlobalKey>; 4]) -> JointLayer;
    let ways: [Join; 3] = [
        |[a, b, c, d]| a.and(b).and(c).and(d),
        |[a, b, c, d]| a.and(b.and(c.and(d))),
        |[a, b, c, d]| a.and(b).and(c.and(d)),
    ];
    for join in ways {
        let limits = ["9/hour", "8/hour", "2/hour", "7/hour"].map(limit);
        let app = app(join(limits.clone()));
        let mut denied = 0;
        for _ in 0..3 {
            denied += u32::from(get_it(&app).await.status() == StatusCode::TOO_MANY_REQUESTS);
        }
        assert_eq!((denied, limits.each_ref().map(left)), (1, [7, 6, 0, 5]));
    }
}

/// A future that is dropped stays charged, to all; and a denial never calls what is inside.
#[tokio::test]
async fn a_request_that_is_given_up_stays_charged_to_all() {
    let (one, other) = (limit("2/hour"), limit("3/hour"));
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let app = Router::new()
        .route(
            "/",
            get(move || {
                counted.fetch_add(1, Relaxed);
                std::future::pending::<&str>()
            }),
        )
        .layer(one.clone().and(other.clone()));
    for _ in 0..2 {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let mut answer = Box::pin(app.clone().oneshot(request));
        assert!(poll_once(answer.as_mut()).is_none());
    }
    assert_eq!([&one, &other].map(left), [0, 1]);
    assert_eq!(get_it(&app).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(calls.load(Relaxed), 2);
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// Direct calls and layers judge by the same limits, and a layer answers what a direct call denied.
#[tokio::test]
async fn a_layer_answers_what_a_direct_call_denied() {
    let (_, address) = limiter("5/hour");
    let (_, user) = limiter("login: 1/hour");
    let answers = RateLimitLayer::sharing(&user)
        .denial_problem()
        .headers(Headers::Draft)
        .denial_header("x-local".parse().unwrap(), "true".parse().unwrap());
    let ask = || check_all(&[address.demand("1.2.3.4"), user.demand("alice")]);
    ask().unwrap();
    let denied = ask().unwrap_err();
    let (head, ()) =
        Request::post("/").header("content-type", "text/plain").header("x-secret", "1").body(()).unwrap().into_parts();
    let response = answers.denial(*denied.denied(), head);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["x-local"], "true");
    assert_eq!(response.headers()["ratelimit"], "\"login\";r=0;t=3600");
    assert!(!response.headers().contains_key("x-secret"));
    assert!(String::from_utf8_lossy(response.body()).contains("\"violated-policies\":[\"login\"]"));
    let (head, ()) = Request::post("/").header("content-type", "application/grpc").body(()).unwrap().into_parts();
    assert_eq!(answers.denial(*denied.denied(), head).headers()["grpc-status"], "8");
    assert_eq!(denied.into_response().status(), StatusCode::TOO_MANY_REQUESTS);
}

/// The layer tells the limiter the text of who was denied, alone and joined.
#[tokio::test]
async fn the_limiter_keeps_who_was_denied_most() {
    let build = || {
        let limiter = RateLimiter::builder(Quota::per_hour(1)).offenders(2).capacity(64).clock(Clock::manual()).build();
        (limiter.clone(), RateLimitLayer::sharing(&limiter).key(ExtensionKey::<u64>::new(|user: &u64| *user)))
    };
    let (alone, layer) = build();
    let (joined, part) = build();
    let routes = || Router::new().route("/", get(|| async { "fine" }));
    for (limiter, app) in [(alone, routes().layer(layer)), (joined, routes().layer(part.and(limit("100/hour"))))] {
        for user in [7_u64, 8, 8, 8, 7, 8, 9] {
            ask(&app, Request::get("/").extension(user)).await;
        }
        let keys: Vec<_> = limiter.offenders().iter().map(|offender| offender.key().to_owned()).collect();
        assert_eq!(keys, ["8", "7"]);
        assert!(
            (limiter.offenders()[0].denied_per_second() / limiter.offenders()[1].denied_per_second() - 3.0).abs()
                < 1e-9
        );
    }
    assert!(limiter("1/hour").1.offenders().is_empty());
}

/// What would be denied is answered without the service, as the service would, and what would pass is neither charged nor told.
#[tokio::test]
async fn a_denial_can_be_had_before_the_service_is_asked() {
    let counters = Counters::new();
    let (one, other) = (limit("2/hour"), limit("10/hour"));
    let limits = JointLayer::from(one.clone().count_into(&counters)).and(other.clone());
    let app = app(limits.clone());
    let head = || Request::new(()).into_parts().0;
    for _ in 0..2 {
        assert!((0..3).all(|_| limits.answer_if_denied(&mut head()).is_none()));
        assert_eq!(get_it(&app).await.status(), StatusCode::OK);
    }
    assert_eq!((left(&one), left(&other)), (0, 8));
    let counts = || counters.snapshot().pop().map(|counts| (counts.allowed, counts.denied())).unwrap();
    assert_eq!(counts(), (2, 0));
    let (early, mut late) = (limits.answer_if_denied(&mut head()).expect("it is over the limit"), get_it(&app).await);
    assert_eq!(counts(), (2, 2));
    // axum adds it, as whoever sends the early one will.
    assert_eq!(late.headers_mut().remove("content-length").unwrap(), early.body().len().to_string().as_str());
    assert_eq!((early.status(), early.headers()), (late.status(), late.headers()));
    assert!(early.extensions().get::<tollgate::Denied>().is_some());
    assert_eq!((left(&one), left(&other)), (0, 8));
    // A rehearsal denies nothing.
    let shadow = JointLayer::from(limit("0/hour").shadow());
    assert!(shadow.answer_if_denied(&mut head()).is_none());
}

/// A share is one of denials. If it were drawn for each request, then of denials that come at even distances, some long runs would
/// be all acted on, or none of them.
#[tokio::test]
async fn a_rollout_draws_for_each_denial() {
    let rollout = Rollout::new();
    rollout.set_enforced_percent(50).unwrap();
    let limiter = RateLimiter::builder(Quota::per_day(1)).capacity(10_000).clock(Clock::manual()).build();
    let some = RateLimitLayer::sharing(&limiter).key(ExtensionKey::<u64>::new(|user: &u64| *user)).rollout(&rollout);
    let all = limit("1000000/hour");
    let app = app(some.and(all.clone()));
    ask(&app, Request::get("/").extension(0_u64)).await;
    let (mut denied, mut passed) = (0, 0);
    for user in 1..40_u64 {
        // The 89th number of the sequence is close to the first: 89 is a Fibonacci number.
        for other in 0..88 {
            assert_eq!(ask(&app, Request::get("/").extension(1000 * user + other)).await.status(), 200);
        }
        match ask(&app, Request::get("/").extension(0_u64)).await.status() {
            StatusCode::TOO_MANY_REQUESTS => denied += 1,
            _ => passed += 1,
        }
    }
    assert!((18..=21).contains(&denied), "{denied} denied, {passed} passed");
    assert_eq!(left(&all), 1_000_000 - 1 - 39 * 88 - passed);
}

/// What is looked at before the service is asked is looked at twice. So neither a share nor a count is taken twice.
#[tokio::test]
async fn what_is_had_before_the_service_is_asked_is_not_taken_twice() {
    const REQUESTS: usize = 1000;
    for (enabled, enforced) in [(100, 10), (10, 100)] {
        let rollout = Rollout::new();
        rollout.set_enabled_percent(enabled).expect("a percentage");
        rollout.set_enforced_percent(enforced).expect("a percentage");
        let limits = JointLayer::from(limit("0/hour").rollout(&rollout));
        let app = app(limits.clone());
        let mut denied = 0;
        for _ in 0..REQUESTS {
            let (mut head, ()) = Request::new(()).into_parts();
            let early = limits.answer_if_denied(&mut head).is_some();
            denied += usize::from(early || get_it(&app).await.status() == StatusCode::TOO_MANY_REQUESTS);
        }
        assert!((95..=105).contains(&denied), "{denied} of {REQUESTS} instead of 100, at {enabled} % and {enforced} %");
    }

    let counters = Counters::new();
    let absent = |_: &http::request::Parts| None::<u64>;
    let limits = limit("1/hour").key(absent).when_no_key(WhenNoKey::Allow).count_into(&counters);
    let limits = JointLayer::from(limits);
    let (mut head, ()) = Request::new(()).into_parts();
    assert!(limits.answer_if_denied(&mut head).is_none());
    assert_eq!(get_it(&app(limits)).await.status(), StatusCode::OK);
    assert_eq!(counters.snapshot()[0].errors, 1);
}
