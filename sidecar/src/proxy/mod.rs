//! The HTTP intermediary: what runs between clients and the upstream.
//!
//! [`serve`] runs it until a signal ends it; [`Proxy`] is the same in pieces, for tests.
//!
//! Each thread has a runtime of its own, with its own client connections and its own connections to the upstream. A request
//! stays on its thread, and in one task. Only the limits and what is counted are shared.
//!
//! ```text
//! client - Stream - Guard - hyper - Service - limit - Forward - Upstream - Exchange - upstream
//!            tls    strict   HTTP   checks           fields       pool      HTTP/1.1
//! ```

mod chunked;
mod connection;
mod fields;
mod guard;
mod head;
mod line;
mod metrics;
mod refusal;
mod runtime;
mod service;
mod tls;
mod tunnel;
mod upstream;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tollgate::http::Counters;

use self::connection::{Drain, Server};
use self::metrics::Metrics;
use self::service::{Shared, Upstreams};
use self::upstream::Upstream;
use crate::config::{self, Config};
use crate::rules::Enforcer;

/// Listens, and forwards what the limits let pass, until SIGTERM or SIGINT has drained it. A second signal ends it at once.
///
/// # Errors
///
/// If the address cannot be listened on, or a certificate cannot be read. Then nothing was started.
pub fn serve(config: Config) -> io::Result<()> {
    let proxy = Proxy::start(config)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        signals.next().await;
        tracing::info!("draining");
        proxy.drain();
        tokio::select! {
            () = proxy.ended() => {}
            () = signals.next() => {}
        }
        Ok(())
    })
}

/// The signals that end it.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// A proxy that runs. Dropped, it is drained, and not waited for.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    drain: watch::Sender<bool>,
    draining: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    metrics: Vec<Metrics>,
}

impl Proxy {
    /// Listens, and begins to serve.
    ///
    /// # Errors
    ///
    /// As [`serve`].
    pub fn start(config: Config) -> io::Result<Self> {
        let listener = listen(config.listen)?;
        let address = listener.local_addr()?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let counters = Counters::new();
        if config.store.is_some() {
            // To run without them would be worse.
            return Err(io::Error::new(io::ErrorKind::Unsupported, "limits in a shared store are not enforced yet"));
        }
        let enforcer = Enforcer::new(&config, &counters).map_err(io::Error::other)?;
        let metrics_listener = config.metrics.map(listen).transpose()?;
        let metrics_address = metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let (drain, drained) = watch::channel(false);
        let (draining, ready) = (Arc::default(), Arc::<AtomicBool>::default());
        let mut proxy = Self { address, metrics_address, drain, draining, threads: Vec::new(), metrics: Vec::new() };
        let clients = Clients::new(config.caps.connections, config.caps.connections_per_client);
        let via = own_via();
        for number in 0..config.threads.max(1) {
            let metrics = Metrics::default();
            proxy.metrics.push(metrics.clone());
            let listener = listener.try_clone()?;
            let (config, enforcer, via, tls) = (config.clone(), enforcer.clone(), via.clone(), tls.clone());
            let (clients, drained, ready) = (clients.clone(), drained.clone(), ready.clone());
            let thread = std::thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                let Ok(runtime) = runtime else { return };
                let worker = async move {
                    let upstream = |upstream: &config::Upstream| {
                        let deadlines = config.deadlines.clone();
                        Rc::new(Upstream::new(upstream.clone(), deadlines, metrics.clone(), ready.clone()))
                    };
                    let upstreams = match &config.upstreams {
                        config::Upstreams::One(one) => Upstreams::One(upstream(one)),
                        config::Upstreams::ByHost(all) => {
                            Upstreams::ByHost(all.iter().map(|(host, one)| (host.clone(), upstream(one))).collect())
                        }
                    };
                    let shared = Rc::new(Shared { upstreams, enforcer, via, metrics });
                    let server = Rc::new(Server {
                        shared,
                        trusted: config.trusted_proxies,
                        deadlines: config.deadlines,
                        caps: config.caps,
                        drain: Drain::default(),
                    });
                    work(server, listener, tls, clients, drained).await
                };
                if let Err(error) = runtime.block_on(worker) {
                    tracing::error!(%error, "a thread ended");
                }
            })?;
            proxy.threads.push(thread);
        }
        if let Some(listener) = metrics_listener {
            let upstream = config.upstreams.iter().next();
            let told = metrics::Told {
                threads: proxy.metrics.clone(),
                counters,
                limiters: enforcer.limiters().map(|(_, limiter)| limiter.clone()).collect(),
                upstream: config.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                probe: upstream.map(|upstream| upstream.authority.to_string()).unwrap_or_default(),
                draining: proxy.draining.clone(),
                ready,
            };
            metrics::listen(listener, told)?;
        }
        Ok(proxy)
    }

    /// Where its metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, and ends each one when what is under way on it is done.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.drain.send_replace(true);
    }

    /// Until all connections have ended, or were cut off at the deadline.
    pub async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether that is so.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// How many connections there are, to clients and to the upstream.
    pub fn connections(&self) -> (i64, i64) {
        (self.metrics.iter().map(Metrics::clients).sum(), self.metrics.iter().map(Metrics::upstreams).sum())
    }

    /// How many requests had this outcome, as `/metrics` names it.
    pub fn count(&self, outcome: &str) -> u64 {
        let outcome = metrics::Outcome::ALL.iter().find(|(_, name)| *name == outcome);
        outcome.map_or(0, |(outcome, _)| self.metrics.iter().map(|metrics| metrics.outcome(*outcome)).sum())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.drain();
    }
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections are not forgotten yet can be taken, as everywhere on Unix. On Windows it means another thing.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    let with_address = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    socket.bind(&address.into()).map_err(with_address)?;
    socket.listen(BACKLOG).map_err(with_address)?;
    Ok(socket.into())
}

/// What this proxy calls itself in `Via`: nobody else's name, so that it knows a request that comes back.
fn own_via() -> HeaderValue {
    use std::hash::{BuildHasher, RandomState};
    let number = RandomState::new().hash_one(std::process::id());
    HeaderValue::from_str(&format!("1.1 tollgate-{number:016x}")).expect("it is plain text")
}

/// Who is connected.
#[derive(Clone, Debug)]
struct Clients {
    free: Arc<Semaphore>,
    each: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place among the connections. Dropped, it is free.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Clients {
    fn new(in_all: usize, each: usize) -> Self {
        let free = Arc::new(Semaphore::new(in_all.clamp(1, Semaphore::MAX_PERMITS)));
        Self { free, each, by_address: Arc::default() }
    }

    /// `None`: this client has as many as it may.
    fn seat(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut by_address = self.by_address.lock().expect("nothing panics under it");
        let count = by_address.entry(address).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Place { _permit: permit, address, by_address: self.by_address.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().expect("nothing panics under it");
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// One thread: accepts until it is to drain, then waits for its connections.
async fn work(
    server: Rc<Server>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    clients: Clients,
    mut drained: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let open = Rc::new(());
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accept = async {
            let permit = clients.free.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            io::Result::Ok((stream, peer, permit))
        };
        tokio::select! {
            _ = drained.wait_for(|drained| *drained) => break,
            _ = sweep.tick() => server.shared.upstreams.iter().for_each(|upstream| upstream.sweep()),
            accepted = accept => match accepted {
                Ok((stream, peer, permit)) => {
                    let Some(place) = clients.seat(permit, peer.ip()) else { continue };
                    let _ = stream.set_nodelay(true);
                    let (server, tls, open) = (server.clone(), tls.clone(), open.clone());
                    tokio::task::spawn_local(async move {
                        let counted = server.shared.metrics.client();
                        connection::serve(server, stream, peer, tls).await;
                        drop((place, open, counted));
                    });
                }
                Err(error) => {
                    // Of one connection, or of all: no more files can be opened. Then it helps to wait.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    drop(listener);
    server.drain.begin();
    let deadline = Instant::now() + server.deadlines.drain;
    while Rc::strong_count(&open) > 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
