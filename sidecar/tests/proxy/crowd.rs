//! Ten thousand clients that send half a head and wait. The program is a process of its own here, so that its memory can be told
//! from the test's.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::world::{Echo, PATIENCE, Peer, from};

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes of it in memory.
fn resident(program: &Program) -> usize {
    let mut text = String::new();
    std::fs::File::open(format!("/proc/{}/statm", program.0.id())).unwrap().read_to_string(&mut text).unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// How many files this process may open.
fn files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A program that has answered once, and where it listens.
fn start() -> (Program, SocketAddr) {
    let echo = Echo::start();
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let program = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["serve", "--listen", &port.to_string(), "--upstream", &format!("http://{}", echo.address)])
        .args(["--limit", "1000000/second", "--admin", "off"])
        .stderr(Stdio::null())
        .spawn();
    let program = Program(program.unwrap());
    let begun = Instant::now();
    while std::net::TcpStream::connect(port).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not listen");
        sleep(Duration::from_millis(10));
    }
    assert_eq!(Peer::connect(port).ask(GET).status(), 200);
    (program, port)
}

/// A connection that has been answered, and is kept, takes no more.
#[cfg(target_os = "linux")]
#[test]
fn idle_connections_cost_16_kb_each_at_most() {
    let crowd = 2_000.min(files().saturating_sub(200));
    let (program, port) = start();
    let before = resident(&program);
    let ask = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(500));
    let clients = (0..crowd).map(|_| {
        let mut client = Peer::connect(port);
        assert_eq!(client.ask(&ask).status(), 200);
        client
    });
    let clients: Vec<_> = clients.collect();
    let each = resident(&program).saturating_sub(before) / crowd;
    assert!(each <= 16 * 1024, "{each} bytes for each of {crowd}");
    drop(clients);
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_slow_connections_cost_16_kb_each_at_most() {
    let crowd = 10_000.min(files().saturating_sub(200));
    let (program, port) = start();
    let before = resident(&program);
    let mut clients = Vec::new();
    for number in 0..crowd {
        // Of two addresses, since one may have 10,000 at most.
        let mut client = Peer::of(from([127, 0, 0, 2 + (number % 2) as u8], port));
        client.send("GET / HTTP/1.1\r\nHost: a\r\nx: abc").unwrap();
        clients.push(client);
    }
    // An honest one gets its answer in the middle of them, so all before it were accepted.
    assert_eq!(Peer::connect(port).ask(GET).status(), 200);
    let each = resident(&program).saturating_sub(before) / crowd;
    assert!(each <= 16 * 1024, "{each} bytes for each of {crowd}");
    // They are still served, if they go on.
    for client in clients.iter_mut().step_by(1000) {
        assert_eq!(client.ask("\r\n\r\n").status(), 200);
    }
}
