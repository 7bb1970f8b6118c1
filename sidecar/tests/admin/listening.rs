//! Where it listens, and where it does not.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::desk::Desk;
use crate::world::global;

/// Starts the program on free ports, which must fail.
fn fails(admin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "http://127.0.0.1:9",
        "--limit",
        "1/s",
        "--admin",
        admin,
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn an_occupied_port_is_one_line_that_says_what_to_do() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = there.local_addr().unwrap().to_string();
    let output = fails(&at);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(last.contains(&format!("cannot serve the admin page on {at}: ")) && last.contains("--admin off"), "{said}");
}

#[test]
fn it_is_reachable_from_this_machine_alone() {
    for open in ["0.0.0.0:5003", "[::]:5003", "192.0.2.1:5003"] {
        let output = fails(open);
        assert_eq!(output.status.code(), Some(2), "{open}");
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("is open to others, and the admin page shows and resets")
        );
    }
    let desk = Desk::start(|config| config.limits.push(global("1/day")));
    assert!(desk.address.ip().is_loopback());
    let address = desk.address;
    drop(desk);
    crate::world::eventually("it has ended with the proxy", || TcpListener::bind(address).is_ok());
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};

    use tollgate_sidecar::config::Admin;
    use tollgate_sidecar::proxy::Proxy;

    use crate::world::{eventually, global};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn start(path: &Path) -> std::io::Result<Proxy> {
        let upstream = "http://127.0.0.1:9".parse().unwrap();
        let mut config = tollgate_sidecar::config::Config::new("127.0.0.1:0".parse().unwrap(), upstream);
        config.threads = 1;
        config.admin = Some(Admin::Unix(path.to_owned()));
        config.limits.push(global("1/day"));
        Proxy::start(config)
    }

    fn ask(path: &Path, host: &str) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        write!(stream, "GET /stats HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_unix_socket_is_its_owner_s_alone_and_gone_afterwards() {
        let folder = Folder::new("admin-own");
        let path = folder.0.join("admin.sock");
        let proxy = start(&path).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(ask(&path, "localhost").starts_with("HTTP/1.1 200 "));
        assert!(ask(&path, "evil.example").starts_with("HTTP/1.1 403 "));
        let error = start(&path).unwrap_err().to_string();
        assert!(error.contains("another program listens there") && error.contains("--admin off"), "{error}");
        assert!(ask(&path, "localhost").starts_with("HTTP/1.1 200 "), "the first one goes on");
        drop(proxy);
        eventually("the file is gone", || !path.exists());
    }

    #[test]
    fn what_a_crash_left_is_taken_over_and_nothing_else() {
        let folder = Folder::new("admin-left");
        let path = folder.0.join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let proxy = start(&path).unwrap();
        assert!(ask(&path, "localhost").starts_with("HTTP/1.1 200 "));
        drop(proxy);
        eventually("the file is gone", || !path.exists());
        fs::write(&path, "precious").unwrap();
        let error = start(&path).unwrap_err().to_string();
        assert!(error.contains("there is a file of that name"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
