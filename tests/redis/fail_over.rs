//! Fail-over: a replica takes over, and the same address leads there.

use std::process::{Child, Command, Stdio};

use crate::eventually;
use crate::faults::{CLOSED, is_back, is_out, limiter_of, no_key_stays, usual};
use crate::proxy::Proxy;
use crate::server::{Raw, Server, Value, free_port, program};

/// As a managed server does it: a replica takes over, and the same address leads there.
#[tokio::test]
async fn after_a_fail_over_the_replica_goes_on_from_what_it_had_heard() {
    let (Some(mut first), Some(second)) = (Server::start(), Server::start()) else { return };
    let mut replica = second.raw();
    let port = first.port().to_string();
    assert_eq!(replica.ask(&["REPLICAOF", "127.0.0.1", &port]), Value::Text("OK".to_owned()));
    let proxy = Proxy::to(first.address());
    let limiter = usual(&proxy.url(), CLOSED);
    is_back(&limiter).await;
    let exact = limiter_of(&first);
    exact.check_n("alice", 70).await.unwrap();
    let name = limiter.redis_key("alice");
    eventually("the replica has heard of it", || {
        let heard = replica.ask(&["EXISTS", &name]) == Value::Int(1);
        async move { heard }
    })
    .await;
    first.kill();
    is_out(&limiter).await;
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]), Value::Text("OK".to_owned()));
    proxy.lead_to(second.address());
    is_back(&limiter).await;
    let after = limiter_of(&second);
    assert_eq!(after.peek("alice").await.unwrap().remaining(), 30, "what was spent stays spent");
    no_key_stays(&mut replica);
}

/// The same, where the first goes on as a replica of the second: it closes no connection, and answers that it is read-only.
#[tokio::test]
async fn after_a_fail_over_a_connection_to_the_old_master_is_given_up() {
    let (Some(first), Some(second)) = (Server::start(), Server::start()) else { return };
    let proxy = Proxy::to(first.address());
    let limiter = usual(&proxy.url(), CLOSED);
    is_back(&limiter).await;
    let port = second.port().to_string();
    assert_eq!(first.raw().ask(&["REPLICAOF", "127.0.0.1", &port]), Value::Text("OK".to_owned()));
    is_out(&limiter).await;
    proxy.lead_to(second.address());
    is_back(&limiter).await;
    limiter.check("alice").await.unwrap();
    assert_eq!(limiter_of(&second).peek("alice").await.unwrap().remaining(), 99);
}

/// A sentinel that watches one master, by itself.
struct Sentinel {
    child: Child,
    folder: std::path::PathBuf,
    port: u16,
}

impl Sentinel {
    fn watching(master: &Server) -> Option<Self> {
        let (program, port) = (program()?, free_port());
        let folder = std::env::temp_dir().join(format!("tollgate-sentinel-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let settings = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            master.port()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new(program);
        command.arg(&settings).arg("--sentinel").current_dir(&folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { child, folder, port })
    }

    fn ask(&self, words: &[&str]) -> Option<Value> {
        Some(Raw::try_to(([127, 0, 0, 1], self.port).into()).ok()?.ask(words))
    }

    /// The port of whom it takes for the master.
    fn master(&self) -> Option<u16> {
        match self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"])? {
            Value::Array(words) => words.get(1)?.text().parse().ok(),
            _ => None,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A sentinel fails over in the middle: first because it was told to, so that the old master goes on as a replica; and then because
/// the new one is killed. What leads to the master follows what the sentinel says.
#[tokio::test]
async fn an_address_that_follows_a_sentinel_is_followed() {
    let (Some(first), Some(second)) = (Server::start(), Server::start()) else { return };
    let port = first.port().to_string();
    second.raw().ask(&["REPLICAOF", "127.0.0.1", &port]);
    let Some(sentinel) = Sentinel::watching(&first) else { return };
    let knows = |what: &'static str| match sentinel.ask(&["SENTINEL", "MASTERS"]) {
        Some(value) => format!("{value:?}").contains(what),
        None => false,
    };
    eventually("the sentinel knows the replica", || async { knows("\"num-slaves\"), Text(\"1\")") }).await;
    let proxy = Proxy::to(first.address());
    let limiter = usual(&proxy.url(), CLOSED);
    is_back(&limiter).await;
    limiter_of(&first).check_n("alice", 40).await.unwrap();
    eventually("the replica has heard of it", || {
        let heard = second.raw().ask(&["EXISTS", &limiter.redis_key("alice")]) == Value::Int(1);
        async move { heard }
    })
    .await;

    eventually("it fails over", || async {
        sentinel.ask(&["SENTINEL", "FAILOVER", "main"]) == Some(Value::Text("OK".to_owned()))
    })
    .await;
    eventually("the second is the master", || async { sentinel.master() == Some(second.port()) }).await;
    eventually("the first is its replica", || async {
        first.raw().ask(&["INFO", "replication"]).text().contains("role:slave")
    })
    .await;
    proxy.lead_to(second.address());
    is_back(&limiter).await;
    assert_eq!(limiter_of(&second).peek("alice").await.unwrap().remaining(), 60, "what was spent stays spent");
    limiter_of(&second).check_n("alice", 5).await.unwrap();
    eventually("the first has heard of it", || async {
        first.raw().ask(&["GET", &limiter.redis_key("alice")])
            == second.raw().ask(&["GET", &limiter.redis_key("alice")])
            && knows("\"num-slaves\"), Text(\"1\")")
    })
    .await;

    drop(second);
    is_out(&limiter).await;
    eventually("the first is the master again", || async { sentinel.master() == Some(first.port()) }).await;
    proxy.lead_to(first.address());
    is_back(&limiter).await;
    assert_eq!(limiter_of(&first).peek("alice").await.unwrap().remaining(), 55);
    no_key_stays(&mut first.raw());
}
