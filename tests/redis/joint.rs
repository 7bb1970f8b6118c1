//! Layers over limits on a server, judged as one.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tollgate::http::{Counters, GlobalKey, HeaderKey, Headers, JointLayer, ResponseBody, Rollout};
use tollgate::redis::{RedisLimiter, RedisStore, WhenUnreachable};
use tollgate::{Plan, RateLimitLayer, Standing};
use tower::{Layer, ServiceExt, service_fn};

use crate::cluster::cluster;
use crate::server::{Server, free_port, program};
use crate::{eventually, patient, policy};

/// A layer with one limit for all.
type Limit = RateLimitLayer<GlobalKey, RedisLimiter>;

fn limit(store: &RedisStore, name: &str, text: &str) -> Limit {
    RateLimitLayer::sharing(&RedisLimiter::new(store, name, policy(text)).unwrap()).key(GlobalKey)
}

/// By what the client says that it is.
fn by_client(store: &RedisStore, name: &str, text: &str) -> RateLimitLayer<HeaderKey, RedisLimiter> {
    limit(store, name, text).key(HeaderKey::new("x-client").unwrap())
}

async fn left(limit: &Limit) -> u64 {
    limit.limiter().peek(&()).await.unwrap().remaining()
}

/// What the application answers: which limit the handler was told of, and `401` where the path says so.
async fn application(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let told = request.extensions().get::<Standing>().map_or(String::new(), |standing| standing[0].quota().to_owned());
    let status = if request.uri().path() == "/fails" { 401 } else { 200 };
    Ok(Response::builder().status(status).body(Full::from(told)).unwrap())
}

type Answer = Response<ResponseBody<Full<Bytes>>>;

async fn ask(limits: &JointLayer<RedisLimiter>, request: Request<()>) -> Answer {
    limits.clone().any_body().layer(service_fn(application)).oneshot(request).await.unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers()[name].to_str().unwrap()
}

fn retry_after(answer: &Answer) -> u64 {
    header(answer, "retry-after").parse().unwrap()
}

async fn status(limits: &JointLayer<RedisLimiter>, path: &str) -> u16 {
    ask(limits, Request::builder().uri(path).body(()).unwrap()).await.status().as_u16()
}

#[tokio::test]
async fn all_are_charged_or_none_in_one_round_trip_and_the_longest_wait_is_told() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let short = limit(&store, "short", "2/hour fixed").denial_text("short");
    let long = limit(&store, "long", "3/day fixed")
        .denial_text("long")
        .denial_header("x-long".parse().unwrap(), "yes".parse().unwrap());
    let wide = limit(&store, "wide", "100/hour");
    for limits in [short.clone().and(long.clone()).and(wide.clone()), wide.clone().and(long.clone().and(short.clone()))]
    {
        for limit in [&short, &long, &wide] {
            limit.limiter().reset(&()).await.unwrap();
        }
        let before = store.stats().round_trips;
        assert_eq!([status(&limits, "/").await, status(&limits, "/").await], [200, 200]);
        assert_eq!(store.stats().round_trips, before + 2);
        let denied = ask(&limits, Request::new(())).await;
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(!denied.headers().contains_key("x-long"), "it would pass");
        assert_eq!([left(&short).await, left(&long).await, left(&wide).await], [0, 1, 98], "charged none");
        long.limiter().check(&()).await.unwrap();
        // What short has denied is remembered, but not that long would. So all are asked about by one who asks for all.
        short.limiter().reset(&()).await.unwrap();
        short.limiter().check_n(&(), 2).await.unwrap();
        let denied = ask(&limits, Request::new(())).await;
        assert_eq!((header(&denied, "x-long"), header(&denied, "cache-control")), ("yes", "no-store"));
        assert!(retry_after(&denied) > 2 * 3600);
        // It is known now.
        let before = store.stats().round_trips;
        assert_eq!(status(&limits, "/").await, 429);
        assert_eq!(store.stats().round_trips, before);
        assert_eq!(left(&wide).await, 98);
    }
}

#[tokio::test]
async fn each_keeps_its_scope_key_cost_plan_and_headers() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let limiter = RedisLimiter::builder(&store, "plans", policy("1/day"));
    let limiter = limiter.plan("pro", policy("5/day")).try_build().unwrap();
    let pro = limiter.plan("pro").unwrap();
    let plans = RateLimitLayer::sharing(&limiter)
        .key(GlobalKey)
        .plan(move |head| if head.headers.contains_key("x-pro") { pro } else { Plan::DEFAULT });
    let client = by_client(&store, "client", "2/day").exempt(|head| head.uri.path() == "/open");
    let dear = limit(&store, "dear", "100/day").cost(|head| if head.uri.path() == "/dear" { 60 } else { 1 });
    let other = limit(&store, "other", "9/day");
    let limits = plans.and(client.clone()).and(dear.clone().when(|head| head.uri.path() == "/other", other.clone()));
    let request = |path: &str, client: &str| {
        Request::builder().uri(path).header("x-client", client).header("x-pro", "1").body(()).unwrap()
    };
    for (path, name, expected, left_of) in [
        ("/", "a", 200, [4, 99, 9]),
        ("/dear", "a", 200, [3, 39, 9]),
        ("/", "a", 429, [3, 39, 9]),
        ("/open", "a", 200, [2, 38, 9]),
        ("/dear", "b", 429, [2, 38, 9]),
        ("/other", "b", 200, [1, 38, 8]),
    ] {
        assert_eq!(ask(&limits, request(path, name)).await.status(), expected, "{path} {name}");
        let of_plan = limiter.on(pro).unwrap().peek(&()).await.unwrap().remaining();
        assert_eq!([of_plan, left(&dear).await, left(&other).await], left_of, "{path} {name}");
    }
    // Who has no key is charged to none.
    assert_eq!(status(&limits, "/").await, 403);
    assert_eq!(left(&dear).await, 38);
}

#[tokio::test]
async fn charges_are_settled_each_by_its_own_rule_and_the_tightest_is_told() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let told = |limit: Limit| limit.headers(Headers::XRateLimitDelta).headers_on_every_response().tell_handler();
    let failures = told(limit(&store, "failures", "3/day")).charge_when(|head| head.status == 401);
    let all = told(limit(&store, "all", "9/day"));
    for limits in [failures.clone().and(all.clone()), all.clone().and(failures.clone())] {
        let before = left(&all).await;
        let answer = ask(&limits, Request::new(())).await;
        assert_eq!(answer.headers()["x-ratelimit-limit"], "3");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        assert_eq!(body, "3/day");
        // Nobody waits for it to be given back.
        eventually("it is given back", || async { left(&failures).await == 3 }).await;
        assert_eq!(left(&all).await, before - 1);
    }
    let limits = failures.clone().and(all.clone());
    assert_eq!([status(&limits, "/fails").await, status(&limits, "/fails").await], [401, 401]);
    assert_eq!((left(&failures).await, left(&all).await), (1, 5));
    assert_eq!(failures.limiter().stats().unsettled, 0);
}

/// A rehearsal denies nobody, counts only what the others let pass, and costs a round trip only where it would deny.
#[tokio::test]
async fn a_shadow_is_left_out_when_it_denies() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let counters = Counters::new();
    let shadow = limit(&store, "shadow", "1/day").count_into(&counters).shadow();
    let acting = limit(&store, "acting", "4/hour");
    let limits = shadow.clone().and(acting.clone());
    for (expected, round_trips) in [(200, 1), (200, 2), (200, 1), (200, 1), (429, 1), (429, 0)] {
        let before = store.stats().round_trips;
        let answer = ask(&limits, Request::new(())).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(store.stats().round_trips - before, round_trips);
        if expected == 429 {
            assert!(retry_after(&answer) <= 3600, "the shadow's wait is not told");
        }
    }
    let counts = &counters.snapshot()[0];
    assert_eq!((counts.allowed, counts.shadow_denied(), counts.denied()), (1, 3, 0));
    assert_eq!(left(&acting).await, 0);
}

#[tokio::test]
async fn a_rollout_takes_its_share_of_denials() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let rollout = Rollout::new();
    rollout.set_enforced_percent(10).unwrap();
    let never = limit(&store, "never", "0/hour").rollout(&rollout);
    let wide = limit(&store, "wide", "1000/day");
    let limits = never.and(wide.clone());
    let mut denied = 0;
    for _ in 0..200 {
        denied += u64::from(status(&limits, "/").await == 429);
    }
    assert!((17..=23).contains(&denied), "{denied} of 200 instead of 20");
    assert_eq!(left(&wide).await, 800 + denied, "who was denied was charged nothing");
}

/// Each as it is set, all or none, and nobody is asked again once a call was not answered.
#[tokio::test]
async fn without_a_server_all_is_decided_here_as_one() {
    let Some(_) = program() else { return };
    let store = RedisStore::new(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let limit = |name: &str, text: &str, when| {
        let limiter = RedisLimiter::builder(&store, name, policy(text)).when_unreachable(when).try_build().unwrap();
        RateLimitLayer::sharing(&limiter).key(GlobalKey)
    };
    let local = limit("local", "4/day", WhenUnreachable::local(2)).denial_text("local");
    let narrow = limit("narrow", "1/hour", WhenUnreachable::local(1)).denial_text("narrow");
    let (open, closed) =
        (limit("open", "1/day", WhenUnreachable::Open), limit("closed", "1/day", WhenUnreachable::Closed));
    let counters = Counters::new();
    let shadows = narrow.clone().shadow().count_into(&counters).and(closed.clone().shadow().count_into(&counters));
    let limits = local.clone().and(open.clone()).and(shadows);
    for expected in [200, 200, 429, 429] {
        assert_eq!(status(&limits, "/").await, expected);
    }
    let counts = |name: &str| counters.limiter(name).map(|counts| (counts.allowed, counts.shadow_denied())).unwrap();
    assert_eq!((counts("narrow"), counts("closed")), ((1, 1), (0, 2)));
    // Closed denies for a second, and local for longer.
    let answer = ask(&closed.clone().and(local.clone()), Request::new(())).await;
    assert_eq!(header(&answer, "retry-after"), "43200");
    local.limiter().reset(&()).await.unwrap_err();
    let answer = ask(&closed.and(local.clone()), Request::new(())).await;
    assert_eq!((answer.status().as_u16(), retry_after(&answer)), (429, 1));
    assert_eq!([status(&local.clone().and(open.clone()), "/").await, status(&local.and(open), "/").await], [200, 200]);
}

/// A call that was not answered may have charged. So it is not sent again, though one that only watches is to be left out.
#[tokio::test]
async fn a_server_that_does_not_answer_is_asked_once_for_all() {
    let Some(server) = Server::start() else { return };
    let store = RedisStore::builder(&server.url()).deadline(Duration::from_millis(200)).try_build().unwrap();
    let closed = |name: &str| {
        let limiter = RedisLimiter::builder(&store, name, policy("10/day"));
        RateLimitLayer::sharing(&limiter.when_unreachable(WhenUnreachable::Closed).try_build().unwrap()).key(GlobalKey)
    };
    let limits = limit(&store, "local", "10/day").and(closed("one").shadow()).and(closed("other").shadow());
    assert_eq!(status(&limits, "/").await, 200);
    server.pause();
    assert_eq!(status(&limits, "/").await, 200);
    server.resume();
    assert_eq!(store.stats().failures, 1);
}

/// In a cluster one is asked after the other, and one that does not act is passed by, without giving anything back.
#[tokio::test]
async fn in_a_cluster_what_another_denied_is_paid_back() {
    let Some(nodes) = cluster().await else { return };
    let store = patient(&nodes[0].url());
    let [per_client, shadow] = [by_client(&store, "client", "50/day"), by_client(&store, "shadow", "1/day").shadow()];
    let all = limit(&store, "all", "5/day");
    let limits = per_client.clone().and(shadow.clone()).and(all.clone());
    let request = |client: &str| Request::builder().header("x-client", client).body(()).unwrap();
    for (n, passes) in [2, 2, 1, 0, 0, 0, 0, 0].into_iter().enumerate() {
        let client = format!("client {n}");
        let mut passed = 0;
        for _ in 0..2 {
            passed += u64::from(ask(&limits, request(&client)).await.status() == StatusCode::OK);
        }
        let spent = 50 - per_client.limiter().peek(client.as_str()).await.unwrap().remaining();
        assert_eq!((passed, spent), (passes, passes), "{client}");
    }
    assert_eq!((left(&all).await, store.stats().failures), (0, 0));
}

/// What is known to be denied is answered before the service is asked, and no other look at the server is lost for it.
#[tokio::test]
async fn a_remembered_denial_can_be_had_ahead() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let (one, other) = (limit(&store, "one", "1/day"), limit(&store, "other", "9/day"));
    let limits = one.clone().and(other.clone());
    let ahead = || limits.answer_if_denied(&mut Request::new(()).into_parts().0).map(|answer| answer.status().as_u16());
    assert_eq!((ahead(), status(&limits, "/").await), (None, 200));
    assert_eq!((ahead(), status(&limits, "/").await), (None, 429));
    assert_eq!(ahead(), Some(429));
    assert_eq!((left(&other).await, one.limiter().stats().round_trips), (8, 2));
    // Another program resets it: this one notices, though somebody always looks ahead.
    RedisLimiter::new(&patient(&server.url()), "one", policy("1/day")).unwrap().reset(&()).await.unwrap();
    eventually("it passes again", || async { ahead().is_none() && status(&limits, "/").await == 200 }).await;
}

/// What makes no sense is answered all the same, and charged as it is asked.
#[tokio::test]
async fn odd_demands_are_judged_as_they_are_asked() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let one = limit(&store, "one", "10/day");
    // The same limit thrice, once only watching: two and one are charged.
    let thrice = one.clone().and(one.clone()).and(one.clone().shadow());
    for left_after in [7, 4, 1] {
        assert_eq!((status(&thrice, "/").await, left(&one).await), (200, left_after));
    }
    assert_eq!((status(&thrice, "/").await, left(&one).await), (429, 1), "two do not fit");
    one.limiter().refund(&(), 1).await.unwrap();
    assert_eq!((status(&thrice, "/").await, left(&one).await), (200, 0), "what watches is left out");
    // What costs nothing is asked of nobody, and what can never pass is for ever, and charges no other.
    let (free, wide) = (limit(&store, "free", "0/day").cost(|_| 0), limit(&store, "wide", "100/day"));
    assert_eq!(status(&free.and(wide.clone()), "/").await, 200);
    let answer = ask(&wide.clone().and(limit(&store, "dear", "9/day").cost(|_| u64::MAX)), Request::new(())).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (429, false));
    assert_eq!(left(&wide).await, 99);
    // Nothing to ask.
    let exempt = wide.clone().exempt(|_| true);
    assert_eq!(status(&exempt.clone().and(exempt), "/").await, 200);
    // A hundred limits, one of them narrow.
    let many: Vec<_> =
        (0..100).map(|n| limit(&store, &format!("of many {n}"), if n == 57 { "1/day" } else { "5/day" })).collect();
    let limits = many.iter().cloned().map(JointLayer::from).reduce(JointLayer::and).unwrap();
    let before = store.stats().round_trips;
    assert_eq!([status(&limits, "/").await, status(&limits, "/").await], [200, 429]);
    assert_eq!((store.stats().round_trips, left(&many[0]).await, left(&many[99]).await), (before + 2, 4, 4));
}

/// A policy that is replaced while requests are under way: all that pass are counted, by the one or the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_may_be_replaced_under_load() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let (one, other) = (limit(&store, "one", "100000/day fixed"), limit(&store, "other", "100000/day fixed"));
    let limits = one.clone().and(other.clone());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let limits = limits.clone();
            tokio::spawn(async move {
                let mut passed = 0;
                for _ in 0..250 {
                    passed += u64::from(status(&limits, "/").await == 200);
                }
                passed
            })
        })
        .collect();
    for n in 0..50 {
        one.limiter().replace_policy(policy(if n % 2 == 0 { "50000/day fixed" } else { "100000/day fixed" })).unwrap();
        tokio::task::yield_now().await;
    }
    let mut passed = 0;
    for client in clients {
        passed += client.await.unwrap();
    }
    assert_eq!((passed, left(&other).await), (1000, 99_000));
    let spent = one.limiter().standing(&()).await.unwrap()[0];
    assert_eq!((spent.limit(), spent.remaining()), (100_000, 99_000));
}
