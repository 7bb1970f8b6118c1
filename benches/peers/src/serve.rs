//! An axum server that answers "hello", with one of the layers around it or none, for `wrk` to ask. On one thread, so that what
//! is measured is what a request costs.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use axum::routing::get;
use axum_governor::extractor::PeerIp;
use axum_governor::nz;
use tokio::net::TcpListener;
use tollgate::{Quota, RateLimitLayer};
use tower::ServiceBuilder;
use tower_governor::governor::GovernorConfigBuilder;

/// Serves until it is stopped. Says on its first line where.
pub fn run(limiter: &str, work: &str) {
    let denied = work == "denied";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound").port());
        #[cfg(feature = "others")]
        if limiter == "axum_gcra" {
            return old_axum(listener, denied).await;
        }
        let app = app(limiter, denied).into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, app).await.expect("it serves until it is stopped");
    });
}

fn app(limiter: &str, denied: bool) -> Router {
    let hello = Router::new().route("/", get(|| async { "hello" }));
    let hour = Duration::from_secs(3600);
    match limiter {
        "none" => hello,
        "tollgate" => hello.layer(RateLimitLayer::new(if denied { Quota::per_hour(1) } else { wide() })),
        "tower_governor" => {
            let (period, burst) = if denied { (hour, 1) } else { (Duration::from_nanos(1), 1_000_000_000) };
            let config = GovernorConfigBuilder::default().period(period).burst_size(burst).finish();
            hello.layer(tower_governor::GovernorLayer::new(config.expect("the quota is valid")))
        }
        "axum-governor" => {
            let quota = match denied {
                true => axum_governor::Quota::requests_per_hour(nz!(1_u32)),
                false => axum_governor::Quota::requests_per_second(nz!(1_000_000_000_u32)),
            };
            let config = axum_governor::GovernorConfigBuilder::default()
                .with_extractor(PeerIp::default())
                .expect_connect_info()
                .quota_default(quota)
                .gc_disable()
                .finish()
                .expect("the configuration is valid");
            hello.layer(axum_governor::GovernorLayer::new(config))
        }
        // It delays, so what it lets pass is all there is to measure. It is not Clone: a buffer stands around it.
        "tower" => hello.layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR }))
                .buffer(1024)
                .rate_limit(u64::MAX, hour),
        ),
        _ => panic!("no such limiter: {limiter}"),
    }
}

fn wide() -> Quota {
    Quota::per_second(1_000_000_000)
}

#[cfg(feature = "others")]
async fn old_axum(listener: TcpListener, denied: bool) {
    use std::num::NonZeroU64;

    let interval = if denied { Duration::from_secs(3600) } else { Duration::from_nanos(1) };
    let burst = NonZeroU64::new(if denied { 1 } else { 1_000_000_000 }).expect("not zero");
    let layer = axum_gcra::RateLimitLayer::<crate::others::Peer>::builder()
        .with_default_quota(axum_gcra::gcra::Quota::new(interval, burst))
        .with_gc_interval(u64::MAX)
        .default_handle_error();
    let app = axum07::Router::new().route("/", axum07::routing::get(|| async { "hello" })).layer(layer);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum07::serve(listener, app).await.expect("it serves until it is stopped");
}
