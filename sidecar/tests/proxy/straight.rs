//! Plain requests, which go past hyper (`proxy/straight.rs`). Nobody can tell.

use std::sync::mpsc;
use std::thread::sleep;
use std::time::Duration;

use crate::world::{Echo, Message, Peer, eventually, global, proxy, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The same, but for what hyper must read: it names a field for this hop that is not there.
fn not_plain(request: &str) -> String {
    request.replacen("\r\n\r\n", "\r\nConnection: nothing\r\n\r\n", 1)
}

#[test]
fn a_response_is_the_same_past_hyper_and_through_it() {
    let long = "z".repeat(20_000);
    for (answer, closes) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(), false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nX-A: b\r\nx-a:  c \r\n\r\nhello".to_owned(), false),
        // As long as if they were written as they go on.
        (
            "HTTP/1.1 200 OK\r\nX-A:   b \r\nEmpty:   \r\nx-b:\t\t\tc\t\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            false,
        ),
        ("HTTP/1.1 200 OK\nX-A:   b\nEmpty:   \ncontent-length: 5\nLast:   z\n\nhello".to_owned(), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nDate: Tue, 01 Dec 2026 00:00:00 GMT\r\n\r\n".to_owned(), false),
        (format!("HTTP/1.1 404 Gone Fishing\r\nserver: x\r\ncontent-length: 20000\r\n\r\n{long}"), false),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nsum: 1\r\n\r\n"
                .to_owned(),
            false,
        ),
        (format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4e20\r\n{long}\r\n0\r\n\r\n"), false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end".to_owned(), true),
        ("HTTP/1.0 200 OK\r\n\r\n".to_owned(), true),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), true),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: \"x\"\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 599 Odd\r\ncontent-length: 2\r\n\r\nhi".to_owned(), false),
        (
            "HTTP/1.1 200 OK\r\nX-Mine: a\r\nConnection: x-mine, keep-alive, date\r\nkeep-alive: 5\r\nTE: x\r\n\
             Upgrade: h2c\r\nProxy-Connection: x\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
            false,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_owned(), true),
        ("HTTP/1.1 200 OK\r\nx: a\x07b\r\ncontent-length: 0\r\n\r\n".to_owned(), true),
        (String::new(), true),
    ] {
        let said = answer.clone();
        let address = upstream(move |stream| {
            let mut peer = Peer::of(stream);
            while let Ok(Some(_)) = peer.read_request() {
                if peer.send(&said).is_err() || closes {
                    break;
                }
            }
        });
        let proxy = proxy(address, |config| config.limits.push(global("100/second")));
        let mut client = Peer::connect(proxy.address());
        let [mut straight, mut through, mut again] = [GET, &not_plain(GET), GET].map(|request| client.ask(request));
        for response in [&mut straight, &mut through, &mut again] {
            without_date(response, !answer.contains("Date:"));
        }
        assert_eq!(format!("{straight:?}"), format!("{through:?}"), "{answer:.80}");
        assert_eq!(format!("{straight:?}"), format!("{again:?}"), "{answer:.80}");
    }
}

/// Takes away the date, which every response has, and puts the other fields into an order of their own.
fn without_date(response: &mut Message, is_now: bool) {
    let date = response.fields.iter().position(|(name, _)| name == "date").expect("a date");
    let (_, date) = response.fields.remove(date);
    assert!(date.ends_with(" GMT") && (is_now || date == "Tue, 01 Dec 2026 00:00:00 GMT"), "{date}");
    response.fields.sort();
}

#[test]
fn a_request_is_the_same_past_hyper_and_through_it() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let mut client = Peer::connect(proxy.address());
    for fields in [
        "",
        "Accept: */*\r\nCookie: a=b\r\nCookie: c=d\r\nX-Mixed:  two words\t\r\nempty:\r\nx-high: \u{e4}\r\n",
        "X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nProxy: x\r\n",
        "Keep-Alive: 5\r\nProxy-Connection: x\r\nHTTP2-Settings: x\r\nContent_Length: 5\r\nfine_name: a\r\nTrailer: x\r\n",
    ] {
        for start in ["GET /a/./b?c=%20{d}", "\r\nGET /"] {
            let request = format!("{start} HTTP/1.1\r\n{fields}Host: Shop.example:80\r\n\r\n");
            assert_eq!(client.ask(&request).status(), 200, "{request:?}");
            assert_eq!(client.ask(not_plain(&request)).status(), 200, "{request:?}");
            let sent = echo.take().into_iter().map(|text| {
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                lines[2..].sort();
                lines
            });
            let sent: Vec<_> = sent.collect();
            assert_eq!(sent[0], sent[1], "{request:?}");
        }
    }
    assert_eq!((proxy.count("forwarded"), proxy.connections()), (16, (1, 1)));
}

/// An upstream that answers when it is told to.
fn on_command(answer: &'static str) -> (std::net::SocketAddr, mpsc::Sender<()>, mpsc::Receiver<String>) {
    let (command, commands) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let commands = std::sync::Mutex::new(commands);
    let address = upstream(move |stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            tell.send(request.start).unwrap();
            if commands.lock().unwrap().recv().is_err() || peer.send(answer).is_err() {
                break;
            }
        }
    });
    (address, command, told)
}

#[test]
fn a_request_under_way_is_answered_when_the_proxy_is_to_end() {
    let (address, command, told) = on_command("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    let mut second = Peer::connect(proxy.address());
    // The second one has been answered once.
    second.send(GET).unwrap();
    told.recv().unwrap();
    command.send(()).unwrap();
    assert_eq!(second.response().field("connection"), None);
    for client in [&mut client, &mut second] {
        client.send(GET).unwrap();
        told.recv().unwrap();
    }
    proxy.drain();
    sleep(Duration::from_millis(30));
    for client in [&mut client, &mut second] {
        command.send(()).unwrap();
        let response = client.response();
        assert_eq!(
            (response.status(), response.field("connection"), response.body()),
            (200, Some("close"), "ok".into())
        );
        client.expect_end();
    }
}

/// RFC 9112, 9.6: who says that the connection closes answers nothing more on it, and sends nothing on.
#[test]
fn what_is_sent_meanwhile_is_nobodys_when_the_proxy_is_to_end() {
    for first in [GET.to_owned(), not_plain(GET)] {
        let (address, command, told) = on_command("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let proxy = proxy(address, |_| {});
        let mut client = Peer::connect(proxy.address());
        client.send(&first).unwrap();
        command.send(()).unwrap();
        assert_eq!((told.recv().unwrap(), client.response().status()), ("GET / HTTP/1.1".to_owned(), 200));
        client.send(GET).unwrap();
        told.recv().unwrap();
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        proxy.drain();
        sleep(Duration::from_millis(30));
        command.send(()).unwrap();
        command.send(()).unwrap();
        assert_eq!(client.response().field("connection"), Some("close"));
        client.expect_end();
        assert!(told.try_recv().is_err(), "it is not sent on");
    }
}

#[test]
fn what_is_sent_meanwhile_is_answered_in_its_turn() {
    let (address, command, told) = on_command("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    let get = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(get("1")).unwrap();
    assert_eq!(told.recv().unwrap(), "GET /1 HTTP/1.1");
    client.send([get("2"), get("3"), "POST /4 HTTP/1.1\r\nHost: a\r\nContent-Le".to_owned()].concat()).unwrap();
    sleep(Duration::from_millis(20));
    client.send("ngth: 2\r\n\r\nhi").unwrap();
    assert!(told.try_recv().is_err(), "one after the other");
    for path in ["2", "3", "4"] {
        command.send(()).unwrap();
        assert_eq!(client.response().status(), 200);
        assert_eq!(told.recv().unwrap().split(' ').nth(1).unwrap(), format!("/{path}"));
    }
    command.send(()).unwrap();
    assert_eq!(client.response().status(), 200);
    client.send(get("5")).unwrap();
    command.send(()).unwrap();
    assert_eq!((told.recv().unwrap(), client.response().status()), ("GET /5 HTTP/1.1".to_owned(), 200));
}

/// A client that reads slowly holds up its upstream, and gets all. One that does not read at all is let go.
#[test]
fn a_long_response_waits_for_its_reader() {
    const LONG: usize = 8_000_000;
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let body = "z".repeat(LONG);
            let _ = match request.start.starts_with("GET /chunked") {
                true => peer.send(format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{LONG:x}\r\n{body}\r\n0\r\n\r\n"
                )),
                false => peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n{body}")),
            };
        }
    });
    let patient = proxy(address, |_| {});
    let mut client = Peer::connect(patient.address());
    for path in ["/", "/chunked", "/"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        sleep(Duration::from_millis(50));
        let response = client.response();
        assert!(
            response.body.len() == LONG && response.body.iter().all(|byte| *byte == b'z'),
            "{}",
            response.body.len()
        );
    }
    let impatient = proxy(address, |config| config.deadlines.idle = Duration::from_millis(100));
    let mut idler = Peer::connect(impatient.address());
    idler.send(GET).unwrap();
    eventually("the upstream is asked", || impatient.connections() == (1, 1));
    eventually("who does not read is let go", || impatient.connections() == (0, 0));
}
