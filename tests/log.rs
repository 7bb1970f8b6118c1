//! What the layer logs: law 10. Alone in its process, because whether anybody listens to a line is remembered per process.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tollgate::http::{GlobalKey, HeaderKey, Headers};
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter};
use tower::{Layer, ServiceExt, service_fn};

/// Keeps the lines it is sent, each as its level and fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tollgate")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                write!(self.0, " {field}={value:?}").unwrap();
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

fn limiter(policy: &str) -> (RateLimiter, Clock) {
    let clock = Clock::manual();
    let policy: Policy = policy.parse().unwrap();
    (RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build(), clock)
}

#[tokio::test]
async fn denials_do_not_flood_the_log() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let app = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));

    // Two services of one layer and one of another, around one limiter; many keys.
    let (login, clock) = limiter("login: 1/day");
    let layer = RateLimitLayer::sharing(&login).key(HeaderKey::new("x-api-key").unwrap());
    let services = [layer.layer(app), layer.layer(app), layer.clone().headers(Headers::Draft).layer(app)];
    let flood = async |requests: usize| {
        for n in 0..requests {
            let request = Request::builder().header("x-api-key", format!("secret-{}", n % 7)).body(()).unwrap();
            services[n % 3].clone().oneshot(request).await.unwrap();
        }
    };
    let none: [&str; 0] = [];

    flood(7).await;
    assert_eq!(lines.take(), none, "nothing was denied");

    flood(1000).await;
    assert_eq!(lines.take(), [r#"INFO message=requests over the limit quota="login" count=1"#]);
    clock.advance(Duration::from_millis(999));
    flood(1000).await;
    assert_eq!(lines.take(), none, "still the same second");
    clock.advance(Duration::from_millis(1));
    flood(1000).await;
    assert_eq!(lines.take(), [r#"INFO message=requests over the limit quota="login" count=2000"#]);

    // A reading of the clock from before, as one thread may have while another is in the next second already.
    clock.rewind(Duration::from_millis(500));
    flood(1000).await;
    clock.advance(Duration::from_millis(600));
    flood(1000).await;
    assert_eq!(lines.take(), none, "this second has had its line");
    clock.advance(Duration::from_secs(100));
    flood(1).await;
    assert_eq!(lines.take(), [r#"INFO message=requests over the limit quota="login" count=3000"#]);

    // Quiet seconds have no line, and another limiter has its own.
    clock.advance(Duration::from_secs(100));
    let service = RateLimitLayer::sharing(&limiter("0/second").0).key(GlobalKey).layer(app);
    service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(lines.take(), [r#"INFO message=requests over the limit quota="0/second" count=1"#]);

    // What is let pass in spite of the limit has a line of its own; a layer's name is in it.
    let (api, _) = limiter("daily: 0/day");
    let layer = RateLimitLayer::sharing(&api).key(GlobalKey).named("api");
    for layer in [layer.clone().shadow(), layer.clone(), layer.shadow()] {
        layer.layer(app).oneshot(Request::new(())).await.unwrap();
    }
    let expected = [
        r#"INFO message=requests over the limit, let pass limiter="api" quota="daily" count=1"#,
        r#"INFO message=requests over the limit limiter="api" quota="daily" count=1"#,
    ];
    assert_eq!(lines.take(), expected);
}
