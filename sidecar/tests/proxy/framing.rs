//! Requests as bytes, and what RFC 9110 and RFC 9112 ask of who gets them. Behind the proxy an upstream echoes what reached it,
//! so a row also fails if the two do not agree where a request ends.

use crate::world::{Echo, Peer, proxy};

/// What becomes of the bytes of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// So many requests reach the upstream, and the next request on this connection is the next request.
    Good(usize),
    /// So many reach it, and the connection ends.
    Ends(usize),
    /// This status, the connection ends, and nothing reaches the upstream.
    No(u16),
    /// So many requests reach it, then this status, and the end.
    Until(usize, u16),
}
use Then::{Ends, Good, No, Until};

const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: canary\r\n\r\n";

#[test]
fn framing() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        config.deadlines.header = std::time::Duration::from_secs(1);
    });
    let rows = rows();
    assert!(rows.len() >= 200, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (bytes, then) in &rows {
        for pieces in [Pieces::One, Pieces::Two, Pieces::Bytes] {
            if bytes.len() > 2000 && pieces == Pieces::Bytes {
                continue;
            }
            if let Err(what) = check(&echo, proxy.address(), bytes, *then, pieces) {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
                wrong.push(format!("{text:?} ({pieces:?}) should be {then:?}: {what}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// In how many packets a request comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pieces {
    One,
    Two,
    Bytes,
}

fn check(echo: &Echo, address: std::net::SocketAddr, bytes: &[u8], then: Then, pieces: Pieces) -> Result<(), String> {
    echo.take();
    let mut client = Peer::connect(address);
    let size = match pieces {
        Pieces::One => bytes.len(),
        Pieces::Two => bytes.len().div_ceil(2),
        Pieces::Bytes => 1,
    };
    for piece in bytes.chunks(size.max(1)) {
        // Refused meanwhile, perhaps.
        let _ = client.send(piece);
    }
    let is_head = bytes.starts_with(b"HEAD ");
    let mut next = |what: &str, is_head: bool| -> Result<u16, String> {
        loop {
            let response = if is_head { Ok(Some(client.head())) } else { client.try_response() };
            match response {
                Ok(Some(response)) if response.status() == 100 => {}
                Ok(Some(response)) => return Ok(response.status()),
                other => return Err(format!("{what}: {other:?}")),
            }
        }
    };
    let (good, refused) = match then {
        Good(count) | Ends(count) => (count, None),
        No(status) => (0, Some(status)),
        Until(count, status) => (count, Some(status)),
    };
    for index in 0..good {
        let status = next("a good one", is_head && index == 0)?;
        if status != 200 {
            return Err(format!("request {index} got {status}"));
        }
    }
    if let Some(expected) = refused {
        let status = next("the refusal", is_head && good == 0)?;
        if status != expected {
            return Err(format!("refused with {status}"));
        }
    }
    let seen = echo.take();
    if seen.len() != good {
        return Err(format!("{} requests reached the upstream: {seen:?}", seen.len()));
    }
    if matches!(then, Good(_)) {
        let _ = client.send(CANARY);
        let answer = client.try_response().map_err(|error| format!("canary: {error}"))?;
        let answer = answer.ok_or("closed before the canary")?;
        let seen = echo.take();
        let is_canary = seen.len() == 1 && seen[0].starts_with("GET /canary HTTP/1.1\nhost: canary\n");
        if answer.status() != 200 || !is_canary {
            return Err(format!("instead of the canary, {seen:?} and {answer:?}"));
        }
    } else {
        client.expect_end();
    }
    Ok(())
}

/// A request with these lines behind the request line and a good `Host`.
fn with(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes()
}

/// A POST with these fields and this body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

/// A request with this line, and a good `Host`.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

/// A request with this `Host` alone.
fn host(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

fn rows() -> Vec<(Vec<u8>, Then)> {
    let long = |len: usize| "x".repeat(len);
    let mut rows: Vec<(Vec<u8>, Then)> = vec![
        // Request line (RFC 9112, 3).
        (line("GET / HTTP/1.1"), Good(1)),
        (line("GET /a/b?c=d&e HTTP/1.1"), Good(1)),
        (line("GET /a%20b HTTP/1.1"), Good(1)),
        (line("GET /?a={b}|c^d`e\\f HTTP/1.1"), Good(1)),
        (line("GET //a//b HTTP/1.1"), Good(1)),
        (line("GET /a/../b HTTP/1.1"), Good(1)),
        (line("HEAD / HTTP/1.1"), Good(1)),
        (line("DELETE / HTTP/1.1"), Good(1)),
        (line("OPTIONS / HTTP/1.1"), Good(1)),
        (line("OPTIONS * HTTP/1.1"), Good(1)),
        (line("PURGE / HTTP/1.1"), Good(1)),
        (line("get / HTTP/1.1"), Good(1)),
        (line("M-SEARCH / HTTP/1.1"), Good(1)),
        (line("GET http://a/ HTTP/1.1"), Good(1)),
        (line("GET http://a HTTP/1.1"), Good(1)),
        (line("GET HTTP://A:80/x HTTP/1.1"), Good(1)),
        (line("OPTIONS http://a HTTP/1.1"), Good(1)),
        (line("GET http://b/ HTTP/1.1"), No(400)),
        (line("GET http://a:81/ HTTP/1.1"), No(400)),
        (line("GET http://user@a/ HTTP/1.1"), No(400)),
        (line("GET http:/// HTTP/1.1"), No(400)),
        (line("GET ftp://a/ HTTP/1.1"), No(400)),
        (line("GET http:a HTTP/1.1"), No(400)),
        (line("GET a:80 HTTP/1.1"), No(400)),
        (line("GET a HTTP/1.1"), No(400)),
        (line("GET * HTTP/1.1"), No(400)),
        (line("POST * HTTP/1.1"), No(400)),
        (line("GET ? HTTP/1.1"), No(400)),
        (line("GET ../a HTTP/1.1"), No(400)),
        (line("CONNECT a:80 HTTP/1.1"), No(501)),
        (line("CONNECT / HTTP/1.1"), No(501)),
        (line("TRACE / HTTP/1.1"), No(405)),
        (line("GET  / HTTP/1.1"), No(400)),
        (line("GET /  HTTP/1.1"), No(400)),
        (line(" GET / HTTP/1.1"), No(400)),
        (line("\tGET / HTTP/1.1"), No(400)),
        (line("GET / HTTP/1.1 "), No(400)),
        (line("GET\t/ HTTP/1.1"), No(400)),
        (line("GET /\tHTTP/1.1"), No(400)),
        (line("GET /\x0bHTTP/1.1"), No(400)),
        (line("GET / a HTTP/1.1"), No(400)),
        (line("GET /"), No(400)),
        (line("GET"), No(400)),
        (line("GET HTTP/1.1"), No(400)),
        (line("/ HTTP/1.1"), No(400)),
        (line("G(T / HTTP/1.1"), No(400)),
        (line("GET@ / HTTP/1.1"), No(400)),
        (line("GE\x00T / HTTP/1.1"), No(400)),
        (line("GET /a#b HTTP/1.1"), No(400)),
        (line("GET /a<b HTTP/1.1"), No(400)),
        (line("GET /a\"b HTTP/1.1"), No(400)),
        (line("GET /a\\b HTTP/1.1"), No(400)),
        (line("GET /a%00b HTTP/1.1"), No(400)),
        (line("GET /\x00 HTTP/1.1"), No(400)),
        (line("GET /\x7f HTTP/1.1"), No(400)),
        (line("GET /\x01 HTTP/1.1"), No(400)),
        (b"GET /\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03".to_vec(), No(400)),
        (b"\x00\x00\x00\x00".to_vec(), No(400)),
        (b"\xff\xfe\xfd".to_vec(), No(400)),
        (line(&format!("GET /{} HTTP/1.1", long(8000))), Good(1)),
        (line(&format!("GET /{} HTTP/1.1", long(17_000))), No(414)),
        (line(&format!("GET /{} HTTP/1.1", long(100_000))), No(414)),
        (line(&format!("{} / HTTP/1.1", "A".repeat(100))), No(501)),
        (line(&format!("{} / HTTP/1.1", "A".repeat(70_000))), No(501)),
        // Versions (RFC 9110, 2.5).
        (line("GET / HTTP/1.2"), Good(1)),
        (line("GET / HTTP/1.9"), Good(1)),
        (line("GET / HTTP/1.0"), Ends(1)),
        (line("GET / HTTP/0.9"), No(505)),
        (line("GET / HTTP/2.0"), No(505)),
        (line("GET / HTTP/3.0"), No(505)),
        (line("GET / HTTP/9.9"), No(505)),
        (line("GET / HTTP/1"), No(400)),
        (line("GET / HTTP/1."), No(400)),
        (line("GET / HTTP/1.10"), No(400)),
        (line("GET / HTTP/01.1"), No(400)),
        (line("GET / HTTP/1.01"), No(400)),
        (line("GET / HTTP /1.1"), No(400)),
        (line("GET / HTTP/1 .1"), No(400)),
        (line("GET / HTTP/+1.1"), No(400)),
        (line("GET / http/1.1"), No(400)),
        (line("GET / HTTPS/1.1"), No(400)),
        (line("GET / XHTTP/1.1"), No(400)),
        (line("GET / HTTP/1.1x"), No(400)),
        (line("GET / HTTP\\1.1"), No(400)),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), Ends(1)),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec(), Good(1)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(), Ends(1)),
        (b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(), No(505)),
        // Lines (RFC 9112, 2.2).
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Good(1)),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Good(1)),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"   \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\rHost: a\r\r".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: b\rc: d\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rx: y\r\n\r\n".to_vec(), No(400)),
        // Host (RFC 9112, 3.2).
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), No(400)),
        (b"HEAD / HTTP/1.1\r\n\r\n".to_vec(), No(400)),
        (b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: y\r\nhOST: b\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n".to_vec(), No(400)),
        (host("a.example:8080"), Good(1)),
        (host("192.0.2.1"), Good(1)),
        (host("[::1]:80"), Good(1)),
        (host("a_b-c.~d%20"), Good(1)),
        (host("a:"), Good(1)),
        (host(" a "), Good(1)),
        (host(""), No(400)),
        (host("a, b"), No(400)),
        (host("a b"), No(400)),
        (host("a/b"), No(400)),
        (host("a?b"), No(400)),
        (host("a#b"), No(400)),
        (host("user@a"), No(400)),
        (host("http://a"), No(400)),
        (host("a:b"), No(400)),
        (host("a:80:80"), No(400)),
        (host("a:99999"), No(400)),
        (host("a:-1"), No(400)),
        (host(":80"), No(400)),
        (host("[::1"), No(400)),
        (host("[::1]x"), No(400)),
        (host("[z]"), No(400)),
        (host("::1"), No(400)),
        (host("a\\b"), No(400)),
        (host("a\x07"), No(400)),
        (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n".to_vec(), No(400)),
        // Fields (RFC 9112, 5; RFC 9110, 5.5 and 5.6).
        (with("x: y"), Good(1)),
        (with("x:y"), Good(1)),
        (with("x:"), Good(1)),
        (with("x: \t y \t "), Good(1)),
        (with("x: a\tb"), Good(1)),
        (with("!#$%&'*+-.^_`|~09az: y"), Good(1)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: \xc3\xa4\xff\r\n\r\n".to_vec(), Good(1)),
        (with("x : y"), No(400)),
        (with("x\t: y"), No(400)),
        (with(" x: y"), No(400)),
        (with("\tx: y"), No(400)),
        (with("x: y\r\n z"), No(400)),
        (with("x: y\r\n\tz"), No(400)),
        (with("x: y\r\n \r\nz: w"), No(400)),
        (with("x"), No(400)),
        (with("x y: z"), No(400)),
        (with(": y"), No(400)),
        (with("[x]: y"), No(400)),
        (with("x\"y: z"), No(400)),
        (with("x(y): z"), No(400)),
        (with("x,y: z"), No(400)),
        (with("x/y: z"), No(400)),
        (with("x{y}: z"), No(400)),
        (with("x\x00: y"), No(400)),
        (with("x\x7f: y"), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx\xc3\xa4: y\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\n\tx: y\r\nHost: a\r\n\r\n".to_vec(), No(400)),
        (with(&format!("x: {}", long(30_000))), Good(1)),
        (with(&format!("x: {}", long(70_000))), No(431)),
        (with(&format!("{}: y", long(70_000))), No(431)),
        (with(&format!("{}x: y", "x: y\r\n".repeat(90))), Good(1)),
        (with(&format!("{}x: y", "x: y\r\n".repeat(100))), No(431)),
        // Content-Length (RFC 9110, 8.6; RFC 9112, 6.3).
        (post("Content-Length: 5", "hello"), Good(1)),
        (post("Content-Length: 0", ""), Good(1)),
        (post("x: y", ""), Good(1)),
        (post("Content-Length:5", "hello"), Good(1)),
        (post("Content-Length:   5 \t", "hello"), Good(1)),
        (post("Content-Length:\t5", "hello"), Good(1)),
        (post("CONTENT-LENGTH: 5", "hello"), Good(1)),
        (post("Content-Length: 5", "helloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"), Good(2)),
        (post("Content-Length: 39", "GET /smuggled HTTP/1.1\r\nHost: a\r\nx: y\r\n"), Good(1)),
        (post("Content-Length: 5\r\nContent-Length: 5", "hello"), No(400)),
        (post("Content-Length: 5\r\nContent-Length: 6", "hello!"), No(400)),
        (post("Content-Length: 5\r\ncontent-length: 0", "hello"), No(400)),
        (post("Content-Length: 5, 5", "hello"), No(400)),
        (post("Content-Length: 5, 6", "hello!"), No(400)),
        (post("Content-Length: 5,", "hello"), No(400)),
        (post("Content-Length: -5", "hello"), No(400)),
        (post("Content-Length: -0", ""), No(400)),
        (post("Content-Length: +5", "hello"), No(400)),
        (post("Content-Length: 0x5", "hello"), No(400)),
        (post("Content-Length: 0o5", "hello"), No(400)),
        (post("Content-Length: 05", "hello"), No(400)),
        (post("Content-Length: 00", ""), No(400)),
        (post("Content-Length: 1_0", "helloworld"), No(400)),
        (post("Content-Length: 1 0", "helloworld"), No(400)),
        (post("Content-Length: 5.0", "hello"), No(400)),
        (post("Content-Length: 5e0", "hello"), No(400)),
        (post("Content-Length: \"5\"", "hello"), No(400)),
        (post("Content-Length: five", "hello"), No(400)),
        (post("Content-Length:", "hello"), No(400)),
        (post("Content-Length: 5;x", "hello"), No(400)),
        (post("Content-Length : 5", "hello"), No(400)),
        (post("Content-Length: 99999999999999999999", "hello"), No(400)),
        (post("Content-Length: 18446744073709551615", "hello"), No(400)),
        (post("Content-Length: 18446744073709551616", "hello"), No(400)),
        (post("Content-Length: 5\x0b", "hello"), No(400)),
        (post("Content-Length: \x005", "hello"), No(400)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa5\r\n\r\nhello".to_vec(), No(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Good(1)),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Good(1)),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Good(1)),
        (b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Ends(1)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 39\r\n\r\n".to_vec(), Good(1)),
        // Transfer-Encoding (RFC 9112, 6.1 and 6.3).
        (chunked("0\r\n\r\n"), Good(1)),
        (chunked("5\r\nhello\r\n0\r\n\r\n"), Good(1)),
        (post("transfer-encoding: CHUNKED", "5\r\nhello\r\n0\r\n\r\n"), Good(1)),
        (post("TRANSFER-ENCODING:chunked", "5\r\nhello\r\n0\r\n\r\n"), Good(1)),
        (post("Transfer-Encoding: \t chunked \t ", "5\r\nhello\r\n0\r\n\r\n"), Good(1)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(), Good(1)),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5", "5\r\nhello\r\n0\r\n\r\n"), No(400)),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), No(400)),
        (post("Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), No(400)),
        (post("Content-Length: 5\r\nTransfer-Encoding: identity", "hello"), No(400)),
        (post("Content-Length: 5\r\nTransfer-Encoding:", "hello"), No(400)),
        (post("Content-Length: 5\r\nTransfer-Encoding: xchunked", "hello"), No(400)),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked, gzip", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: identity", ""), No(400)),
        (post("Transfer-Encoding: gzip", ""), No(400)),
        (post("Transfer-Encoding: xchunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunkedx", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked;q=1", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chun ked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: , chunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked,", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding:", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: \x0cchunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: chunked\x00", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding : chunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding\t: chunked", "0\r\n\r\n"), No(400)),
        (post(" Transfer-Encoding: chunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), No(400)),
        (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), No(501)),
        (post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), No(501)),
        (post("Transfer-Encoding: identity, chunked", "0\r\n\r\n"), No(501)),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), No(400)),
        (
            b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            No(400),
        ),
        (post("Transfer_Encoding: chunked\r\nContent-Length: 5", "hello"), Good(1)),
        // Chunks (RFC 9112, 7.1).
        (chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), Good(1)),
        (chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), Good(1)),
        (chunked("005\r\nhello\r\n000\r\n\r\n"), Good(1)),
        (chunked("5;x\r\nhello\r\n0;y=z\r\n\r\n"), Good(1)),
        (chunked("5;x=\"y;z\\\"\"\r\nhello\r\n0\r\n\r\n"), Good(1)),
        (chunked("5 ; x = y\r\nhello\r\n0\r\n\r\n"), Good(1)),
        (chunked("5\r\nhello\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"), Good(2)),
        (chunked("0\r\nx: y\r\nz: w\r\n\r\n"), Good(1)),
        (chunked("\r\n"), No(400)),
        (chunked("0x5\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5_0\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("+5\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("-5\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked(" 5\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5 \r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5\t\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("g\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked(";x\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5\rhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5\r\nhello\n0\r\n\r\n"), No(400)),
        (chunked("5\r\nhello0\r\n\r\n"), No(400)),
        (chunked("5\r\nhello!!\r\n0\r\n\r\n"), No(400)),
        (chunked("5\r\nhell\r\n0\r\n\r\n"), No(400)),
        (chunked("5\r\nhello\r\n0\r\n\n"), No(400)),
        (chunked("5\r\nhello\r\n0\n\r\n"), No(400)),
        (chunked("5\r\nhello\r\n0\r\n\rx"), No(400)),
        (chunked("5;\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5;x=\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5;x y\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5;x\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5;x\rhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5;x\x00\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked("5;x=\"y\r\nhello\r\n0\r\n\r\n"), No(400)),
        (chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", long(65_000))), No(400)),
        (chunked("ffffffffffffffff\r\nhello"), No(400)),
        (chunked("fffffffffffffffff\r\nhello"), No(400)),
        (chunked("8000000000000000\r\nhello"), No(400)),
        (chunked("00000000000000000005\r\nhello\r\n0\r\n\r\n"), No(400)),
        // Trailers (RFC 9110, 6.5.1).
        (chunked("0\r\nContent-Length: 5\r\n\r\n"), No(400)),
        (chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), No(400)),
        (chunked("0\r\nHost: b\r\n\r\n"), No(400)),
        (chunked("0\r\nAuthorization: x\r\n\r\n"), No(400)),
        (chunked("0\r\nContent-Type: x\r\n\r\n"), No(400)),
        (chunked("0\r\nCookie: x\r\n\r\n"), No(400)),
        (chunked("0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"), No(400)),
        (chunked("0\r\nX_Forwarded-For: 1.2.3.4\r\n\r\n"), No(400)),
        (chunked("0\r\nX-Real-IP: 1.2.3.4\r\n\r\n"), No(400)),
        (chunked("0\r\nX_Real_IP: 1.2.3.4\r\n\r\n"), No(400)),
        (chunked("0\r\nContent_Length: 5\r\n\r\n"), No(400)),
        (chunked("0\r\nProxy: evil\r\n\r\n"), No(400)),
        (chunked("0\r\nx_y: z\r\n\r\n"), Good(1)),
        (chunked("0\r\nx : y\r\n\r\n"), No(400)),
        (chunked("0\r\n x: y\r\n\r\n"), No(400)),
        (chunked("0\r\nx\r\n\r\n"), No(400)),
        (chunked("0\r\nx: \x07\r\n\r\n"), No(400)),
        (chunked("0\r\nx: y\n\r\n"), No(400)),
        (chunked("0\r\nGET /smuggled HTTP/1.1\r\n\r\n"), No(400)),
        (chunked(&format!("0\r\nx: {}\r\n\r\n", long(20_000))), No(431)),
        // Connection, Expect, Upgrade.
        (with("Connection: keep-alive"), Good(1)),
        (with("Connection: x\r\nx: y"), Good(1)),
        (with("Connection: close, x"), Ends(1)),
        (with("Connection: host"), No(400)),
        (with("Connection: Content-Length"), No(400)),
        (with("Connection: transfer-encoding"), No(400)),
        (with("Connection: a b"), No(400)),
        (with("Expect: 100-continue"), Good(1)),
        (post("Expect: 100-continue\r\nContent-Length: 5", "hello"), Good(1)),
        (post("Expect: 100-Continue\r\nContent-Length: 5", "hello"), Good(1)),
        (post("Expect: the-unexpected\r\nContent-Length: 5", "hello"), No(417)),
        (with("Upgrade: websocket"), Good(1)),
        (with("Upgrade: websocket\r\nConnection: upgrade"), Good(1)),
        (with("Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__"), Good(1)),
        (post("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5", "hello"), Good(1)),
        (
            [with("Upgrade: websocket\r\nConnection: upgrade"), b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()]
                .concat(),
            Good(2),
        ),
        // Several in one packet.
        (
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
                .to_vec(),
            Good(3),
        ),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Good(2)),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\n".to_vec(), Until(1, 400)),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n".to_vec(), Until(1, 400)),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01".to_vec(), Until(1, 400)),
        (post("Content-Length: 4", "hello GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"), Until(1, 400)),
        (
            [chunked("5\r\nhello\r\n0\r\n\r\n"), post("Content-Length: 3", "abc"), chunked("zz\r\n")].concat(),
            Until(2, 400),
        ),
        ([line("GET /1 HTTP/1.1"), with("Connection: close"), line("GET /3 HTTP/1.1")].concat(), Ends(2)),
    ];
    // Each control byte, in a value, in a name and in a target. (RFC 9110, 5.5.)
    for byte in (0..0x20u8).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r')) {
        rows.push(([b"GET / HTTP/1.1\r\nHost: a\r\nx: a", &[byte][..], b"b\r\n\r\n"].concat(), No(400)));
        rows.push(([b"GET / HTTP/1.1\r\nHost: a\r\nx", &[byte][..], b"y: b\r\n\r\n"].concat(), No(400)));
        rows.push(([b"GET /a", &[byte][..], b"b HTTP/1.1\r\nHost: a\r\n\r\n"].concat(), No(400)));
    }
    rows
}
