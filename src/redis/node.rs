//! [`Node`]: one server, its connection, which is made anew when it is lost, and whether it is asked at all.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, RedisError, Value};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::breaker::Breaker;
use super::error::{Unanswered, UnansweredKind};
use crate::clock::Clock;

/// How long after an attempt to connect failed the next one may be made.
const CONNECT_AGAIN_NANOS: u64 = 100_000_000;

/// After so long without a call, it is looked whether the server has closed the connection meanwhile.
const IDLE_NANOS: u64 = 100_000_000;

/// For how many attempts to connect a call waits. One that is made on a runtime that is shut down is given up at once; then another
/// runtime may be there, or this one is shut down, too.
const ATTEMPTS_MAX: usize = 3;

/// How many commands may wait to be written. When so many wait, more wait for these.
const COMMANDS_WAITING: usize = 4096;

/// How much is written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// What the nodes of a store have in common.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) deadline: Duration,
    pub(super) clock: Clock,
    /// Where connections live, if that was set.
    pub(super) runtime: Option<Handle>,
}

pub(super) struct Node {
    client: Client,
    settings: AsyncConnectionConfig,
    clock: Clock,
    /// Where its connections live, until that turns out to be shut down.
    runtime: Mutex<Option<Handle>>,
    link: Mutex<Link>,
    /// Told when an attempt to connect has ended.
    tried: Notify,
    pub(super) breaker: Breaker,
}

/// How long it may take to connect: long enough for a handshake with TLS wherever answers come within the deadline, and short enough
/// that a server which is back is found within a second.
pub(super) fn connecting_at_most(deadline: Duration) -> Duration {
    Duration::from_millis(500).max(deadline.saturating_mul(4))
}

enum Link {
    Lost {
        again_at: u64,
        why: Unanswered,
    },
    Connecting,
    Up {
        connection: MultiplexedConnection,
        /// Each connection has another: when it was made.
        number: u64,
        /// When somebody last asked for it.
        used_at: u64,
    },
}

impl Node {
    pub(super) fn new(client: Client, site: Site) -> Self {
        let Site { deadline, clock, runtime } = site;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connecting_at_most(deadline)))
            .set_response_timeout(None) // the deadline is ours
            .set_pipeline_buffer_size(COMMANDS_WAITING)
            .set_write_backpressure_boundary(WRITE_BYTES);
        let why = Unanswered::new(UnansweredKind::NotConnected, "");
        let link = Mutex::new(Link::Lost { again_at: 0, why });
        let runtime = Mutex::new(runtime);
        Self { client, settings, clock, runtime, link, tried: Notify::new(), breaker: Breaker::default() }
    }

    /// Where it is, without user or password.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Sends a command, and waits for the answer, for however long that takes.
    pub(super) async fn send(self: &Arc<Self>, command: &Cmd) -> Result<Value, Unanswered> {
        let (mut connection, number) = self.connected().await?;
        connection.send_packed_command(command).await.map_err(|error| self.lost(number, &error))
    }

    /// The same, after a command whose answer is of no interest.
    pub(super) async fn send_after(self: &Arc<Self>, first: Cmd, command: &Cmd) -> Result<Value, Unanswered> {
        let (mut connection, number) = self.connected().await?;
        let mut both = ::redis::pipe();
        both.add_command(first).add_command(command.clone());
        let mut answers =
            connection.send_packed_commands(&both, 0, 2).await.map_err(|error| self.lost(number, &error))?;
        answers.pop().ok_or_else(|| Unanswered::new(UnansweredKind::Refused, "no answer"))
    }

    /// All calls that are under way on a connection are lost with it. To the breaker that is one failure, since the next one may be fine.
    fn lost(&self, number: u64, error: &RedisError) -> Unanswered {
        let why = unanswered(error);
        if self.lose(number) {
            self.failed(&why);
        }
        why
    }

    /// Tells the breaker of a failure.
    pub(super) fn failed(&self, why: &Unanswered) {
        if self.breaker.failed(self.clock.now()) {
            let server = self.address();
            tracing::warn!(target: "tollgate", server, %why, "the Redis server is not asked any more, but for a try each 200 ms");
        }
    }

    /// Gives up the connection, to make another one. Nobody needs to wait for that.
    pub(super) fn renew(&self) {
        if let Some(number) = self.number() {
            self.lose(number);
        }
    }

    /// The same, but not again and again.
    pub(super) fn renew_unless_new(&self) {
        if let Some(made_at) = self.number() {
            if self.clock.now() >= made_at + CONNECT_AGAIN_NANOS {
                self.lose(made_at);
            }
        }
    }

    fn number(&self) -> Option<u64> {
        if let Link::Up { number, .. } = *self.link.lock() { Some(number) } else { None }
    }

    /// The connection, if there is one.
    fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let mut link = self.link.lock();
        let Link::Up { connection, number, used_at } = &mut *link else { return None };
        let now = self.clock.now();
        let was_idle = now.saturating_sub(*used_at) >= IDLE_NANOS;
        *used_at = now;
        if was_idle && is_closed(connection) {
            // Nothing was sent over it, so nobody has to be told that it was lost.
            let gone = link.lose();
            drop(link);
            drop(gone);
            return None;
        }
        Some((connection.clone(), *number))
    }

    /// The connection, made if there is none. Whoever asks while one is being made waits for that.
    pub(super) async fn connected(self: &Arc<Self>) -> Result<(MultiplexedConnection, u64), Unanswered> {
        if let Some(there) = self.connection() {
            return Ok(there);
        }
        for _ in 0..ATTEMPTS_MAX {
            // Made before the look, so that nothing is missed.
            let tried = self.tried.notified();
            if let Some(settled) = self.look_or_connect() {
                return settled;
            }
            tried.await;
        }
        Err(given_up())
    }

    /// What there is to say now; `None` while a connection is being made.
    fn look_or_connect(self: &Arc<Self>) -> Option<Result<(MultiplexedConnection, u64), Unanswered>> {
        let mut link = self.link.lock();
        match &*link {
            Link::Up { connection, number, .. } => Some(Ok((connection.clone(), *number))),
            Link::Connecting => None,
            Link::Lost { again_at, why } if self.clock.now() < *again_at => Some(Err(why.clone())),
            Link::Lost { .. } => {
                *link = Link::Connecting;
                drop(link);
                // A task of its own: a check's deadline may be over before a connection is made, and the next one needs it.
                let home = self.runtime.lock().clone();
                let attempt = Connecting { node: self.clone(), at_home: home.is_some() };
                let connecting = async move {
                    let Node { client, settings, .. } = &*attempt.node;
                    let made = client.get_multiplexed_async_connection_with_config(settings).await;
                    attempt.end(made);
                };
                match home {
                    Some(home) => home.spawn(connecting),
                    None => tokio::spawn(connecting),
                };
                None
            }
        }
    }

    /// A connection is not to be used any more. In a moment there may be another. Says whether it was in use until now.
    fn lose(&self, lost: u64) -> bool {
        let mut link = self.link.lock();
        if !matches!(*link, Link::Up { number, .. } if number == lost) {
            return false;
        }
        let gone = link.lose();
        drop(link);
        drop(gone); // and with it the task that drives it
        true
    }
}

impl Link {
    /// What there was before.
    fn lose(&mut self) -> Self {
        std::mem::replace(self, Self::Lost { again_at: 0, why: Unanswered::new(UnansweredKind::Lost, "") })
    }
}

/// Whether a connection is known to be closed. Nothing says so but that no command can be handed on to it; so this hands one on that
/// does nothing and whose answer nobody waits for.
fn is_closed(connection: &mut MultiplexedConnection) -> bool {
    let mut command = ::redis::cmd("TIME");
    command.set_no_response(true);
    // It is ready at once, unless too many commands wait. A task's budget is not asked.
    let handed_on = tokio::task::unconstrained(connection.send_packed_command(&command));
    let mut handed_on = std::pin::pin!(handed_on);
    matches!(handed_on.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
}

/// An attempt to connect. It ends, however its task does: also when the runtime is shut down.
struct Connecting {
    node: Arc<Node>,
    /// Whether it is made on the runtime that was set.
    at_home: bool,
}

impl Connecting {
    fn end(self, made: Result<MultiplexedConnection, RedisError>) {
        let next = match made {
            Ok(connection) => {
                let now = self.node.clock.now().max(1);
                Link::Up { connection, number: now, used_at: now }
            }
            Err(error) => {
                let text = unanswered(&error).text;
                let why = Unanswered::new(UnansweredKind::NotConnected, text);
                Link::Lost { again_at: self.node.clock.now() + CONNECT_AGAIN_NANOS, why }
            }
        };
        *self.node.link.lock() = next;
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        {
            let mut link = self.node.link.lock();
            if let Link::Connecting = *link {
                // A runtime drops what it has not done only when it is shut down.
                if self.at_home {
                    *self.node.runtime.lock() = None;
                }
                *link = Link::Lost { again_at: 0, why: given_up() };
            }
        }
        self.node.tried.notify_waiters();
    }
}

/// Why there is no connection where the runtime was shut down on which it was to be made.
fn given_up() -> Unanswered {
    Unanswered::new(UnansweredKind::NotConnected, "the attempt was given up")
}

/// What the client library's error comes to.
fn unanswered(error: &RedisError) -> Unanswered {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        // Texts of the system and the library, about a connection.
        (None, _) => error.to_string(),
    };
    Unanswered::new(UnansweredKind::Lost, text)
}
