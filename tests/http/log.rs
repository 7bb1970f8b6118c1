//! What the layer logs: law 10.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tollgate::http::{GlobalKey, HeaderKey, Headers};
use tollgate::{Clock, ManualClock, Policy, RateLimitLayer, RateLimiter};
use tower::{Layer, ServiceExt, service_fn};

use crate::logged::Lines;

fn limiter(policy: &str) -> (RateLimiter, ManualClock) {
    let clock = Clock::manual();
    let policy: Policy = policy.parse().unwrap();
    (RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build(), clock)
}

#[tokio::test]
async fn denials_do_not_flood_the_log() {
    let lines = Lines::listen();
    let app = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));

    // Two services of one layer and one of another, around one limiter; many keys.
    let (login, clock) = limiter("login: 1/day");
    let layer = RateLimitLayer::sharing(&login).key(HeaderKey::new("x-api-key").unwrap());
    let services = [
        layer.clone().any_body().layer(app),
        layer.clone().any_body().layer(app),
        layer.clone().headers(Headers::Draft).any_body().layer(app),
    ];
    let flood = async |requests: usize| {
        for n in 0..requests {
            let request = Request::builder().header("x-api-key", format!("secret-{}", n % 7)).body(()).unwrap();
            services[n % 3].clone().oneshot(request).await.unwrap();
        }
    };
    let none: [&str; 0] = [];

    flood(7).await;
    assert_eq!(lines.take(), none, "nothing was denied");

    // A burst is seen while it lasts: at its 1st, 10th, 100th, ...
    let over = |quota: &str, count: usize| {
        format!("INFO message=requests over the limit since the last such line latest_quota={quota:?} count={count}")
    };
    flood(200).await;
    assert_eq!(lines.take(), [over("login", 1), over("login", 9), over("login", 90)]);
    clock.advance(Duration::from_millis(999));
    flood(799).await;
    assert_eq!(lines.take(), none, "still the same second, and 999 in all");
    flood(2).await;
    assert_eq!(lines.take(), [over("login", 900)]);
    clock.advance(Duration::from_millis(1));
    flood(1).await;
    assert_eq!(lines.take(), [over("login", 2)]);

    // A reading of the clock from before, as one thread may have while another is in the next second already.
    clock.rewind(Duration::from_millis(500));
    flood(4).await;
    clock.advance(Duration::from_millis(600));
    flood(4).await;
    assert_eq!(lines.take(), none, "this second has had its line");
    clock.advance(Duration::from_secs(100));
    flood(1).await;
    assert_eq!(lines.take(), [over("login", 9)]);

    // Quiet seconds have no line, and another limiter has its own.
    clock.advance(Duration::from_secs(100));
    let service = RateLimitLayer::sharing(&limiter("0/second").0).key(GlobalKey).any_body().layer(app);
    service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(lines.take(), [over("0/second", 1)]);
    drop(service);
    assert_eq!(lines.take(), none, "nothing is left to say");

    // What is let pass in spite of the limit has a line of its own; a limiter's name is in it.
    let daily: Policy = "daily: 0/day".parse().unwrap();
    let api = RateLimiter::builder(daily).name("api").capacity(64).clock(Clock::manual()).build();
    let layer = RateLimitLayer::sharing(&api).key(GlobalKey);
    for layer in [layer.clone().shadow(), layer.clone(), layer.clone().shadow()] {
        layer.clone().any_body().layer(app).oneshot(Request::new(())).await.unwrap();
    }
    let expected = [
        r#"INFO message=requests over the limit, let pass, since the last such line limiter="api" latest_quota="daily" count=1"#,
        r#"INFO message=requests over the limit since the last such line limiter="api" latest_quota="daily" count=1"#,
    ];
    assert_eq!(lines.take(), expected);

    // What no line has covered is told when the limiter goes, with the last of those who share it.
    for _ in 0..3 {
        layer.clone().any_body().layer(app).oneshot(Request::new(())).await.unwrap();
    }
    drop(layer);
    assert_eq!(lines.take(), none, "the limiter is still there");
    drop(api);
    let expected = [
        r#"INFO message=requests over the limit since the last such line, until the limiter was dropped limiter="api" count=3"#,
        r#"INFO message=requests over the limit, let pass, since the last such line, until the limiter was dropped limiter="api" count=1"#,
    ];
    assert_eq!(lines.take(), expected);

    // So is what could not be counted, whichever way the layer came to its limiter.
    let expected = [
        "ERROR message=requests since the last such line cannot be counted: ".to_owned(),
        "ERROR message=requests since the last such line could not be counted, until the limiter was dropped count=2"
            .into(),
    ];
    for layer in [RateLimitLayer::per_second(1), RateLimitLayer::per_second(1).capacity(64)] {
        for _ in 0..3 {
            layer.clone().any_body().layer(app).oneshot(Request::new(())).await.unwrap();
        }
        drop(layer);
        let lines = lines.take();
        assert!(lines.len() == 2 && lines[0].starts_with(&expected[0]) && lines[1] == expected[1], "{lines:?}");
    }
}
