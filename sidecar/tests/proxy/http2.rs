//! HTTP/2 on either side, as hyper speaks it and as it should not be spoken.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::world::{Echo, PATIENCE, Peer, global, proxy};

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

/// A field, uncompressed: HPACK's literal without indexing (RFC 7541, 6.2.2).
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    [&len.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END: u8 = 5; // of the headers, and of the stream

/// What comes back first that is an answer: a response (its status if HPACK has it in its table), or an error.
#[derive(Debug, PartialEq)]
enum Back {
    Status(u16),
    Other,
    Reset(u32),
    GoAway(u32),
    Closed,
}

fn raw(address: SocketAddr, frames: &[u8]) -> Back {
    let mut peer = Peer::connect(address);
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
    let _ = peer.send([&preface[..], frames].concat());
    loop {
        let Ok(head) = peer.take(9) else { return Back::Closed };
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Ok(payload) = peer.take(len) else { return Back::Closed };
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            HEADERS => {
                return match payload.iter().find(|byte| **byte & 0xe0 != 0x20) {
                    Some(0x88) => Back::Status(200),
                    Some(0x8c) => Back::Status(400),
                    Some(0x8e) => Back::Status(500),
                    _ => Back::Other,
                };
            }
            RST_STREAM => return Back::Reset(code(0)),
            GOAWAY => return Back::GoAway(code(4)),
            _ => {}
        }
    }
}

#[test]
fn http2_that_is_malformed_reaches_nobody() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    type Field<'a> = (&'a [u8], &'a [u8]);
    let method: Field<'_> = (b":method", b"GET");
    let scheme: Field<'_> = (b":scheme", b"http");
    let path: Field<'_> = (b":path", b"/");
    let authority: Field<'_> = (b":authority", b"a");
    let with = |more: &[Field<'_>]| -> Vec<u8> {
        [&[method, scheme, path, authority][..], more]
            .concat()
            .iter()
            .flat_map(|(name, value)| literal(name, value))
            .collect()
    };
    let only =
        |fields: &[Field<'_>]| -> Vec<u8> { fields.iter().flat_map(|(name, value)| literal(name, value)).collect() };
    let good = [
        with(&[]),
        with(&[(b"x", b"y")]),
        with(&[(b"x", b"")]),
        with(&[(b"x", b"a\tb")]),
        with(&[(b"x", b"\xc3\xa4")]),
        with(&[(b"te", b"trailers")]),
        with(&[(b"host", b"a")]),
        with(&[(b"content-length", b"0")]),
        only(&[method, scheme, path, (b"host", b"a")]),
        only(&[(b":method", b"OPTIONS"), scheme, (b":path", b"*"), authority]),
        only(&[scheme, path, authority, method]),
        only(&[method, scheme, (b":path", b"/a?b=c"), authority]),
    ];
    for block in &good {
        assert_eq!(raw(proxy.address(), &frame(HEADERS, END, 1, block)), Back::Status(200), "{}", block.escape_ascii());
        assert_eq!(echo.take().len(), 1);
    }
    let bad = [
        // RFC 9113, 8.2.1 and 8.2.2: names, values, and what is for a hop.
        with(&[(b"X", b"y")]),
        with(&[(b"", b"y")]),
        with(&[(b"x y", b"z")]),
        with(&[(b"x:", b"z")]),
        with(&[(b"x\0", b"z")]),
        with(&[(b"x\r\n", b"z")]),
        with(&[(b"\xc3\xa4", b"z")]),
        with(&[(b"x", b"a\0b")]),
        with(&[(b"x", b"a\rb")]),
        with(&[(b"x", b"a\nb")]),
        with(&[(b"x", b"a\r\nHost: evil")]),
        with(&[(b"x", b"a\x07b")]),
        with(&[(b"x", b"a\x7fb")]),
        with(&[(b"x", b" a")]),
        with(&[(b"x", b"a ")]),
        with(&[(b"x", b"\ta")]),
        with(&[(b"connection", b"close")]),
        with(&[(b"connection", b"x")]),
        with(&[(b"keep-alive", b"1")]),
        with(&[(b"proxy-connection", b"x")]),
        with(&[(b"transfer-encoding", b"chunked")]),
        with(&[(b"upgrade", b"websocket")]),
        with(&[(b"te", b"gzip")]),
        with(&[(b"te", b"trailers, gzip")]),
        with(&[(b"host", b"b")]),
        with(&[(b"host", b"a"), (b"host", b"a")]),
        with(&[(b"content-length", b"5")]),
        with(&[(b"content-length", b"0"), (b"content-length", b"5")]),
        with(&[(b"content-length", b"x")]),
        with(&[(b"content-length", b"-1")]),
        // 8.3 and 8.3.1: pseudo-header fields.
        with(&[(b":path", b"/")]),
        with(&[(b":method", b"GET")]),
        with(&[(b":scheme", b"http")]),
        with(&[(b":authority", b"a")]),
        with(&[(b":status", b"200")]),
        with(&[(b":unknown", b"x")]),
        with(&[(b":protocol", b"websocket")]),
        with(&[(b"x", b"y"), (b":authority", b"a")]),
        only(&[scheme, path, authority]),
        only(&[method, path, authority]),
        only(&[method, scheme, authority]),
        only(&[method, scheme, path]),
        only(&[]),
        only(&[method, scheme, (b":path", b""), authority]),
        only(&[method, scheme, (b":path", b"a"), authority]),
        only(&[method, scheme, (b":path", b"*"), authority]),
        only(&[method, scheme, (b":path", b"/ b"), authority]),
        only(&[method, scheme, (b":path", b"/\r\nx"), authority]),
        only(&[method, scheme, (b":path", b"/\0"), authority]),
        only(&[method, scheme, (b":path", b"/\x7f"), authority]),
        only(&[method, scheme, (b":path", b"/\xc3\xa4"), authority]),
        only(&[method, scheme, (b":path", b"/%00"), authority]),
        only(&[method, scheme, (b":path", b"http://b/"), authority]),
        only(&[method, (b":scheme", b""), path, authority]),
        only(&[method, (b":scheme", b"ftp"), path, authority]),
        only(&[method, (b":scheme", b"http://b/"), path, authority]),
        only(&[(b":method", b""), scheme, path, authority]),
        only(&[(b":method", b"G T"), scheme, path, authority]),
        only(&[(b":method", b"GET / HTTP/1.1\r\n"), scheme, path, authority]),
        only(&[(b":method", b"TRACE"), scheme, path, authority]),
        only(&[(b":method", b"CONNECT"), (b":authority", b"a:80")]),
        only(&[(b":method", b"CONNECT"), scheme, path, authority]),
        only(&[method, scheme, path, (b":authority", b"")]),
        only(&[method, scheme, path, (b":authority", b"user@a")]),
        only(&[method, scheme, path, (b":authority", b"a/b")]),
        only(&[method, scheme, path, (b":authority", b"a b")]),
        only(&[method, scheme, path, (b":authority", b"a:b")]),
        only(&[method, scheme, path, (b":authority", b"a\r\nx")]),
    ];
    let mut wrong = Vec::new();
    for block in &bad {
        let back = raw(proxy.address(), &frame(HEADERS, END, 1, block));
        let seen = echo.take();
        if back == Back::Status(200) || back == Back::Closed || !seen.is_empty() {
            wrong.push(format!("{}: {back:?} {seen:?}", block.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn http2_frames_that_are_wrong_end_the_stream_or_the_connection() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let request: Vec<u8> = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
        .iter()
        .flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes()))
        .collect();
    let open = frame(HEADERS, 4, 1, &request);
    let longer: Vec<u8> = [&request[..], &literal(b"content-length", b"5")].concat();
    let trailers = literal(b"content-length", b"5");
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("data on stream 0", frame(DATA, 1, 0, b"x")),
        ("data on a stream that is idle", frame(DATA, 1, 1, b"x")),
        ("headers on an even stream", frame(HEADERS, END, 2, &request)),
        ("headers on stream 0", frame(HEADERS, END, 0, &request)),
        ("continuation of nothing", frame(CONTINUATION, 4, 1, &request)),
        ("headers that are not continued", [frame(HEADERS, 1, 1, &request), frame(DATA, 1, 1, b"")].concat()),
        ("another frame between", [frame(HEADERS, 1, 1, &request), frame(PING, 0, 0, &[0; 8])].concat()),
        ("a block that cannot be read", frame(HEADERS, END, 1, &[0xff; 20])),
        ("padding longer than the frame", frame(HEADERS, END | 8, 1, &[200, 0])),
        ("a stream below the last", [frame(HEADERS, END, 5, &request), frame(HEADERS, END, 3, &request)].concat()),
        ("a frame that is too long", frame(DATA, 1, 1, &[0; 20_000])),
        ("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("settings: a window too large", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("settings: a frame size too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("settings: push that is neither", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("an acknowledgement with settings", frame(SETTINGS, 1, 0, &[0; 6])),
        ("ping of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("a window opened by 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window opened too far", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("a promise from a client", frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])),
        ("fewer bytes than promised", [frame(HEADERS, 4, 1, &longer), frame(DATA, 1, 1, b"hey")].concat()),
        ("more bytes than promised", [frame(HEADERS, 4, 1, &longer), frame(DATA, 1, 1, b"hello!")].concat()),
        (
            "a length in the trailers",
            [open.clone(), frame(DATA, 0, 1, b"x"), frame(HEADERS, END, 1, &trailers)].concat(),
        ),
        ("trailers that do not end", [open.clone(), frame(HEADERS, 4, 1, &literal(b"x", b"y"))].concat()),
    ];
    let mut wrong = Vec::new();
    for (what, frames) in &rows {
        let back = raw(proxy.address(), frames);
        let seen = echo.take();
        // A field that may not be a trailer may be dropped, and the request goes on.
        let dropped = *what == "a length in the trailers" && !seen.iter().any(|seen| seen.contains("content-length"));
        if !dropped && !matches!(back, Back::Reset(_) | Back::GoAway(1..)) {
            wrong.push(format!("{what}: {back:?} {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        raw(proxy.address(), &[frame(99, 0, 0, b"unknown"), frame(HEADERS, END, 1, &request)].concat()),
        Back::Status(200)
    );
}

/// Many streams that are opened and reset at once cost work, and nobody waits for the answers (CVE-2023-44487).
#[test]
fn a_rapid_reset_ends_the_connection() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let request: Vec<u8> = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
        .iter()
        .flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes()))
        .collect();
    let mut frames = Vec::new();
    for index in 0..5000u32 {
        let stream = 1 + 2 * index;
        frames.extend(frame(HEADERS, END, stream, &request));
        frames.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    assert!(matches!(raw(proxy.address(), &frames), Back::GoAway(_)));
}
