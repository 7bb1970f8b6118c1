//! Counters, hooks and names. (What is logged: log.rs.)

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::request::Parts;
use http::{Request, Response};
use tollgate::http::{Counters, GlobalKey, HeaderKey, LimiterCounts, Rollout, WhenNoKey};
use tollgate::{Clock, Denied, Policy, RateLimitLayer, RateLimiter, RateLimiterBuilder};
use tower::{Layer, ServiceExt, service_fn};

/// A layer of this policy, by the header `x-key`. Its clock stands still.
fn limit(policy: &str) -> RateLimitLayer<HeaderKey> {
    by_header(builder(policy))
}

/// The same, of a limiter with a name.
fn named(name: &str, policy: &str) -> RateLimitLayer<HeaderKey> {
    by_header(builder(policy).name(name))
}

fn builder(policy: &str) -> RateLimiterBuilder {
    RateLimiter::builder(policy.parse::<Policy>().unwrap()).capacity(64).clock(Clock::manual())
}

fn by_header(limiter: RateLimiterBuilder) -> RateLimitLayer<HeaderKey> {
    RateLimitLayer::sharing(&limiter.build()).key(HeaderKey::new("x-key").unwrap())
}

/// Makes a request with each of these keys; an empty one is none.
async fn ask(layer: &RateLimitLayer<HeaderKey>, keys: &str) {
    let service = layer
        .clone()
        .any_body()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    for key in keys.split(' ') {
        let mut request = Request::builder().uri(format!("/by/{key}"));
        if !key.is_empty() {
            request = request.header("x-key", key);
        }
        service.clone().oneshot(request.body(()).unwrap()).await.unwrap();
    }
}

/// Counts on one line: looked at = allowed + errors, and by quota in the order of their names denied, shadow-denied and near.
fn line(counts: &LimiterCounts) -> String {
    let mut line = format!("{}: {} = {} + {}", counts.name, counts.looked_at(), counts.allowed, counts.errors);
    for (quota, denied) in &counts.denied_by {
        line += &format!("; {quota} {denied} {} {}", counts.shadow_denied_by[quota], counts.near_limit_by[quota]);
    }
    line
}

fn lines(counters: &Counters) -> Vec<String> {
    counters.snapshot().iter().map(line).collect()
}

#[tokio::test]
async fn what_became_of_requests() {
    let counters = Counters::new();
    let layer = named("api", "two: 2/day; three: 3/week").count_into(&counters);
    assert_eq!(lines(&counters), ["api: 0 = 0 + 0; three 0 0 0; two 0 0 0"], "listed from the start");

    ask(&layer, "a a b ").await;
    assert_eq!(lines(&counters), ["api: 4 = 3 + 1; three 0 0 0; two 0 0 1"]);
    ask(&layer, "a a a b b").await;
    assert_eq!(lines(&counters), ["api: 9 = 4 + 1; three 0 0 0; two 4 0 2"]);
    ask(&layer.clone().shadow(), "a c").await;
    assert_eq!(lines(&counters), ["api: 11 = 5 + 1; three 0 0 0; two 4 1 2"]);
}

#[tokio::test]
async fn the_quota_that_denied_is_the_one_that_counts() {
    let counters = Counters::new();
    let layer = limit("hour: 3/hour; day: 2/day").count_into(&counters);
    ask(&layer, "a a a").await;
    ask(&layer.clone().shadow(), "a").await;
    assert_eq!(lines(&counters), ["hour: 3/hour; day: 2/day: 4 = 2 + 0; day 1 1 1; hour 0 0 0"]);
}

#[tokio::test]
async fn what_is_not_looked_at_is_not_counted() {
    let counters = Counters::new();
    let off = Rollout::new();
    off.set_enabled_percent(0).unwrap();
    ask(&named("exempt", "0/day").count_into(&counters).exempt(|_| true), "a a").await;
    ask(&named("free", "0/day").count_into(&counters).cost(|_| 0), "a a").await;
    ask(&named("off", "0/day").count_into(&counters).rollout(&off), "a a").await;
    ask(&named("elsewhere", "0/day").count_into(&counters).when(|_| true, limit("5/day")), "a a").await;
    for counts in counters.snapshot() {
        assert_eq!(counts.looked_at(), 0, "{}", counts.name);
    }
    assert_eq!(counters.snapshot().len(), 4);
}

#[tokio::test]
async fn an_override_counts_for_itself() {
    let counters = Counters::new();
    let other = named("other", "1/day").count_into(&counters);
    let layer = named("default", "9/day").count_into(&counters);
    ask(&layer.when(|head| head.uri.path() == "/by/a", other), "a a b").await;
    assert_eq!(lines(&counters), ["other: 2 = 1 + 0; 1/day 1 0 1", "default: 1 = 1 + 0; 9/day 0 0 0"]);
}

#[tokio::test]
async fn without_a_key() {
    let counters = Counters::new();
    for (name, when) in [("refuse", WhenNoKey::Refuse), ("allow", WhenNoKey::Allow), ("share", WhenNoKey::Share)] {
        ask(&named(name, "x: 1/day").when_no_key(when).count_into(&counters), " ").await;
    }
    let expected = ["refuse: 2 = 0 + 2; x 0 0 0", "allow: 2 = 0 + 2; x 0 0 0", "share: 2 = 1 + 0; x 1 0 1"];
    assert_eq!(lines(&counters), expected);
}

#[tokio::test]
async fn near_the_limit_is_above_four_fifths() {
    // As envoyproxy/ratelimit: more than floor(0.8 × limit) spent.
    for (limit_of, requests, near) in [(10, 8, 0), (10, 9, 1), (10, 10, 2), (1, 1, 1), (5, 4, 0), (5, 5, 1), (6, 5, 1)]
    {
        let counters = Counters::new();
        let layer = named("near", &format!("x: {limit_of}/day")).count_into(&counters);
        ask(&layer, &vec!["a"; requests].join(" ")).await;
        assert_eq!(counters.limiter("near").unwrap().near_limit(), near, "{requests} of {limit_of}");
        // Denials are not near the limit, they are over it.
        ask(&layer, &["a"; 20].join(" ")).await;
        assert_eq!(counters.limiter("near").unwrap().near_limit(), limit_of - limit_of * 4 / 5);
    }
}

#[tokio::test]
async fn layers_of_one_name_are_one_row() {
    let counters = Counters::new();
    let layer = named("api", "x: 2/day").count_into(&counters);
    let clone = layer.clone();
    ask(&layer, "a").await;
    ask(&layer, "a").await;
    ask(&clone, "a").await;
    ask(&named("api", "x: 9/day").count_into(&counters.clone()), "a").await;
    assert_eq!(lines(&counters), ["api: 4 = 3 + 0; x 1 0 1"]);
    // Another name, or other quotas, is another row.
    ask(&named("api", "y: 2/day").count_into(&counters), "a").await;
    ask(&named("b", "x: 2/day").count_into(&counters), "a").await;
    assert_eq!(lines(&counters)[1..], ["api: 1 = 1 + 0; y 0 0 0", "b: 1 = 1 + 0; x 0 0 0"]);
    assert_eq!(counters.limiter("b").as_ref().map(line).as_deref(), Some("b: 1 = 1 + 0; x 0 0 0"));
    assert_eq!(counters.limiter("c"), None);
}

#[tokio::test]
async fn rows_do_not_grow_with_what_clients_send() {
    let counters = Counters::new();
    let layer = named("api", "x: 1/day").count_into(&counters);
    for n in 0..1000 {
        ask(&layer, &format!("key-{n}")).await; // which also applies the layer anew
    }
    let text = format!("{counters:?}");
    assert_eq!(counters.snapshot().len(), 1);
    assert!(!text.contains("key-"), "{text}");
}

#[tokio::test]
async fn several_counters() {
    let (a, b) = (Counters::new(), Counters::new());
    ask(&named("both", "x: 1/day").count_into(&a).count_into(&b), "a a").await;
    assert_eq!(lines(&a), ["both: 2 = 1 + 0; x 1 0 1"]);
    assert_eq!(lines(&a), lines(&b));
}

#[tokio::test]
async fn counted_under_threads() {
    const EACH: u64 = 10_000;
    let counters = Counters::new();
    let layer = named("api", "x: 100/day").count_into(&counters);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(ask(&layer, &vec!["a"; EACH as usize].join(" ")));
            });
        }
    });
    assert_eq!(lines(&counters), ["api: 40000 = 100 + 0; x 39900 0 20"]);
}

/// What hooks were told: the quota and the path.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn hook(&self) -> impl Fn(&Denied, &Parts) + Send + Sync + 'static {
        let told = self.clone();
        move |denied, head| told.0.lock().unwrap().push(format!("{} {}", denied.status().quota(), head.uri.path()))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn hooks_are_told_of_denials() {
    let (denied, shadow) = (Told::default(), Told::default());
    let layer = limit("x: 1/day").on_denied(denied.hook()).on_shadow_denied(shadow.hook());
    ask(&layer, "a b ").await;
    assert_eq!((denied.take(), shadow.take()), (vec![], vec![]), "nothing was denied");
    ask(&layer, "a b").await;
    assert_eq!((denied.take(), shadow.take()), (vec!["x /by/a".to_owned(), "x /by/b".to_owned()], vec![]));
    ask(&layer.clone().shadow(), "b").await;
    assert_eq!((denied.take(), shadow.take()), (vec![], vec!["x /by/b".to_owned()]));
    // Half of them are acted on, and each is told to one of the two.
    let half = Rollout::new();
    half.set_enforced_percent(50).unwrap();
    ask(&layer.rollout(&half), &["a"; 100].join(" ")).await;
    let (denied, shadow) = (denied.take().len(), shadow.take().len());
    assert!(denied + shadow == 100 && denied.abs_diff(50) <= 1, "{denied} and {shadow}");
}

#[tokio::test]
async fn evictions_are_the_limiters_to_tell() {
    let layer = limit("1/day");
    ask(&layer, &(0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")).await;
    let stats = layer.limiter().stats();
    assert!(stats.len <= stats.capacity && stats.evicted > 0, "{stats:?}");
}

#[test]
fn a_layer_says_what_is_set_on_it() {
    let counters = Counters::new();
    let layer = named("api", "1/day").count_into(&counters).shadow().key(GlobalKey);
    let text = format!("{layer:?}");
    assert!(text.contains("\"api\"") && text.contains("shadow: true"), "{text}");
}
