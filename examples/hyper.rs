//! A bare hyper server, without a framework: the peer's address is put on each request by hand.
//!
//! ```text
//! cargo run --example hyper -- --limit "2 per second" --listen 127.0.0.1:5000
//! ```
//!
//! and then, in another terminal, what it prints.

use std::convert::Infallible;
use std::process::ExitCode;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tollgate::http::PeerAddr;
use tollgate::{Policy, RateLimitLayer};
use tower::ServiceBuilder;

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

    // One layer for the whole server. Its limiter is shared by the services that it makes, one for each connection.
    let layer = RateLimitLayer::new(&limit);

    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("limiting each client to {limit} on http://{address}; try:");
    println!("  for i in 1 2 3 4; do curl -si http://{address}/; done");
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = ServiceBuilder::new()
            // The limiter counts by peer address. hyper does not pass it on, but here it is known.
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .layer(layer.clone().any_body())
            .service_fn(hello);
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            if let Err(error) = connection.await {
                tracing::debug!("a connection failed: {error}");
            }
        });
    }
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(format!("hello from {}\n", request.uri().path()))))
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
                println!("usage: hyper [--limit \"28/second\"] [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok((limit, listen))
}
