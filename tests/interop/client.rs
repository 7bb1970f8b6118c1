//! What tests over real sockets share: a client, and an end to every wait.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

/// Waits for what is about to happen. Nothing is measured: this only keeps a test that would hang from hanging.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this should have happened long ago")
}

/// A client on one connection that it keeps.
pub(crate) struct Client {
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::over(soon(TcpStream::connect(to)).await.unwrap()).await
    }

    /// Connects from this address, which on Linux can be any of 127.0.0.0/8.
    pub(crate) async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Self::over(soon(socket.connect(to)).await.unwrap()).await
    }

    async fn over(stream: TcpStream) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Makes a request given as `GET /path`.
    pub(crate) async fn ask(&mut self, request: &str) -> Response<Bytes> {
        self.ask_with(request, HeaderMap::new()).await
    }

    /// The same, with headers.
    pub(crate) async fn ask_with(&mut self, request: &str, headers: HeaderMap) -> Response<Bytes> {
        let (method, path) = request.split_once(' ').unwrap();
        let mut request =
            Request::builder().method(method).uri(path).header("host", "test").body(Empty::new()).unwrap();
        request.headers_mut().extend(headers);
        soon(async {
            self.sender.ready().await.unwrap();
            let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
            Response::from_parts(head, body.collect().await.unwrap().to_bytes())
        })
        .await
    }

    pub(crate) async fn status(&mut self, request: &str) -> StatusCode {
        self.ask(request).await.status()
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(to: SocketAddr, request: &str) -> Response<Bytes> {
    Client::connect(to).await.ask(request).await
}

/// How many of these statuses are 200. The others must be 429.
pub(crate) fn admitted(statuses: impl IntoIterator<Item = StatusCode>) -> usize {
    let passed = |status: &StatusCode| {
        assert!([StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(status), "{status}");
        *status == StatusCode::OK
    };
    statuses.into_iter().filter(passed).count()
}
