//! `tollgate demo`: an upstream, a proxy in front of it, and what to try.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::args::DemoArgs;
use crate::config::{Admin, Config, Limit};

/// Starts the upstream. Returns the proxy's configuration, and what to try.
///
/// # Errors
///
/// If the upstream cannot be started.
pub(super) fn set_up(args: &DemoArgs) -> io::Result<(Config, String)> {
    let upstream = upstream()?;
    let url = format!("http://{upstream}").parse().expect("an address");
    let mut config = Config::new(args.listen, url);
    config.limits.push(Limit::new("client", args.limit.clone()));
    config.admin = args.admin.0.clone();
    config.offenders = 20;
    let page = match &config.admin {
        Some(Admin::Tcp(address)) => format!("What it does is shown on http://{address}/ meanwhile.\n"),
        Some(other) => format!("What it does is shown on {other} meanwhile.\n"),
        None => String::new(),
    };
    let text = format!(
        "An upstream that says hello is on {upstream}, and tollgate in front of it on\n\
         {listen}. Each client address has {limit}. Try:\n\n  \
         for i in 1 2 3 4 5 6 7; do curl -si http://{listen}/ | head -1; done\n\n\
         {page}Ctrl-C ends it. The same for your own server:\n\n  \
         tollgate serve --listen 0.0.0.0:5002 --upstream http://localhost:5000 --limit \"{limit}\"\n\n",
        listen = args.listen,
        limit = args.limit,
    );
    Ok((config, text))
}

/// Starts a server that says hello, on a free port of this machine, until the program ends.
fn upstream() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo upstream".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service_fn(hello));
                tokio::spawn(connection);
            }
            #[expect(unreachable_code, reason = "says what `?` gives")]
            io::Result::Ok(())
        })
    })?;
    Ok(address)
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(format!("hello from the upstream: {} {}\n", request.method(), request.uri().path()))))
}
