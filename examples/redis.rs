//! Two axum servers that share one limit through Redis: what a client spends at one, it has spent at the other.
//!
//! ```text
//! cargo run --example redis --features redis -- --redis redis://127.0.0.1:6379 \
//!     --limit "2 per second" --listen 127.0.0.1:5000 --listen 127.0.0.1:5001
//! ```
//!
//! and then, in another terminal, what it prints. Stop the Redis server while that runs: each server then enforces its half.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tollgate::redis::{RedisLimiter, RedisStore, WhenUnreachable};
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
    let Arguments { redis, limit, listen } = arguments()?;

    let (mut listeners, mut urls) = (Vec::new(), Vec::new());
    for address in &listen {
        let listener =
            TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        urls.push(format!("http://{}/api/fib/1", listener.local_addr()?));
        listeners.push(listener);
    }
    let mut servers = tokio::task::JoinSet::new();
    let programs = u32::try_from(listen.len())?;
    for listener in listeners {
        // Each server has a store and a limiter of its own, as if it ran on a machine of its own.
        let store = RedisStore::new(&redis)?;
        // It would do without: its limits are local then. But an example should say what is missing.
        store.connect().await.map_err(|error| format!("{error}; start one first, as by: redis-server --port 6379"))?;
        let limiter = RedisLimiter::builder(&store, "fib", &limit)
            .when_unreachable(WhenUnreachable::local(programs))
            .try_build()?;
        let app = Router::new().route("/api/fib/{n}", get(fib)).layer(RateLimitLayer::sharing(&limiter));
        // The limiter counts by peer address, which axum passes on when it is asked to.
        servers
            .spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    }

    println!("limiting each client to {limit}, all servers together; try:");
    println!(
        "  while sleep 0.2; do curl -s -o /dev/null -w '%{{http_code}} %{{url}}\\n' {}; done",
        urls.join(" -o /dev/null ")
    );
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn fib(Path(n): Path<u8>) -> Result<String, StatusCode> {
    let (mut a, mut b) = (0_u128, 1_u128);
    for _ in 0..n {
        (a, b) = (b, a.checked_add(b).ok_or(StatusCode::BAD_REQUEST)?);
    }
    Ok(format!("{a}\n"))
}

struct Arguments {
    redis: String,
    limit: Policy,
    listen: Vec<String>,
}

/// `--redis`, `--limit`, and `--listen` as often as there are servers.
fn arguments() -> Result<Arguments, Box<dyn std::error::Error>> {
    use lexopt::prelude::*;

    let mut redis = "redis://127.0.0.1:6379".to_owned();
    let mut limit: Policy = "28/second".parse()?;
    let mut listen = Vec::new();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("redis") => redis = arguments.value()?.string()?,
            Long("limit") => limit = arguments.value()?.string()?.parse()?,
            Long("listen") => listen.push(arguments.value()?.string()?),
            Long("help") => {
                println!(
                    "usage: redis [--redis redis://127.0.0.1:6379] [--limit \"28/second\"] [--listen 127.0.0.1:5000]..."
                );
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    if listen.is_empty() {
        listen = vec!["127.0.0.1:5000".to_owned(), "127.0.0.1:5001".to_owned()];
    }
    Ok(Arguments { redis, limit, listen })
}
