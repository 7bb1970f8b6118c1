//! What a limit on a server does while the server answers: what one in process does, for all programs together.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tollgate::redis::{RedisLimiter, RedisStore, SetupError};
use tollgate::{Clock, Plan, Quota};

use crate::server::Server;
use crate::{limiter, patient, policy};

#[tokio::test]
async fn it_counts_as_one_in_process_does() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", policy("3/hour; 10/day"));
    assert_eq!(limiter.name(), "api");
    let permit = limiter.check("alice").await.unwrap();
    assert_eq!((permit.status().quota(), permit.status().remaining(), permit.status().limit()), ("3/hour", 2, 3));
    assert!(permit.status().reset_after() > Duration::from_secs(19 * 60));
    limiter.check_n("alice", 2).await.unwrap();
    let denied = limiter.check("alice").await.unwrap_err();
    assert_eq!((denied.status().quota(), denied.status().remaining()), ("3/hour", 0));
    let wait = denied.retry_after().unwrap();
    assert!(wait > Duration::from_secs(19 * 60) && wait <= Duration::from_secs(20 * 60), "{wait:?}");
    assert!(limiter.check("bob").await.is_ok(), "another key");

    let left: Vec<u64> = limiter.standing("alice").await.unwrap().iter().map(|status| status.remaining()).collect();
    assert_eq!(left, [0, 7], "a denial charged no quota");
    limiter.refund("alice", 1).await.unwrap();
    assert_eq!(limiter.peek("alice").await.unwrap().remaining(), 1);
    limiter.refund("alice", 1000).await.unwrap();
    assert_eq!(limiter.peek("alice").await.unwrap().remaining(), 3, "never more than the whole limit");
    limiter.check_n("alice", 3).await.unwrap();
    limiter.reset("alice").await.unwrap();
    assert_eq!(limiter.peek("alice").await.unwrap().remaining(), 3);
}

#[tokio::test]
async fn a_cost_that_can_never_pass_is_told_so_and_one_of_nothing_always_passes() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", policy("5/hour; 3/day fixed"));
    for cost in [4, 6, 1 << 53, u64::MAX] {
        let denied = limiter.check_n("alice", cost).await.unwrap_err();
        assert!(denied.is_permanent(), "{cost}");
        assert_eq!(denied.status().remaining(), if denied.status().quota() == "5/hour" { 5 } else { 3 });
    }
    limiter.check_n("alice", 3).await.unwrap();
    assert!(limiter.check("alice").await.is_err());
    assert_eq!(limiter.check_n("alice", 0).await.unwrap().status().remaining(), 0);
    let nothing = RedisLimiter::new(limiter.store(), "nothing", policy("0/second")).unwrap();
    assert!(nothing.check("alice").await.unwrap_err().is_permanent());
}

#[tokio::test]
async fn programs_share_a_limit_by_its_name() {
    let Some(server) = Server::start() else { return };
    let programs = [(); 4].map(|()| limiter(&server, "api", Quota::per_day(10)));
    let mut passed = 0;
    for _ in 0..10 {
        for program in &programs {
            passed += u32::from(program.check("alice").await.is_ok());
        }
    }
    assert_eq!(passed, 10);
    let other = limiter(&server, "another", Quota::per_day(10));
    assert!(other.check_n("alice", 10).await.is_ok(), "another name shares nothing");
}

/// The clocks of the programs do not matter: the server's decides.
#[tokio::test]
async fn programs_whose_clocks_are_an_hour_apart_share_a_limit() {
    let Some(server) = Server::start() else { return };
    let (early, late) = (Clock::manual(), Clock::manual());
    late.advance(Duration::from_secs(3600));
    let on = |clock: &tollgate::ManualClock| {
        let builder = RedisLimiter::builder(
            &patient(&server.url()),
            "api",
            policy("2/hour; daily: 2/day fixed aligned; other: 2/day sliding"),
        );
        builder.clock(clock.clone()).remember_denied(Duration::ZERO).try_build().unwrap()
    };
    let (early, late) = (on(&early), on(&late));
    assert!(early.check("alice").await.is_ok() && late.check("alice").await.is_ok());
    let waits = [&early, &late].map(|program| program.check("alice"));
    for wait in waits {
        let wait = wait.await.unwrap_err().retry_after().unwrap();
        assert!(wait > Duration::from_secs(29 * 60), "{wait:?}");
    }
}

#[tokio::test]
async fn plans_judge_one_account() {
    let Some(server) = Server::start() else { return };
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", Quota::per_day(3));
    let limiter = builder.plan("pro", Quota::per_day(10)).try_build().unwrap();
    let pro = limiter.on(limiter.plan("pro").unwrap()).unwrap();
    limiter.check_n("alice", 3).await.unwrap();
    assert!(limiter.check("alice").await.is_err());
    assert_eq!(pro.check("alice").await.unwrap().status().remaining(), 6);
    let unlimited = limiter.on(Plan::UNLIMITED).unwrap();
    let before = limiter.store().stats().round_trips;
    assert!(unlimited.check_n("alice", u64::MAX).await.is_ok());
    assert_eq!(limiter.store().stats().round_trips, before, "nobody needs to be asked");
    let other = RedisLimiter::new(limiter.store(), "other", Quota::per_day(1)).unwrap();
    let refused = other.on(limiter.plan("pro").unwrap()).unwrap_err();
    assert!(refused.to_string().starts_with("the plan is another limiter's"), "{refused}");
}

#[tokio::test]
async fn a_reservation_is_settled_once_and_dropped_stays_charged() {
    let Some(server) = Server::start() else { return };
    for text in ["1000/day", "1000/day fixed", "1000/day fixed aligned", "1000/day sliding", "1000/day strict"] {
        let limiter = limiter(&server, text, policy(text));
        let left = async || limiter.peek("alice").await.unwrap().remaining();
        let reservation = limiter.reserve("alice", 400).await.unwrap();
        assert_eq!((reservation.cost(), reservation.permit().status().remaining()), (400, 600));
        limiter.check_n("alice", 50).await.unwrap();
        reservation.settle(120).await.unwrap();
        assert_eq!(left().await, 830, "{text}");
        drop(limiter.reserve("alice", 30).await.unwrap());
        assert_eq!(left().await, 800, "{text}");
        let error = limiter.reserve("alice", 100).await.unwrap().settle(101).await.unwrap_err();
        assert_eq!(error.excess(), 1);
        assert_eq!(left().await, 700, "{text}");
        limiter.reserve("alice", 100).await.unwrap().settle(0).await.unwrap();
        // What a reset has forgotten is not given back again.
        let reservation = limiter.reserve("alice", 300).await.unwrap();
        limiter.reset("alice").await.unwrap();
        reservation.settle(0).await.unwrap();
        assert_eq!(left().await, 1000, "{text}");
        assert_eq!(limiter.stats().unsettled, 0);
    }
}

/// Nobody settles it any more. It goes as any charge does, and by itself: its expiry was written with it.
#[tokio::test]
async fn what_a_program_had_reserved_when_it_crashed_does_not_stay() {
    let Some(server) = Server::start() else { return };
    for text in
        ["100/second", "100/second fixed", "100/second fixed aligned", "100/second sliding", "100/second strict"]
    {
        let limiter = limiter(&server, text, policy(text));
        std::mem::forget(limiter.reserve("alice", 100).await.unwrap());
        let expires = server.raw().ask(&["PTTL", &limiter.redis_key("alice")]).int();
        // A second, or two for what looks back at the window before, and one more.
        assert!((1..=3100).contains(&expires), "{text}: {expires} ms");
        crate::eventually("all of it is back", || {
            let reserved = limiter.reserve("alice", 100);
            async { reserved.await.is_ok() }
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_over_its_limit_costs_one_round_trip_a_second() {
    let Some(server) = Server::start() else { return };
    let clock = Clock::manual();
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy("5/day"));
    let limiter = builder.clock(clock.clone()).try_build().unwrap();
    limiter.check_n("alice", 5).await.unwrap();
    let first = limiter.check("alice").await.unwrap_err();
    for _ in 0..10_000 {
        clock.advance(Duration::from_millis(1));
        let denied = limiter.check("alice").await.unwrap_err();
        assert!(denied.retry_after() <= first.retry_after());
    }
    let stats = limiter.stats();
    assert_eq!(stats.round_trips, 2 + 10, "{stats:?}");
    assert_eq!(stats.remembered, 10_000 - 10, "{stats:?}");
    assert!(limiter.check("bob").await.is_ok());

    // A key is its text, whatever its type.
    limiter.check_n("7", 5).await.unwrap();
    let before = limiter.stats();
    assert!(limiter.check("7").await.is_err() && limiter.check(&7_u64).await.is_err());
    assert_eq!(limiter.stats().remembered, before.remembered + 1);

    // What is given back here is noticed at once.
    limiter.refund("alice", 1).await.unwrap();
    assert!(limiter.check("alice").await.is_ok());
    assert!(limiter.check("alice").await.is_err());
    limiter.reset("alice").await.unwrap();
    assert!(limiter.check_n("alice", 5).await.is_ok());
    assert!(limiter.check("alice").await.is_err());
    // And so is a larger limit. What was spent stays spent.
    limiter.replace_policy(policy("7/day")).unwrap();
    assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 1);
    assert_eq!(limiter.policy(), policy("7/day"));
}

/// Otherwise one would pass each second, until the wait that was told is over.
#[tokio::test]
async fn what_another_program_gives_back_is_noticed_after_a_second_by_all() {
    let Some(server) = Server::start() else { return };
    let clock = Clock::manual();
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy("5/day"));
    let limiter = builder.clock(clock.clone()).try_build().unwrap();
    limiter.check_n("alice", 5).await.unwrap();
    assert!(limiter.check("alice").await.is_err());
    self::limiter(&server, "api", policy("5/day")).reset("alice").await.unwrap();
    assert!(limiter.check("alice").await.is_err(), "it is not known here yet");
    clock.advance(Duration::from_secs(1));
    for n in 0..5 {
        assert!(limiter.check("alice").await.is_ok(), "of five, {n} passed");
    }
    assert!(limiter.check("alice").await.is_err());
}

#[tokio::test]
async fn a_policy_is_replaced_or_nothing_changes() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", policy("5/day"));
    // There is room for one quota, and time is told in microseconds.
    for refused in ["5/day; 6/day", "1/100 ns"] {
        limiter.replace_policy(policy(refused)).unwrap_err();
        assert_eq!(limiter.policy(), policy("5/day"));
        assert_eq!(limiter.peek("alice").await.unwrap().limit(), 5);
    }
    let reservation = limiter.reserve("alice", 4).await.unwrap();
    limiter.replace_policy(policy("9/day")).unwrap();
    reservation.settle(0).await.unwrap();
    assert_eq!(limiter.peek("alice").await.unwrap().remaining(), 5, "a charge under a policy that was replaced stays");
    assert_eq!(limiter.stats().unsettled, 1, "and that is counted");
    // So is one that nobody waited for.
    drop(limiter.reserve("alice", 1).await.unwrap().settle(0));
    assert_eq!(limiter.stats().unsettled, 2);
}

#[tokio::test]
async fn concurrent_checks_go_over_one_connection_and_need_no_tasks() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_day(100));
    limiter.store().connect().await.unwrap();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut checks: Vec<_> = (0..1000).map(|_| Some(limiter.check("alice"))).collect();
    let mut passed = 0;
    let mut tasks_meanwhile = 0;
    poll_fn(|cx| {
        for check in &mut checks {
            if let Some(asking) = check {
                if let Poll::Ready(answer) = Pin::new(asking).poll(cx) {
                    passed += u32::from(answer.is_ok());
                    *check = None;
                }
            }
        }
        tasks_meanwhile = tasks_meanwhile.max(tokio::runtime::Handle::current().metrics().num_alive_tasks());
        if checks.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!(passed, 100);
    assert_eq!(tasks_meanwhile, tasks);
    let clients = server.raw().ask(&["CLIENT", "LIST"]).text().lines().count();
    assert_eq!(clients, 2, "the limiter's, and the one that asks");
}

/// Eight programs, each of its own connection, for as long as it takes: never more than the burst and what was refilled,
/// by the server's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_together_never_pass_more_than_the_limit_in_any_time() {
    let Some(server) = Server::start() else { return };
    let micros = |time: &crate::server::Value| {
        let [seconds, micros] = time.array() else { panic!("{time:?}") };
        seconds.text().parse::<u64>().unwrap() * 1_000_000 + micros.text().parse::<u64>().unwrap()
    };
    let mut raw = server.raw();
    let start = micros(&raw.ask(&["TIME"]));
    let programs: Vec<_> = (0..8)
        .map(|_| {
            let program = limiter(&server, "api", Quota::per_second(1000).burst(50));
            tokio::spawn(async move {
                let mut passed = 0_u64;
                for _ in 0..300 {
                    passed += u64::from(program.check("alice").await.is_ok());
                    tokio::task::yield_now().await;
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for program in programs {
        passed += program.await.unwrap();
    }
    let took = micros(&raw.ask(&["TIME"])) - start;
    assert!(passed <= 50 + took / 1000, "{passed} in {took} us");
    assert!(passed >= 50, "{passed}");
}

#[tokio::test]
async fn keys_are_text_that_no_client_can_leave() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_day(1));
    let long = "a".repeat(10_000);
    let keys = ["alice", "", "alice:admin", "alice}", "{alice}", "a\r\nDEL x", "\0", "é", "*", &long[..201], &long];
    for key in keys {
        assert!(limiter.check(key).await.is_ok(), "{key:?} is a key of its own");
        let name = limiter.redis_key(key);
        assert!(name.starts_with("tollgate:api:{") && name.ends_with('}') && name.len() < 250, "{name}");
        assert_eq!(name.matches(['{', '}', ' ', '\r', '\n']).count(), 2, "{name}");
        assert_eq!(server.raw().ask(&["EXISTS", &name]).int(), 1, "{name}");
    }
    assert!(limiter.check(&("alice", "admin")).await.is_ok());
    assert!(limiter.check(&("alice", "admin")).await.is_err());
    assert_eq!(server.raw().ask(&["DBSIZE"]).int(), keys.len() as i64 + 1);
    assert_eq!(limiter.redis_key(&("alice", 7)), "tollgate:api:{alice:7}");
}

#[tokio::test]
async fn keys_can_be_read_and_cleared_by_hand_and_go_by_themselves() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "login", policy("5/minute; 100/day"));
    limiter.check("alice").await.unwrap();
    let mut raw = server.raw();
    let value = raw.ask(&["GET", "tollgate:login:{alice}"]);
    let words: Vec<&str> = value.text().split(' ').collect();
    // A request of 5 in a minute owes 12,000,000 units of which one goes each microsecond.
    assert_eq!(words[1..], ["5/minute:b,12000000,1,12000000", "100/day:b,864000000,1,864000000"]);
    let expires = raw.ask(&["PTTL", "tollgate:login:{alice}"]).int();
    assert!((864_000..=867_000).contains(&expires), "100 a day are one in 864 seconds: {expires}");
    assert_eq!(raw.ask(&["DEL", "tollgate:login:{alice}"]).int(), 1);
    assert_eq!(limiter.peek("alice").await.unwrap().remaining(), 5);
}

#[test]
fn what_cannot_be_set_up_is_refused_and_shows_no_password() {
    let secret = "s3cr3t";
    for url in ["", "nonsense", "http://:s3cr3t@host", "redis://user:s3cr3t@host:99999", "redis://:s3cr3t@host/notadb"]
    {
        let error = RedisStore::new(url).unwrap_err();
        assert_eq!(error, SetupError::Url, "{url}");
        assert!(!format!("{error} {error:?}").contains(secret));
    }
    let store = RedisStore::new("redis://user:s3cr3t@127.0.0.1:6/3").unwrap();
    let builder = RedisStore::builder("redis://user:s3cr3t@127.0.0.1:6/3");
    let limiter = RedisLimiter::new(&store, "api", Quota::per_second(1)).unwrap();
    let shown = format!(
        "{store:?} {store:#?} {limiter:?} {builder:?} {:?}",
        RedisLimiter::builder(&store, "x", Quota::per_second(1))
    );
    assert!(!shown.contains(secret) && shown.contains("127.0.0.1:6"), "{shown}");

    for name in ["", &"a".repeat(101)] {
        assert_eq!(RedisLimiter::new(&store, name, Quota::per_second(1)).unwrap_err(), SetupError::Name);
    }
    let error = RedisLimiter::new(&store, "x", policy("fine: 1/second; fast: 1/100 ns")).unwrap_err();
    assert_eq!(error, SetupError::Quota { name: "fast".to_owned(), too_short: true });
    let error = RedisLimiter::new(&store, "x", policy("1000000000/second burst 10000000000000000")).unwrap_err();
    assert!(matches!(error, SetupError::Quota { too_short: false, .. }), "{error}");
    for quotas in [0, 1, 9] {
        let builder =
            RedisLimiter::builder(&store, "x", Quota::per_second(1)).plan("two", policy("1/second; 2/second"));
        let error = builder.quotas(quotas).try_build().unwrap_err();
        assert!(matches!(error, SetupError::Plan(_)), "{error}");
    }
    for prefix in ["sh{op}:", "a b", "é", &"p".repeat(65)] {
        let error = RedisStore::builder("redis://127.0.0.1:6").prefix(prefix).try_build().unwrap_err();
        assert_eq!(error, SetupError::Prefix, "{prefix}");
    }
    let builder = RedisLimiter::builder(&store, "x", Quota::per_second(1)).capacity(0);
    assert!(matches!(builder.try_build().unwrap_err(), SetupError::Plan(_)));
}
