//! The headers of the IETF draft, as a parser of Structured Fields reads them that knows nothing of tollgate.

use std::convert::Infallible;

use http::{HeaderValue, Request, Response};
use tollgate::http::{GlobalKey, Headers};
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter};
use tower::{Layer, ServiceExt, service_fn};

/// Reads a list of names with integer parameters, as any implementation of Structured Fields would.
fn structured(header: &HeaderValue) -> Vec<(String, Vec<(String, i64)>)> {
    let list: sfv::List = sfv::Parser::new(header.as_bytes()).parse().unwrap();
    let items = list.iter().map(|entry| {
        let sfv::ListEntry::Item(item) = entry else { panic!("a list in a list: {header:?}") };
        let name = item.bare_item.as_string().expect("the name is a String").as_str().to_owned();
        let integer = |value: &sfv::BareItem| i64::from(value.as_integer().expect("numbers are Integers"));
        let parameters = item.params.iter().map(|(key, value)| (key.as_str().to_owned(), integer(value)));
        (name, parameters.collect())
    });
    items.collect()
}

#[tokio::test]
async fn the_drafts_headers_are_structured_fields() {
    let named = |name: &str, values: &[(&str, i64)]| {
        (name.to_owned(), values.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect::<Vec<_>>())
    };
    let minute = named("5/minute", &[("q", 5), ("w", 60)]);
    for (policy, expected_policy, expected) in [
        ("5/minute", vec![minute.clone()], named("5/minute", &[("r", 4), ("t", 12)])),
        ("5/minute; a-b_c.d: 9/day fixed", vec![minute, named("a-b_c.d", &[("q", 9), ("w", 86_400)])], {
            named("5/minute", &[("r", 4), ("t", 12)])
        }),
        // No window where it is not a whole number of seconds: `w` is one, and at least 1.
        ("fast: 5 per 100 ms", vec![named("fast", &[("q", 5)])], named("fast", &[("r", 4), ("t", 1)])),
        ("odd: 5 per 1500 ms", vec![named("odd", &[("q", 5)])], named("odd", &[("r", 4), ("t", 1)])),
        // A burst above the amount is what remains, beyond `q`.
        ("b: 10/second burst 30", vec![named("b", &[("q", 10), ("w", 1)])], named("b", &[("r", 29), ("t", 1)])),
        // Integers of Structured Fields have at most 15 digits.
        (
            "huge: 300000000000000000 per 3650 days",
            vec![named("huge", &[("q", 999_999_999_999_999), ("w", 315_360_000)])],
            named("huge", &[("r", 999_999_999_999_999), ("t", 1)]),
        ),
    ] {
        let policy: Policy = policy.parse().unwrap();
        let limiter = RateLimiter::builder(policy.clone()).capacity(64).clock(Clock::manual()).build();
        let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).headers(Headers::Draft);
        let app = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
        let service = layer.headers_on_every_response().any_body().layer(app);
        let response = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(structured(&response.headers()["ratelimit-policy"]), expected_policy, "{policy}");
        assert_eq!(structured(&response.headers()["ratelimit"]), [expected], "{policy}");
    }
}
