//! Ten thousand clients, and what each takes. The program is a process of its own here, so that its memory can be told from the
//! test's.
//!
//! `TOLLGATE_CROWD=10000 cargo test --package tollgate-sidecar --test proxy crowd -- --nocapture --test-threads 1` weighs as many of
//! each kind, and says what they weigh.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::frames::{asks, asks_once, floods, opens};
use crate::process::{File, Program, file};
use crate::tls;
use crate::world::{Echo, Peer, from, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Of as many kinds as there are, so many clients, or as many as the system allows.
fn crowd(usual: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let asked = std::env::var("TOLLGATE_CROWD").ok().map_or(usual, |crowd| crowd.parse().expect("a number"));
    asked.min(getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files as usize).saturating_sub(500))
}

/// A program with a limit in front of this upstream. It has a file of this name.
fn start(name: &str, upstream: SocketAddr, is_tls: bool) -> (File, Program) {
    let mut text = file(upstream, "[limits.all]\nlimit = \"1000000/second\"\n").replace("threads = 2", "threads = 1");
    if is_tls {
        let path = |name| tls::file(name).display().to_string();
        let tls = format!("tls = {{ cert = {:?}, key = {:?} }}\n", path("cert.pem"), path("key.pem"));
        text = tls + &text.replace("\"127.0.0.1:0\"", "\"https://127.0.0.1:0\"");
    }
    let file = File::new(name, &text);
    let program = Program::start(&file, &[]);
    (file, program)
}

/// A client at this address that has this number: of two addresses, since one may have 10,000 connections at most.
fn connect(number: usize, address: SocketAddr) -> TcpStream {
    Peer::of(from([127, 0, 0, 2 + (number % 2) as u8], address)).stream
}

/// Asks over HTTP/1.1, with some fields as browsers have them, and reads the answer.
fn ask<T: Read + Write>(mut stream: T) -> T {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(500)).as_bytes()).unwrap();
    until(&mut stream, b"via: 1.1 tollgate-");
    stream
}

/// Asks over HTTP/2, and reads the answer.
fn ask_http2<T: Read + Write>(mut stream: T) -> T {
    stream.write_all(&asks_once(65_535)).unwrap();
    until(&mut stream, b"via: 1.1 tollgate-");
    stream
}

/// Until the echo has said this.
fn until(stream: &mut impl Read, words: &[u8]) {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while !all.windows(words.len()).any(|some| some == words) {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "{}", all.escape_ascii());
        all.extend_from_slice(&buffer[..len]);
    }
}

/// What each of so many takes in the program, in bytes.
fn weigh<T>(what: &str, crowd: usize, program: &Program, client: impl Fn(usize) -> T) -> (usize, Vec<T>) {
    drop(client(0));
    let before = program.resident();
    let clients: Vec<T> = (0..crowd).map(client).collect();
    let each = program.resident().saturating_sub(before) / crowd;
    eprintln!("{crowd} {what}: {each} bytes each");
    (each, clients)
}

/// A connection that has been answered, and is kept. With TLS or HTTP/2 it is dearer: their state is some 8 KiB each.
#[test]
fn idle_connections_cost_16_kb_each_at_most() {
    let echo = Echo::start();
    for (what, is_tls, usual, most) in [
        ("idle over HTTP/1.1", false, 10_000, 16),
        ("idle over HTTP/2", false, 1_000, 32),
        ("idle over HTTP/1.1 and TLS", true, 500, 32),
        ("idle over HTTP/2 and TLS", true, 500, 48),
    ] {
        let is_http2 = what.contains("HTTP/2");
        let (_file, program) = start(&what.replace(['/', ' '], "-"), echo.address, is_tls);
        let (each, _clients) = weigh(what, crowd(usual), &program, |number| -> Box<dyn Write> {
            match (is_tls, is_http2) {
                (false, false) => Box::new(ask(connect(number, program.address))),
                (false, true) => Box::new(ask_http2(connect(number, program.address))),
                (true, false) => Box::new(ask(tls::connect(program.address, &[b"http/1.1"]))),
                (true, true) => Box::new(ask_http2(tls::connect(program.address, &[b"h2"]))),
            }
        });
        assert!(each <= most * 1024, "{each} bytes for each that is {what}");
        echo.take();
    }
}

#[test]
fn ten_thousand_slow_connections_cost_16_kb_each_at_most() {
    let (_file, program) = start("slow", Echo::start().address, false);
    let (each, mut clients) = weigh("with half a head", crowd(10_000), &program, |number| {
        let mut client = Peer::of(connect(number, program.address));
        client.send("GET / HTTP/1.1\r\nHost: a\r\nx: abc").unwrap();
        client
    });
    // An honest one gets its answer in the middle of them, so all before it were accepted.
    assert_eq!(Peer::connect(program.address).ask(GET).status(), 200);
    assert!(each <= 16 * 1024, "{each} bytes for each");
    // They are still served, if they go on.
    for client in clients.iter_mut().step_by(1000) {
        assert_eq!(client.ask("\r\n\r\n").status(), 200);
    }
}

/// One that asks for much and reads nothing holds little of it here, also if it asks a hundred times at once and opens every window.
#[test]
fn a_client_that_does_not_read_holds_little_memory() {
    let endless = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.read_request();
        let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.send([b'x'; 65_536]).is_ok() {}
    });
    const STREAMS: u32 = 100;
    const OPEN: u32 = 0x7fff_ffff;
    let wide = [asks_once(OPEN), opens(OPEN - 65_535), (1..STREAMS).flat_map(|at| asks(1 + 2 * at)).collect()].concat();
    // Of a stream of HTTP/2: 32 KiB that h2 keeps, what is read from the upstream at a time, which is up to 64, and the stream itself.
    let cases = [
        ("that read nothing", GET.as_bytes().to_vec(), 50, 160),
        ("that read nothing of a hundred", wide, 4, 100 * 112),
    ];
    for (what, sent, usual, most) in cases {
        let (_file, program) = start(&what.replace(' ', "-"), endless, false);
        let before = program.resident();
        let clients: Vec<_> = (0..usual)
            .map(|number| {
                let mut client = connect(number, program.address);
                client.write_all(&sent).unwrap();
                client
            })
            .collect();
        // Until it takes no more. One that is weighed too early weighs too little, and no test fails for that.
        let mut resident = program.resident();
        loop {
            sleep(Duration::from_millis(300));
            let now = program.resident();
            if now <= resident + 100_000 && now > before {
                break;
            }
            resident = now;
        }
        let each = program.resident().saturating_sub(before) / usual;
        eprintln!("{usual} {what}: {each} bytes each");
        assert!(each <= most * 1024, "{each} bytes for each of those {what}");
        drop(clients);
    }
}

/// Whoever sends what costs a little and is no request, and reads nothing, is made to wait or is cut off, and others are served.
#[test]
fn floods_of_frames_take_no_memory() {
    let (_file, program) = start("floods", Echo::start().address, false);
    drop(ask_http2(connect(0, program.address)));
    let before = program.resident();
    let mut clients = Vec::new();
    for (what, first, flood) in floods() {
        for number in 0..2 {
            let mut client = connect(number, program.address);
            client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            let many = flood.repeat(1 + 16_384 / flood.len());
            let mut sent = client.write_all(&first);
            for _ in 0..200 {
                sent = sent.and_then(|()| client.write_all(&many));
            }
            clients.push(client);
        }
        assert_eq!(Peer::connect(program.address).ask(GET).status(), 200, "beside {what}");
        let more = program.resident().saturating_sub(before);
        assert!(more < 4 * 1024 * 1024, "{more} bytes for {what}");
    }
}
