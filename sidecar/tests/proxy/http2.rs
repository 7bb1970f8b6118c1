//! HTTP/2 on either side, as hyper speaks it and as it should not be spoken.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::world::{Echo, PATIENCE, Peer, global, proxy, upstream};

type Sender = SendRequest<Full<Bytes>>;

/// A client of hyper's.
async fn client(address: SocketAddr) -> Sender {
    let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Within all patience.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

async fn whole(response: Response<Incoming>) -> (u16, HeaderMap, String, Option<HeaderMap>) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_bytes().to_vec()).unwrap(), trailers)
}

fn ask(path: &str) -> http::request::Builder {
    Request::builder().version(Version::HTTP_2).uri(format!("http://shop.example{path}"))
}

/// An upstream that speaks HTTP/2 without TLS. It answers with what it got, and with trailers.
fn h2c() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: Request<Incoming>| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let sum = body.trailers().and_then(|trailers| trailers.get("sum").cloned());
        let mut text = format!("{} {}\n", parts.method, parts.uri);
        for (name, value) in &parts.headers {
            text += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        if let Some(sum) = sum {
            trailers.insert("sum", sum);
        }
        let frames = [Frame::data(Bytes::from(text)), Frame::data(body.to_bytes()), Frame::trailers(trailers)];
        let frames = frames.into_iter().map(Ok::<_, Infallible>);
        Ok::<_, Infallible>(Response::new(Frames(frames.collect())))
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper::service::service_fn(answer);
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    address
}

/// A stream of these.
struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}

#[test]
fn a_request_goes_on_as_http1() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    run(async {
        let mut sender = client(proxy.address()).await;
        let request = ask("/a?b").header("cookie", "c=1").header("x-yours", "d").header("cookie", "e=2");
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(whole(answer).await.0, 200);
        let seen = echo.take().pop().unwrap();
        // RFC 9113, 8.2.3: the crumbs are one field again.
        assert!(seen.starts_with("GET /a?b HTTP/1.1\nhost: shop.example\nx-yours: d\ncookie: c=1; e=2\n"), "{seen}");
        assert!(seen.contains("\nx-forwarded-for: 127.0.0.1\n") && !seen.contains("content-length"), "{seen}");

        let request = ask("/").method("POST").body(Full::from("hello")).unwrap();
        let (status, _, body, _) = whole(sender.send_request(request).await.unwrap()).await;
        assert!(status == 200 && body.contains("\ncontent-length: 5\n") && body.ends_with("\nhello"), "{body}");

        let request = ask("/").method("HEAD").body(Full::default()).unwrap();
        assert_eq!(whole(sender.send_request(request).await.unwrap()).await.2, "");
    });
}

#[test]
fn many_requests_share_a_connection() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    run(async {
        let sender = client(proxy.address()).await;
        let asked = (0..200).map(|index| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request =
                    ask(&format!("/{index}")).method("POST").body(Full::from(vec![b'x'; index * 100])).unwrap();
                let (status, _, body, _) = whole(sender.send_request(request).await.unwrap()).await;
                assert!(status == 200 && body.starts_with(&format!("POST /{index} HTTP/1.1\n")));
                assert_eq!(body.bytes().rev().take_while(|byte| *byte == b'x').count(), index * 100);
            })
        });
        for task in asked.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

/// Whether the length is told or not, and whatever the upstream speaks. The connection goes on.
#[test]
fn a_body_above_the_cap_is_413_over_http2() {
    let echo = Echo::start();
    for upstream in [format!("http://{}", echo.address), format!("h2c://{}", h2c())] {
        let upstream: tollgate_sidecar::config::Upstream = upstream.parse().unwrap();
        let proxy = proxy("127.0.0.1:1".parse().unwrap(), |config| {
            config.upstreams = tollgate_sidecar::config::Upstreams::One(upstream.clone());
            config.caps.body_bytes = Some(10);
        });
        run(async {
            let io = TokioIo::new(tokio::net::TcpStream::connect(proxy.address()).await.unwrap());
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            for (len, expected) in [(5, 200), (6, 413), (5, 200)] {
                let pieces = [0, 1].map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; len]))));
                let request = ask("/").method("POST").body(Frames(pieces.into())).unwrap();
                assert_eq!(whole(sender.send_request(request).await.unwrap()).await.0, expected, "{len} {upstream}");
            }
            let mut sender = client(proxy.address()).await;
            for (len, expected) in [(10, 200), (11, 413), (10, 200)] {
                let request = ask("/").method("POST").body(Full::from(vec![b'x'; len])).unwrap();
                assert_eq!(whole(sender.send_request(request).await.unwrap()).await.0, expected, "{len} {upstream}");
            }
        });
    }
}

#[test]
fn a_denial_is_the_same_over_http2() {
    let proxy = proxy(Echo::start().address, |config| config.limits.push(global("0/second")));
    run(async {
        let mut sender = client(proxy.address()).await;
        let answer = sender.send_request(ask("/").body(Full::default()).unwrap()).await.unwrap();
        let (status, headers, body, _) = whole(answer).await;
        assert_eq!((status, &*body, &headers["content-length"]), (429, "local_rate_limited", &HeaderValue::from(18)));
    });
}

/// Neither library here passes on a hint over HTTP/2. The response comes all the same.
#[test]
fn a_hint_is_left_out_over_http2() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(_)) = peer.read_request() {
            let _ =
                peer.send("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        }
    });
    let proxy = proxy(address, |_| {});
    run(async {
        let mut sender = client(proxy.address()).await;
        let answer = sender.send_request(ask("/").body(Full::default()).unwrap()).await.unwrap();
        let (status, headers, body, _) = whole(answer).await;
        assert_eq!((status, headers.get("link"), &*body), (200, None, "hi"));
    });
}

/// gRPC: HTTP/2 from end to end, and what counts is in the trailers.
#[test]
fn grpc_goes_through_and_is_denied_in_its_own_way() {
    let upstream: tollgate_sidecar::config::Upstream = format!("h2c://{}", h2c()).parse().unwrap();
    let proxy = proxy("127.0.0.1:1".parse().unwrap(), |config| {
        config.upstreams = tollgate_sidecar::config::Upstreams::One(upstream);
        config.limits.push(global("2/hour"));
    });
    run(async {
        let mut sender = client(proxy.address()).await;
        let call = || {
            let request = ask("/shop.Cart/Add")
                .method("POST")
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            request.body(Full::from("message")).unwrap()
        };
        for _ in 0..2 {
            let (status, _, body, trailers) = whole(sender.send_request(call()).await.unwrap()).await;
            assert!(
                body.starts_with("POST http://shop.example/shop.Cart/Add\n") && body.ends_with("message"),
                "{body}"
            );
            assert!(body.contains("\nte: trailers\n"), "{body}");
            assert_eq!((status, &trailers.unwrap()["grpc-status"]), (200, &HeaderValue::from(0)));
        }
        let (status, headers, body, _) = whole(sender.send_request(call()).await.unwrap()).await;
        assert_eq!((status, &headers["grpc-status"], &*body), (200, &HeaderValue::from(8), ""));
    });
}

#[test]
fn http1_goes_on_as_http2() {
    let upstream: tollgate_sidecar::config::Upstream = format!("h2c://{}", h2c()).parse().unwrap();
    let proxy = proxy("127.0.0.1:1".parse().unwrap(), |config| {
        config.upstreams = tollgate_sidecar::config::Upstreams::One(upstream);
    });
    let mut client = Peer::connect(proxy.address());
    for _ in 0..2 {
        let answer = client.ask("GET /a?b HTTP/1.1\r\nHost: shop.example\r\nConnection: x\r\nx: y\r\n\r\n");
        assert_eq!(answer.status(), 200);
        assert!(
            answer.body().starts_with("GET http://shop.example/a?b\n") && !answer.body().contains("\nx: "),
            "{answer:?}"
        );
    }
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nsum: 1\r\n\r\n";
    assert!(client.ask(request).body().ends_with("\nhi"));
    // A body that is broken is not whole for anybody.
    assert_eq!(
        client.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz").status(),
        400
    );
    client.expect_end();
}

/// An upstream that restarts: the connection that all share is made anew.
#[test]
fn an_upstream_that_is_down_is_503_over_http2_too() {
    let upstream: tollgate_sidecar::config::Upstream = "h2c://127.0.0.1:1".parse().unwrap();
    let proxy = proxy("127.0.0.1:1".parse().unwrap(), |config| {
        config.upstreams = tollgate_sidecar::config::Upstreams::One(upstream);
    });
    assert_eq!(Peer::connect(proxy.address()).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 503);
}
