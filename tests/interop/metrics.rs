//! Counts by the `metrics` facade, as Prometheus would read them.

use std::convert::Infallible;

use http::{Request, Response};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tollgate::http::{Counters, GlobalKey, HeaderKey, KeyExtractor, Rollout};
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter, RateLimiterBuilder};
use tower::{Layer, ServiceExt, service_fn};

/// A layer of this policy, whoever asks. Its clock stands still.
fn limit(policy: &str) -> RateLimitLayer<GlobalKey> {
    for_all(builder(policy))
}

/// The same, of a limiter with a name.
fn named(name: &str, policy: &str) -> RateLimitLayer<GlobalKey> {
    for_all(builder(policy).name(name))
}

fn builder(policy: &str) -> RateLimiterBuilder {
    RateLimiter::builder(policy.parse::<Policy>().unwrap()).capacity(64).clock(Clock::manual())
}

fn for_all(limiter: RateLimiterBuilder) -> RateLimitLayer<GlobalKey> {
    RateLimitLayer::sharing(&limiter.build()).key(GlobalKey)
}

/// The layer, counting by the facade into this recorder.
fn counted<K>(recorder: &PrometheusRecorder, layer: RateLimitLayer<K>) -> RateLimitLayer<K> {
    metrics::with_local_recorder(recorder, || layer.metrics())
}

/// Makes so many requests, without a recorder.
fn ask<K: KeyExtractor>(layer: &RateLimitLayer<K>, requests: usize) {
    let app = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = layer.clone().any_body().layer(app);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..requests {
        let request = Request::builder().uri(format!("/{n}")).body(()).unwrap();
        runtime.block_on(service.clone().oneshot(request)).unwrap();
    }
}

/// The samples above zero, in order.
fn samples(recorder: &PrometheusRecorder) -> Vec<String> {
    let text = recorder.handle().render();
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && !line.ends_with(" 0"));
    let mut samples: Vec<_> = samples.map(str::to_owned).collect();
    samples.sort();
    samples
}

#[test]
fn each_outcome_has_its_counter() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let layer = counted(&recorder, named("api", "day: 5/day; week: 9/week"));
    ask(&layer, 8);
    ask(&layer.clone().shadow(), 2);
    ask(&layer.key(HeaderKey::new("x-key").unwrap()), 1);
    let expected = [
        r#"tollgate_allowed_total{limiter="api"} 5"#,
        r#"tollgate_denied_total{limiter="api",quota="day"} 3"#,
        r#"tollgate_errors_total{limiter="api"} 1"#,
        r#"tollgate_near_limit_total{limiter="api",quota="day"} 1"#,
        r#"tollgate_shadow_denied_total{limiter="api",quota="day"} 2"#,
    ];
    assert_eq!(samples(&recorder), expected);
}

#[test]
fn each_is_described_and_there_from_the_start() {
    let recorder = PrometheusBuilder::new().build_recorder();
    ask(&counted(&recorder, named("api", "day: 5/day; week: 9/week")), 0);
    let text = recorder.handle().render();
    for (name, series) in [("allowed", 1), ("denied", 2), ("shadow_denied", 2), ("near_limit", 2), ("errors", 1)] {
        assert!(text.contains(&format!("# HELP tollgate_{name}_total Requests ")), "{text}");
        assert!(text.contains(&format!("# TYPE tollgate_{name}_total counter")), "{text}");
        assert_eq!(text.matches(&format!("\ntollgate_{name}_total{{")).count(), series, "{text}");
    }
}

#[test]
fn a_series_for_each_quota_that_a_new_policy_brings() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let limiter = builder("a: 1/day; b: 9/week").name("api").quotas(3).build();
    let layer = counted(&recorder, RateLimitLayer::sharing(&limiter).key(GlobalKey));
    // A series of a quota that comes later is made where it is first counted.
    let recorded = |policy: &str, requests| {
        limiter.replace_policy(policy.parse::<Policy>().unwrap()).unwrap();
        metrics::with_local_recorder(&recorder, || ask(&layer, requests));
    };
    recorded("a: 1/day; b: 9/week", 2);
    recorded("b: 9/week; c: 5/month; a: 1/day", 1);
    recorded("b: 9/week; day: 1/day", 1);
    recorded("b: 9/week", 1);
    let expected = [
        r#"tollgate_allowed_total{limiter="api"} 2"#,
        r#"tollgate_denied_total{limiter="api",quota="a"} 2"#,
        r#"tollgate_denied_total{limiter="api",quota="day"} 1"#,
        r#"tollgate_near_limit_total{limiter="api",quota="a"} 1"#,
    ];
    assert_eq!(samples(&recorder), expected);
}

#[test]
fn series_do_not_grow_with_what_clients_send() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let by_path = |head: &http::request::Parts| Some(head.uri.path().to_owned());
    ask(&counted(&recorder, limit("day: 1/day")).key(by_path), 1000);
    let half = Rollout::new();
    half.set_enforced_percent(50).unwrap();
    ask(&counted(&recorder, limit("day: 1/day")).rollout(&half), 101);
    let expected = [
        r#"tollgate_allowed_total{limiter="day: 1/day"} 1001"#,
        r#"tollgate_denied_total{limiter="day: 1/day",quota="day"} 50"#,
        r#"tollgate_near_limit_total{limiter="day: 1/day",quota="day"} 1001"#,
        r#"tollgate_shadow_denied_total{limiter="day: 1/day",quota="day"} 50"#,
    ];
    assert_eq!(samples(&recorder), expected);
}

#[test]
fn beside_counters_and_only_where_asked_for() {
    let (recorder, counters) = (PrometheusBuilder::new().build_recorder(), Counters::new());
    ask(&counted(&recorder, named("both", "day: 1/day")).count_into(&counters), 2);
    ask(&named("neither", "day: 1/day"), 2);
    ask(&named("counters", "day: 1/day").count_into(&counters), 2);
    assert_eq!(counters.limiter("both").map(|both| (both.allowed, both.denied())), Some((1, 1)));
    assert!(samples(&recorder).iter().all(|sample| sample.contains(r#"limiter="both""#)));
}
