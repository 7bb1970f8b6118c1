//! An axum app whose limit stands among tower-http's layers, and can be switched off.
//!
//! ```text
//! cargo run -p tollgate-examples --example stack -- --limit "2 per second" --listen 127.0.0.1:5000
//! ```
//!
//! and then, in another terminal, what it prints. `--limit none` serves without a limit.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tollgate::http::Headers;
use tollgate::{Policy, RateLimitLayer};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

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
    let told = Headers::Draft;
    let limit = limit.map(|policy| RateLimitLayer::new(policy).headers(told));

    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static("https://shop.example"))
        // Otherwise a page cannot read when to come back.
        .expose_headers(told.names());
    // The first is the outermost. A denial passes through all that stands outside of the limit: it is traced, and it carries
    // the headers of CORS. What is denied costs neither the handler nor what stands inside.
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new())
        .layer(cors)
        // It changes the body's type, so it stands outside of the limit, whose `None` changes nothing.
        .layer(CompressionLayer::new())
        .option_layer(limit)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(10)));
    let app = Router::new()
        .route("/", get(|| async { "hello ".repeat(100) }))
        .route("/panic", get(|| async { panics() }))
        .layer(layers);

    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("limiting among other layers on http://{address}; try:");
    println!("  for i in 1 2 3 4; do curl -si --compressed -H 'origin: https://shop.example' http://{address}/; done");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn panics() -> &'static str {
    panic!("as a handler should not")
}

/// `--limit` and `--listen`.
fn arguments() -> Result<(Option<Policy>, String), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;

    let mut limit = Some("28/second".parse()?);
    let mut listen = "127.0.0.1:5000".to_owned();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("limit") => {
                limit = match arguments.value()?.string()?.as_str() {
                    "none" => None,
                    policy => Some(policy.parse()?),
                }
            }
            Long("listen") => listen = arguments.value()?.string()?,
            Long("help") => {
                println!("usage: stack [--limit \"28/second\"] [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok((limit, listen))
}
