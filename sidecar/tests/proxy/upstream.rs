//! An upstream that is down, slow, or answers what is not HTTP.

use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use tollgate_sidecar::config::Config;

use crate::world::{Echo, Message, Peer, nobody, proxy, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn quick(config: &mut Config) {
    config.deadlines.response = Duration::from_millis(200);
    config.deadlines.idle = Duration::from_millis(300);
}

/// What a client gets if the upstream answers its first request with this and closes.
fn answer(answer: impl Into<Vec<u8>>) -> std::io::Result<Option<Message>> {
    let answer = answer.into();
    let address = upstream(move |stream| {
        let mut peer = Peer::of(stream);
        if let Ok(Some(_)) = peer.read_request() {
            let _ = peer.send(&answer);
        }
    });
    let proxy = proxy(address, quick);
    let mut client = Peer::connect(proxy.address());
    client.send(GET).unwrap();
    client.try_response()
}

#[test]
fn one_that_is_down_is_503() {
    let (_held, address) = nobody();
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(GET).status(), 503);
    // The connection is kept: nothing is wrong with the client.
    assert_eq!(client.ask(GET).status(), 503);
    assert_eq!(proxy.count("failed"), 2);
}

#[test]
fn one_that_does_not_accept_in_time_is_503() {
    // An address that nobody has, and nobody says so (RFC 5737).
    let nowhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let proxy = proxy(nowhere, |config| config.deadlines.connect = Duration::from_millis(50));
    assert_eq!(Peer::connect(proxy.address()).ask(GET).status(), 503);
}

#[test]
fn one_that_does_not_answer_is_504() {
    let address = upstream(|stream| {
        sleep(Duration::from_secs(5));
        drop(stream);
    });
    let proxy = proxy(address, quick);
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(GET).status(), 504);
    assert_eq!(client.ask(GET).status(), 504);
}

#[test]
fn one_that_closes_without_an_answer_is_502() {
    assert_eq!(answer("").unwrap().unwrap().status(), 502);
}

#[test]
fn what_is_not_a_response_is_502() {
    for garbage in [
        "nonsense\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\x07b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\x7fb\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n", // and then nothing
    ] {
        let response = answer(garbage).unwrap().unwrap();
        assert_eq!(response.status(), 502, "{garbage:?}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(100_000));
    assert_eq!(answer(long).unwrap().unwrap().status(), 502);
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(200));
    assert_eq!(answer(many).unwrap().unwrap().status(), 502);
}

#[test]
fn what_is_odd_and_clear_goes_through() {
    for (odd, body) in [
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nhost: evil\r\nsum: 1\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", ""),
        ("HTTP/1.1 599 Odd\r\ncontent-length: 0\r\n\r\n", ""),
    ] {
        let response = answer(odd).unwrap().unwrap();
        assert_eq!(response.body(), body, "{odd:?}");
        // RFC 9110, 8.6.
        assert!(response.status() != 204 || response.field("content-length").is_none(), "{response:?}");
    }
}

/// RFC 9110, 15.2: what comes before a response is passed on to who can read it, without what is for the hop.
#[test]
fn hints_go_on_before_the_response() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let path = request.start.split(' ').nth(1).unwrap().to_owned();
            let _ = peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            let _ = peer.send(format!(
                "HTTP/1.1 103 Early Hints\r\nlink: <{path}>\r\nconnection: x\r\nx: y\r\ncontent-length: 7\r\n\r\n"
            ));
            let _ = peer.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 \r\n\r\n");
            let _ = peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    // Two at once, too: no hint comes before what belongs before it.
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for path in ["/1", "/2"] {
        let hint = client.response();
        assert_eq!((hint.status(), hint.field("link")), (103, Some(&*format!("<{path}>"))));
        assert_eq!((hint.field("connection"), hint.field("x"), hint.field("content-length")), (None, None, None));
        assert_eq!([client.response().status(), client.response().status()], [102, 199]);
        let response = client.response();
        assert_eq!((response.status(), response.body()), (200, path.to_owned()));
    }
    // HTTP/1.0 knows nothing of the kind.
    let mut old = Peer::connect(proxy.address());
    assert_eq!(old.ask("GET /3 HTTP/1.0\r\n\r\n").status(), 200);
}

/// A client that does not read holds up what it is told, and nothing is told in the middle of something else.
#[test]
fn hints_never_stand_in_another_response() {
    const LONG: usize = 8_000_000;
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let _ = peer.send("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
            let body = if request.start.starts_with("GET /long") { "z".repeat(LONG) } else { String::new() };
            let _ = peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    for path in ["/long", "/", "/long", "/"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    }
    sleep(Duration::from_millis(100));
    for long in [true, false, true, false] {
        let mut response = client.response();
        if response.status() == 103 {
            response = client.response();
        }
        assert_eq!(response.status(), 200);
        assert!(response.body.len() == if long { LONG } else { 0 } && response.body.iter().all(|byte| *byte == b'z'));
    }
}

/// Hints without end would be a response that never comes, and no silence that ends it.
#[test]
fn hints_without_end_are_502() {
    for hint in ["HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let address = upstream(move |stream| {
            let mut peer = Peer::of(stream);
            let _ = peer.read_request();
            while peer.send(hint.repeat(100)).is_ok() {}
        });
        let proxy = proxy(address, |_| {});
        let mut client = Peer::connect(proxy.address());
        client.send(GET).unwrap();
        let last = loop {
            match client.response().status() {
                103 => {}
                status => break status,
            }
        };
        assert_eq!(last, 502);
    }
}

/// An upstream that says more than it was asked must not answer the next request with it, which may be another client's.
#[test]
fn what_comes_unasked_is_nobodys_response() {
    let (said, heard) = std::sync::mpsc::channel::<()>();
    let address = upstream(move |stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
            if request.start.starts_with("GET /more") {
                sleep(Duration::from_millis(20));
                let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
                let _ = said.send(());
            }
        }
    });
    let proxy = proxy(address, |_| {});
    for request in
        [GET, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "POST / HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let mut client = Peer::connect(proxy.address());
        assert_eq!(client.ask("GET /more HTTP/1.1\r\nHost: a\r\n\r\n").body(), "good");
        heard.recv().unwrap();
        assert_eq!(Peer::connect(proxy.address()).ask(request).body(), "good", "{request}");
    }
}

/// A response without a body that is told of one: if it comes, then later.
#[test]
fn the_body_of_a_response_that_has_none_is_nobodys_response() {
    for (head, body) in [("transfer-encoding: chunked", "0\r\n\r\n"), ("content-length: 4", "evil")] {
        let address = upstream(move |stream| {
            let mut peer = Peer::of(stream);
            let mut late = "";
            while let Ok(Some(_)) = peer.read_request() {
                let _ = peer.send(late);
                let _ = peer.send(format!("HTTP/1.1 204 No Content\r\n{head}\r\n\r\n"));
                late = body;
            }
        });
        let proxy = proxy(address, |_| {});
        for request in [GET, GET, "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", GET] {
            assert_eq!(Peer::connect(proxy.address()).ask(request).status(), 204, "{head}");
        }
    }
}

/// A client that was promised more must not take what there is for all.
#[test]
fn a_response_that_breaks_off_breaks_off_for_the_client() {
    for broken in [
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        assert!(!matches!(answer(broken), Ok(Some(_))), "{broken:?}");
    }
}

#[test]
fn one_that_stops_in_the_middle_is_cut_off() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.read_request();
        let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello");
        sleep(Duration::from_secs(5));
    });
    let proxy = proxy(address, quick);
    let mut client = Peer::connect(proxy.address());
    client.send(GET).unwrap();
    client.try_response().unwrap_err();
}

/// Servers close connections that wait. A request that meets this is sent once more if that can do no harm.
#[test]
fn a_connection_that_was_closed_meanwhile_costs_no_request() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        if let Ok(Some(_)) = peer.read_request() {
            let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    for request in [GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"] {
        for _ in 0..10 {
            assert_eq!(client.ask(request).status(), 200, "{request:?}");
            sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn connections_are_used_again() {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = connections.clone();
    let address = upstream(move |stream| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut peer = Peer::of(stream);
        while let Ok(Some(_)) = peer.read_request() {
            let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy(address, |_| {});
    for _ in 0..5 {
        let mut client = Peer::connect(proxy.address());
        for _ in 0..5 {
            assert_eq!(client.ask(GET).status(), 200);
        }
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// The proxy in front of itself would send a request around for ever.
#[test]
fn a_loop_is_noticed() {
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let proxy = proxy(port, |config| config.listen = port);
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(GET).status(), 508);
    assert_eq!(proxy.count("rejected"), 1, "it went around once");
}

/// The answer may come before the request is whole, and the rest is not wanted.
#[test]
fn an_early_answer_reaches_the_client() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.take(10);
        let _ = peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
        // Hears the client out, as a good server does.
        while peer.take(1).is_ok() {}
    });
    let proxy = proxy(address, quick);
    let mut client = Peer::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nonly this").unwrap();
    assert_eq!(client.response().status(), 413);
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        // Each byte comes back as it comes in.
        while let Ok(byte) = peer.take(1) {
            if byte == b"!" {
                let _ = peer.send("0\r\n\r\n");
                break;
            }
            let _ = peer.send([b"1\r\n", &byte[..], b"\r\n"].concat());
        }
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").unwrap();
    let head = client.head();
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    for byte in ["a", "b", "c"] {
        client.send(byte).unwrap();
        assert_eq!(client.take(6).unwrap(), format!("1\r\n{byte}\r\n").as_bytes());
    }
    client.send("!").unwrap();
    assert_eq!(client.take(5).unwrap(), b"0\r\n\r\n");
}

#[test]
fn large_bodies_come_through_whole() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let mut client = Peer::connect(proxy.address());
    let body: String = (0..300_000).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
    let chunked: String = body
        .as_bytes()
        .chunks(7001)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
        .collect();
    let request = [
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"),
    ];
    for request in &request {
        let response = client.ask(request);
        assert_eq!(response.status(), 200);
        assert!(response.body().ends_with(&body));
    }
}
