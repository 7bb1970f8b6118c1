//! A cluster of three nodes, started here.

use tollgate::Quota;
use tollgate::redis::{RedisLimiter, WhenUnreachable};

use crate::faults::{is_back, one_that_says, usual};
use crate::proxy::Proxy;
use crate::server::{Raw, Server, Value, free_port};
use crate::{eventually, patient};

/// A third of the slots for each node.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

/// Three nodes that have found each other.
pub(crate) async fn cluster() -> Option<Vec<Server>> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        // The nodes' own bus listens there, too, and so needs no port of its own.
        let (port, bus) = (free_port(), free_port());
        let bus = bus.to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
        nodes.push((Server::start_on(port, &arguments)?, bus));
    }
    for ((node, _), (first, last)) in nodes.iter().zip(SLOTS) {
        let range = [first.to_string(), last.to_string()];
        assert_eq!(node.raw().ask(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]), ok());
    }
    for (node, bus) in &nodes[1..] {
        let meet = ["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus].map(str::to_owned);
        assert_eq!(nodes[0].0.raw().ask(&meet), ok());
    }
    let nodes: Vec<Server> = nodes.into_iter().map(|(node, _)| node).collect();
    eventually("the cluster is one", || {
        let all = nodes.iter().all(|node| node.raw().ask(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok"));
        async move { all }
    })
    .await;
    Some(nodes)
}

fn ok() -> Value {
    Value::Text("OK".to_owned())
}

fn keys_at(node: &Server) -> i64 {
    node.raw().ask(&["DBSIZE"]).int()
}

#[tokio::test]
async fn each_key_is_counted_by_its_node_and_found_when_it_moves() {
    let Some(nodes) = cluster().await else { return };
    let limiter = RedisLimiter::new(&patient(&nodes[0].url()), "api", Quota::per_day(2)).unwrap();
    for _ in 0..2 {
        for client in 0..60 {
            assert!(limiter.check(&client).await.is_ok());
        }
    }
    for client in 0..60 {
        assert!(limiter.check(&client).await.is_err(), "{client}");
    }
    assert!(nodes.iter().all(|node| keys_at(node) > 5), "all have some");
    let stats = limiter.store().stats();
    assert_eq!((stats.round_trips, stats.failures), (180, 0), "{stats:?}");
    assert!((20..=60).contains(&stats.redirects), "each place is learned once: {stats:?}");

    // A key is on its way from one node to another: the old one says to ask the new one.
    let name = limiter.redis_key(&7);
    let mut raws: Vec<Raw> = nodes.iter().map(Server::raw).collect();
    let slot = raws[0].ask(&["CLUSTER", "KEYSLOT", &name]).int();
    let from = SLOTS.iter().position(|&(_, last)| slot <= i64::from(last)).unwrap();
    let to = (from + 1) % 3;
    let slot = slot.to_string();
    let ids: Vec<String> = raws.iter_mut().map(|raw| raw.ask(&["CLUSTER", "MYID"]).text().to_owned()).collect();
    assert_eq!(raws[to].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]]), ok());
    assert_eq!(raws[from].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]]), ok());
    let other = RedisLimiter::new(limiter.store(), "other", Quota::per_day(2)).unwrap();
    assert!(other.check(&7).await.is_ok(), "a key that is not there yet is made at the new node");
    assert_eq!(other.check(&7).await.unwrap().status().remaining(), 0);
    let port = nodes[to].port().to_string();
    let migrate = ["MIGRATE", "127.0.0.1", &port, &name, "0", "5000"];
    assert_eq!(raws[from].ask(&migrate), ok());
    let before = limiter.store().stats();
    limiter.refund(&7, 1).await.unwrap();
    assert_eq!(limiter.peek(&7).await.unwrap().remaining(), 1, "what was spent has moved");
    for raw in &mut raws {
        raw.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]);
    }
    assert!(limiter.check(&7).await.is_ok());
    assert!(limiter.check(&7).await.is_err());
    let stats = limiter.store().stats();
    assert_eq!(stats.failures, before.failures, "{stats:?}");
}

/// One of three is killed: its keys are answered here, and the others' by their nodes.
#[tokio::test]
async fn a_node_that_is_lost_takes_only_its_own_keys_with_it() {
    let Some(mut nodes) = cluster().await else { return };
    for node in &nodes {
        assert_eq!(node.raw().ask(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]), ok());
    }
    let store = tollgate::redis::RedisStore::new(&nodes[0].url()).unwrap();
    let limiter = RedisLimiter::new(&store, "api", Quota::per_day(1000)).unwrap();
    let all_pass = async || {
        for client in 0..60 {
            assert!(limiter.check(&client).await.is_ok(), "whoever answers");
        }
    };
    eventually("all nodes answer", async || {
        let before = limiter.stats();
        all_pass().await;
        limiter.stats().unanswered == before.unanswered
    })
    .await;
    let lost = nodes.pop().unwrap();
    drop(lost);
    eventually("two thirds are answered by their nodes, the rest here, and nobody waits", async || {
        let before = (limiter.stats(), store.stats());
        all_pass().await;
        let (limits, calls) = (limiter.stats(), store.stats());
        let trips = limits.round_trips - before.0.round_trips;
        let here = limits.unanswered - before.0.unanswered;
        trips + here == 60 && trips > 20 && here > 5 && calls.failures - before.1.failures <= 2
    })
    .await;
}

/// The calls for its keys go to another node, which leads to it.
#[tokio::test]
async fn a_node_whose_connection_is_lost_silently_gets_another() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let leads_there = one_that_says(&format!("-MOVED 1 {}", proxy.url().trim_start_matches("redis://")));
    let limiter = usual(&leads_there, WhenUnreachable::Closed);
    for _ in 0..2 {
        is_back(&limiter).await;
        proxy.lose_silently();
    }
    is_back(&limiter).await;
}
