//! A gRPC server: calls over the limit are told RESOURCE_EXHAUSTED, and when to try again. One method has a limit of its own.
//!
//! ```text
//! cargo run -p tollgate-examples --example tonic -- --limit "2 per second" --listen 127.0.0.1:5000
//! ```
//!
//! and then, in another terminal, what it prints. The service is the standard health check, as one that exists already;
//! your own are added the same way.

use std::process::ExitCode;

use tokio::net::TcpListener;
use tollgate::{Policy, RateLimitLayer};
use tonic::Status;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_target(false).init();
    let ran = match arguments() {
        Ok(Arguments { call: Some(url), .. }) => call(url).await,
        Ok(Arguments { limit, listen, call: None }) => serve(limit, listen).await,
        Err(error) => Err(error),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(limit: Policy, listen: String) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("limiting each client to {limit} on http://{address}; try:");
    println!("  cargo run -p tollgate-examples --example tonic -- --call http://{address}");

    // The lines that limit. With the feature `tonic` the peer's address is found where tonic keeps it. Calls that stream are counted
    // by themselves: a few new ones a minute. Of a method's path, tonic knows this spelling alone.
    let limit = RateLimitLayer::new(limit).when(|head| head.uri.path() == WATCH, RateLimitLayer::per_minute(3));

    let (_reporter, health) = tonic_health::server::health_reporter();
    Server::builder().layer(limit).add_service(health).serve_with_incoming(TcpIncoming::from(listener)).await?;
    Ok(())
}

/// The method of the health check that streams.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Makes five calls of each method, and says what came of each.
async fn call(url: String) -> Result<(), Box<dyn std::error::Error>> {
    let channel = Endpoint::from_shared(url.clone())?.connect().await.map_err(|_| format!("cannot reach {url}"))?;
    let mut client = HealthClient::new(channel);
    for _ in 0..5 {
        let answer = client.check(HealthCheckRequest::default()).await;
        print("Check", answer.map(|response| format!("{:?}", response.into_inner().status())));
    }
    for _ in 0..5 {
        let answer = client.watch(HealthCheckRequest::default()).await;
        print("Watch", answer.map(|_stream| "a stream".to_owned()));
    }
    Ok(())
}

fn print(method: &str, answer: Result<String, Status>) {
    match answer {
        Ok(answer) => println!("{method}: {answer}"),
        Err(status) => {
            let wait = status.metadata().get("grpc-retry-pushback-ms").and_then(|value| value.to_str().ok());
            println!("{method}: {:?}, {}; try again in {} ms", status.code(), status.message(), wait.unwrap_or("?"));
        }
    }
}

struct Arguments {
    limit: Policy,
    listen: String,
    call: Option<String>,
}

/// `--limit` and `--listen` to serve, or `--call`.
fn arguments() -> Result<Arguments, Box<dyn std::error::Error>> {
    use lexopt::prelude::*;

    let mut limit: Policy = "28/second".parse()?;
    let mut listen = "127.0.0.1:5000".to_owned();
    let mut call = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("limit") => limit = arguments.value()?.string()?.parse()?,
            Long("listen") => listen = arguments.value()?.string()?,
            Long("call") => call = Some(arguments.value()?.string()?),
            Long("help") => {
                println!(
                    "usage: tonic [--limit \"28/second\"] [--listen 127.0.0.1:5000] | --call http://127.0.0.1:5000"
                );
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Arguments { limit, listen, call })
}
