//! Requests that become something else, such as a WebSocket.

use std::time::Duration;

use crate::world::{Peer, proxy, upstream};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

/// An upstream that agrees to what it is asked, and then sends everything back in capitals.
fn shouting(answer: &'static str) -> std::net::SocketAddr {
    upstream(move |stream| {
        let mut peer = Peer::of(stream);
        let Ok(Some(request)) = peer.read_request() else { return };
        assert_eq!((request.field("connection"), request.field("upgrade")), (Some("upgrade"), Some("websocket")));
        assert_eq!(request.field("sec-websocket-key"), Some("k"));
        peer.send(answer).unwrap();
        while let Ok(byte) = peer.take(1) {
            let _ = peer.send(byte.to_ascii_uppercase());
        }
    })
}

const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

#[test]
fn a_websocket_goes_through_both_ways() {
    let proxy = proxy(shouting(AGREED), |_| {});
    let mut client = Peer::connect(proxy.address());
    let answer = client.ask(ASK);
    assert_eq!(answer.status(), 101);
    assert_eq!((answer.field("upgrade"), answer.field("sec-websocket-accept")), (Some("websocket"), Some("x")));
    assert!(answer.field("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    for word in ["hello", "GET / HTTP/1.1\r\n\r\n", "\0\x01\x02"] {
        client.send(word).unwrap();
        assert_eq!(client.take(word.len()).unwrap(), word.to_ascii_uppercase().into_bytes());
    }
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.expect_end();
}

/// What stands behind the request, in the same packet, is for the other protocol, if there is one.
#[test]
fn what_follows_in_the_same_packet_goes_through_the_tunnel() {
    let proxy = proxy(shouting("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst"), |_| {});
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(format!("{ASK}early \x07")).status(), 101);
    let mut both = client.take("firstEARLY \x07".len()).unwrap();
    both.sort();
    let mut expected = b"firstEARLY \x07".to_vec();
    expected.sort();
    assert_eq!(both, expected);
}

#[test]
fn a_tunnel_in_which_nobody_speaks_is_closed() {
    let proxy = proxy(shouting(AGREED), |config| config.deadlines.idle = Duration::from_millis(100));
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(ASK).status(), 101);
    client.send("a").unwrap();
    assert_eq!(client.take(1).unwrap(), b"A");
    client.expect_end();
}

#[test]
fn an_upstream_may_decline() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(_)) = peer.read_request() {
            peer.send("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno").unwrap();
        }
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(ASK).status(), 426);
    assert_eq!(client.ask(ASK).status(), 426);
}

#[test]
fn nobody_can_agree_to_what_was_not_offered() {
    for agreed in ["Upgrade: h2c\r\n", "", "Upgrade: websocket, h2c\r\n"] {
        let address = upstream(move |stream| {
            let mut peer = Peer::of(stream);
            let _ = peer.read_request();
            let _ = peer.send(format!("HTTP/1.1 101 Switching Protocols\r\n{agreed}\r\nsmuggled"));
        });
        let proxy = proxy(address, |_| {});
        assert_eq!(Peer::connect(proxy.address()).ask(ASK).status(), 502, "{agreed:?}");
    }
}

/// What a tunnel carries nobody counts. So none is made for what carries requests, whatever the upstream would agree to.
#[test]
fn no_requests_go_through_a_tunnel() {
    let agreeing = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let _ = match request.all("upgrade").join(", ") {
                none if none.is_empty() => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
                all => peer.send(format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {all}\r\n\r\n")),
            };
        }
    });
    let proxy = proxy(agreeing, |config| config.limits.push(crate::world::global("100/day")));
    let ask = |offers: &str| {
        let fields =
            format!("Connection: upgrade, http2-settings\r\nUpgrade: {offers}\r\nHTTP2-Settings: AAMAAABkAAQAAP__");
        let mut client = Peer::connect(proxy.address());
        client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).status()
    };
    for harmless in ["websocket", "WebSocket", "tcp", "SPDY/3.1", "a, b/1"] {
        assert_eq!(ask(harmless), 101, "{harmless}");
    }
    for offers in [
        "h2c",
        "H2C",
        "h2",
        "h2c/1",
        "websocket, h2c",
        "h2c, websocket",
        "websocket\r\nUpgrade: h2c",
        "h2c\r\nUpgrade: websocket",
        "HTTP/2.0",
        "TLS/1.0, HTTP/1.1",
        "tls/1.2",
        "\"h2c\"",
        "h2c;q=1",
        "h2c websocket",
        "websocket h2c",
        "websocket,",
        "/h2c",
        "",
    ] {
        assert_eq!(ask(offers), 200, "{offers}");
    }
}
