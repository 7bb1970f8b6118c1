//! Denials that are given before a request is read whole.

use std::thread::sleep;
use std::time::Duration;

use tollgate_sidecar::config::{Headers, Limit};

use crate::world::{Echo, Peer, global, proxy};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Where a request has no say in what it is denied, it is answered before it is read whole (`proxy/door.rs`). Nobody can tell.
#[test]
fn a_denial_is_the_same_early_and_late() {
    const LATE: &str = "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 other\r\n\r\n";
    let echo = Echo::start();
    for headers in [Headers::None, Headers::Draft, Headers::XRateLimitDelta] {
        let proxy = proxy(echo.address, |config| {
            config.limits.extend([global("1/hour"), Limit::new("client", "5/day".parse().unwrap())]);
            config.denied.headers.push(("x-local-rate-limit".parse().unwrap(), "true".parse().unwrap()));
            config.rate_headers = headers;
        });
        let mut client = Peer::connect(proxy.address());
        assert_eq!(client.ask(GET).status(), 200);
        let mut fields = [client.ask(GET), client.ask(LATE), client.ask(GET)].map(|denied| {
            assert_eq!((denied.status(), denied.body()), (429, "local_rate_limited".to_owned()));
            let mut fields = denied.fields;
            fields.sort();
            let date = fields.iter().position(|(name, _)| name == "date").expect("a date");
            assert!(fields.remove(date).1.ends_with(" GMT"));
            fields
        });
        let [early, late, again] = &mut fields;
        assert!(early == late && late == again, "{early:?} {late:?}");
        assert!(early.contains(&("x-local-rate-limit".to_owned(), "true".to_owned())), "{early:?}");
        // In their order, however many stand in one packet, and in whatever pieces they come.
        client
            .send([GET, GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", GET, LATE, GET].concat())
            .unwrap();
        assert_eq!([0; 6].map(|_| client.response().status()), [429; 6]);
        for piece in GET.as_bytes().chunks(1) {
            client.send(piece).unwrap();
        }
        assert_eq!(client.response().status(), 429);
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.head().field("content-length"), Some("18"));
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status(), 429);
        client.expect_end();
        assert_eq!(Peer::connect(proxy.address()).ask("GET / HTTP/1.0\r\n\r\n").status(), 429);
        // Malformed requests are that, whether they are denied or not.
        assert_eq!(Peer::connect(proxy.address()).ask("GET / HTTP/1.1\r\n\r\n").status(), 400);
        assert_eq!((proxy.count("denied"), proxy.count("forwarded"), proxy.count("rejected")), (13, 1, 1));
    }
    assert_eq!(echo.take().len(), 3);
}

/// A connection of which every request was denied early is one like any other: it is not idle while it asks, its heads are not late, and it
/// ends.
#[test]
fn a_connection_that_is_denied_early_idles_and_drains() {
    let proxy = proxy(Echo::start().address, |config| {
        config.limits.push(global("0/day"));
        config.deadlines.idle = Duration::from_millis(200);
        config.deadlines.header = Duration::from_millis(200);
    });
    let mut busy = Peer::connect(proxy.address());
    for _ in 0..10 {
        busy.send(&GET[..10]).unwrap();
        sleep(Duration::from_millis(25));
        assert_eq!(busy.ask(&GET[10..]).status(), 429);
        sleep(Duration::from_millis(25));
    }
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(GET).status(), 429);
    client.expect_end();
    let mut client = Peer::connect(proxy.address());
    assert_eq!(client.ask(GET).status(), 429);
    proxy.drain();
    client.expect_end();
}
