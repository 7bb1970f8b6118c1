//! Several limits over several keys, judged as one.

use std::time::Duration;

use tollgate::redis::{RedisLimiter, RedisStore, WhenUnreachable, check_all, reserve_all};
use tollgate::{Clock, Plan, Quota};

use crate::cluster::cluster;
use crate::proxy::Proxy;
use crate::server::{Server, free_port, program};
use crate::{eventually, patient, policy};

async fn left(limiter: &RedisLimiter, key: &str) -> u64 {
    limiter.peek(key).await.unwrap().remaining()
}

/// A limit by address and one by account.
fn two(store: &RedisStore) -> [RedisLimiter; 2] {
    let limiter = |name: &str, text: &str| RedisLimiter::new(store, name, policy(text)).unwrap();
    [limiter("address", "10/hour fixed; 100/day"), limiter("account", "3/day fixed")]
}

#[tokio::test]
async fn all_are_charged_or_none_in_one_round_trip() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let [address, account] = two(&store);
    for n in 0..3 {
        let permit = check_all([address.demand("a"), account.demand("alice")]).await.unwrap();
        assert_eq!((permit.status().quota(), permit.status().remaining()), ("3/day", 2 - n));
    }
    assert_eq!(store.stats().round_trips, 3);
    let denied = check_all([address.demand("a"), account.demand("alice")]).await.unwrap_err();
    assert_eq!((denied.index(), denied.denied().status().quota()), (1, "3/day"));
    assert_eq!((left(&address, "a").await, left(&account, "alice").await), (7, 0), "nothing was charged");
    // It is known now. So is one that was denied by itself.
    let before = store.stats().round_trips;
    assert_eq!(check_all([address.demand("b"), account.demand("alice")]).await.unwrap_err().index(), 1);
    assert!(account.check("alice").await.is_err());
    assert_eq!((store.stats().round_trips, account.stats().remembered), (before, 2));
    assert_eq!(left(&address, "b").await, 10);
}

/// Otherwise neither would ever be asked about: each denial takes the other's turn. So it is where they are asked in turn.
#[tokio::test]
async fn of_two_that_are_known_to_deny_the_server_is_asked_each_second() {
    let Some(server) = Server::start() else { return };
    let (store, other, clock) = (patient(&server.url()), patient(&server.url()), Clock::manual());
    for [one, other] in [[(&store, "one"), (&store, "two")], [(&store, "three"), (&other, "four")]] {
        let limiter = |(store, name): (&RedisStore, &str)| {
            let builder = RedisLimiter::builder(store, name, policy("1/day")).clock(clock.clone());
            builder.try_build().unwrap()
        };
        let both = [limiter(one), limiter(other)];
        for one in &both {
            one.check("a").await.unwrap();
            assert!(one.check("a").await.is_err());
            clock.advance(Duration::from_millis(500));
        }
        for (store, name) in [one, other] {
            // By another program.
            RedisLimiter::new(store, name, policy("1/day")).unwrap().reset("a").await.unwrap();
        }
        let mut denied = 0;
        while check_all(both.iter().map(|one| one.demand("a"))).await.is_err() {
            denied += 1;
            assert!(denied < 20, "of what was given back nobody hears");
            clock.advance(Duration::from_millis(100));
        }
    }
}

#[tokio::test]
async fn the_longest_wait_is_told_and_what_is_asked_of_one_key_adds_up() {
    let Some(server) = Server::start() else { return };
    let [address, account] = two(&patient(&server.url()));
    address.check_n("a", 10).await.unwrap();
    account.check_n("alice", 3).await.unwrap();
    let denied = check_all([account.demand("alice"), address.demand("a"), account.demand("bob")]).await.unwrap_err();
    assert_eq!(denied.index(), 0, "a day is longer than an hour");
    assert!(denied.denied().retry_after().unwrap() > Duration::from_secs(3 * 3600));
    assert_eq!(left(&account, "bob").await, 3);

    let twice = || [account.demand("carol").cost(2), account.demand("carol").cost(2)];
    let denied = check_all(twice()).await.unwrap_err();
    assert_eq!(denied.index(), 1);
    assert!(denied.denied().is_permanent(), "four of three: {denied:?}");
    assert!(account.check_n("carol", 2).await.is_ok(), "two by itself are not known to be too many");
    let denied = check_all([account.demand("dave").cost(4), address.demand("a")]).await.unwrap_err();
    assert!(denied.denied().is_permanent());
    // Also where two policies judge one account, and where the wait is for both.
    let other = RedisLimiter::new(account.store(), "account", policy("5/day fixed")).unwrap();
    let denied = check_all([account.demand("erin").cost(3), other.demand("erin").cost(3)]).await.unwrap_err();
    assert!(denied.index() == 1 && denied.denied().is_permanent(), "{denied:?}");
    let sliding = RedisLimiter::new(account.store(), "sliding", policy("4/second sliding")).unwrap();
    for _ in 0..5 {
        let both = || check_all([sliding.demand("x").cost(2), sliding.demand("x").cost(2)]);
        if let Err(denied) = both().await {
            let wait = denied.denied().retry_after().expect("it is not for ever");
            tokio::time::sleep(wait).await;
            assert!(both().await.is_ok(), "it waited for {wait:?}");
        }
    }
    // Nothing is asked of nobody, of those who are not limited, and for nothing.
    assert!(check_all([]).await.is_ok());
    let unlimited = account.on(Plan::UNLIMITED).unwrap();
    assert!(check_all([unlimited.demand("alice").cost(u64::MAX), account.demand("alice").cost(0)]).await.is_ok());
    assert_eq!(check_all([unlimited.demand("alice"), account.demand("alice")]).await.unwrap_err().index(), 1);
}

#[tokio::test]
async fn each_of_several_reservations_is_settled_by_itself() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let unlimited = two(&store)[0].on(Plan::UNLIMITED).unwrap();
    let [address, account] = two(&store);
    let demands = [address.demand("a").cost(5), unlimited.demand("a"), account.demand("alice").cost(3)];
    let mut reserved = reserve_all(demands).await.unwrap().into_iter();
    let (first, second, third) = (reserved.next().unwrap(), reserved.next().unwrap(), reserved.next().unwrap());
    assert_eq!((first.cost(), second.cost(), third.cost()), (5, 1, 3));
    assert_eq!((left(&address, "a").await, left(&account, "alice").await), (5, 0));
    first.settle(1).await.unwrap();
    second.settle(0).await.unwrap();
    third.settle(2).await.unwrap();
    assert_eq!((left(&address, "a").await, left(&account, "alice").await), (9, 1));
}

#[tokio::test]
async fn without_a_server_each_is_answered_as_it_is_set_and_all_or_none_is_charged() {
    let Some(_) = program() else { return };
    let store = RedisStore::new(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let limiter = |name: &str, when| {
        RedisLimiter::builder(&store, name, Quota::per_day(4)).when_unreachable(when).try_build().unwrap()
    };
    let local = limiter("local", WhenUnreachable::local(1));
    let (open, closed) = (limiter("open", WhenUnreachable::Open), limiter("closed", WhenUnreachable::Closed));
    for n in 0..4 {
        let permit = check_all([open.demand("a"), local.demand("a")]).await.unwrap();
        assert_eq!(permit.status().remaining(), 3 - n);
        let denied = check_all([local.demand("b"), closed.demand("b")]).await.unwrap_err();
        assert_eq!((denied.index(), denied.denied().retry_after()), (1, Some(Duration::from_secs(1))));
    }
    assert_eq!(check_all([open.demand("a"), local.demand("a")]).await.unwrap_err().index(), 1);
    assert!(local.check_n("b", 4).await.is_ok(), "what closed denied was charged nowhere");
}

/// In a cluster, those of one hash tag are judged as one, and others in turn: then what was charged is given back.
#[tokio::test]
async fn in_a_cluster_those_of_one_tag_are_one_and_others_are_paid_back() {
    let Some(nodes) = cluster().await else { return };
    let store = patient(&nodes[0].url());
    let [address, _] = two(&store);
    // It remembers no denial, so that each is asked about.
    let account = RedisLimiter::builder(&store, "account", policy("3/day fixed"));
    let account = account.remember_denied(Duration::ZERO).try_build().unwrap();
    // Nothing is known of a cluster yet.
    for n in 0..10 {
        let key = format!("client {n}");
        check_all([address.demand(&key), account.demand(&key)]).await.unwrap();
        assert_eq!((left(&address, &key).await, left(&account, &key).await), (9, 2));
    }
    let (key, before) = ("client 7", store.stats());
    check_all([address.demand(key), account.demand(key).cost(2)]).await.unwrap();
    assert_eq!(check_all([address.demand(key), account.demand(key)]).await.unwrap_err().index(), 1);
    let after = store.stats();
    assert_eq!((after.round_trips - before.round_trips, after.redirects), (2, before.redirects), "one call for both");
    assert_eq!(left(&address, key).await, 8);

    for n in 0..10 {
        let other = format!("other {n}");
        check_all([address.demand(&other), account.demand(&key.replace('7', &n.to_string())).cost(0)]).await.unwrap();
        let denied = check_all([address.demand(&other), account.demand(key)]).await.unwrap_err();
        assert_eq!(denied.index(), 1);
        assert_eq!(left(&address, &other).await, 9, "it was given back");
    }
    let stats = store.stats();
    assert_eq!(stats.failures, 0, "{stats:?}");
    assert!(!stats.is_out);
}

/// Stores are asked in turn, too.
#[tokio::test]
async fn over_two_stores_what_was_charged_is_paid_back() {
    let (Some(one), Some(other)) = (Server::start(), Server::start()) else { return };
    let [address, _] = two(&patient(&one.url()));
    let [_, account] = two(&patient(&other.url()));
    for _ in 0..3 {
        check_all([address.demand("a"), account.demand("alice")]).await.unwrap();
    }
    let denied = check_all([address.demand("a"), account.demand("alice")]).await.unwrap_err();
    assert_eq!((denied.index(), left(&address, "a").await), (1, 7));
    assert_eq!(address.stats().unsettled, 0);
}

/// Who no longer waits for the second answer has not charged the first.
#[tokio::test]
async fn what_was_charged_in_turn_is_given_back_if_nobody_waits() {
    let (Some(one), Some(other)) = (Server::start(), Server::start()) else { return };
    let [address, _] = two(&patient(&one.url()));
    let slow = Proxy::to(other.address());
    let [_, account] = two(&patient(&slow.url()));
    check_all([address.demand("a"), account.demand("alice")]).await.unwrap();
    slow.delay(Duration::from_secs(1));
    let (mut asking, before) = (check_all([address.demand("a"), account.demand("alice")]), slow.scripts());
    while slow.scripts() == before {
        assert!(poll_once(&mut asking).await.is_none(), "the other server is slow");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(left(&address, "a").await, 8);
    drop(asking);
    eventually("it is given back", || async { left(&address, "a").await == 9 }).await;
    assert_eq!(address.stats().unsettled, 0);
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// Leases go on beside it: what is lent stays owed, and none of it is spent.
#[tokio::test]
async fn leased_keys_are_asked_for_on_the_server() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let leasing = RedisLimiter::builder(&store, "api", policy("100000/hour")).leases(2).try_build().unwrap();
    let account = RedisLimiter::new(&store, "account", Quota::per_day(1000)).unwrap();
    // So that the key is known: this server has just come up.
    RedisLimiter::new(&store, "api", policy("100000/hour")).unwrap().check("key").await.unwrap();
    eventually("something is leased", || {
        let check = leasing.check("key");
        async {
            check.await.unwrap();
            leasing.stats().leased_drawn > leasing.stats().leased_spent
        }
    })
    .await;
    let (leased, trips) = (leasing.stats().leased, store.stats().round_trips);
    check_all([leasing.demand("key"), account.demand("alice")]).await.unwrap();
    assert_eq!((leasing.stats().leased, store.stats().round_trips), (leased, trips + 1));
}

#[tokio::test]
async fn no_lease_is_drawn_or_spent_for_several_limits_where_they_are_asked_in_turn() {
    let Some(server) = Server::start() else { return };
    let [one, other] = [patient(&server.url()), patient(&server.url())];
    let leased = RedisLimiter::builder(&one, "hot", policy("100000/hour burst 100000")).leases(1).try_build().unwrap();
    let account = RedisLimiter::new(&other, "account", policy("100000/hour")).unwrap();
    // So that the key is known: this server has just come up.
    RedisLimiter::new(&one, "hot", policy("100000/hour")).unwrap().check("a").await.unwrap();
    for _ in 0..200 {
        check_all([leased.demand("a"), account.demand("alice")]).await.unwrap();
    }
    assert_eq!((leased.stats().round_trips, leased.stats().leased_drawn), (200, 0));
}

#[tokio::test]
async fn a_cost_of_nothing_passes_even_where_nothing_else_does() {
    let store = RedisStore::new(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let closed = RedisLimiter::builder(&store, "api", policy("10/hour"));
    let closed = closed.when_unreachable(WhenUnreachable::Closed).try_build().unwrap();
    assert!(closed.check("a").await.is_err());
    assert!(closed.check_n("a", 0).await.is_ok());
    assert!(check_all([closed.demand("a").cost(0), closed.demand("b").cost(0)]).await.is_ok());
    assert_eq!(check_all([closed.demand("a").cost(0), closed.demand("b")]).await.unwrap_err().index(), 1);
}
