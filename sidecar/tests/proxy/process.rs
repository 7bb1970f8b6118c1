//! The program itself: what signals do, and what it logs.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use crate::world::{Echo, PATIENCE, Peer, eventually, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A file that is gone with the test.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, contents: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tollgate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = Self(folder.join("tollgate.toml"));
        file.write(contents);
        file
    }

    /// All at once, so that nobody reads a half.
    pub(crate) fn write(&self, contents: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, contents).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// `tollgate serve`, which ends with the test.
pub(crate) struct Program {
    child: Child,
    lines: Option<Receiver<String>>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) address: SocketAddr,
    /// What was said at the start.
    begun: Vec<String>,
}

impl Program {
    /// It listens when this returns.
    pub(crate) fn start(file: &File, flags: &[&str]) -> Self {
        Self::start_after("true", file, flags)
    }

    /// The same, after this command of the shell's.
    fn start_after(before: &str, file: &File, flags: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]);
        command.env_clear().arg(env!("CARGO_BIN_EXE_tollgate")).arg("serve").arg("-c").arg(&file.0).args(flags);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stderr.take().unwrap());
        let stdout = child.stdout.take();
        let mut program =
            Self { child, lines: Some(lines), stdout, address: SocketAddr::from(([0, 0, 0, 0], 0)), begun: Vec::new() };
        program.begun = program.all_until("listening on ");
        let line = program.begun.last().expect("the line that has them");
        let address = line.rsplit("listening on ").next().unwrap();
        program.address = address.split(['"', ' ']).next().unwrap().parse().unwrap();
        program
    }

    /// The next line that has these words.
    pub(crate) fn until(&self, words: &str) -> String {
        self.all_until(words).pop().expect("the line that has them")
    }

    /// All lines up to that one.
    fn all_until(&self, words: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.lines.as_ref().unwrap().recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => {
                    before.push(line);
                    return before;
                }
                Ok(line) => before.push(line),
                Err(_) => panic!("nobody says {words}: {before:#?}"),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Bytes of it in memory.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// How it ended.
    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(begun.elapsed() < PATIENCE, "it does not end"),
            }
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    // Whoever forgets the lines closes the pipe.
    thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    lines
}

/// A file in front of this upstream.
pub(crate) fn file(upstream: SocketAddr, more: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\nupstream = \"http://{upstream}\"\nadmin = \"off\"\nthreads = 2\n{more}")
}

#[test]
fn a_changed_file_is_taken_up_and_a_bad_one_refused() {
    let text = file(Echo::start().address, "[limits.all]\nlimit = \"2/day\"\nkey = \"global\"\n");
    let on_disk = File::new("changes", &text);
    let program = Program::start(&on_disk, &[]);
    let mut client = Peer::connect(program.address);
    assert_eq!([0; 3].map(|_| client.ask(GET).status()), [200, 200, 429]);
    program.signal("HUP");
    program.until("the configuration has not changed");
    // By itself, within 2 s.
    on_disk.write(&text.replace("2/day", "3/day"));
    program.until("all: 2/day is now 3/day; what was spent stays");
    program.until("the new configuration is in force: what was spent stays with all");
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
    // All that is wrong, each with its place.
    on_disk.write(&text.replace("2/day", "14/dya").replace("key = ", "kez = "));
    assert!(program.until("invalid limit \"14/dya\"").contains("line=6"));
    assert!(program.until("unknown key \"kez\"").contains("line=7 column=1"));
    program.until("the new configuration is refused, and the old one stays");
    assert_eq!(client.ask(GET).status(), 429);
    // It is said once, and again when asked.
    program.signal("HUP");
    program.until("the new configuration is refused, and the old one stays");
    on_disk.write(&text.replace("2/day", "4/day").replace("127.0.0.1:0", "127.0.0.1:1"));
    program.signal("HUP");
    program.until("listen: refused until restart, the old value stays");
    program.until("in force: what was spent stays with all");
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
}

#[test]
fn sighup_is_at_once() {
    let text = file(Echo::start().address, "[limits.all]\nlimit = \"1/day\"\n");
    let on_disk = File::new("hangup", &text);
    let program = Program::start(&on_disk, &["--log", "json"]);
    let mut client = Peer::connect(program.address);
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
    for amount in 2..12 {
        on_disk.write(&text.replace("1/day", &format!("{amount}/day")));
        program.signal("HUP");
        let line = program.until("what was spent stays");
        assert!(line.starts_with('{') && line.contains(&format!("is now {amount}/day")), "{line}");
        program.until("in force");
        assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
    }
}

/// An upstream that answers a slow request when it is told to.
fn slow() -> (SocketAddr, std::sync::mpsc::Sender<()>) {
    let (release, hold) = channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let address = upstream(move |stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(_)) = peer.read_request() {
            let _ = hold.lock().unwrap().recv();
            let _ = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (address, release)
}

#[test]
fn sigterm_and_sigint_drain() {
    for signal in ["TERM", "INT"] {
        let (upstream, release) = slow();
        let on_disk = File::new(&format!("drains-{signal}"), &file(upstream, ""));
        let mut program = Program::start(&on_disk, &[]);
        let mut client = Peer::connect(program.address);
        client.send(GET).unwrap();
        // Another that is answered shows that the first is there.
        let mut silent = Peer::connect(program.address);
        release.send(()).unwrap();
        assert_eq!(client.response().status(), 200);
        client.send(GET).unwrap();
        thread::sleep(std::time::Duration::from_millis(100));
        program.signal(signal);
        program.until("draining");
        silent.expect_end();
        eventually("nobody is let in", || std::net::TcpStream::connect(program.address).is_err());
        // A reload has no place here, and does not end it.
        program.signal("HUP");
        release.send(()).unwrap();
        assert_eq!(client.response().status(), 200);
        client.expect_end();
        assert_eq!(program.ended().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (upstream, _release) = slow();
    let on_disk = File::new("ends", &file(upstream, "[deadlines]\ndrain = \"1h\"\n"));
    let mut program = Program::start(&on_disk, &[]);
    let mut client = Peer::connect(program.address);
    client.send(GET).unwrap();
    thread::sleep(std::time::Duration::from_millis(100));
    program.signal("TERM");
    program.until("draining");
    assert!(program.child.try_wait().unwrap().is_none(), "it waits for what is under way");
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
}

/// A request is sent once more, whole, though its body was still coming when the upstream went away.
#[test]
fn a_request_is_repeated_whole_or_not_at_all() {
    let (tell, told) = channel::<std::net::TcpStream>();
    let address = upstream(move |stream| {
        let mut peer = Peer::of(stream.try_clone().unwrap());
        while let Ok(Some(request)) = peer.read_request() {
            let _ = peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()));
            let _ = peer.send(&request.body);
            if request.start.starts_with("GET /last") {
                // Of the next one, it sees a part.
                let mut part = Vec::new();
                while !part.ends_with(b"5\r\nhello\r\n") {
                    part.extend(peer.take(1).unwrap());
                }
                drop(peer);
                tell.send(stream).unwrap();
                return;
            }
        }
    });
    let on_disk = File::new("repeated", &file(address, ""));
    let program = Program::start(&on_disk, &[]);
    let mut client = Peer::connect(program.address);
    assert_eq!(client.ask("GET /last HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").unwrap();
    let upstream = told.recv().unwrap();
    // It hears of both at once.
    program.signal("STOP");
    socket2::SockRef::from(&upstream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(upstream);
    client.send("1\r\n,\r\n6\r\n world\r\n0\r\n\r\n").unwrap();
    program.signal("CONT");
    let response = client.response();
    assert_eq!((response.status(), response.body()), (200, "hello, world".to_owned()));
}

/// A line tells of the first denial of a burst. The others are told when it is over, and the end is the last time.
#[test]
fn what_was_denied_is_told_before_it_ends() {
    let text = file(Echo::start().address, "[limits.all]\nlimit = \"1/day\"\nkey = \"global\"\n");
    // The page looks at the limits, too.
    let on_disk = File::new("told", &text.replace("\"off\"", "\"127.0.0.1:0\""));
    let mut program = Program::start(&on_disk, &[]);
    let mut client = Peer::connect(program.address);
    assert_eq!([0; 5].map(|_| client.ask(GET).status()), [200, 429, 429, 429, 429]);
    program.until("count=1");
    program.signal("TERM");
    program.until("draining");
    let told = program.until("over the limit");
    assert!(told.contains("limiter=\"all\"") && told.contains("count=3"), "{told}");
    assert_eq!(program.ended().code(), Some(0));
}

/// Whoever reads the log may go away: the proxy goes on.
#[test]
fn a_log_that_nobody_reads_ends_nothing() {
    let text = file(Echo::start().address, "[limits.all]\nlimit = \"1/day\"\nkey = \"global\"\n");
    let on_disk = File::new("unread", &text);
    let mut program = Program::start(&on_disk, &[]);
    let mut client = Peer::connect(program.address);
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
    program.lines = None;
    for amount in 2..9 {
        on_disk.write(&text.replace("1/day", &format!("{amount}/day")));
        program.signal("HUP");
        eventually("it is in force", || client_asks(program.address) == 200);
    }
    program.signal("PIPE");
    assert_eq!(client.ask(GET).status(), 429);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
}

/// Each connection is an open file, and shells allow few of them unless asked.
#[test]
fn as_many_files_can_be_open_as_the_system_allows() {
    let on_disk = File::new("files", &file(Echo::start().address, ""));
    let program = Program::start_after("ulimit -Sn 30; ulimit -Hn 300", &on_disk, &[]);
    let told = "open 300 files, which is enough for 86 clients at once, not for the 20000 of caps.connections";
    assert!(program.begun.iter().any(|line| line.contains(told)), "{:?}", program.begun);
    let mut clients: Vec<Peer> = (0..100).map(|_| Peer::connect(program.address)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(GET).status(), 200);
    }
}

fn client_asks(address: SocketAddr) -> u16 {
    Peer::connect(address).ask(GET).status()
}
