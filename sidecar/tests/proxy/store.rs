//! Limits that are counted in Redis: a real server, which is killed, stopped and started again.
#![cfg(unix)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tollgate_sidecar::config::{Config, Overrides, read};
use tollgate_sidecar::proxy::Proxy;

use crate::redis::Redis;
use crate::world::{Echo, Peer, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// In front of this upstream, counted in this Redis, as the file goes on.
fn config(redis: &Redis, upstream: SocketAddr, store: &str, limits: &str) -> Config {
    let file = format!(
        "listen = \"127.0.0.1:1\"\nupstream = \"http://{upstream}\"\nadmin = \"off\"\nmetrics = \"127.0.0.1:2\"\nthreads = 2\n\
         [store]\nredis = \"redis://127.0.0.1:{}\"\ndeadline = \"1s\"\n{store}\n{limits}",
        redis.port
    );
    let mut config =
        read("test.toml", file.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    config
}

fn ask(proxy: &Proxy, start: &str) -> u16 {
    Peer::connect(proxy.address()).ask(format!("{start} HTTP/1.1\r\nHost: a\r\n\r\n")).status()
}

fn passes(proxy: &Proxy, number: usize, start: &str) -> usize {
    (0..number).filter(|_| ask(proxy, start) == 200).count()
}

fn metric(proxy: &Proxy, name: &str) -> u64 {
    let text = Peer::connect(proxy.metrics_address().unwrap()).ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

const ALL: &str = "[limits.all]\nlimit = \"10/day\"\nkey = \"global\"\n";

#[test]
fn proxies_count_together() {
    let Some(redis) = Redis::start() else { return };
    let echo = Echo::start();
    let [one, other] = [0; 2].map(|_| Proxy::start(config(&redis, echo.address, "", ALL)).unwrap());
    assert_eq!((passes(&one, 4, "GET /"), passes(&other, 99, "GET /"), passes(&one, 9, "GET /")), (4, 6, 0));
    // A restart forgets nothing.
    drop(one);
    let one = Proxy::start(config(&redis, echo.address, "", ALL)).unwrap();
    let denied = Peer::connect(one.address()).ask(GET);
    assert_eq!((denied.status(), denied.body().as_str()), (429, "local_rate_limited"));
    assert!(denied.field("retry-after").is_some());
    assert_eq!(metric(&other, "tollgate_store_up"), 1);
    assert_eq!(metric(&other, "tollgate_allowed_total{limiter=\"all\"}"), 6);
    // Six passed and one was denied; then it was known.
    assert_eq!(metric(&other, "tollgate_store_request_duration_seconds_count"), 7);
    assert_eq!(metric(&other, "tollgate_store_fallback_total{answer=\"local\"}"), 0);
}

#[test]
fn a_denial_charges_no_limit() {
    let Some(redis) = Redis::start() else { return };
    let limits = "[limits.client]\nlimit = \"5/day\"\n[limits.rehearsal]\nlimit = \"2/day\"\nshadow = true\n\
        [limits.login]\npath = \"/login\"\nlimit = \"1/day\"\n";
    let proxy = Proxy::start(config(&redis, Echo::start().address, "", limits)).unwrap();
    assert_eq!(passes(&proxy, 8, "POST /login"), 1);
    assert_eq!(passes(&proxy, 9, "GET /"), 4, "one of five was charged");
    assert_eq!(metric(&proxy, "tollgate_requests_total{outcome=\"denied\"}"), 12);
    let watched: u64 = metric(&proxy, "tollgate_allowed_total{limiter=\"rehearsal\"}");
    assert_eq!(watched, 2, "it looked only at what passed");
    // What the one limit would have let pass and the other denied has not passed.
    assert_eq!(metric(&proxy, "tollgate_allowed_total{limiter=\"client\"}"), 5);
}

const ROUND_TRIPS: &str = "tollgate_store_request_duration_seconds_count";

/// Three limits by different keys: one question to Redis, and the answer of the one with the longest wait, wherever it stands in the file.
#[test]
fn all_limits_of_a_request_are_judged_in_one_round_trip() {
    let (short, long) =
        ("[limits.short]\nlimit = \"2/minute fixed\"\n", "[limits.long]\nlimit = \"2/day fixed\"\nkey = \"global\"\n");
    let wide = "[limits.wide]\nlimit = \"100/day\"\nkey = \"header:x-key\"\nmissing = \"address\"\n";
    for limits in [format!("{short}{long}{wide}"), format!("{wide}{long}{short}")] {
        let Some(redis) = Redis::start() else { return };
        let proxy = Proxy::start(config(&redis, Echo::start().address, "", &limits)).unwrap();
        for n in 1..=3 {
            assert_eq!(ask(&proxy, "GET /"), if n < 3 { 200 } else { 429 });
            assert_eq!(metric(&proxy, ROUND_TRIPS), n);
        }
        let denied = Peer::connect(proxy.address()).ask(GET);
        assert!(denied.field("retry-after").unwrap().parse::<u64>().unwrap() > 3600, "{denied:?}");
        assert_eq!(metric(&proxy, ROUND_TRIPS), 3, "it is known");
        for (limiter, allowed) in [("short", 2), ("long", 2), ("wide", 2)] {
            assert_eq!(
                metric(&proxy, &format!("tollgate_allowed_total{{limiter=\"{limiter}\"}}")),
                allowed,
                "{limiter}"
            );
        }
        assert_eq!(metric(&proxy, "tollgate_denied_total{limiter=\"long\",quota=\"2/day\"}"), 2);
        assert_eq!(metric(&proxy, "tollgate_requests_total{outcome=\"denied\"}"), 2);
    }
}

/// What each costs is its own, and what is not used is given back to that one.
#[test]
fn limits_of_several_costs_are_charged_and_settled_each_by_itself() {
    let Some(redis) = Redis::start() else { return };
    let limits = "[limits.bytes]\nlimit = \"100000/day\"\nkey = \"global\"\ncost = \"response-bytes\"\nreserve = 60000\n\
        [limits.dear]\nlimit = \"10/day\"\nkey = \"global\"\ncost = 3\n[limits.huge]\npath = \"/huge\"\nlimit = \"5/day\"\ncost = 6\n";
    let proxy = Proxy::start(config(&redis, Echo::start().address, "", limits)).unwrap();
    for _ in 0..3 {
        // It is given back when the response has passed, and nobody waits for that.
        eventually("60000 fit again", || ask(&proxy, "GET /huge") == 429 && ask(&proxy, "GET /") == 200);
    }
    assert_eq!(passes(&proxy, 5, "GET /"), 0, "nine of ten are spent");
    assert_eq!(metric(&proxy, "tollgate_allowed_total{limiter=\"dear\"}"), 3);
    assert_eq!(metric(&proxy, "tollgate_allowed_total{limiter=\"huge\"}"), 0);
}

/// Without Redis, several limits are one too, and a request waits for one deadline and not for one at each limit.
#[test]
fn while_it_is_away_all_limits_of_a_request_are_one() {
    let limits = "[limits.wide]\nlimit = \"20/day\"\n[limits.narrow]\nlimit = \"6/day\"\nkey = \"global\"\npath = \"/narrow\"\n\
        [limits.rehearsal]\nlimit = \"2/day\"\nshadow = true\n";
    for (store, narrow, wide) in
        [("share = \"50%\"", 3, 7), ("on_failure = \"open\"", 20, 20), ("on_failure = \"closed\"", 0, 0)]
    {
        let Some(mut redis) = Redis::start() else { return };
        let proxy = Proxy::start(config(&redis, Echo::start().address, store, limits)).unwrap();
        redis.kill();
        assert_eq!((passes(&proxy, 20, "GET /narrow"), passes(&proxy, 20, "GET /")), (narrow, wide), "{store}");
        assert_eq!(metric(&proxy, "tollgate_denied_total{limiter=\"rehearsal\",quota=\"2/day\"}"), 0, "{store}");
    }
    let Some(redis) = Redis::start() else { return };
    let proxy = Proxy::start(config(&redis, Echo::start().address, "", limits)).unwrap();
    assert_eq!(ask(&proxy, "GET /narrow"), 200);
    redis.signal("-STOP");
    let before = metric(&proxy, ROUND_TRIPS);
    assert_eq!(ask(&proxy, "GET /narrow"), 200);
    assert_eq!(metric(&proxy, ROUND_TRIPS), before + 1, "it is asked once, for all");
    redis.signal("-CONT");
}

/// A limit that is known to be over is answered before hyper reads the request, and Redis is asked about it again all the same.
#[test]
fn a_key_that_is_reset_elsewhere_passes_though_it_is_hammered() {
    let Some(redis) = Redis::start() else { return };
    let echo = Echo::start();
    let [one, other] = [0; 2].map(|_| Proxy::start(config(&redis, echo.address, "", ALL)).unwrap());
    assert_eq!((passes(&one, 11, "GET /"), passes(&other, 2, "GET /")), (10, 0));
    let mut peer = Peer::of(std::net::TcpStream::connect(("127.0.0.1", redis.port)).unwrap());
    peer.send("DEL tollgate:all:{*}\r\n").unwrap();
    assert_eq!(peer.take(4).unwrap(), b":1\r\n");
    eventually("it passes again", || ask(&one, "GET /") == 200);
}

/// What a response costs, plans, and requests that no limit counts.
#[test]
fn all_that_limits_can_do_they_do_there() {
    let Some(redis) = Redis::start() else { return };
    let limits = "[limits.tokens]\nlimit = \"2000/day\"\npath = \"/tokens\"\ncost = \"response-bytes\"\nreserve = 1000\nkey = \"global\"\n\
        [limits.api]\npath = \"/api\"\nkey = \"header:x-api-key\"\nlimit = \"1/day\"\nplan = \"header:x-plan\"\nplans = { pro = \"3/day\" }\n";
    let mut now = config(&redis, Echo::start().address, "", "");
    let file =
        now.to_toml().replace("metrics = ", "trusted_proxies = [\"127.0.0.1\"]\nrate_headers = \"draft\"\nmetrics = ");
    let file =
        file.replace("127.0.0.1:0", "127.0.0.1:1").replace("metrics = \"127.0.0.1:1\"", "metrics = \"127.0.0.1:2\"");
    now = read("test.toml", format!("{file}{limits}").as_bytes(), &Overrides::default()).unwrap();
    now.listen = "127.0.0.1:0".parse().unwrap();
    now.metrics = None;
    let proxy = Proxy::start(now).unwrap();
    // Some 200 bytes each: not settled, the third would not fit.
    let mut client = Peer::connect(proxy.address());
    let mut asked = |fields: &str| client.ask(format!("GET {fields}\r\n\r\n")).status();
    assert_eq!([0; 5].map(|_| asked("/tokens HTTP/1.1\r\nHost: a")), [200; 5]);
    let pro = "/api HTTP/1.1\r\nHost: a\r\nx-api-key: k\r\nx-plan: pro";
    assert_eq!([0; 4].map(|_| asked(pro)), [200, 200, 200, 429]);
    assert_eq!(asked("/api HTTP/1.1\r\nHost: a\r\nx-api-key: other"), 200);
    assert_eq!(asked("/api HTTP/1.1\r\nHost: a"), 400);
    let answer = Peer::connect(proxy.address()).ask("GET /api HTTP/1.1\r\nHost: a\r\nx-api-key: third\r\n\r\n");
    assert!(answer.field("ratelimit").is_some(), "{answer:?}");
}

/// What answers while Redis does not.
#[test]
fn while_it_is_away_what_was_chosen_answers() {
    for (store, answer, passed) in [
        ("share = \"50%\"", "local", 5),
        ("share = \"30%\"", "local", 2),
        ("on_failure = \"open\"", "open", 20),
        ("on_failure = \"closed\"", "closed", 0),
    ] {
        let Some(mut redis) = Redis::start() else { return };
        let proxy = Proxy::start(config(&redis, Echo::start().address, store, ALL)).unwrap();
        assert_eq!(passes(&proxy, 1, "GET /"), 1);
        redis.kill();
        assert_eq!(passes(&proxy, 20, "GET /"), passed, "{store}");
        assert_eq!(metric(&proxy, "tollgate_store_up"), 0, "{store}");
        let name = format!("tollgate_store_fallback_total{{answer=\"{answer}\"}}");
        assert_eq!(metric(&proxy, &name), 20, "{store}");
        redis.restart();
        eventually("it is found again", || {
            ask(&proxy, "GET /nothing");
            metric(&proxy, "tollgate_store_up") == 1
        });
    }
}

/// Redis is killed and comes back under load, empty: each request has an answer, and no more pass than is promised.
#[test]
fn a_crash_under_load_costs_no_request() {
    let Some(mut redis) = Redis::start() else { return };
    let limits = "[limits.all]\nlimit = \"400/day\"\nkey = \"global\"\n[limits.wide]\nlimit = \"100000/day\"\nkey = \"global\"\n";
    let proxy = Arc::new(Proxy::start(config(&redis, Echo::start().address, "", limits)).unwrap());
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (stop, asked, address) = (stop.clone(), asked.clone(), proxy.address());
            thread::spawn(move || {
                let mut client = Peer::connect(address);
                let mut passed = 0;
                while !stop.load(Relaxed) {
                    match client.ask(GET).status() {
                        200 => passed += 1,
                        429 => {}
                        status => panic!("{status}"),
                    }
                    asked.fetch_add(1, Relaxed);
                }
                passed
            })
        })
        .collect();
    let more = || {
        let before = asked.load(Relaxed);
        eventually("requests go on", || asked.load(Relaxed) > before + 300);
    };
    more();
    redis.kill();
    more();
    redis.restart();
    eventually("it is found again", || metric(&proxy, "tollgate_store_up") == 1);
    more();
    // It stands still, and answers nothing.
    redis.signal("-STOP");
    thread::sleep(Duration::from_millis(50));
    redis.signal("-CONT");
    more();
    stop.store(true, Relaxed);
    let passed: usize = clients.into_iter().map(|client| client.join().expect("every request was answered")).sum();
    assert!(passed <= 400 + 200 + 400, "twice the limit, and a half while it was away: {passed}");
    assert!(passed >= 400, "{passed}");
    assert!(metric(&proxy, "tollgate_store_fallback_total{answer=\"local\"}") > 0);
}

#[test]
fn a_reload_forgets_nothing_that_redis_remembers() {
    let Some(redis) = Redis::start() else { return };
    let echo = Echo::start();
    let with = |store: &str, limits: &str| config(&redis, echo.address, store, limits);
    let proxy = Proxy::start(with("", ALL)).unwrap();
    assert_eq!(passes(&proxy, 6, "GET /"), 6);
    // Another amount, another number of quotas, another share and capacity.
    for (store, limits, told) in [
        ("", ALL.replace("10/day", "8/day"), "all: 10/day is now 8/day; what was spent stays"),
        ("", ALL.replace("10/day", "8/day; 50/week"), "all: 8/day is now 8/day; 50/week; what was spent stays"),
        ("share = \"25%\"", ALL.replace("10/day", "8/day"), "all: 8/day; 50/week is now 8/day; what was spent stays"),
        (
            "share = \"25%\"",
            format!("{}capacity = 1000\n", ALL.replace("10/day", "9/day")),
            "all: 8/day is now 9/day; what was spent stays",
        ),
    ] {
        let changes = proxy.reload(&with(store, &limits)).unwrap();
        assert!(changes.told.iter().any(|line| line == told), "{told}\n{changes}");
    }
    assert_eq!(passes(&proxy, 9, "GET /"), 3, "of nine, six were spent");
    let changes = proxy.reload(&with("", &ALL.replace("limits.all", "limits.other"))).unwrap();
    assert_eq!(
        changes.told[..2],
        ["other: new, 10/day", "all: gone; Redis remembers what was spent until it would be free again"]
    );
    assert_eq!(passes(&proxy, 1, "GET /"), 1);
    // Out of Redis, and back: there it is remembered.
    let mut without = with("", ALL);
    without.store = None;
    let changes = proxy.reload(&without).unwrap();
    assert!(changes.to_string().contains("store: changed"), "{changes}");
    assert_eq!(passes(&proxy, 99, "GET /"), 10);
    proxy.reload(&with("", ALL)).unwrap();
    eventually("what was remembered of denials is asked anew", || ask(&proxy, "GET /") == 200);
    assert_eq!(passes(&proxy, 99, "GET /"), 0, "ten of ten");
}
