//! An axum app limited by one line: Fibonacci numbers, 28 per second for each client.
//!
//! ```text
//! cargo run --example axum -- --limit "2 per second" --listen 127.0.0.1:5000
//! ```
//!
//! and then, in another terminal, what it prints.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tollgate::{Policy, RateLimitLayer};

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

    // The line that limits. The rest is the app as it was.
    let app = Router::new().route("/api/fib/{n}", get(fib)).layer(RateLimitLayer::new(&limit));

    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("limiting each client to {limit} on http://{address}; try:");
    println!("  while sleep 0.4; do curl -sI http://{address}/api/fib/1 | grep -iE '^HTTP|^retry'; done");
    // The limiter counts by peer address, which axum passes on when it is asked to.
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

async fn fib(Path(n): Path<u8>) -> Result<String, StatusCode> {
    let (mut a, mut b) = (0_u128, 1_u128);
    for _ in 0..n {
        (a, b) = (b, a.checked_add(b).ok_or(StatusCode::BAD_REQUEST)?);
    }
    Ok(format!("{a}\n"))
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
                println!("usage: axum [--limit \"28/second\"] [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok((limit, listen))
}
