//! Runtimes that end, stand still, or are others than that which connected.

use std::sync::mpsc::channel;
use std::time::Duration;

use tollgate::Quota;
use tollgate::redis::{RedisLimiter, RedisStore, UnansweredKind};

use crate::eventually;
use crate::faults::{CLOSED, is_back, usual};
use crate::server::Server;

/// The task that drives a connection ends with the runtime that it was made on.
#[test]
fn a_store_outlives_the_runtime_that_it_connected_on() {
    let Some(server) = Server::start() else { return };
    let limiter = usual(&server.url(), CLOSED);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(is_back(&limiter));
        drop(runtime);
    }
    // And when it ends in the middle of connecting.
    let limiter = usual(&server.url(), CLOSED);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    server.pause();
    runtime.block_on(async {
        assert!(limiter.check("alice").await.is_err());
    });
    drop(runtime);
    server.resume();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(is_back(&limiter));
}

/// Nobody drives the runtime that was given, so no attempt to connect on it ever ends.
#[tokio::test]
async fn connecting_ends_where_the_given_runtime_stands_still() {
    let Some(server) = Server::start() else { return };
    let still = std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let still = still.join().unwrap();
    let store = RedisStore::builder(&server.url()).runtime(still.handle().clone()).try_build().unwrap();
    let error = store.connect().await.unwrap_err();
    assert_eq!(error.kind(), UnansweredKind::NotConnected);
    still.shutdown_background();
}

/// Who asks first may be busy with other things, or gone soon.
#[test]
fn a_connection_lives_on_the_runtime_that_was_given_while_that_is_there() {
    let Some(server) = Server::start() else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let builder = RedisStore::builder(&server.url()).deadline(Duration::from_secs(20));
    let store = builder.runtime(home.handle().clone()).try_build().unwrap();
    let limiter = RedisLimiter::new(&store, "api", Quota::per_day(100)).unwrap();
    let connections = || {
        let info = server.raw().ask(&["INFO", "stats"]).text().to_owned();
        let (_, rest) = info.split_once("total_connections_received:").expect("it is told");
        rest.lines().next().unwrap().parse::<u64>().unwrap()
    };
    let before = connections();
    for left in [99, 98, 97] {
        let status = *runtime().block_on(limiter.check("alice")).unwrap().status();
        assert_eq!(status.remaining(), left);
    }
    assert_eq!(connections() - before, 2, "the limiter's, and the one that asks now");
    assert_eq!(store.stats().failures, 0);
    // Without it, whoever asks next connects.
    home.shutdown_timeout(Duration::from_secs(10));
    let asks = runtime();
    asks.block_on(async {
        eventually("it is connected again", || {
            let peeked = limiter.peek("alice");
            async { peeked.await.is_ok() }
        })
        .await;
    });
    assert_eq!(asks.block_on(limiter.check("alice")).unwrap().status().remaining(), 96);
}

/// A task that is still running when its runtime is shut down: what it starts is dropped at once, so no attempt to connect ever ends well.
#[test]
fn a_check_in_a_runtime_that_is_shut_down_ends() {
    let Some(server) = Server::start() else { return };
    let limiter = usual(&server.url(), CLOSED);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ((starts, started), (ends, ended)) = (channel(), channel());
    let checks = limiter.clone();
    runtime.spawn(async move {
        starts.send(()).unwrap();
        while !tokio::spawn(std::future::pending::<()>()).is_finished() {
            std::thread::yield_now();
        }
        ends.send(checks.check("alice").await.is_err()).unwrap();
    });
    started.recv().unwrap();
    runtime.shutdown_background();
    assert!(ended.recv_timeout(Duration::from_secs(20)).expect("it ends"), "there is no connection");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(is_back(&limiter));
}
