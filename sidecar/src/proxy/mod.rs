//! The HTTP intermediary: what runs between clients and the upstream.
//!
//! A [`Proxy`] runs on threads of its own.
//!
//! Each thread has a runtime of its own, with its own client connections and its own connections to the upstream. A request
//! stays on its thread, and in one task. Only the limits and what is counted are shared.
//!
//! ```text
//! client - Stream - Guard - hyper - Service - limit - Forward - Upstream - Exchange - upstream
//!            tls    strict   HTTP   checks           fields       pool      HTTP/1.1
//!                    |                                              |
//!                   Door - limit - Straight ------------------------+
//!                      plain requests
//! ```

mod access;
mod chunked;
mod clients;
mod connection;
mod content;
mod date;
mod door;
mod fields;
mod force;
mod forward;
mod guard;
mod head;
mod http1;
mod line;
mod metrics;
mod plain;
mod refusal;
mod runtime;
mod service;
mod serving;
mod straight;
mod thread;
mod tls;
mod tunnel;
mod upstream;
mod way;
mod written;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::time::Instant;

use self::clients::Clients;
use self::force::Force;
use self::metrics::{Metrics, Outcome};
use self::thread::Thread;
use crate::admin;
use crate::config::{Admin, Changes, Config};
use crate::lines::{Lines, Output};

/// A proxy that runs. Dropped, it is drained, and not waited for.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    admin: Option<admin::Running>,
    force: Arc<Force>,
    access: Lines,
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
    /// If the address cannot be listened on, or a certificate cannot be read. Then nothing was started.
    pub fn start(config: Config) -> io::Result<Self> {
        let listener = listen(config.listen, "--listen")?;
        let address = listener.local_addr()?;
        let metrics_listener = config.metrics.map(|address| listen(address, "--metrics")).transpose()?;
        let metrics_address = metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let admin = config.admin.as_ref().map(admin::Bound::new).transpose()?;
        let clients = Clients::new(config.caps.connections, config.caps.connections_per_client);
        let threads = config.threads.max(1);
        let force = Arc::new(Force::new(config)?);
        let (drain, drained) = watch::channel(false);
        let draining = Arc::default();
        let mut proxy = Self {
            address,
            metrics_address,
            admin: None,
            force,
            access: Lines::to(Output::Stdout),
            drain,
            draining,
            threads: Vec::new(),
            metrics: Vec::new(),
        };
        let via = own_via();
        for number in 0..threads {
            let metrics = Metrics::default();
            proxy.metrics.push(metrics.clone());
            let listener = listener.try_clone()?;
            let (clients, drained, via) = (clients.clone(), drained.clone(), via.clone());
            let access = proxy.access.clone();
            let (in_force, ready) = (proxy.force.watch(), proxy.force.ready.clone());
            let thread = std::thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                let Ok(runtime) = runtime else { return };
                let worker = async move {
                    let thread = Rc::new(Thread::new(in_force, metrics, access, ready, via));
                    work(thread, listener, clients, drained).await
                };
                if let Err(error) = runtime.block_on(worker) {
                    tracing::error!(%error, "a thread ended");
                }
            })?;
            proxy.threads.push(thread);
        }
        if let Some(admin) = admin {
            proxy.admin = Some(admin.run(shown(proxy.force.clone(), proxy.metrics.clone()))?);
        }
        if let Some(listener) = metrics_listener {
            let (threads, draining) = (proxy.metrics.clone(), proxy.draining.clone());
            metrics::listen(
                listener,
                metrics::Told { threads, force: proxy.force.clone(), draining, access: proxy.access.clone() },
            )?;
        }
        Ok(proxy)
    }

    /// Takes up another configuration, and says what has changed. Requests that begin after this returns meet it; those under way
    /// end as they began. What was spent stays, where it can.
    ///
    /// Where it listens, how many threads there are, the caps and the kind of log stay as they are, and the changes say so.
    ///
    /// # Errors
    ///
    /// If a certificate cannot be read. Then nothing has changed.
    pub fn reload(&self, new: &Config) -> io::Result<Changes> {
        let changes = self.force.reload(new);
        if let Err(error) = &changes {
            self.force.refuse(vec![error.to_string()]);
        }
        changes
    }

    /// Remembers, for those who look at the metrics, that a new configuration was refused for these reasons, a line each.
    pub fn refuse_reload(&self, why: Vec<String>) {
        self.force.refuse(why);
    }

    /// Until the access log is written, but no longer than this.
    pub fn flush(&self, at_most: Duration) {
        self.access.flush(at_most);
    }

    /// Where its metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where its admin page is served.
    pub fn admin(&self) -> Option<&Admin> {
        self.admin.as_ref().map(admin::Running::at)
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

    /// Until all connections have ended, or were cut off at the deadline. Then the limits are let go, and say in the log what they
    /// denied and had not said yet.
    pub async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.force.end();
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

/// What the admin page shows.
fn shown(force: Arc<Force>, threads: Vec<Metrics>) -> admin::Source {
    let (enforcer, counts) = (force.clone(), force.counts.clone());
    let totals = move || {
        let sum = |outcome| threads.iter().map(|thread| thread.outcome(outcome)).sum::<u64>();
        let allowed = sum(Outcome::Forwarded) + sum(Outcome::Exempt) + sum(Outcome::Failed);
        admin::Totals { allowed, denied: sum(Outcome::Denied) }
    };
    let config = move || {
        let last = force.last_reload();
        let refused = last.refused.map(|(at, problems)| admin::Refused { at, problems });
        admin::ConfigState { since: last.success, refused }
    };
    admin::Source {
        enforcer: Box::new(move || enforcer.now().enforcer.clone()),
        counts,
        totals: Box::new(totals),
        config: Box::new(config),
    }
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// `flag` is what gives the address.
fn listen(address: SocketAddr, flag: &str) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections are not forgotten yet can be taken, as everywhere on Unix. On Windows it means another thing.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    let told = |error: io::Error| {
        let what_to_do = match error.kind() {
            io::ErrorKind::AddrInUse => "end the program that does, or give another port",
            io::ErrorKind::PermissionDenied => {
                "give a port from 1024 up, or the right to the others, as by setcap cap_net_bind_service=+ep"
            }
            io::ErrorKind::AddrNotAvailable => "give an address of this machine, or 0.0.0.0 for all of them",
            _ => "give another address",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {what_to_do} ({flag})"))
    };
    socket.bind(&address.into()).map_err(told)?;
    socket.listen(BACKLOG).map_err(told)?;
    Ok(socket.into())
}

/// What this proxy calls itself in `Via`: nobody else's name, so that it knows a request that comes back.
fn own_via() -> HeaderValue {
    use std::hash::{BuildHasher, RandomState};
    let number = RandomState::new().hash_one(std::process::id());
    HeaderValue::from_str(&format!("1.1 tollgate-{number:016x}")).expect("it is plain text")
}

/// One thread: accepts until it is to drain, then waits for its connections.
async fn work(
    thread: Rc<Thread>,
    listener: TcpListener,
    clients: Clients,
    mut drained: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let open = Rc::new(());
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accept = async {
            let permit = clients.permit().await?;
            let (stream, peer) = listener.accept().await?;
            io::Result::Ok((stream, peer, permit))
        };
        tokio::select! {
            _ = drained.wait_for(|drained| *drained) => break,
            _ = sweep.tick() => thread.current().upstreams.iter().for_each(|upstream| upstream.sweep()),
            accepted = accept => match accepted {
                Ok((stream, peer, permit)) => {
                    let Some(place) = clients.seat(permit, peer.ip()) else { continue };
                    let _ = stream.set_nodelay(true);
                    let (thread, open) = (thread.clone(), open.clone());
                    tokio::task::spawn_local(async move {
                        let counted = thread.metrics.client();
                        connection::serve(thread, stream, peer).await;
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
    thread.drain.begin();
    let deadline = Instant::now() + thread.current().config().deadlines.drain;
    while Rc::strong_count(&open) > 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
