//! [`RedisStore`]: a Redis or Valkey server, or a cluster of them, that limiters share.

mod builder;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ::redis::{Client, Cmd, ConnectionInfo, Value};
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::breaker::Leave;
use super::call::{Call, command, read};
use super::error::{Unanswered, UnansweredKind};
use super::node::{Node, Site, connecting_at_most};
use super::script::Reply;
use crate::clock::Clock;

pub use builder::RedisStoreBuilder;

/// How often a call is sent on, in a cluster whose keys are on the move.
const REDIRECTS_MAX: usize = 4;

/// A Redis or Valkey server that limiters share with those of other programs and machines.
///
/// It is cheap to clone, and clones share everything: one connection, over which the calls of all limiters go at once, without
/// waiting for each other. The connection is made at the first call, on [tokio](RedisStoreBuilder::runtime), and made again whenever
/// it is lost.
///
/// ```no_run
/// use tollgate::Quota;
/// use tollgate::redis::{RedisLimiter, RedisStore};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// let limiter = RedisLimiter::new(&store, "api", Quota::per_second(28))?;
/// limiter.check("alice").await?;
/// # Ok(())
/// # }
/// ```
///
/// # When the server does not answer
///
/// - A call waits for its answer for 25 ms at most, or as long as its [deadline](RedisStoreBuilder::deadline) is. It is never
///   sent a second time, since it may have been carried out. (Only when the server itself says that it did nothing: it does
///   not know the script, or the key is on another node.)
/// - After three calls in a row that failed, calls are not sent any more. One call each 200 ms tries. The first one that is
///   answered opens the way for all. (The calls that are lost with one connection count as one here.)
/// - What a check is answered meanwhile is set for each limiter: see [`WhenUnreachable`](super::WhenUnreachable).
///
/// # Cluster
///
/// Any node of a Redis Cluster can be named. Calls for keys on other nodes are sent there, and each such node then has a
/// connection and a count of failures of its own.
#[derive(Clone)]
pub struct RedisStore {
    store: Arc<Store>,
}

struct Store {
    seed: Arc<Node>,
    information: ConnectionInfo,
    site: Site,
    sha: String,
    prefix: String,
    /// Whether a server has said so.
    is_cluster: AtomicBool,
    cluster: RwLock<Cluster>,
    counts: StoreCounts,
    on_call: Option<OnCall>,
}

/// Is told how long a call took.
type OnCall = Arc<dyn Fn(Duration) + Send + Sync>;

/// What a cluster's nodes have said about which has what. Empty for a single server.
#[derive(Default)]
struct Cluster {
    nodes: HashMap<String, Arc<Node>>,
    slots: HashMap<u16, Arc<Node>>,
}

#[derive(Debug, Default)]
struct StoreCounts {
    round_trips: AtomicU64,
    failures: AtomicU64,
    not_sent: AtomicU64,
    redirects: AtomicU64,
}

/// What a store has done, from [`RedisStore::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStoreStats {
    /// Calls that were answered.
    pub round_trips: u64,
    /// Calls that were sent, or were to be sent, and were not answered in time, or refused.
    pub failures: u64,
    /// Calls that were not sent because the server had not answered for a while.
    pub not_sent: u64,
    /// Calls that a node of a cluster sent on to another.
    pub redirects: u64,
    /// How often calls began not to be sent, because some in a row had failed.
    pub outages: u64,
    /// Whether it is so now. Of a cluster, whether it is so for one of the nodes that somebody asked in the last ten seconds: others may
    /// have left it.
    pub is_out: bool,
}

impl RedisStore {
    /// Connects, for a program that wants to know at its start whether the server is there. Not needed otherwise.
    ///
    /// # Errors
    ///
    /// When the server could not be reached within half a second, or four deadlines.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime whose timers are enabled.
    pub async fn connect(&self) -> Result<(), Unanswered> {
        // The attempt ends by itself, but where the runtime that it was given stands still.
        let at_most = connecting_at_most(self.deadline());
        match tokio::time::timeout(at_most, self.store.seed.connected()).await {
            Ok(connected) => connected.map(|_| ()),
            Err(_) => Err(Unanswered::new(UnansweredKind::NotConnected, "it took too long")),
        }
    }

    /// How many calls went to the server, and how many failed.
    pub fn stats(&self) -> RedisStoreStats {
        let Store { counts, .. } = &*self.store;
        let nodes = self.store.nodes();
        RedisStoreStats {
            round_trips: counts.round_trips.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            not_sent: counts.not_sent.load(Relaxed),
            redirects: counts.redirects.load(Relaxed),
            outages: nodes.iter().map(|node| node.breaker.opened()).sum(),
            is_out: match &nodes[..] {
                [only] => only.breaker.is_open(),
                // One for which nobody asks may have left the cluster.
                all => all.iter().any(|node| node.breaker.is_missed(self.clock().now())),
            },
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.store.site.clock
    }

    /// Where a task can run that nobody waits for: here, or else on the runtime that was given.
    pub(super) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.store.site.runtime.clone())
    }

    /// How long a call may take.
    pub(super) fn deadline(&self) -> Duration {
        self.store.site.deadline
    }

    /// Whether this is the same store.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
    }

    /// What the name of every key begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.store.prefix
    }

    /// Calls the script, and waits for its answer until the deadline.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Reply, Unanswered> {
        self.call_within(call, self.store.site.deadline).await
    }

    /// The same, where a part of the time is over already.
    pub(super) async fn call_within(&self, call: Call<'_>, rest: Duration) -> Result<Reply, Unanswered> {
        Ok(self.ask(&[call], rest).await?.remove(0))
    }

    /// Calls it once for several subjects, which must be [together](Self::are_together).
    pub(super) async fn call_all(&self, calls: &[Call<'_>], rest: Duration) -> Result<Vec<Reply>, Unanswered> {
        self.ask(calls, rest).await
    }

    /// An answer for each, in their order.
    async fn ask(&self, calls: &[Call<'_>], rest: Duration) -> Result<Vec<Reply>, Unanswered> {
        let store = &*self.store;
        let command = |known: bool| command(calls, known.then_some(store.sha.as_str()));
        store.send(calls[0].subject, &command, &|value| read(calls, value), rest).await
    }

    /// Whether one call can be about all of these, as far as is known: a single server has all, and a cluster those that are in one slot.
    pub(super) fn are_together<'a>(&self, mut subjects: impl Iterator<Item = &'a str>) -> bool {
        if !self.store.is_cluster.load(Relaxed) {
            return true;
        }
        let first = subjects.next().map(slot);
        subjects.all(|subject| Some(slot(subject)) == first)
    }

    /// Deletes a subject.
    pub(super) async fn delete(&self, subject: &str) -> Result<(), Unanswered> {
        let delete = |_| {
            let mut command = ::redis::cmd("DEL");
            command.arg(subject);
            command
        };
        self.store.send(subject, &delete, &|_| Some(()), self.store.site.deadline).await
    }
}

impl Store {
    /// Sends a command to the node that has a subject. The command is made anew for each time that it is sent: whether the node is
    /// thought to know the script. The answer is what is read of it.
    async fn send<T>(
        &self,
        subject: &str,
        command: &(dyn Fn(bool) -> Cmd + Sync),
        read: &(dyn Fn(&Value) -> Option<T> + Sync),
        rest: Duration,
    ) -> Result<T, Unanswered> {
        let mut node = self.node_of(subject);
        let Some(mut leave) = node.breaker.ask(self.site.clock.now()) else {
            self.counts.not_sent.fetch_add(1, Relaxed);
            return Err(Unanswered::new(UnansweredKind::Open, ""));
        };
        let begun = self.site.clock.now();
        let answer = match timeout(rest, self.send_on(&mut node, &mut leave, subject, command)).await {
            Ok(Ok(value)) => read(&value).ok_or_else(|| {
                // Whoever speaks so may answer others with what is meant for this one.
                let why = Unanswered::new(UnansweredKind::Lost, "an answer that is none of this script");
                node.renew();
                node.failed(&why);
                why
            }),
            Ok(Err(unanswered)) => Err(unanswered),
            Err(_) => {
                if leave == Leave::Probe {
                    // The server may be back while the network still holds on to what was lost before.
                    node.renew();
                }
                Err(Unanswered::new(UnansweredKind::Deadline, ""))
            }
        };
        match &answer {
            Ok(_) => {
                self.counts.round_trips.fetch_add(1, Relaxed);
                if node.breaker.succeeded() {
                    tracing::info!(target: "tollgate", server = node.address(), "the Redis server answers again");
                }
            }
            // It was sent on to a node that is not asked.
            Err(unanswered) if unanswered.kind() == UnansweredKind::Open => {
                self.counts.not_sent.fetch_add(1, Relaxed);
            }
            // It answers.
            Err(unanswered) if unanswered.is_apart() => _ = node.breaker.succeeded(),
            Err(unanswered) if unanswered.kind() == UnansweredKind::ForeignValue => {
                self.counts.failures.fetch_add(1, Relaxed);
                node.breaker.succeeded();
            }
            Err(unanswered) => {
                self.counts.failures.fetch_add(1, Relaxed);
                if unanswered.is_read_only() {
                    // After a fail-over the address may lead to another server, but not this connection.
                    node.renew_unless_new();
                }
                let says_nothing = match unanswered.kind() {
                    // It is told where it is found out.
                    UnansweredKind::Lost => true,
                    // Who had little time left may have been too late for a server that is well.
                    UnansweredKind::Deadline => rest < self.site.deadline / 2,
                    _ => false,
                };
                if !says_nothing {
                    node.failed(unanswered);
                }
            }
        }
        if let Some(on_call) = &self.on_call {
            on_call(Duration::from_nanos(self.site.clock.now().saturating_sub(begun)));
        }
        answer
    }

    /// Sends a command, and again only where the server says that nothing was done: to another node, maybe, with its leave.
    async fn send_on(
        &self,
        node: &mut Arc<Node>,
        leave: &mut Leave,
        subject: &str,
        command: &(dyn Fn(bool) -> Cmd + Sync),
    ) -> Result<Value, Unanswered> {
        let (mut known, mut asking) = (true, false);
        for _ in 0..=REDIRECTS_MAX {
            let command = command(known);
            let value = if asking {
                node.send_after(::redis::cmd("ASKING"), &command).await?
            } else {
                node.send(&command).await?
            };
            let Value::ServerError(error) = value else { return Ok(value) };
            asking = false;
            match (error.code(), error.details().unwrap_or_default()) {
                ("NOSCRIPT", _) if known => known = false,
                (code @ ("MOVED" | "ASK"), slot_and_address) => {
                    self.counts.redirects.fetch_add(1, Relaxed);
                    self.is_cluster.store(true, Relaxed);
                    let Some((slot, address)) = slot_and_address.split_once(' ') else { return Err(refused(code, "")) };
                    let there = self.node_at(address).ok_or_else(|| refused(code, slot_and_address))?;
                    if let ("MOVED", Ok(slot)) = (code, slot.parse()) {
                        self.cluster.write().slots.insert(slot, there.clone());
                    }
                    asking = code == "ASK";
                    // This one answers.
                    node.breaker.succeeded();
                    *node = there;
                    match node.breaker.ask(self.site.clock.now()) {
                        Some(there) => *leave = there,
                        None => return Err(Unanswered::new(UnansweredKind::Open, "")),
                    }
                }
                (code, details) => {
                    if code == "CROSSSLOT" {
                        self.is_cluster.store(true, Relaxed);
                    }
                    return Err(refused(code, details));
                }
            }
        }
        Err(refused("MOVED", subject.split_once(':').map_or("", |_| "too often")))
    }

    /// The node that has a subject, as far as is known. While that does not answer, one that does: in a cluster the subject may
    /// have a new place, and any node knows which.
    fn node_of(&self, subject: &str) -> Arc<Node> {
        let cluster = self.cluster.read();
        if cluster.slots.is_empty() {
            return self.seed.clone();
        }
        let node = cluster.slots.get(&slot(subject)).unwrap_or(&self.seed);
        if !node.breaker.is_open() {
            return node.clone();
        }
        let answers = |node: &&Arc<Node>| !node.breaker.is_open();
        std::iter::once(&self.seed).chain(cluster.nodes.values()).find(answers).unwrap_or(node).clone()
    }

    /// The node at an address that another node has named, `host:port`. An empty host is the one that was asked.
    fn node_at(&self, address: &str) -> Option<Arc<Node>> {
        if let Some(node) = self.cluster.read().nodes.get(address) {
            return Some(node.clone());
        }
        let (host, port) = address.rsplit_once(':')?;
        let information = elsewhere(&self.information, host, port.parse().ok()?)?;
        let client = Client::open(information).ok()?;
        let node = Arc::new(Node::new(client, self.site.clone()));
        Some(self.cluster.write().nodes.entry(address.to_owned()).or_insert(node).clone())
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let cluster = self.cluster.read();
        std::iter::once(&self.seed).chain(cluster.nodes.values()).cloned().collect()
    }
}

/// The same way of connecting, to another address.
fn elsewhere(information: &ConnectionInfo, host: &str, port: u16) -> Option<ConnectionInfo> {
    use ::redis::ConnectionAddr::{Tcp, TcpTls};
    let same_host = |known: &String| if host.is_empty() { known.clone() } else { host.to_owned() };
    let address = match information.addr() {
        Tcp(known, _) => Tcp(same_host(known), port),
        TcpTls { host: known, insecure, tls_params, .. } => {
            TcpTls { host: same_host(known), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => return None,
    };
    Some(information.clone().set_addr(address))
}

fn refused(code: &str, details: &str) -> Unanswered {
    let kind = match code {
        "WRONGTYPE" | "TOLLGATE" => UnansweredKind::ForeignValue,
        _ => UnansweredKind::Refused,
    };
    Unanswered::new(kind, format!("{code} {details}").trim_end())
}

/// The slot of a Redis Cluster that a subject is in: CRC-16 (XMODEM) of what stands between its braces.
fn slot(subject: &str) -> u16 {
    let tag = subject.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(subject, |(tag, _)| tag);
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % 16384
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.store.seed.address())
            .field("deadline", &self.store.site.deadline)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::script::Op;

    /// As who has waited for another's call, and would open the breaker for all.
    #[tokio::test]
    async fn who_has_little_time_left_is_no_failure_of_the_server() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", silent.local_addr().unwrap());
        let store = RedisStore::builder(&url).deadline(Duration::from_millis(400)).try_build().unwrap();
        let call = Call { op: Op::Peek, subject: "subject", cost: 0, quotas: &["0".to_owned()], more: &[] };
        let ask = async |rest| store.call_within(call, Duration::from_millis(rest)).await.unwrap_err().kind();
        for _ in 0..10 {
            assert_eq!(ask(1).await, UnansweredKind::Deadline);
        }
        assert!(!store.stats().is_out);
        for _ in 0..3 {
            assert_eq!(ask(200).await, UnansweredKind::Deadline);
        }
        assert!(store.stats().is_out);
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // By `CLUSTER KEYSLOT`.
        assert_eq!(slot("tollgate:api:{foo}"), 12182);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("123456789"), 12739);
    }
}
