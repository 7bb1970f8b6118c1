//! Metrics outside the limiter that leave denials out of what an autoscaler reads.
//!
//! A denial is answered in microseconds and costs nearly nothing. Counted with the rest, a flood of them looks like a
//! service that is fast and busy: the mean latency falls, the request rate soars, and an autoscaler that reads either is
//! misled by requests that were not served. So the layer outside looks for the mark that the limiter leaves in its answers.
//!
//! ```text
//! cargo run --example metrics -- --limit "2 per second" --listen 127.0.0.1:5000
//! ```
//!
//! and then, in another terminal, what it prints.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tollgate::{Denied, Policy, RateLimitLayer};

#[derive(Default)]
struct Metrics {
    /// Requests that were served, and how long that took: what an autoscaler may read.
    served: AtomicU64,
    served_micros: AtomicU64,
    /// Requests over the limit.
    denied: AtomicU64,
}

/// Measures all that comes out of the limiter and what is behind it.
async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    // The mark is there whether the layer denied or a handler did, over HTTP or gRPC (whose denials have status 200).
    if response.extensions().get::<Denied>().is_some() {
        metrics.denied.fetch_add(1, Relaxed);
    } else {
        metrics.served.fetch_add(1, Relaxed);
        metrics.served_micros.fetch_add(start.elapsed().as_micros() as u64, Relaxed);
    }
    response
}

/// The numbers as text, in the format that Prometheus reads.
async fn show(State(metrics): State<Arc<Metrics>>) -> String {
    let (served, denied) = (metrics.served.load(Relaxed), metrics.denied.load(Relaxed));
    let seconds = Duration::from_micros(metrics.served_micros.load(Relaxed)).as_secs_f64();
    format!(
        "# TYPE http_request_duration_seconds summary\n\
         http_request_duration_seconds_sum {seconds}\n\
         http_request_duration_seconds_count {served}\n\
         # TYPE http_requests_denied_total counter\n\
         http_requests_denied_total {denied}\n"
    )
}

/// Something that takes its time.
async fn work() -> &'static str {
    tokio::time::sleep(Duration::from_millis(20)).await;
    "done\n"
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_target(false).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (limit, listen) = arguments()?;

    let metrics = Arc::new(Metrics::default());
    let app = Router::new()
        .route("/work", get(work))
        .layer(RateLimitLayer::new(&limit))
        // What is added later is further outside.
        .layer(from_fn_with_state(metrics.clone(), measure))
        .route("/metrics", get(show).with_state(metrics));

    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("limiting each client to {limit} on http://{address}; try:");
    println!("  for i in 1 2 3 4 5 6; do curl -s http://{address}/work; done; curl -s http://{address}/metrics");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// `--limit` and `--listen`.
fn arguments() -> Result<(Policy, String), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;

    let mut limit: Policy = "28/second".parse()?;
    let mut listen = "127.0.0.1:5000".to_owned();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("limit") => limit = arguments.value()?.string()?.parse()?,
            Long("listen") => listen = arguments.value()?.string()?,
            Long("help") => {
                println!("usage: metrics [--limit \"28/second\"] [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok((limit, listen))
}
