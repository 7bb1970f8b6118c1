//! Leases, over a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tollgate::redis::{RedisLimiter, SetupError, Unleasable, WhenUnreachable};

use crate::server::{Raw, Server};
use crate::{patient, policy};

fn leasing(server: &Server, text: &str, programs: u32) -> RedisLimiter {
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy(text));
    builder.leases(programs).try_build().expect("it can be leased")
}

/// A slot of ten seconds, in which 277 pass; so what is leased lives for ten at least, and hardly anything comes back meanwhile.
const SLOW: &str = "100000/hour";

/// Checks until something is held that has not been spent, and says how often.
async fn hold_some(limiter: &RedisLimiter) -> u64 {
    let mut checks = 0;
    while limiter.stats().leased_drawn < limiter.stats().leased_spent + 20 {
        limiter.check("key").await.expect("there is enough");
        checks += 1;
        assert!(checks < 10_000, "{:?}", limiter.stats());
    }
    checks
}

fn held(limiter: &RedisLimiter) -> u64 {
    let stats = limiter.stats();
    stats.leased_drawn - stats.leased_spent - stats.leased_stranded
}

/// A server that has been up for longer than what it may have forgotten could live.
async fn long_up(raw: &mut Raw) {
    let up = |raw: &mut Raw| {
        let info = raw.ask(&["INFO", "server"]).text().to_owned();
        let (_, rest) = info.split_once("uptime_in_seconds:").expect("it is told");
        rest.lines().next().expect("a line").parse::<u64>().expect("a number")
    };
    while up(raw) < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn micros(raw: &mut Raw) -> u64 {
    let time = raw.ask(&["TIME"]);
    let number = |index: usize| time.array()[index].text().parse::<u64>().expect("a number");
    number(0) * 1_000_000 + number(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_lease_never_pass_more_than_the_limit_in_any_time() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    long_up(&mut raw).await;
    for text in ["2000/second", "2000/second; 3000/second burst 4000", "2000/second; 3000/2 seconds fixed"] {
        raw.ask(&["FLUSHALL"]);
        let limiters: Vec<_> = (0..4).map(|_| leasing(&server, text, 4)).collect();
        let (passed, start) = (Arc::new(AtomicU64::new(0)), micros(&mut raw));
        let tasks = limiters.iter().flat_map(|limiter| [limiter; 4]).map(|limiter| {
            let (limiter, passed) = (limiter.clone(), passed.clone());
            tokio::spawn(async move {
                for _ in 0..1000 {
                    match limiter.check("key").await {
                        Ok(_) => _ = passed.fetch_add(1, Relaxed),
                        Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let time = micros(&mut raw) - start;
        let (passed, bound) = (passed.load(Relaxed), 2000 + time * 2000 / 1_000_000);
        assert!(passed <= bound, "{text}: {passed} of {bound}");
        let stats: Vec<_> = limiters.iter().map(RedisLimiter::stats).collect();
        let sum = |of: fn(&tollgate::redis::RedisStats) -> u64| stats.iter().map(of).sum::<u64>();
        assert_eq!(sum(|stats| stats.unanswered), 0);
        assert!(sum(|stats| stats.leased) > sum(|stats| stats.round_trips), "{text}: {stats:?}");
        assert!(
            stats.iter().all(|stats| stats.leased_drawn >= stats.leased_spent + stats.leased_stranded),
            "{stats:?}"
        );
    }
}

/// Where more is asked for than passes, whoever took the last waits for a while, and finds something to lease again.
#[tokio::test]
async fn who_took_the_last_does_not_ask_again_at_once() {
    const TURNS: u64 = 1000;
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    long_up(&mut raw).await;
    let limiter = leasing(&server, "2000/second", 1);
    // The burst first.
    while limiter.check("key").await.is_ok() {}
    let (before, start) = (limiter.stats(), micros(&mut raw));
    let mut passed = 0;
    for _ in 0..TURNS {
        while limiter.check("key").await.is_ok() {
            passed += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (stats, took) = (limiter.stats(), micros(&mut raw) - start);
    // Each turn ends with a denial. After the pause there is something to lease, so none of them is the server's.
    assert_eq!(stats.remembered - before.remembered, TURNS);
    assert!(passed > took / 1000, "half of what could at least: {passed} in {took} us");
}

#[tokio::test]
async fn what_one_program_holds_no_other_gets_and_nothing_is_lost() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    let one = leasing(&server, SLOW, 2);
    // So that the key is known before anything is leased of it: this server has just come up.
    let other = RedisLimiter::new(&patient(&server.url()), "api", policy(SLOW)).unwrap();
    other.check("key").await.unwrap();
    let start = micros(&mut raw);
    let passed = hold_some(&one).await;
    let held = held(&one);
    let mut taken = 1;
    for cost in [10_000, 1000, 100, 10, 1] {
        while other.check_n("key", cost).await.is_ok() {
            taken += cost;
        }
    }
    let refilled = |raw: &mut Raw| (micros(raw) - start) / 36_000 + 1;
    assert!(taken + passed + held >= 100_000, "{taken}, {passed} and {held}");
    assert!(taken + passed + held <= 100_000 + refilled(&mut raw), "{taken}, {passed} and {held}");
    let trips = one.stats().round_trips;
    for _ in 0..held {
        one.check("key").await.expect("it is held");
    }
    assert_eq!(one.stats().round_trips, trips, "nobody was asked");
    assert_eq!(one.peek("key").await.unwrap().limit(), 100_000);
}

#[tokio::test]
async fn what_is_not_used_goes_back_where_it_was_leased() {
    let Some(server) = Server::start() else { return };
    let other = RedisLimiter::new(&patient(&server.url()), "api", policy(SLOW)).unwrap();
    other.check("key").await.unwrap();
    let limiter = leasing(&server, SLOW, 2);
    hold_some(&limiter).await;
    // What it holds is left, for it.
    let [here, there] = [&limiter, &other].map(|limiter| limiter.peek("key"));
    let (here, there) = (here.await.unwrap().remaining(), there.await.unwrap().remaining());
    assert!((here..=here + 2).contains(&(there + held(&limiter))), "{here} here, {there} there, {}", held(&limiter));
    let (before, trips) = (held(&limiter), limiter.stats().round_trips);
    let reservation = limiter.reserve("key", 5).await.unwrap();
    assert_eq!(held(&limiter), before - 5);
    reservation.settle(2).await.unwrap();
    assert_eq!(held(&limiter), before - 2);
    limiter.refund("key", 1).await.unwrap();
    assert_eq!(held(&limiter), before - 1);
    assert_eq!(limiter.stats().round_trips, trips, "none of it reached the server");
    // One that waits is served from it, too.
    limiter.until_ready("key").await.unwrap();
    assert_eq!((held(&limiter), limiter.stats().round_trips), (before - 2, trips));
}

#[tokio::test]
async fn a_reset_leaves_what_is_leased_owed() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    let other = RedisLimiter::new(&patient(&server.url()), "api", policy(SLOW)).unwrap();
    other.check_n("key", 50_000).await.unwrap();
    let limiter = leasing(&server, SLOW, 2);
    hold_some(&limiter).await;
    let drawn = limiter.stats().leased_drawn;
    limiter.reset("key").await.unwrap();
    assert_eq!(other.peek("key").await.unwrap().remaining(), 100_000 - drawn);
    let value = raw.ask(&["GET", &limiter.redis_key("key")]).text().to_owned();
    let (time, _) = value.split_once(' ').expect("a time and a record");
    assert!(time.ends_with(",m"), "nothing is leased before that is over: {value}");
    // Of a key that is not leased, nothing is left.
    other.check("another").await.unwrap();
    other.reset("another").await.unwrap();
    assert_eq!(raw.ask(&["EXISTS", &other.redis_key("another")]).int(), 0);
}

#[tokio::test]
async fn a_server_that_comes_back_empty_counts_what_may_be_leased() {
    let Some(mut server) = Server::start() else { return };
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy(SLOW)).leases(2);
    let limiter = builder.when_unreachable(WhenUnreachable::Closed).try_build().unwrap();
    let other = RedisLimiter::new(&patient(&server.url()), "api", policy(SLOW)).unwrap();
    other.check("key").await.unwrap();
    hold_some(&limiter).await;
    server.kill();
    // What is held is spent while there is no server.
    for _ in 0..held(&limiter) {
        limiter.check("key").await.unwrap();
    }
    limiter.check("key").await.unwrap_err();
    server.restart();
    crate::eventually("the server answers again", || async { limiter.check("key").await.is_ok() }).await;
    let remaining = limiter.peek("key").await.unwrap().remaining();
    assert!((49_900..50_000).contains(&remaining), "{remaining}");
    assert!(limiter.stats().leases > 0 && held(&limiter) == 0);
}

#[tokio::test]
async fn leases_that_cannot_pay_are_refused() {
    let store = patient("redis://127.0.0.1:1");
    let build = |text: &str| RedisLimiter::builder(&store, "api", policy(text)).leases(4).try_build();
    let error = build("100/second").unwrap_err();
    let why = Unleasable::TooSmall { name: "100/second".to_owned(), least: 400 };
    assert_eq!(error, SetupError::Leases(why));
    assert!(error.to_string().contains("below 400"), "{error}");
    let limiter = build("1000/second").unwrap();
    assert!(limiter.replace_policy(policy("100/second")).is_err());
    assert_eq!(limiter.policy(), policy("1000/second"), "nothing has changed");
    let plan = RedisLimiter::builder(&store, "api", policy("1000/second")).plan("free", policy("10/second"));
    assert!(plan.leases(4).try_build().is_err());
}
