//! The client's side: outgoing calls wait until their host may be asked again, first come first served for each host.
//!
//! ```text
//! cargo run -p tollgate-examples --example outgoing -- --limit "5 per second burst 1" --requests 6
//! ```
//!
//! It brings two small servers of its own, so nothing leaves this machine, and prints when each answer came.

use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use reqwest::{Client, Response, Url};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tollgate::{Policy, RateLimiter};

/// A client that asks each host only as often as it was told to.
#[derive(Clone)]
struct PoliteClient {
    client: Client,
    limiter: RateLimiter,
}

impl PoliteClient {
    async fn get(&self, url: Url) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        // Who would wait for a minute gives up now. So may whoever called: dropped here, nothing was charged.
        self.limiter.until_ready(url.authority()).within(Duration::from_secs(60)).await?;
        Ok(self.client.get(url).send().await?.error_for_status()?)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (limit, requests) = arguments()?;
    let client = PoliteClient { client: Client::new(), limiter: RateLimiter::new(&limit) };
    let hosts = [serve().await?, serve().await?];
    println!("{requests} requests to each of {} hosts, all made at once, at {limit} for each host:", hosts.len());

    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    for number in 1..=requests {
        for host in &hosts {
            let (client, url) = (client.clone(), Url::parse(&format!("http://{host}/hello/{number}"))?);
            calls.spawn(async move { client.get(url.clone()).await.map(|response| (url, response.status())) });
        }
    }
    while let Some(answer) = calls.join_next().await {
        let (url, status) = answer??;
        println!("{:8.3} s  {url}  {status}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// A server for the example, on a free port; says where.
async fn serve() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/hello/{number}", get(|| async { "hello\n" }));
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address.to_string())
}

/// How fast each host may be asked (`--limit`), and how often it is (`--requests`).
fn arguments() -> Result<(Policy, usize), Box<dyn std::error::Error + Send + Sync>> {
    use lexopt::prelude::*;

    let (mut limit, mut requests) = ("5 per second burst 1".to_owned(), 6);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("limit") => limit = arguments.value()?.string()?,
            Long("requests") => requests = arguments.value()?.parse()?,
            Long("help") => {
                println!("usage: outgoing [--limit \"5 per second burst 1\"] [--requests 6]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let limit = limit.parse().map_err(|error| format!("invalid limit: {error}"))?;
    Ok((limit, requests))
}
