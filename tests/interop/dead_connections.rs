//! Requests that wait while their client has gone, over real connections of hyper in tokio's paused time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, sleep, timeout};
use tollgate::http::PeerAddr;
use tollgate::{Clock, Quota, RateLimitLayer, RateLimiter};

/// Long enough for the server to have seen what there is to see, in time that stands still but for this.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// An application as the documentation of `delay` sets it up, and its limiter.
fn app(quota: Quota, delay: Duration, waiters_per_key: usize) -> (Router, RateLimiter) {
    let limiter =
        RateLimiter::builder(quota).capacity(64).clock(Clock::tokio()).waiters_per_key(waiters_per_key).build();
    let routes = Router::new().route("/", post(|| async { "made" })).route("/", get(|| async { "got" }));
    (routes.layer(RateLimitLayer::sharing(&limiter).delay(delay)), limiter)
}

/// A connection to the application from this address.
fn connect(app: &Router, from: [u8; 4]) -> DuplexStream {
    let (client, server) = tokio::io::duplex(1 << 16);
    let app = app.clone().layer(axum::Extension(PeerAddr(SocketAddr::from((from, 1)))));
    tokio::spawn(async move {
        let service = TowerToHyperService::new(app);
        // Both protocols, as servers have it; it ends with an error where the client has gone.
        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(server), service)
            .await
            .ok();
    });
    client
}

/// Sends the head of a POST, and goes away while its body is awaited.
async fn dies(app: &Router, from: [u8; 4]) {
    let mut connection = connect(app, from);
    connection.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    settle().await;
}

/// The status of an honest request.
async fn status(app: &Router, from: [u8; 4]) -> String {
    let mut connection = connect(app, from);
    let request = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\ndata";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer[9..12].to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_dead_keep_nobody_waiting_for_a_second() {
    // As documented: a short delay, and few places for each key. The second lets places run out, not the time.
    for (quota, waiters_per_key) in [(Quota::per_second(10), 1024), (Quota::per_second(100).burst(1), 8)] {
        let (app, limiter) = app(quota, Duration::from_millis(500), waiters_per_key);
        let (bad, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let dead = async {
            loop {
                // 88 at one time, again and again.
                let all = (0..88).map(|_| {
                    let app = app.clone();
                    tokio::spawn(async move { dies(&app, bad).await })
                });
                for one in all.collect::<Vec<_>>() {
                    one.await.unwrap();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let honest = async {
            for _ in 0..5 {
                sleep(Duration::from_millis(7)).await;
                assert!(limiter.stats().waiters <= 8, "{:?}", limiter.stats());
                let start = Instant::now();
                let told = timeout(Duration::from_secs(1), status(&app, bad)).await;
                let told = told.expect("it is served or told within a second");
                assert!(["200", "429"].contains(&told.as_str()), "{told}");
                assert!(start.elapsed() <= Duration::from_millis(502), "{:?}", start.elapsed());
            }
            // Another client never notices.
            for _ in 0..5 {
                let start = Instant::now();
                assert_eq!(status(&app, other).await, "200");
                assert!(start.elapsed() <= Duration::from_millis(102), "{:?}", start.elapsed());
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = dead => unreachable!("it goes on"),
            () = honest => {}
        }
        // The dead have lost their places, each by the end of its delay.
        sleep(Duration::from_millis(600)).await;
        assert_eq!(limiter.stats().waiters, 0);
    }
}

/// What hyper notices: that a client of HTTP/1.1 has gone whose request has no body, or whose body is there.
#[tokio::test(start_paused = true)]
async fn who_has_sent_all_and_goes_gives_the_place_back() {
    let (app, limiter) = app(Quota::per_hour(1), Duration::from_secs(36_000), 1024);
    let from = [192, 0, 2, 1];
    assert_eq!(status(&app, from).await, "200");
    let mut connection = connect(&app, from);
    connection.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    settle().await;
    assert_eq!(limiter.stats().waiters, 1);
    drop(connection);
    settle().await;
    assert_eq!(limiter.stats().waiters, 0, "a GET");

    // What remains: hyper does not look at the connection while a body waits to be read.
    dies(&app, from).await;
    settle().await;
    assert_eq!(limiter.stats().waiters, 1, "a POST; if this is 0, hyper has learnt it, and `delay` can say so");
}

/// A body of which nothing ever comes.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn over_http2_whoever_goes_gives_the_place_back() {
    let (app, limiter) = app(Quota::per_hour(1), Duration::from_secs(36_000), 1024);
    let mut server = connect(&app, [192, 0, 2, 1]);
    let (client, mut wire) = tokio::io::duplex(1 << 16);
    let wire = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut wire, &mut server).await });
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    let mut post = || sender.send_request(Request::post("http://a/").body(Nothing).unwrap());
    assert_eq!(post().await.unwrap().status(), 200);
    // One request is cancelled, and another's connection breaks.
    let (cancelled, broken) = (tokio::spawn(post()), tokio::spawn(post()));
    settle().await;
    assert_eq!(limiter.stats().waiters, 2);
    cancelled.abort();
    settle().await;
    assert_eq!(limiter.stats().waiters, 1);
    wire.abort();
    settle().await;
    assert_eq!(limiter.stats().waiters, 0);
    broken.abort();
}

/// The same over sockets of the operating system, where a client closes its end and the server's still reads as open. Nobody has
/// to wait for the dead: what is answered here is answered at once, because a delay of ten hours would not end.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_dead_on_sockets_keep_nobody_waiting() {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use crate::client::soon;

    const PLACES: usize = 8;
    let limiter =
        RateLimiter::builder(Quota::per_hour(1)).capacity(64).clock(Clock::manual()).waiters_per_key(PLACES).build();
    let limit = RateLimitLayer::sharing(&limiter).delay(Duration::from_secs(36_000));
    let app = Router::new().route("/", post(|| async { "made" })).layer(limit);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });

    /// A POST from this address, of whose body so much is sent.
    async fn post_from(from: Ipv4Addr, to: SocketAddr, body: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = soon(socket.connect(to)).await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
    async fn status_of(mut stream: TcpStream) -> String {
        let mut answer = [0; 12];
        soon(stream.read_exact(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    }
    let (bad, other) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(status_of(post_from(bad, to, "data").await).await, "200");

    // 88 whose body never comes. Eight have a place, and all others are told so at once.
    for n in 0..88 {
        let dead = post_from(bad, to, "").await;
        if n < PLACES {
            while limiter.stats().waiters <= n {
                sleep(Duration::from_millis(1)).await;
            }
        } else {
            assert_eq!(status_of(dead).await, "429", "{n}");
        } // and gone
    }
    assert_eq!(limiter.stats().waiters, PLACES);

    // An honest request on their key is told, and one on another key is served.
    assert_eq!(status_of(post_from(bad, to, "data").await).await, "429");
    assert_eq!(status_of(post_from(other, to, "data").await).await, "200");
    // What remains, as `delay` says: the dead keep their places. If this is 0, hyper has learnt it, and `delay` can say so.
    assert_eq!(limiter.stats().waiters, PLACES);
}
