//! The access log: a line for each request.
#![cfg(unix)]

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::Receiver;

use crate::process::{File, Program, file, lines};
use crate::world::{Echo, PATIENCE, Peer, eventually, from, nobody, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ask(address: SocketAddr, start: &str) -> u16 {
    Peer::connect(address).ask(format!("{start} HTTP/1.1\r\nHost: Shop.example\r\nConnection: close\r\n\r\n")).status()
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line")
}

/// The line without what differs each time: the first word and the milliseconds.
fn plain(line: &str) -> String {
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
    let words: Vec<&str> = rest.split(' ').filter(|word| !word.starts_with("ms=")).collect();
    assert_eq!(words.len() + 1, rest.split(' ').count(), "{line}");
    words.join(" ")
}

const LIMITS: &str = "exempt = [{ path = \"/healthz\" }]\n[limits.client]\nlimit = \"3/day\"\n\
    [limits.login]\npath = \"/login\"\nlimit = \"1/day\"\n";

#[test]
fn each_request_is_a_line() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let body = if request.start.starts_with("HEAD") { "" } else { "ok" };
            let _ = peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}"));
        }
    });
    let on_disk = File::new("access", &file(address, LIMITS));
    let mut program = Program::start(&on_disk, &["--access-log"]);
    let lines = lines(program.stdout.take().unwrap());
    // A password in a query is nobody's business, and a path cannot end the line, nor colour it.
    assert_eq!(ask(program.address, "GET /login?password=secret"), 200);
    assert_eq!(plain(&next(&lines)), "127.0.0.1 \"GET /login HTTP/1.1\" 200 forwarded bytes=2 host=\"shop.example\"");
    assert_eq!(ask(program.address, "POST /login"), 429);
    assert_eq!(
        plain(&next(&lines)),
        "127.0.0.1 \"POST /login HTTP/1.1\" 429 denied bytes=18 host=\"shop.example\" limiter=login"
    );
    assert_eq!(ask(program.address, "GET /healthz"), 200);
    assert_eq!(plain(&next(&lines)), "127.0.0.1 \"GET /healthz HTTP/1.1\" 200 exempt bytes=2 host=\"shop.example\"");
    let mut client = Peer::connect(program.address);
    client.send("HEAD /%0a%1b%5b31m HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().status(), 200);
    let expected = "127.0.0.1 \"HEAD /%0a%1b%5b31m HTTP/1.1\" 200 forwarded bytes=0 host=\"a\"";
    assert_eq!(plain(&next(&lines)), expected);
    assert_eq!(Peer::connect(program.address).ask("GET / HTTP/1.1\r\n\r\n").status(), 400);
    assert_eq!(plain(&next(&lines)), "127.0.0.1 - 400 rejected bytes=7 reason=\"no Host\"");
    // A long path is cut.
    let mut other = Peer::of(from([127, 0, 0, 2], program.address));
    assert_eq!(other.ask(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(5000))).status(), 200);
    let line = next(&lines);
    assert!(line.contains("127.0.0.2") && line.contains("xxx... HTTP/1.1\" 200") && line.len() < 1200, "{line}");
    // All that was said is written before it ends.
    assert_eq!(ask(program.address, "GET /last"), 200);
    program.signal("TERM");
    assert!(next(&lines).contains("/last"));
    assert!(lines.recv_timeout(PATIENCE).is_err());
}

#[test]
fn json_lines_have_the_same() {
    let (_held, free) = nobody();
    let on_disk = File::new("access-json", &file(free, &format!("trusted_proxies = [\"127.0.0.1\"]\n{LIMITS}")));
    let mut program = Program::start(&on_disk, &["--access-log", "--log", "json"]);
    let lines = lines(program.stdout.take().unwrap());
    let json = || -> serde_json::Value { serde_json::from_str(&next(&lines)).expect("JSON") };
    let told = "GET /login?a=b HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n";
    assert_eq!(Peer::connect(program.address).ask(told).status(), 503);
    let line = json();
    for (key, value) in [
        ("target", "access"),
        ("client", "192.0.2.7"),
        ("method", "GET"),
        ("path", "/login"),
        ("host", "a"),
        ("version", "HTTP/1.1"),
        ("outcome", "failed"),
        ("reason", "the upstream cannot be reached"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["status"], &line["bytes"]), (&503.into(), &30.into()));
    assert!(line["ms"].is_f64() && line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    assert_eq!(Peer::connect(program.address).ask(told).status(), 429);
    let line = json();
    assert_eq!((&line["outcome"], &line["limiter"]), (&"denied".into(), &"login".into()), "{line}");
}

#[test]
fn who_leaves_is_noted() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            if request.start.contains("/half") {
                let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
            } else if request.start.contains("/big") {
                let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n");
                while peer.send(vec![b'x'; 100_000]).is_ok() {}
            } else {
                continue;
            }
            break;
        }
    });
    let on_disk = File::new("access-left", &file(address, ""));
    let mut program = Program::start(&on_disk, &["--access-log"]);
    let lines = lines(program.stdout.take().unwrap());
    let mut client = Peer::connect(program.address);
    client.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let _ = client.try_response();
    let line = next(&lines);
    assert!(line.contains("200 forwarded bytes=4 ") && line.ends_with("reason=\"the response was cut off\""), "{line}");
    let mut client = Peer::connect(program.address);
    client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.take(1000).unwrap();
    drop(client);
    let line = next(&lines);
    assert!(line.contains(" 200 forwarded ") && line.ends_with("reason=\"the client left\""), "{line}");
    let mut client = Peer::connect(program.address);
    client.send("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(client);
    assert!(next(&lines).contains("\"GET /nothing HTTP/1.1\" - left bytes=0 "));
}

/// Off unless asked for; a reload turns it on and off.
#[test]
fn it_is_off_unless_asked_for() {
    let text = file(Echo::start().address, "");
    let on_disk = File::new("access-off", &text);
    let mut program = Program::start(&on_disk, &[]);
    let lines = lines(program.stdout.take().unwrap());
    let mut client = Peer::connect(program.address);
    client.ask("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    on_disk.write(&format!("access_log = true\n{text}"));
    program.signal("HUP");
    program.until("access_log: changed");
    program.until("in force");
    client.ask("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(next(&lines).contains("/2"));
    on_disk.write(&text);
    program.signal("HUP");
    program.until("in force");
    client.ask("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    program.signal("TERM");
    assert!(lines.recv_timeout(PATIENCE).is_err(), "nothing more");
}

/// A log that nobody takes holds up no request: its lines are dropped, and counted.
#[test]
fn a_reader_that_stands_still_holds_nobody_up() {
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(_)) = peer.read_request() {
            let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let on_disk = File::new("access-still", &file(address, &format!("metrics = \"{metrics}\"\n")));
    let program = Program::start(&on_disk, &["--access-log"]);
    let mut client = Peer::connect(program.address);
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1000));
    // More than the pipe and what may wait have room for.
    for _ in 0..2500 {
        assert_eq!(client.ask(&request).status(), 200);
    }
    let dropped = || -> u64 {
        let text = Peer::connect(metrics).ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body();
        let line = text.lines().find(|line| line.starts_with("tollgate_access_log_dropped_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(dropped() > 100, "{}", dropped());
    let mut program = program;
    let kept = std::thread::spawn({
        let lines = lines(program.stdout.take().unwrap());
        move || lines.iter().filter(|line| line.ends_with("host=\"a\"")).count() as u64
    });
    eventually("it goes on", || client_asks(program.address));
    let dropped = dropped();
    program.signal("TERM");
    let kept = kept.join().unwrap();
    assert!(kept + dropped >= 2500, "{kept} and {dropped}: each was written whole, or counted");
}

fn client_asks(address: SocketAddr) -> bool {
    Peer::connect(address).ask(GET).status() == 200
}

/// Whoever took the lines has gone.
#[test]
fn a_reader_that_leaves_ends_nothing() {
    let on_disk = File::new("access-gone", &file(Echo::start().address, ""));
    let mut program = Program::start(&on_disk, &["--access-log"]);
    drop(program.stdout.take());
    let mut client = Peer::connect(program.address);
    for _ in 0..50 {
        assert_eq!(client.ask(GET).status(), 200);
    }
}
