//! Counting by what the application knows: each customer by an API key, and all who have none together.
//!
//! ```text
//! cargo run --example custom_key -- --listen 127.0.0.1:5000
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::http::request::Parts;
use axum::routing::get;
use tokio::net::TcpListener;
use tollgate::http::WhenNoKey;
use tollgate::{ClientIp, Key, KeyText, Quota, RateLimitLayer};

/// A customer, as the key says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Customer(u32);

/// A key of one's own needs a text, too: what a limiter shared between machines would store it under.
impl Key for Customer {
    fn write(&self, text: &mut KeyText) {
        self.0.write(text);
    }
}

/// The API keys that were given out, and whose they are. A real program would keep hashes of them in a database.
const API_KEYS: [(&str, Customer); 2] = [("secret-of-customer-1", Customer(1)), ("secret-of-customer-2", Customer(2))];

/// Finds the customer of a request. A key that was not given out is nobody's: otherwise a client that makes up keys would have
/// a new limit for each.
fn customer(head: &Parts) -> Option<Customer> {
    let given = head.headers.get("x-api-key")?;
    API_KEYS.into_iter().find(|(key, _)| given == *key).map(|(_, customer)| customer)
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

    // Two layers on one route. The inner one allows five a minute for each customer, and five for all together who show no
    // valid key. The outer one is a generous limit for each address, so that guessing keys is limited too.
    let per_customer = RateLimitLayer::new(Quota::per_minute(5)).key(customer).when_no_key(WhenNoKey::Share);
    let per_address = RateLimitLayer::new(Quota::per_minute(60)).key(ClientIp::default());

    let app = Router::new().route("/data", get(|| async { "data\n" })).layer(per_customer).layer(per_address);

    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}; try:");
    println!("  for i in 1 2 3 4 5 6; do curl -s -H 'x-api-key: secret-of-customer-1' http://{address}/data; done");
    println!("  curl -s -H 'x-api-key: secret-of-customer-2' http://{address}/data");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
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
                println!("usage: custom_key [--listen 127.0.0.1:5000]");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(listen)
}
