//! [`Bound`] and [`Running`]: the sockets and the thread.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Source;
use super::desk::Desk;
use super::history::EVERY;
use crate::config::Admin;

/// How many connections there may be. Others wait in the listener's queue. A browser opens up to six.
const CONNECTIONS: usize = 16;

/// How long a connection may take for its one request and the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes of a request's head, and the most fields.
const HEAD_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;

/// A socket that is listened on, by nobody yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: Listener,
    at: Admin,
}

#[derive(Debug)]
enum Listener {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The thread that answers. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Running {
    at: Admin,
    _stop: oneshot::Sender<Infallible>,
}

impl Running {
    /// Where it listens.
    pub(crate) fn at(&self) -> &Admin {
        &self.at
    }
}

impl Bound {
    /// Listens.
    ///
    /// # Errors
    ///
    /// If that is not possible. The error says what to do.
    pub(crate) fn new(at: &Admin) -> io::Result<Self> {
        let bound = match at {
            Admin::Tcp(address) => tcp(*address),
            #[cfg(unix)]
            Admin::Unix(path) => unix(path),
            #[cfg(not(unix))]
            Admin::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "there are no Unix sockets here")),
        };
        bound.map_err(|error| {
            let what = format!(
                "cannot serve the admin page on {at}: {error}; give another place with --admin, or --admin off"
            );
            io::Error::new(error.kind(), what)
        })
    }

    /// Answers from now on, on a thread of its own.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn run(self, source: Source) -> io::Result<Running> {
        let Self { listener, at } = self;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            let Some(desk) = Desk::new(source) else {
                return tracing::error!("the admin page is not served: there are no random numbers");
            };
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let served = runtime.and_then(|runtime| {
                runtime.block_on(async move {
                    tokio::select! {
                        served = serve(listener, Rc::new(desk)) => served,
                        _ = stopped => Ok(()),
                    }
                })
            });
            if let Err(error) = served {
                tracing::error!(%error, "the admin page is not served any more");
            }
        };
        std::thread::Builder::new().name("admin".into()).stack_size(512 * 1024).spawn(run)?;
        Ok(Running { at, _stop: stop })
    }
}

async fn serve(listener: Listener, desk: Rc<Desk>) -> io::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // at once; the first sample is there already
    let sampled = desk.clone();
    let sample = async move {
        loop {
            ticks.tick().await;
            sampled.sample();
        }
    };
    let accept = async move {
        match listener {
            Listener::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                accept(desk, async || listener.accept().await.map(|(stream, _)| stream)).await
            }
            #[cfg(unix)]
            Listener::Unix(listener, _file) => {
                let listener = tokio::net::UnixListener::from_std(listener)?;
                accept(desk, async || listener.accept().await.map(|(stream, _)| stream)).await
            }
        }
    };
    tokio::select! {
        served = accept => served,
        never = sample => never,
    }
}

async fn accept<S>(desk: Rc<Desk>, next: impl AsyncFn() -> io::Result<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = free.clone().acquire_owned().await.map_err(io::Error::other)?;
        match next().await {
            Ok(stream) => drop(tokio::task::spawn_local(connection(desk.clone(), stream, permit))),
            // Of one connection, or of all: no more files can be opened. Then it helps to wait.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One request, and its answer.
async fn connection<S>(desk: Rc<Desk>, stream: S, permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(async |request: http::Request<Incoming>| Ok::<_, Infallible>(desk.answer(request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .keep_alive(false)
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(DEADLINE, connection).await;
    drop(permit);
}

fn tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    let listener: std::net::TcpListener = socket.into();
    let at = Admin::Tcp(listener.local_addr()?);
    Ok(Bound { listener: Listener::Tcp(listener), at })
}

/// The file of a Unix socket. Dropped, it is gone.
#[cfg(unix)]
#[derive(Debug)]
struct SocketFile(std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Only the user whose program this is may connect. A file that a program left behind is taken over; one on which somebody still
/// listens is not, and neither is any other file.
#[cfg(unix)]
fn unix(path: &Path) -> io::Result<Bound> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    use std::os::unix::net::UnixStream;

    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name"));
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there")),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    // Before anybody can connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(64)?;
    Ok(Bound { listener: Listener::Unix(socket.into(), file), at: Admin::Unix(path.to_owned()) })
}
