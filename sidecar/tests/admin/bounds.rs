//! Whoever asks too much of the admin listener, or asks it badly, harms nobody's requests.

use std::io::{Read as _, Write as _};

use crate::desk::Desk;
use crate::world::{PATIENCE, Peer, global};

fn desk() -> Desk {
    Desk::start(|config| config.limits.push(global("1000/second")))
}

#[test]
fn what_is_too_long_is_refused() {
    let desk = desk();
    let long = "x".repeat(20_000);
    assert_eq!(desk.ask("GET /", &[("x", &long)], "").status(), 431);
    assert_eq!(desk.ask("GET /", &vec![("x", "y"); 100], "").status(), 431);
    assert!([414, 431].contains(&desk.get(&format!("/?{long}")).status()));
    let origin = format!("http://{}", desk.host);
    let fields = [("origin", &*origin), ("content-type", "application/x-www-form-urlencoded")];
    let token = desk.token();
    let answer = desk.ask("POST /reset", &fields, &format!("limit=all&key=*&token={token}&x={}", "y".repeat(8192)));
    assert_eq!(answer.status(), 413);
    assert_eq!(desk.ask("POST /reset", &fields, &format!("limit=all&key=%ff&token={token}")).status(), 400);
    assert_eq!(desk.get("/").status(), 200);
}

/// A browser opens up to six connections, and other programs as many as they can.
#[test]
fn slow_clients_have_a_few_places_for_a_short_time() {
    let desk = desk();
    let mut slow: Vec<_> = (0..40).map(|_| Peer::connect(desk.address)).collect();
    for peer in &mut slow {
        peer.stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx").unwrap();
    }
    assert_eq!(desk.through(""), 200, "the proxy does not notice");
    // Each place is free after a few seconds, so this one's turn comes.
    slow.truncate(16);
    let mut peer = Peer::connect(desk.address);
    peer.stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
    assert_eq!(peer.ask(format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", desk.host)).status(), 200);
    for peer in &mut slow {
        let _ = peer
            .stream
            .read_to_end(&mut Vec::new())
            .map_err(|error| assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock));
    }
}

#[test]
fn a_flood_is_answered_429_and_the_proxy_goes_on() {
    let desk = desk();
    let status = || desk.ask("GET /stats", &[], "").status();
    assert_eq!([0; 20].map(|_| status()), [200; 20]);
    assert!((0..2000).any(|_| status() == 429));
    assert_eq!(desk.through(""), 200);
}

#[test]
fn garbage_is_refused() {
    let desk = desk();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\0\r\n\r\n",
        b"\r\n\r\n\r\nGET\r\n\r\n",
        b"POST /reset HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
    ] {
        let mut peer = Peer::connect(desk.address);
        peer.send(garbage).unwrap();
        peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = peer.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(desk.get("/").status(), 200);
}
