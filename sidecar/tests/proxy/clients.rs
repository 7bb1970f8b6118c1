//! Clients that are slow, leave, are too many, or stay when the proxy is to end.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, PATIENCE, Peer, eventually, from, proxy, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn impatient(address: SocketAddr) -> Proxy {
    proxy(address, |config| {
        config.deadlines.header = Duration::from_millis(150);
        config.deadlines.idle = Duration::from_millis(300);
    })
}

#[test]
fn a_head_that_drips_is_408() {
    let proxy = impatient(Echo::start().address);
    let mut client = Peer::connect(proxy.address());
    let begun = Instant::now();
    for byte in GET.bytes().take(GET.len() - 1) {
        if client.send([byte]).is_err() || begun.elapsed() > PATIENCE {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    assert_eq!(client.response().status(), 408);
    client.expect_end();
    assert_eq!(proxy.count("rejected"), 1);
}

#[test]
fn a_head_that_stops_after_good_requests_is_408() {
    let proxy = impatient(Echo::start().address);
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(format!("{GET}GET /2 HTT")).status(), 200);
    assert_eq!(client.response().status(), 408);
    client.expect_end();
}

#[test]
fn a_body_that_stops_is_408_and_the_upstream_is_let_go() {
    let echo = Echo::start();
    let proxy = impatient(echo.address);
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = Peer::connect(proxy.address());
        assert_eq!(client.ask(request).status(), 408);
        client.expect_end();
    }
    assert!(echo.take().is_empty());
    eventually("connections to the upstream are closed", || proxy.connections().1 == 0);
}

#[test]
fn silence_is_ended_without_a_word() {
    let proxy = impatient(Echo::start().address);
    let mut before = Peer::connect(proxy.address());
    let mut after = Peer::connect(proxy.address());
    assert_eq!(after.ask(GET).status(), 200);
    before.expect_end();
    after.expect_end();
}

#[test]
fn a_request_that_breaks_off_is_400() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    for request in [
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = Peer::connect(proxy.address());
        client.send(request).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.response().status(), 400, "{request:?}");
        client.expect_end();
    }
    assert!(echo.take().is_empty());
}

#[test]
fn a_body_above_the_cap_is_413() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| config.caps.body_bytes = Some(10));
    let chunked = |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let told = |len: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{}", "x".repeat(len));
    let mut client = Peer::connect(proxy.address());
    for good in [told(10), chunked("a\r\n0123456789\r\n0\r\n\r\n"), told(0), GET.to_owned()] {
        assert_eq!(client.ask(&good).status(), 200, "{good}");
    }
    assert_eq!(echo.take().len(), 4);
    for bad in [told(11), told(100_000), chunked("5\r\n01234\r\n6\r\n012345\r\n0\r\n\r\n")] {
        let mut client = Peer::connect(proxy.address());
        let _ = client.send(&bad);
        let answer = client.response();
        assert_eq!((answer.status(), answer.field("connection")), (413, Some("close")), "{bad:.200}");
        client.expect_end();
    }
    assert_eq!(proxy.count("rejected"), 3);
    eventually("connections to the upstream are closed", || proxy.connections().1 <= 1);
    assert!(echo.take().is_empty(), "none arrived whole");
}

/// What the upstream works on for a client that has left is given up.
#[test]
fn a_client_that_leaves_is_let_go_on_both_sides() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.read_request();
        // Answers nothing, until it is left alone.
        let _ = peer.stream.read(&mut [0]);
    });
    let proxy = proxy(address, |_| {});
    for request in [GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello"] {
        let mut client = Peer::connect(proxy.address());
        client.send(request).unwrap();
        eventually("the request is under way", || proxy.connections() == (1, 1));
        drop(client);
        eventually("both connections are closed", || proxy.connections() == (0, 0));
    }
}

/// One that reads nothing holds what it was sent, and no more: the upstream is not read on, and in the end it is cut off.
#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.read_request();
        let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send(vec![b'x'; 100_000]).is_ok() {}
    });
    let proxy = proxy(address, |config| config.deadlines.idle = Duration::from_millis(300));
    let mut client = Peer::connect(proxy.address());
    client.send(GET).unwrap();
    eventually("both connections are closed", || proxy.count("forwarded") == 1 && proxy.connections() == (0, 0));
}

#[test]
fn a_client_may_have_so_many_connections_and_all_together_so_many() {
    let proxy = proxy(Echo::start().address, |config| {
        config.caps.connections = 3;
        config.caps.connections_per_client = 2;
    });
    let mut clients = [Peer::connect(proxy.address()), Peer::connect(proxy.address())];
    for client in &mut clients {
        assert_eq!(client.ask(GET).status(), 200);
    }
    // Its third is closed.
    let mut third = Peer::connect(proxy.address());
    let _ = third.send(GET);
    assert!(!matches!(third.try_response(), Ok(Some(_))));
    // Another address has its own.
    let mut other = Peer::of(from([127, 0, 0, 2], proxy.address()));
    assert_eq!(other.ask(GET).status(), 200);
    // All are taken: the next waits, and gets its turn.
    let mut waits = Peer::of(from([127, 0, 0, 3], proxy.address()));
    waits.send(GET).unwrap();
    waits.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    waits.try_response().unwrap_err();
    drop(other);
    waits.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(waits.response().status(), 200);
}

#[test]
fn draining_ends_what_waits_and_finishes_what_is_under_way() {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let address = upstream(move |stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            if request.start.contains("/slow") {
                let _ = hold.lock().unwrap().recv();
            }
            let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy(address, |_| {});
    let (mut silent, mut waits) = (Peer::connect(proxy.address()), Peer::connect(proxy.address()));
    assert_eq!(waits.ask(GET).status(), 200);
    let mut busy = Peer::connect(proxy.address());
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("all are connected", || proxy.connections().0 == 3 && proxy.connections().1 >= 1);
    sleep(Duration::from_millis(50));

    proxy.drain();
    silent.expect_end();
    waits.expect_end();
    eventually("nobody is let in any more", || TcpStream::connect(proxy.address()).is_err());
    release.send(()).unwrap();
    let answer = busy.response();
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    busy.expect_end();
    eventually("all threads have ended", || proxy.has_ended());
}

#[test]
fn draining_cuts_off_what_takes_too_long() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.read_request();
        let _ = peer.stream.read(&mut [0]);
    });
    let proxy = proxy(address, |config| config.deadlines.drain = Duration::from_millis(100));
    let mut busy = Peer::connect(proxy.address());
    busy.send(GET).unwrap();
    eventually("it is under way", || proxy.connections() == (1, 1));
    proxy.drain();
    assert!(!matches!(busy.try_response(), Ok(Some(_))));
    eventually("all threads have ended", || proxy.has_ended());
}
