//! An axum app whose limits Prometheus can watch: counters of allowed, denied and so on, by limiter and quota.
//!
//! ```text
//! cargo run -p tollgate-examples --example prometheus -- --listen 127.0.0.1:5000
//! ```
//!
//! and then, in another terminal, what it prints.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tollgate::{Policy, Quota, RateLimitLayer, RateLimiter};

/// The app, its limits and its metrics. The recorder must be there before the layers are made.
fn app(prometheus: PrometheusHandle) -> Result<Router, Box<dyn std::error::Error>> {
    let logins = "burst: 5/minute; daily: 100/day".parse::<Policy>()?;
    let logins = RateLimitLayer::sharing(&RateLimiter::builder(logins).name("logins").build()).metrics();
    // This one is only being tried: it denies nothing yet, and its shadow denials tell whom it would hit.
    let search = RateLimiter::builder(Quota::per_second(2)).name("search").build();
    let search = RateLimitLayer::sharing(&search).metrics().shadow();

    let limiter = logins.limiter().clone();
    Ok(Router::new()
        .route("/login", post(|| async { "welcome\n" }).layer(logins))
        .route("/search", get(|| async { "results\n" }).layer(search))
        .route("/metrics", get(move || async move { render(&prometheus, &limiter) })))
}

/// The counters as Prometheus reads them, and how full the limiter of logins is.
fn render(prometheus: &PrometheusHandle, logins: &RateLimiter) -> String {
    let stats = logins.stats();
    metrics::gauge!("tollgate_keys", "limiter" => "logins").set(stats.len as f64);
    metrics::counter!("tollgate_evicted_total", "limiter" => "logins").absolute(stats.evicted);
    prometheus.render()
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
    let listen = arguments()?;
    let app = app(PrometheusBuilder::new().install_recorder()?)?;

    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}; try:");
    println!("  for i in 1 2 3 4 5 6 7; do curl -s -X POST http://{address}/login; done");
    println!("  for i in 1 2 3 4 5; do curl -s http://{address}/search; done");
    println!("  curl -s http://{address}/metrics");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// `--listen`.
fn arguments() -> Result<String, Box<dyn std::error::Error>> {
    use lexopt::prelude::*;

    let mut listen = "127.0.0.1:5000".to_owned();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => listen = arguments.value()?.string()?,
            Long("help") => {
                println!("usage: prometheus [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(listen)
}
