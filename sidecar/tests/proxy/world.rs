//! What a test stands on: a proxy, upstreams of a few lines, and a client that reads what it is sent strictly.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_sidecar::config::{Config, Key, Limit};
use tollgate_sidecar::proxy::Proxy;

/// Nothing here takes that long, unless something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy in front of this upstream, as `change` sets it.
pub(crate) fn proxy(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> Proxy {
    let upstream = format!("http://{upstream}").parse().unwrap();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), upstream);
    config.threads = 1;
    config.admin = None;
    change(&mut config);
    Proxy::start(config).unwrap()
}

/// A client that has this address. All of 127.0.0.0/8 is here.
pub(crate) fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// An address of this machine at which nobody listens, nor will while the socket is kept.
pub(crate) fn nobody() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Until this holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A limit for everybody together.
pub(crate) fn global(policy: &str) -> Limit {
    let mut limit = Limit::new("all", policy.parse().unwrap());
    limit.key = Key::global();
    limit
}

/// An upstream that does this with each connection.
pub(crate) fn upstream(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An upstream that answers each request with what it has received, and remembers it.
#[derive(Clone)]
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = seen.clone();
        let address = upstream(move |stream| {
            let mut peer = Peer::of(stream);
            while let Ok(Some(message)) = peer.read_request() {
                let text = message.text();
                log.lock().unwrap().push(text.clone());
                let len = text.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
                let body = if message.start.starts_with("HEAD ") { "" } else { &text };
                if peer.send(format!("{head}{body}")).is_err() {
                    break;
                }
            }
        });
        Self { address, seen }
    }

    /// The requests that have arrived whole since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// A message of HTTP/1.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect()
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.start);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\n");
        }
        text += "\n";
        text += &self.body();
        for (name, value) in &self.trailers {
            text += &format!("\n{name}: {value}");
        }
        text
    }
}

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) kept: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, kept: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// A whole request. `None`: the connection has ended between two.
    pub(crate) fn read_request(&mut self) -> io::Result<Option<Message>> {
        self.read(false)
    }

    /// A whole response to a request that was not HEAD. 1xx are responses too.
    pub(crate) fn response(&mut self) -> Message {
        self.read(true).expect("a response").expect("a response before the end")
    }

    /// The response to HEAD: a head.
    pub(crate) fn head(&mut self) -> Message {
        self.read_head().expect("a head").expect("a head before the end")
    }

    pub(crate) fn try_response(&mut self) -> io::Result<Option<Message>> {
        self.read(true)
    }

    /// Sends a request and reads the response.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).unwrap();
        self.response()
    }

    /// That the other end sends nothing more, and ends.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = self.kept.split_off(0);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), "", "it should have ended"),
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "it did not end"),
        }
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let len = self.stream.read(&mut buffer)?;
        self.kept.extend_from_slice(&buffer[..len]);
        Ok(len > 0)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.kept.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.kept[..end]).into_owned();
                self.kept.drain(..end + 2);
                return Ok(Some(line));
            }
            if !self.more()? {
                return if self.kept.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        while self.kept.len() < len {
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.kept.drain(..len).collect())
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(": ").or(line.split_once(':')).unwrap_or_else(|| panic!("a field: {line:?}"));
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    fn read_head(&mut self) -> io::Result<Option<Message>> {
        let Some(start) = self.line()? else { return Ok(None) };
        let fields = self.fields()?;
        Ok(Some(Message { start, fields, body: Vec::new(), trailers: Vec::new() }))
    }

    fn read(&mut self, is_response: bool) -> io::Result<Option<Message>> {
        let Some(mut message) = self.read_head()? else { return Ok(None) };
        let lengths = message.all("content-length");
        let chunked = message.all("transfer-encoding");
        assert!(lengths.len() + chunked.len() <= 1, "framed twice: {message:?}");
        if is_response && (message.status() < 200 || matches!(message.status(), 204 | 304)) {
            return Ok(Some(message));
        }
        if let Some(length) = lengths.first() {
            message.body = self.take(length.parse().expect("a length"))?;
        } else if chunked.first() == Some(&"chunked") {
            loop {
                let size = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let size = usize::from_str_radix(&size, 16).expect("a size without more");
                if size == 0 {
                    break;
                }
                message.body.extend(self.take(size)?);
                assert_eq!(self.take(2)?, b"\r\n");
            }
            message.trailers = self.fields()?;
        } else if is_response {
            while self.more()? {}
            message.body = std::mem::take(&mut self.kept);
        }
        Ok(Some(message))
    }
}
