//! What happens when a server is not there, or not itself: no error reaches the program, and nothing is charged twice.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use tollgate::redis::{RedisLimiter, RedisStore, UnansweredKind, WhenUnreachable};
use tollgate::{Clock, Quota};

use crate::logged::Lines;
use crate::proxy::Proxy;
use crate::server::{Server, Value, free_port, program};
use crate::{eventually, limiter, patient};

/// As a program would have it, with the deadline of 25 ms.
pub(crate) fn usual(url: &str, when: WhenUnreachable) -> RedisLimiter {
    let store = RedisStore::new(url).unwrap();
    RedisLimiter::builder(&store, "api", Quota::per_day(100)).when_unreachable(when).try_build().unwrap()
}

pub(crate) const CLOSED: WhenUnreachable = WhenUnreachable::Closed;

/// Checks of ever new keys pass again, by the server. Where they are denied without it, a check that passes was answered there.
pub(crate) async fn is_back(limiter: &RedisLimiter) {
    let mut n = 0;
    eventually("the server answers", || {
        n += 1;
        let check = limiter.check(&("back", n));
        async { check.await.is_ok() }
    })
    .await;
    assert!(!limiter.store().stats().is_out);
}

/// Checks of ever new keys are denied, without the server, and after a few of them nobody waits for it any more.
pub(crate) async fn is_out(limiter: &RedisLimiter) {
    let mut n = 0;
    eventually("the server is not asked any more", || {
        n += 1;
        let check = limiter.check(&("out", n));
        async {
            let _ = check.await;
            limiter.store().stats().is_out
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_server_each_program_enforces_its_share() {
    let Some(_) = program() else { return };
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}");
    let shares: Vec<_> = (0..4).map(|_| usual(&url, WhenUnreachable::local(4))).collect();
    let mut passed = 0;
    for program in &shares {
        for _ in 0..100 {
            match program.check("alice").await {
                Ok(permit) => {
                    passed += 1;
                    assert_eq!((permit.status().quota(), permit.status().limit()), ("100/day", 25));
                }
                Err(denied) => assert_eq!(denied.status().quota(), "100/day"),
            }
        }
        // More than the share ever grants, and less than the limit does: not now, but not never.
        let denied = program.check_n("bob", 50).await.unwrap_err();
        assert_eq!(denied.retry_after(), Some(Duration::from_secs(1)));
        assert!(program.check_n("bob", 101).await.unwrap_err().is_permanent());
        assert_eq!(program.stats().unanswered, 102);
        // What only the server can do is an error of its own.
        let error = program.peek("alice").await.unwrap_err();
        assert!(matches!(error.kind(), UnansweredKind::Open | UnansweredKind::NotConnected), "{error}");
        assert!(error.was_not_sent());
        program.refund("alice", 1).await.unwrap_err();
        // A reset forgets what was spent here, whatever the server does.
        program.reset("alice").await.unwrap_err();
        assert!(program.check_n("alice", 25).await.is_ok());
    }
    assert_eq!(passed, 100);

    // As soon as there is a server, it decides.
    let server = Server::start_on(port, &[]).expect("there is a program for it");
    let closed = usual(&server.url(), CLOSED);
    is_back(&closed).await;
    assert_eq!(closed.stats().unanswered, 0);
    for program in &shares {
        eventually("the server answers", || {
            let peeked = program.peek("alice");
            async { peeked.await.is_ok() }
        })
        .await;
    }
}

#[tokio::test]
async fn a_reservation_without_a_server_is_settled_here() {
    let Some(_) = program() else { return };
    let limiter = usual(&format!("redis://127.0.0.1:{}", free_port()), WhenUnreachable::default());
    limiter.reserve("alice", 100).await.unwrap().settle(40).await.unwrap();
    assert_eq!(limiter.check_n("alice", 0).await.unwrap().status().remaining(), 60);
}

#[tokio::test]
async fn open_lets_pass_and_closed_denies_while_there_is_no_server() {
    let Some(_) = program() else { return };
    let url = format!("redis://127.0.0.1:{}", free_port());
    let (open, closed) = (usual(&url, WhenUnreachable::Open), usual(&url, CLOSED));
    for _ in 0..200 {
        assert_eq!(open.check("alice").await.unwrap().status().remaining(), 100);
        let denied = closed.check("alice").await.unwrap_err();
        assert_eq!((denied.status().remaining(), denied.retry_after()), (0, Some(Duration::from_secs(1))));
    }
    let reservation = open.reserve("alice", 10).await.unwrap();
    reservation.settle(0).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_empty_starts_anew() {
    let Some(mut server) = Server::start() else { return };
    let limiter = usual(&server.url(), CLOSED);
    is_back(&limiter).await;
    for _ in 0..3 {
        server.kill();
        is_out(&limiter).await;
        assert!(limiter.check("bob").await.is_err(), "closed");
        server.restart();
        is_back(&limiter).await;
    }
    let stats = limiter.store().stats();
    assert!(stats.outages >= 3 && stats.not_sent > 0, "{stats:?}");
}

#[tokio::test]
async fn a_server_that_is_stopped_is_left_alone_until_it_goes_on() {
    let Some(server) = Server::start() else { return };
    let limiter = usual(&server.url(), CLOSED);
    is_back(&limiter).await;
    server.pause();
    is_out(&limiter).await;
    assert_eq!(limiter.refund("alice", 1).await.unwrap_err().kind(), UnansweredKind::Open);
    // As long as it takes for a few tries.
    tokio::time::sleep(Duration::from_millis(900)).await;
    is_out(&limiter).await;
    server.resume();
    is_back(&limiter).await;
}

#[tokio::test]
async fn a_full_server_and_a_read_only_one_are_as_good_as_none() {
    let Some(server) = Server::start() else { return };
    let limiter = usual(&server.url(), CLOSED);
    is_back(&limiter).await;
    let mut raw = server.raw();
    for (broken, mended) in [
        (vec!["CONFIG", "SET", "maxmemory", "1"], vec!["CONFIG", "SET", "maxmemory", "0"]),
        (vec!["REPLICAOF", "127.0.0.1", "1"], vec!["REPLICAOF", "NO", "ONE"]),
    ] {
        assert_eq!(raw.ask(&broken), Value::Text("OK".to_owned()));
        is_out(&limiter).await;
        assert_eq!(raw.ask(&mended), Value::Text("OK".to_owned()));
        is_back(&limiter).await;
    }
    // Nothing of what was refused has been left behind without its expiry.
    no_key_stays(&mut raw);
}

pub(crate) fn no_key_stays(raw: &mut crate::server::Raw) {
    let keys = raw.ask(&["KEYS", "*"]);
    for key in keys.array() {
        assert!(raw.ask(&["PTTL", key.text()]).int() > 0, "{key:?} has no expiry");
    }
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_day(100));
    for n in 1..=3 {
        server.raw().ask(&["SCRIPT", "FLUSH"]);
        assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 100 - n, "charged once");
    }
    assert_eq!(limiter.store().stats().failures, 0);
    assert_eq!(limiter.stats().unanswered, 0);
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_left_alone_and_hurts_no_other() {
    let Some(server) = Server::start() else { return };
    let store = patient(&server.url());
    let limiter = RedisLimiter::builder(&store, "api", Quota::per_day(3)).try_build().unwrap();
    let mut raw = server.raw();
    raw.ask(&["LPUSH", &limiter.redis_key("list"), "mine"]);
    raw.ask(&["SET", &limiter.redis_key("text"), "mine"]);
    for key in ["list", "text"] {
        for _ in 0..3 {
            assert!(limiter.check(key).await.is_ok(), "this program limits by itself");
        }
        assert!(limiter.check(key).await.is_err());
        assert_eq!(limiter.peek(key).await.unwrap_err().kind(), UnansweredKind::ForeignValue);
    }
    assert_eq!(raw.ask(&["LLEN", &limiter.redis_key("list")]).int(), 1);
    assert_eq!(raw.ask(&["GET", &limiter.redis_key("text")]).text(), "mine");
    let before = limiter.stats();
    assert!(limiter.check("alice").await.is_ok());
    assert_eq!(limiter.stats().round_trips, before.round_trips + 1);
    assert!(!store.stats().is_out);
    limiter.reset("list").await.unwrap();
    assert!(limiter.check_n("list", 3).await.is_ok(), "the server counts it now");
    assert_eq!(limiter.peek("list").await.unwrap().remaining(), 0);
}

#[tokio::test]
async fn garbage_on_the_wire_is_no_answer() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let limiter = usual(&proxy.url(), CLOSED);
    is_back(&limiter).await;
    proxy.garble(true);
    is_out(&limiter).await;
    proxy.garble(false);
    is_back(&limiter).await;
}

/// Whoever listens there speaks as a server does, but is none.
#[tokio::test]
async fn what_is_no_answer_of_the_script_is_none() {
    let url = one_that_says("+OK");
    let limiter = usual(&url, CLOSED);
    for n in 1..=2 {
        let error = limiter.refund("alice", 1).await.unwrap_err();
        assert_eq!((error.kind(), error.was_not_sent()), (UnansweredKind::Lost, false), "{error}");
        let stats = limiter.store().stats();
        assert_eq!((stats.round_trips, stats.failures), (0, n), "{stats:?}");
    }
    is_out(&limiter).await;
}

/// Whoever listens there says the same to each command.
pub(crate) fn one_that_says(answer: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, answer) = (format!("redis://{}", listener.local_addr().unwrap()), format!("{answer}\r\n"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || says_to_all(stream, &answer));
        }
    });
    url
}

fn says_to_all(stream: std::net::TcpStream, answer: &str) {
    let mut writer = stream.try_clone().unwrap();
    for line in std::io::BufReader::new(stream).lines().map_while(Result::ok) {
        // Each command begins with the number of its words.
        if line.starts_with('*') && writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// As servers do that are told to, by `timeout`: the next call finds out before it is sent, and so needs no answer from here.
#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_used_it_costs_no_answer() {
    let Some(mut server) = Server::start() else { return };
    let limiter = limiter(&server, "api", Quota::per_day(100));
    for n in 1..=4 {
        assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 100 - n);
        server.raw().ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        // As long as it takes not to be in use, in which the runtime hears of it.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 95);
    server.kill();
    server.restart();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 99);
    assert_eq!((limiter.stats().unanswered, limiter.store().stats().failures), (0, 0));
}

#[tokio::test]
async fn a_network_that_is_slow_cut_or_closed_is_given_up_and_found_again() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let limiter = usual(&proxy.url(), CLOSED);
    is_back(&limiter).await;
    for round in 0..2 {
        proxy.cut(true);
        is_out(&limiter).await;
        proxy.cut(false);
        is_back(&limiter).await;
        proxy.delay(Duration::from_millis(100));
        is_out(&limiter).await;
        proxy.delay(Duration::ZERO);
        is_back(&limiter).await;
        proxy.close(true);
        is_out(&limiter).await;
        proxy.close(false);
        is_back(&limiter).await;
        assert!(limiter.store().stats().outages >= 3 * (round + 1));
    }
    no_key_stays(&mut server.raw());
}

/// However many calls were under way: the next connection may be fine, and is asked at once.
#[tokio::test]
async fn a_connection_that_is_lost_is_one_failure() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let limiter =
        RedisLimiter::builder(&patient(&proxy.url()), "api", Quota::per_day(100)).when_unreachable(CLOSED).try_build();
    let limiter = limiter.unwrap();
    limiter.check("alice").await.unwrap();
    proxy.cut(true);
    let checks: Vec<_> = (0..20_u64).map(|n| tokio::spawn(limiter.check(&n))).collect();
    tokio::task::yield_now().await;
    proxy.close(true);
    for check in checks {
        assert!(check.await.unwrap().is_err(), "it is not known what has become of it");
    }
    proxy.close(false);
    proxy.cut(false);
    assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 98);
    let stats = limiter.store().stats();
    assert_eq!((stats.failures, stats.outages, stats.not_sent), (20, 0, 0), "{stats:?}");
}

/// As when a machine between the two is switched off: nobody ever says that the connection is gone.
#[tokio::test]
async fn a_connection_that_is_lost_silently_is_replaced() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let limiter = usual(&proxy.url(), CLOSED);
    for _ in 0..2 {
        is_back(&limiter).await;
        proxy.lose_silently();
    }
    is_back(&limiter).await;
}

/// A call that was not answered in time was carried out all the same: it must not be sent again.
#[tokio::test]
async fn what_may_have_been_done_is_never_sent_twice() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let limiter = usual(&proxy.url(), CLOSED);
    is_back(&limiter).await;
    let before = proxy.scripts();
    proxy.delay(Duration::from_millis(300));
    assert!(limiter.check("alice").await.is_err());
    let error = limiter.refund("bob", 1).await.unwrap_err();
    assert_eq!(error.kind(), UnansweredKind::Deadline);
    assert!(!error.was_not_sent());
    proxy.delay(Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(proxy.scripts() - before, 2, "one for each call");
    let looking = limiter_of(&server);
    assert_eq!(looking.peek("alice").await.unwrap().remaining(), 99, "it was charged once");
}

pub(crate) fn limiter_of(server: &Server) -> RedisLimiter {
    limiter(server, "api", Quota::per_day(100))
}

/// Where a program is held up for longer than a deadline, an answer that has come meanwhile still counts, or is given up: it is
/// never taken for that of another call.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobody_elses() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.address());
    let store = RedisStore::builder(&proxy.url()).deadline(Duration::from_millis(40)).try_build().unwrap();
    let limiter =
        RedisLimiter::builder(&store, "api", Quota::per_day(100)).when_unreachable(CLOSED).try_build().unwrap();
    is_back(&limiter).await;
    for n in 0..10_u64 {
        proxy.delay(Duration::from_millis(if n % 2 == 0 { 50 } else { 0 }));
        let answer = limiter.check_n(&("key", n), n).await;
        if let Ok(permit) = answer {
            assert_eq!(permit.status().remaining(), 100 - n);
        }
        // So that failures are not in a row.
        proxy.delay(Duration::ZERO);
        is_back(&limiter).await;
    }
}

#[tokio::test]
async fn kill_after_kill_no_error_reaches_the_program_and_no_key_stays() {
    let Some(mut server) = Server::start() else { return };
    let limiter = usual(&server.url(), WhenUnreachable::local(2));
    let mut checks = 0_u64;
    for cycle in 0..5 {
        for _ in 0..200 {
            checks += 1;
            // Whichever it is, it is an answer.
            let _ = limiter.check(&("client", checks % 50)).await;
        }
        match cycle % 3 {
            0 => server.kill(),
            1 => server.pause(),
            _ => {}
        }
        for _ in 0..200 {
            checks += 1;
            let _ = limiter.check(&("client", checks % 50)).await;
        }
        match cycle % 3 {
            0 => server.restart(),
            1 => server.resume(),
            _ => {}
        }
        eventually("the server answers", || {
            let peeked = limiter.peek("alice");
            async { peeked.await.is_ok() }
        })
        .await;
        no_key_stays(&mut server.raw());
    }
    let stats = limiter.stats();
    assert_eq!(stats.round_trips + stats.remembered + stats.unanswered, checks, "{stats:?}");
}

#[tokio::test]
async fn a_password_is_used_and_never_shown_and_a_flood_of_failures_makes_few_lines() {
    let Some(server) = Server::start_with(&["--requirepass", "s3cr3t"]) else { return };
    let lines = Lines::listen();
    let right = usual(&format!("redis://:s3cr3t@127.0.0.1:{}", server.port()), CLOSED);
    is_back(&right).await;
    // Its time stands still, so all lines fall into one second.
    let store = RedisStore::new(&format!("redis://:wr0ng-s3cr3t@127.0.0.1:{}", server.port())).unwrap();
    let builder = RedisLimiter::builder(&store, "wrong", Quota::per_day(100)).when_unreachable(CLOSED);
    let wrong = builder.clock(Clock::manual()).try_build().unwrap();
    for _ in 0..1000 {
        assert!(wrong.check("alice@example.com").await.is_err());
    }
    let error = wrong.peek("alice@example.com").await.unwrap_err();
    let text = lines.take().join("\n");
    for shown in [&text, &error.to_string(), &format!("{error:?} {store:?} {wrong:?}")] {
        assert!(!shown.contains("s3cr3t") && !shown.contains("alice"), "{shown}");
    }
    let told =
        text.lines().filter(|line| line.contains("without the Redis server") && line.contains("limiter=\"wrong\""));
    let told = told.collect::<Vec<_>>();
    assert_eq!(told.len(), 4, "the 1st, 10th, 100th and 1000th: {told:#?}");
    assert!(told.iter().all(|line| line.starts_with("WARN")), "{told:#?}");
}
