//! A Redis server of a test's own.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::world::{Peer, eventually};

/// A Redis of the test's own.
pub(crate) struct Redis {
    program: String,
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Redis {
    /// `None`, said aloud, where there is no program for it. On a machine that tests for others that is a failure.
    pub(crate) fn start() -> Option<Self> {
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !quiet(Command::new(&program).arg("--version")).is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "{program} is needed");
            eprintln!("SKIPPED: there is no {program}");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("tollgate-sidecar-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let child = launch(&program, port, &folder);
        let redis = Self { program, child, port, folder };
        redis.is_there();
        Some(redis)
    }

    fn is_there(&self) {
        eventually("Redis answers", || {
            let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
            let mut peer = Peer::of(stream);
            peer.send("PING\r\n").is_ok() && peer.take(7).is_ok_and(|answer| answer == b"+PONG\r\n")
        });
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.child = launch(&self.program, self.port, &self.folder);
        self.is_there();
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn launch(program: &str, port: u16, folder: &PathBuf) -> Child {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}
