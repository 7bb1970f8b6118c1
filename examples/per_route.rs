//! Limits in decorator style: different ones per route, one shared by two routes, one route exempt.
//!
//! ```text
//! cargo run --example per_route -- --listen 127.0.0.1:5000
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tollgate::{Denied, Policy, Quota, RateLimitLayer, RateLimiter};

fn app() -> Result<Router, Box<dyn std::error::Error>> {
    // Each route wears its own limit, from a string a person can read in a configuration file...
    let login = post(|| async { "welcome\n" }).layer(RateLimitLayer::new("5/minute; 100/day".parse::<Policy>()?));
    // ... or from code. (HEAD is GET without a body, and counts as the same route.)
    let search = get(|| async { "results\n" }).layer(RateLimitLayer::new(Quota::per_second(10).burst(30)));

    // One limit shared by two routes: clones of a layer share what has been spent.
    let reports = RateLimitLayer::per_minute(2);

    // The same limiter can be called directly, here by what the handler knows and the layer does not.
    let exports = RateLimiter::new(Quota::per_minute(3));

    Ok(Router::new()
        .route("/login", login)
        .route("/search", search)
        .route("/reports/daily", get(|| async { "a daily report\n" }).layer(reports.clone()))
        .route("/reports/weekly", get(|| async { "a weekly report\n" }).layer(reports))
        .route("/export/{account}", get(export).with_state(exports))
        // Exempt: it wears no layer.
        .route("/health", get(|| async { "fine\n" })))
}

/// Three exports a minute for each account, whoever asks: `?` answers 429 by itself.
async fn export(
    State(limiter): State<RateLimiter>,
    axum::extract::Path(account): axum::extract::Path<u64>,
) -> Result<String, Denied> {
    limiter.check(&account)?;
    Ok(format!("everything of account {account}\n"))
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
    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}; try:");
    println!("  for i in 1 2 3 4 5 6; do curl -s -X POST http://{address}/login; done");
    println!("  for i in daily weekly daily; do curl -s http://{address}/reports/$i; done");
    println!("  for i in 1 2 3 4; do curl -s http://{address}/export/7; done; curl -s http://{address}/export/8");
    println!("  for i in 1 2 3 4; do curl -s http://{address}/health; done");
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Where to listen: `--listen`.
fn arguments() -> Result<String, Box<dyn std::error::Error>> {
    use lexopt::prelude::*;

    let mut listen = "127.0.0.1:5000".to_owned();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => listen = arguments.value()?.string()?,
            Long("help") => {
                println!("usage: per_route [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(listen)
}
