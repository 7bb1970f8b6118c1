//! Waiting for a limit that is on a server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::redis::RedisLimiter;
use tollgate::{NotReady, Quota};

use crate::server::Server;
use crate::{limiter, patient, policy};

#[tokio::test]
async fn those_who_wait_pass_in_order_and_only_the_first_asks() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_second(50).burst(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for n in 0..10 {
        let (turn, order) = (limiter.until_ready("key"), order.clone());
        waiters.push(tokio::spawn(async move {
            turn.await.unwrap();
            order.lock().unwrap().push(n);
        }));
        // So that each has come before the next.
        tokio::task::yield_now().await;
    }
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    let asked = limiter.stats().round_trips;
    assert!(asked <= 30, "each asks when it is first, and after its wait: {asked}");
}

#[tokio::test]
async fn a_wait_that_would_be_too_long_is_refused() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", policy("2/hour"));
    limiter.until_ready_n("key", 2).await.unwrap();
    let refused = limiter.until_ready("key").within(Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(refused, NotReady::TooLong(_)), "{refused}");
    assert!(refused.denied().retry_after().unwrap() > Duration::from_secs(29 * 60));
    let refused = limiter.until_ready_n("key", 3).await.unwrap_err();
    assert!(matches!(refused, NotReady::Never(_)), "{refused}");
    limiter.until_ready_n("key", 0).await.unwrap();

    // One who is behind another is refused when its time is over.
    let first = tokio::spawn({
        let turn = limiter.until_ready("key");
        async move { turn.await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = limiter.until_ready("key").within(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(refused, NotReady::TooLong(_)), "{refused}");
    assert!(refused.denied().retry_after().unwrap() > Duration::from_secs(29 * 60));
    // What is given back wakes the first, and one that went away has left its place.
    limiter.reset("key").await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(limiter.peek("key").await.unwrap().remaining(), 1);
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let Some(server) = Server::start() else { return };
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy("1/hour")).waiters(2).waiters_per_key(1);
    let limiter = builder.try_build().unwrap();
    limiter.check("key").await.unwrap();
    let waits = tokio::spawn({
        let turn = limiter.until_ready("key");
        async move { turn.await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = limiter.until_ready("key").await.unwrap_err();
    assert!(matches!(refused, NotReady::TooManyWaiters(_)), "{refused}");
    waits.abort();
    let _ = waits.await;
    limiter.reset("key").await.unwrap();
    limiter.until_ready("key").await.unwrap();
}
