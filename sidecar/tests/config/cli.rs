//! The command line, as its user meets it: what is printed where, and the exit code.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::check::File;

/// Runs the program with these words, in an environment of these variables alone.
fn tollgate_in(env: &[(&str, &str)], words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().envs(env.iter().copied()).current_dir(env!("CARGO_MANIFEST_DIR")).args(words);
    command.output().expect("it runs")
}

pub(crate) fn tollgate(words: &[&str]) -> Output {
    tollgate_in(&[], words)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What is refused with 2, and what stderr says then.
#[track_caller]
fn refused(env: &[(&str, &str)], words: &[&str], said: &str) {
    let output = tollgate_in(env, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
    assert_eq!(stdout(&output), "", "{words:?}");
    assert!(stderr(&output).contains(said), "{words:?} says {:?}", stderr(&output));
}

/// The configuration that would be in force.
#[track_caller]
fn in_force(env: &[(&str, &str)], words: &[&str]) -> String {
    let words: Vec<_> = ["serve", "--print-config"].iter().chain(words).copied().collect();
    let output = tollgate_in(env, &words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    stdout(&output)
}

const BY_FLAGS: [&str; 6] = ["--listen", "0.0.0.0:5002", "--upstream", "http://localhost:5000", "--limit", "29/second"];

#[test]
fn the_articles_line_is_the_articles_file() {
    let by_flags =
        in_force(&[], &[&BY_FLAGS[..], &["--key", "global", "--denial-header", "x-local-rate-limit: true"]].concat());
    assert_eq!(by_flags, in_force(&[], &["--config", "examples/article.toml"]));
}

#[test]
fn every_flag_is_in_force() {
    let shown = in_force(
        &[],
        &[
            &BY_FLAGS[..],
            &["--key", "address,header:x-username", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "192.0.2.7"],
            &["--exempt", "/healthz from 10.0.0.0/8", "--admin", "off", "--metrics", "0.0.0.0:5004", "--log", "json"],
            &["--access-log", "--drain", "3s", "--redis", "redis://redis:6379"],
        ]
        .concat(),
    );
    for line in [
        "trusted_proxies = [\"10.0.0.0/8\", \"192.0.2.7\"]",
        "exempt = [{ path = \"/healthz\", from = \"10.0.0.0/8\" }]",
        "admin = \"off\"",
        "metrics = \"0.0.0.0:5004\"",
        "log = \"json\"",
        "access_log = true",
        "redis = \"redis://redis:6379\"",
        "drain = \"3s\"",
        "key = [\"address\", \"header:x-username\"]",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is in\n{shown}");
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let env = [
        ("TOLLGATE_CONFIG", "examples/article.toml"),
        ("TOLLGATE_LISTEN", "127.0.0.1:1"),
        ("TOLLGATE_UPSTREAM", "h2c://localhost:2"),
        ("TOLLGATE_ADMIN", "off"),
        ("TOLLGATE_METRICS", "127.0.0.1:3"),
        ("TOLLGATE_REDIS", "redis://a"),
    ];
    let shown = in_force(&env, &["--listen", "127.0.0.1:9"]);
    for line in [
        "listen = \"127.0.0.1:9\"",
        "upstream = \"h2c://localhost:2\"",
        "admin = \"off\"",
        "metrics = \"127.0.0.1:3\"",
        "redis = \"redis://a\"",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is in\n{shown}");
    }
    assert!(in_force(&env, &["-c", "examples/grpc.toml"]).contains("[limits.cart]"));
    // Kubernetes sets this one for a Service named tollgate.
    let shown = in_force(&[("TOLLGATE_PORT", "tcp://10.0.0.7:80")], &["-c", "examples/article.toml"]);
    assert_eq!(shown, in_force(&[], &["-c", "examples/article.toml"]));
    // A template that leaves a variable empty sets none.
    assert_eq!(shown, in_force(&[("TOLLGATE_ADMIN", "")], &["-c", "examples/article.toml"]));
}

#[test]
fn what_flags_cannot_say_is_refused_in_a_line() {
    let flags = |more: &[&'static str]| -> Vec<&'static str> { [&["serve"], &BY_FLAGS[..], more].concat() };
    refused(&[], &flags(&["--config", "examples/article.toml"]), "--limit is for a proxy without a file");
    refused(&[("TOLLGATE_CONFIG", "examples/article.toml")], &flags(&[]), "--limit is for a proxy without a file");
    refused(&[], &["serve"], "nothing says what to limit: give --limit \"28/second\", or a file with --config");
    refused(&[], &["serve", "--limit", "1/s"], "nothing says where clients connect to: give --listen 0.0.0.0:5002");
    refused(&[], &["serve", "--limit", "1/s"], "nothing says where requests go: give --upstream");
    refused(&[], &["serve", "--limit", "28/secnd"], "invalid limit \"28/secnd\": expected a unit");
    refused(&[], &["serve", "--listen", "5002"], "as in \"0.0.0.0:5002\"");
    refused(&[], &["serve", "--lissen", "5002"], "--listen");
    refused(&[], &flags(&["--admin", "0.0.0.0:5003"]), "is open to others");
    refused(&[], &flags(&["--trusted-proxy", "10.0.0.0/88"]), "is not an address range");
    refused(&[], &flags(&["--denial-header", "x"]), "a header is a name and a value");
    refused(&[], &flags(&["--key", "a,b"]), "is not a key");
    refused(&[], &["serve", "-c", "examples/article.toml", "--key", "global"], "--limit");
    refused(&[("TOLLGATE_METRICS", "x")], &flags(&[]), "TOLLGATE_METRICS: \"x\" is not an address");
    refused(
        &[],
        &["serve", "-c", "absent.toml"],
        "cannot read absent.toml: No such file or directory (os error 2); give the file that there is\n",
    );
    refused(&[], &["serve", "-c", "src"], "cannot read src: Is a directory (os error 21); give the file in it\n");
    refused(&[], &["check", "/dev/zero"], "the file has more than the 1048576 bytes that are read");
    refused(&[], &["sreve"], "serve");
    refused(&[], &[], "Usage: tollgate <COMMAND>");
}

/// What cannot start says why and what to do, in a line.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_start_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let with = |words: &[&str]| {
        let flags = ["--upstream", "http://localhost:1", "--limit", "1/s", "--admin", "off", "--listen", "127.0.0.1:0"];
        let kept = flags.chunks(2).filter(|flag| !words.contains(&flag[0])).flatten();
        let words: Vec<&str> = [&"serve"].into_iter().chain(words).chain(kept).copied().collect();
        let output = tollgate(&words);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{words:?}");
        stderr(&output)
    };
    for (flag, what_to_do) in [
        ("--listen", "end the program that does, or give another port (--listen)"),
        ("--metrics", "end the program that does, or give another port (--metrics)"),
        ("--admin", "give another place with --admin, or --admin off"),
    ] {
        let said = with(&[flag, &taken]);
        assert!(said.ends_with(&format!("Address already in use (os error 98); {what_to_do}\n")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let said = with(&["--listen", "192.0.2.1:9"]);
    assert!(said.ends_with("; give an address of this machine, or 0.0.0.0 for all of them (--listen)\n"), "{said}");
    // And promises nothing before.
    let output = tollgate(&["demo", "--listen", &taken, "--admin", "off"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
}

/// A user who may not read the file, or listen below 1024.
#[cfg(target_os = "linux")]
#[test]
fn what_is_forbidden_says_what_to_do() {
    let nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        command.arg(env!("CARGO_BIN_EXE_tollgate")).args(words).output()
    };
    let is_possible = nobody(&["--version"]).is_ok_and(|output| output.status.success());
    if !is_possible {
        return eprintln!("SKIPPED: only root can become somebody else, and only where others may run what is built");
    }
    let secret = File::new("secret.toml", "");
    std::fs::set_permissions(secret.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = nobody(&["serve", "-c", secret.path()]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).ends_with("; let the user read it whose program this is\n"), "{}", stderr(&output));
    if std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .is_ok_and(|start| start.trim() == "1024")
    {
        let output =
            nobody(&["serve", "--listen", "127.0.0.1:81", "--upstream", "http://a:1", "--limit", "1/s"]).unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains("Permission denied") && said.contains("as by setcap cap_net_bind_service=+ep (--listen)"),
            "{said}"
        );
    }
}

/// A translation that is not there must not look like one that is. Who has seen enough of it is another thing.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_no_success() {
    let ends = |words: &[&str], stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).stdout(stdout).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    for words in
        [&["from-envoy", "tests/config/envoy/article.yaml"][..], &["check", "examples/article.toml"], &["schema"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let expected = "tollgate: cannot write to stdout: No space left on device (os error 28)\n";
        assert_eq!(ends(words, full.into()), (Some(1), expected.to_owned()), "{words:?}");
        let (_, closed) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(ends(words, std::os::fd::OwnedFd::from(closed).into()), (Some(0), String::new()), "{words:?}");
    }
}

#[test]
fn help_and_completions_are_there() {
    for (words, said) in [
        (&["--help"][..], "Exit codes: 0 done, 1 could not, 2 a bad flag or file."),
        (&["serve", "--help"], "TOLLGATE_LISTEN"),
        (&["serve", "--help"], "a second one ends at once"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["completions", "bash"], "--denial-header"),
        (&["completions", "zsh"], "--trusted-proxy"),
        (&["completions", "fish"], "access-log"),
    ] {
        let output = tollgate(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(stdout(&output).contains(said), "{words:?}: {}", stdout(&output));
    }
    let help = stdout(&tollgate(&["serve", "--help"]));
    assert!(!help.contains("TOLLGATE_PORT"), "{help}");
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

/// A shell completes what a person has begun.
#[test]
fn bash_completes_flags_and_values() {
    let script = stdout(&tollgate(&["completions", "bash"]));
    let completed = |words: &str, current: &str, before: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words} {current}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _tollgate tollgate '{current}' '{before}'; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash");
        stdout(&output).trim().to_owned()
    };
    assert_eq!(completed("tollgate", "ser", "tollgate"), "serve");
    assert_eq!(completed("tollgate serve", "--ad", "serve"), "--admin");
    assert_eq!(completed("tollgate serve --log", "j", "--log"), "json");
    assert_eq!(completed("tollgate completions", "z", "completions"), "zsh");
}

/// A program that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One command, and a first request is answered.
#[test]
fn the_demo_is_one_command() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let page = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["demo", "--listen", &address.to_string(), "--admin", &page.to_string(), "--limit", "3/day"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running(child);
    let ask = |at: SocketAddr| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let begun = Instant::now();
    let first = loop {
        match ask(address) {
            Ok(answer) => break answer,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(first.starts_with("HTTP/1.1 200") && first.ends_with("hello from the upstream: GET /x\n"), "{first}");
    let statuses: Vec<String> = (0..4).map(|_| ask(address).unwrap()[9..12].to_owned()).collect();
    assert_eq!(statuses, ["200", "200", "429", "429"]);
    assert!(ask(page).unwrap().ends_with("There are /, /stats, /limit, /key and /peek.\n"));
    let _ = running.0.kill();
    let mut told = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("Each client address has 3/day. Try:"), "{told}");
    assert!(told.contains(&format!("What it does is shown on http://{page}/ meanwhile.\n")), "{told}");
    assert!(told.contains(&format!("curl -si http://{address}/")), "{told}");
}
