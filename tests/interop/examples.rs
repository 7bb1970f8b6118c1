//! The examples as programs that a person starts: each is run, listens on a port of its own, and does what it prints.
//!
//! `cargo test --workspace` builds them first; `cargo test -p tollgate-interop` alone runs those that were built last.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Client, admitted, ask, soon};
use http::header::{ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};

pub(crate) fn example(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    assert!(path.pop() && path.pop(), "tests are in the folder beside the examples");
    path.push("examples");
    path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not built: `cargo build --workspace --examples`", path.display());
    let mut command = Command::new(path);
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An example that serves, until this is dropped.
struct Server {
    address: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

/// Starts an example on a free port, which it prints in its first line.
async fn serve(name: &str, arguments: &[&str]) -> Server {
    let mut child = example(name).args(arguments).args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(lines.next_line()).await.unwrap().expect("it says where it listens");
    let (_, url) = line.split_once("http://").unwrap();
    let address = url.split(';').next().unwrap().parse().unwrap();
    assert!(soon(lines.next_line()).await.unwrap().unwrap().contains(&format!("http://{address}")), "something to try");
    Server { address, lines, child }
}

/// Runs an example that ends.
pub(crate) async fn run(name: &str, arguments: &[&str]) -> Output {
    soon(example(name).args(arguments).output()).await.unwrap()
}

/// Of these requests, at least the burst passed, and no more than came in since the start.
#[track_caller]
fn check(passed: usize, burst: usize, per_second: f64, start: Instant) {
    let most = burst as f64 + per_second * start.elapsed().as_secs_f64();
    assert!(passed >= burst && passed as f64 <= most, "{passed} passed of {burst}, at most {most}");
}

#[tokio::test]
async fn axum_turns_the_articles_200s_into_429s() {
    let start = Instant::now();
    let mut server = serve("axum", &["--limit", "2 per second"]).await;
    let mut statuses = Vec::new();
    let denial = loop {
        // As `curl -I` does it: a HEAD on a new connection.
        let answer = ask(server.address, "HEAD /api/fib/1").await;
        statuses.push(answer.status());
        if answer.status() != StatusCode::OK {
            break answer;
        }
        assert!(!answer.headers().contains_key(RETRY_AFTER));
        assert!(statuses.len() < 500, "nothing is ever denied");
    };
    assert_eq!(denial.headers()[RETRY_AFTER], "1");
    for _ in 0..20 {
        statuses.push(ask(server.address, "GET /api/fib/1").await.status());
    }
    check(admitted(statuses), 2, 2.0, start);

    // It says so, once.
    let line = soon(server.lines.next_line()).await.unwrap().unwrap();
    assert!(line.contains("requests over the limit"), "{line}");

    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = ask(server.address, "GET /api/fib/90").await;
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"2880067194370816120\n"[..]));
}

/// The README shows a whole denial, and the line that the program logs.
#[tokio::test]
async fn axum_answers_and_logs_what_the_readme_shows() {
    let readme = include_str!("../../README.md");
    let shown = |before: &str| {
        let (_, after) = readme.split_once(before).unwrap_or_else(|| panic!("{before:?} in the README"));
        after.trim_start().strip_prefix("```text\n").unwrap().split("\n```").next().unwrap()
    };
    /// Everything but the date's value.
    fn undated(answer: &str) -> String {
        let line = |line: &str| if line.starts_with("date: ") { "date: then".to_owned() } else { line.to_owned() };
        answer.lines().map(line).collect::<Vec<_>>().join("\n")
    }
    let mut server = serve("axum", &["--limit", "2 per second"]).await;
    let mut connection = soon(TcpStream::connect(server.address)).await.unwrap();
    let denial = loop {
        connection.write_all(b"GET /api/fib/1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n1\n") && !answer.ends_with(b"\ntoo many requests\n") {
            answer.push(soon(connection.read_u8()).await.unwrap());
        }
        if answer.starts_with(b"HTTP/1.1 429") {
            break String::from_utf8(answer).unwrap();
        }
    };
    assert_eq!(undated(&denial), undated(shown("A whole denial:")));

    // Without its time, and without colours.
    let line = soon(server.lines.next_line()).await.unwrap().unwrap();
    let mut coloured = line.split("\x1b[");
    let first = coloured.next().unwrap().to_owned();
    let plain = coloured.fold(first, |plain, part| plain + part.split_once('m').unwrap().1);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&plain)[1..], words(shown("flood:")), "{line:?}");
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_line() {
    let occupied = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let occupied = occupied.local_addr().unwrap().to_string();
    let with_limit = ["axum", "hyper", "metrics", "stack", "tonic"];
    let without = ["per_route", "custom_key", "prometheus"];
    for name in with_limit.iter().chain(&without) {
        let mut cases = vec![
            (vec!["--listen", &occupied], "cannot listen on"),
            (vec!["--listen", "nowhere"], "cannot listen on nowhere"),
            (vec!["--bogus"], "--bogus"),
            (vec!["--listen"], "--listen"),
        ];
        if with_limit.contains(name) {
            cases.push((vec!["--limit", "5 per fortnight"], "5 per fortnight"));
            cases.push((vec!["--limit", "0 per 0 seconds"], "a period must be longer than zero"));
            cases.push((vec!["--limit", ""], "invalid limit"));
        }
        for (arguments, expected) in cases {
            let output = run(name, &arguments).await;
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{name} {arguments:?}");
            assert_eq!(error.lines().count(), 1, "{name} {arguments:?}: {error}");
            assert!(error.starts_with("error: ") && error.contains(expected), "{name} {arguments:?}: {error}");
            assert!(output.stdout.is_empty(), "{name} {arguments:?}");
        }
        assert!(run(name, &["--help"]).await.status.success());
    }
}

#[tokio::test]
async fn hyper_knows_the_peer_of_each_connection() {
    let server = serve("hyper", &["--limit", "2 per hour"]).await;
    let mut statuses = Vec::new();
    let mut kept = Client::connect(server.address).await;
    for _ in 0..5 {
        statuses.push(kept.status("GET /").await);
        statuses.push(ask(server.address, "GET /").await.status());
    }
    assert_eq!(admitted(statuses), 2);
    #[cfg(target_os = "linux")]
    {
        let mut other = Client::connect_from([127, 0, 0, 2].into(), server.address).await;
        assert_eq!(other.ask("GET /path").await.body(), "hello from /path\n");
    }
}

#[tokio::test]
async fn stack_denies_among_other_layers_or_not_at_all() {
    let browser = || HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://shop.example"))]);
    for (limit, admits) in [("2 per hour", 2), ("none", 5)] {
        let server = serve("stack", &["--limit", limit]).await;
        let mut client = Client::connect(server.address).await;
        assert_eq!(client.ask_with("GET /panic", browser()).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        for n in 1..5 {
            let answer = client.ask_with("GET /", browser()).await;
            let expected = if n < admits { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
            assert_eq!(answer.status(), expected, "{limit} {n}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.example", "{limit} {n}");
        }
    }
}

#[tokio::test]
async fn metrics_leave_denials_out() {
    let server = serve("metrics", &["--limit", "3 per hour"]).await;
    for _ in 0..10 {
        ask(server.address, "GET /work").await;
    }
    let metrics = ask(server.address, "GET /metrics").await;
    let text = std::str::from_utf8(metrics.body()).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse::<f64>().unwrap()
    };
    assert_eq!(value("http_request_duration_seconds_count "), 3.0);
    assert_eq!(value("http_requests_denied_total "), 7.0);
    // Each of the three slept for 20 ms, and nothing quicker was averaged in.
    assert!(value("http_request_duration_seconds_sum ") >= 3.0 * 0.020);
}

#[tokio::test]
async fn prometheus_reads_denials_by_limiter_and_quota() {
    let server = serve("prometheus", &[]).await;
    for _ in 0..20 {
        ask(server.address, "POST /login").await;
        assert_eq!(ask(server.address, "GET /search").await.status(), StatusCode::OK, "only tried");
    }
    let metrics = ask(server.address, "GET /metrics").await;
    let text = std::str::from_utf8(metrics.body()).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse::<u64>().unwrap()
    };
    let (allowed, denied) = (
        value(r#"tollgate_allowed_total{limiter="logins"}"#),
        value(r#"tollgate_denied_total{limiter="logins",quota="burst"}"#),
    );
    assert!(allowed >= 5 && denied > 0 && allowed + denied == 20, "{text}");
    let shadow = value(r#"tollgate_shadow_denied_total{limiter="search",quota="2/second"}"#);
    assert_eq!(value(r#"tollgate_allowed_total{limiter="search"}"#) + shadow, 20, "{text}");
    assert_eq!(value(r#"tollgate_evicted_total{limiter="logins"}"#), 0);
    assert_eq!(value(r#"tollgate_keys{limiter="logins"}"#), 1);
}

#[tokio::test]
async fn tonic_clients_are_told_resource_exhausted() {
    let start = Instant::now();
    let mut server = serve("tonic", &["--limit", "2 per hour"]).await;
    let url = format!("http://{}", server.address);
    let output = run("tonic", &["--call", &url]).await;
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[..2], ["Check: Serving"; 2]);
    for line in &lines[2..5] {
        let wait = line
            .strip_prefix("Check: ResourceExhausted, rate limit reached; try again in ")
            .unwrap_or_else(|| panic!("{line}"));
        let millis: u32 = wait.strip_suffix(" ms").unwrap().parse().unwrap();
        assert!((1..=1_800_000).contains(&millis), "{line}");
    }
    // The other method is counted by itself.
    let streams = lines.iter().filter(|line| **line == "Watch: a stream").count();
    check(streams, 3, 3.0 / 60.0, start);
    // Another connection of the same client, which a server that counts by connection would admit.
    let output = run("tonic", &["--call", &url]).await;
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("Check: ResourceExhausted").count(), 5);

    // Waits until it is gone.
    server.child.kill().await.unwrap();
    let gone = run("tonic", &["--call", &url]).await;
    assert!(!gone.status.success());
    assert_eq!(String::from_utf8(gone.stderr).unwrap(), format!("error: cannot reach {url}\n"));
}

#[tokio::test]
async fn per_route_limits_each_route_as_it_says() {
    let start = Instant::now();
    let server = serve("per_route", &[]).await;
    let mut client = Client::connect(server.address).await;
    let mut count = async |requests: &[&str]| {
        let mut statuses = Vec::new();
        for n in 0..12 {
            statuses.push(client.status(requests[n % requests.len()]).await);
        }
        admitted(statuses)
    };
    check(count(&["POST /login"]).await, 5, 5.0 / 60.0, start);
    check(count(&["GET /reports/daily", "GET /reports/weekly"]).await, 2, 2.0 / 60.0, start);
    check(count(&["GET /export/7"]).await, 3, 3.0 / 60.0, start);
    check(count(&["GET /export/8"]).await, 3, 3.0 / 60.0, start);
    assert_eq!(count(&["GET /search"]).await, 12);
    assert_eq!(count(&["GET /health"]).await, 12);
}

#[tokio::test]
async fn custom_key_counts_customers_and_those_who_are_none_together() {
    let start = Instant::now();
    let server = serve("custom_key", &[]).await;
    let mut client = Client::connect(server.address).await;
    let mut count = async |keys: &[&'static str]| {
        let mut statuses = Vec::new();
        for n in 0..10 {
            let key = (HeaderName::from_static("x-api-key"), HeaderValue::from_static(keys[n % keys.len()]));
            statuses.push(client.ask_with("GET /data", HeaderMap::from_iter([key])).await.status());
        }
        admitted(statuses)
    };
    check(count(&["secret-of-customer-1"]).await, 5, 5.0 / 60.0, start);
    check(count(&["secret-of-customer-2"]).await, 5, 5.0 / 60.0, start);
    check(
        count(&["", "nonsense", "customer-1", "secret-of-customer-3", "SECRET-OF-CUSTOMER-1"]).await,
        5,
        5.0 / 60.0,
        start,
    );
}

#[tokio::test]
async fn direct_works_without_a_server() {
    let output = run("direct", &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("acme job") && line.contains("runs")).count(), 12, "{text}");
    assert!(text.contains("the cost is above the 3 that rate limit pace ever grants"), "{text}");
}

#[tokio::test]
async fn outgoing_calls_keep_their_pace_with_each_host() {
    let output = run("outgoing", &["--limit", "50 per second burst 1", "--requests", "5"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let mut hosts = std::collections::BTreeMap::<_, Vec<f64>>::new();
    for line in text.lines().skip(1) {
        let (seconds, rest) = line.split_once(" s  http://").unwrap_or_else(|| panic!("{line}"));
        let (host, status) = rest.split_once("/hello/").unwrap();
        assert!(status.ends_with("  200 OK"), "{line}");
        hosts.entry(host).or_default().push(seconds.trim().parse().unwrap());
    }
    assert_eq!(hosts.values().map(Vec::len).collect::<Vec<_>>(), [5, 5], "{text}");
    for mut times in hosts.into_values() {
        times.sort_by(f64::total_cmp);
        // No answer can come before its call; printed times are rounded to a millisecond.
        assert!(times.iter().enumerate().all(|(n, seconds)| seconds + 0.001 >= 0.020 * n as f64), "{text}");
    }
}
