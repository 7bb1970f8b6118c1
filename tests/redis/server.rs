//! A Redis server of the test's own, on a free port, and a plain client to look at it with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running server. Dropped, it is killed, and its folder removed.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
}

/// The program to test with: that of the environment's `REDIS_SERVER`, or `redis-server`. None, said aloud, if there is none;
/// on a machine that tests for others (`CI`) that is a failure.
pub(crate) fn program() -> Option<String> {
    let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let there = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is needed to test the feature `redis`");
    eprintln!("SKIPPED: there is no {program}: this test of the feature `redis` was not run");
    None
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

impl Server {
    /// Starts one, if there is a program for it, and waits until it answers.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        Self::start_on(free_port(), arguments)
    }

    pub(crate) fn start_on(port: u16, arguments: &[&str]) -> Option<Self> {
        let program = program()?;
        let folder = std::env::temp_dir().join(format!("tollgate-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = launch(&program, port, &folder, &arguments);
        let server = Self { child, port, folder, arguments };
        server.wait_until_it_answers();
        Some(server)
    }

    fn wait_until_it_answers(&self) {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(mut raw) = Raw::try_to(self.address()) {
                // One that wants a password answers, too.
                if matches!(raw.ask(&["PING"]), Value::Text(_) | Value::Error(_)) {
                    return;
                }
            }
            assert!(Instant::now() < give_up, "the server does not answer");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub(crate) fn raw(&self) -> Raw {
        Raw::to(self.address())
    }

    /// Kills it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is a child of this process");
        self.child.wait().expect("it was killed");
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        let program = program().expect("it was there");
        self.child = launch(&program, self.port, &self.folder, &self.arguments);
        self.wait_until_it_answers();
    }

    /// Stops it: it keeps its connections and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }
}

fn launch(program: &str, port: u16, folder: &PathBuf, arguments: &[String]) -> Child {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the server starts")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nil,
    Int(i64),
    Text(String),
    Error(String),
    Array(Vec<Value>),
}

impl Value {
    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(int) => *int,
            other => panic!("no number: {other:?}"),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    pub(crate) fn array(&self) -> &[Value] {
        match self {
            Self::Array(values) => values,
            other => panic!("no array: {other:?}"),
        }
    }

    #[allow(dead_code, reason = "for the tests of the script")]
    pub(crate) fn ints(&self) -> Vec<i64> {
        self.array().iter().map(Self::int).collect()
    }
}

/// A plain connection: one command after the other, or many at once.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::try_to(address).expect("the server listens")
    }

    pub(crate) fn try_to(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn ask<T: AsRef<[u8]>>(&mut self, command: &[T]) -> Value {
        self.ask_all(&[command]).pop().expect("one answer for each command")
    }

    /// Sends all, and then reads all answers.
    pub(crate) fn ask_all<T: AsRef<[u8]>, C: AsRef<[T]>>(&mut self, commands: &[C]) -> Vec<Value> {
        let mut bytes = Vec::new();
        for command in commands {
            let command = command.as_ref();
            bytes.extend(format!("*{}\r\n", command.len()).into_bytes());
            for word in command {
                let word = word.as_ref();
                bytes.extend(format!("${}\r\n", word.len()).into_bytes());
                bytes.extend(word);
                bytes.extend(b"\r\n");
            }
        }
        if self.stream.get_mut().write_all(&bytes).is_err() {
            return vec![Value::Nil; commands.len()];
        }
        commands.iter().map(|_| self.read().unwrap_or(Value::Nil)).collect()
    }

    fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1)?;
        Some(match kind {
            "+" => Value::Text(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Int(rest.parse().ok()?),
            "$" if rest == "-1" => Value::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().ok()? + 2];
                self.stream.read_exact(&mut bytes).ok()?;
                bytes.truncate(bytes.len() - 2);
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" if rest == "-1" => Value::Nil,
            "*" => Value::Array((0..rest.parse::<usize>().ok()?).map(|_| self.read()).collect::<Option<_>>()?),
            _ => return None,
        })
    }
}
