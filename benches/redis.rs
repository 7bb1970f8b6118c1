//! A limit on a Redis server: how many checks a second, and what happens when the server is killed again and again.
//!
//! ```text
//! cargo bench -p tollgate-benches --bench redis -- throughput   # or programs, leases, kills; 0.5 to 3 minutes each
//! ```
//!
//! Each starts a `redis-server` of its own. `throughput` runs the same script on the same keys by turns: through the limiter, by
//! `redis-benchmark`, and by a plain client that writes so many calls at once and then reads so many answers.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tollgate::Quota;
use tollgate::redis::{RedisLimiter, RedisStore, WhenUnreachable};

#[path = "../tests/redis/server.rs"]
#[allow(dead_code, reason = "shared with tests/redis, which needs more of it")]
mod server;

use server::{Server, Value};

const SCRIPT: &str = include_str!("../src/redis/script.lua");

/// So large that nothing is denied: what is measured is a check that charges.
const LARGE: Quota = Quota::per_second(1_000_000_000);

/// What the script is told that this quota is called.
const CALLED: &str = "1000000000/second";

const KEYS: u64 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["throughput"] => throughput(),
        ["programs"] => programs(false),
        ["leases"] => leases(),
        ["kills"] => kills(),
        ["program", url, seconds, leases] => program(url, seconds.parse().expect("seconds"), leases == "true"),
        // `cargo bench` and `cargo test --benches` run everything: nothing here is quick.
        _ => println!("say what to measure: throughput, programs, leases or kills"),
    }
    ExitCode::SUCCESS
}

fn key(n: u64) -> String {
    format!("{:012}", (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % KEYS)
}

fn alone() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn throughput() {
    let Some(server) = Server::start() else { return };
    let sha = server.raw().ask(&["SCRIPT", "LOAD", SCRIPT]).text().to_owned();
    println!("| in flight | limiter | redis-benchmark | plain client | ratio to redis-benchmark |");
    println!("|---|---|---|---|---|");
    for depth in [1, 64, 256] {
        let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..5 {
            ours.push(through_the_limiter(&server, depth));
            theirs.push(by_redis_benchmark(&server, &sha, depth));
            plain.push(by_a_plain_client(&server, &sha, depth));
        }
        let (ours, theirs, plain) = (median(ours), median(theirs), median(plain));
        println!("| {depth} | {ours:.0} | {theirs:.0} | {plain:.0} | {:.2} |", ours / theirs);
    }
    denied(&server);
}

const RUN: Duration = Duration::from_millis(1200);

fn through_the_limiter(server: &Server, depth: u64) -> f64 {
    alone().block_on(async {
        let store = RedisStore::builder(&server.url()).deadline(Duration::from_secs(5)).try_build().expect("a URL");
        let limiter = RedisLimiter::new(&store, "bench", LARGE).expect("it can be kept");
        store.connect().await.expect("it is there");
        let (start, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let tasks: Vec<_> = (0..depth)
            .map(|task| {
                let (limiter, done) = (limiter.clone(), done.clone());
                tokio::spawn(async move {
                    let mut n = task * 1_000_003;
                    while start.elapsed() < RUN {
                        n += 1;
                        limiter.check(&key(n)).await.expect("it is large");
                        done.fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(limiter.stats().unanswered, 0, "all were answered by the server");
        done.load(Relaxed) as f64 / start.elapsed().as_secs_f64()
    })
}

fn by_redis_benchmark(server: &Server, sha: &str, depth: u64) -> f64 {
    let calls = if depth == 1 { 20_000 } else { 80_000 };
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &server.port().to_string(), "-c", "1", "-P", &depth.to_string(), "-n", &calls.to_string()]);
    command.args(["-r", &KEYS.to_string(), "--csv", "EVALSHA", sha, "1", "tollgate:bench:{__rand_int__}"]);
    command.args(["check", "1", "1", CALLED, "b", "1", "1000", "1000000000"]);
    let output = command.output().expect("redis-benchmark is there");
    let text = String::from_utf8_lossy(&output.stdout);
    // "test","rps",...: the test's name has commas, so from the right.
    let line = text.lines().last().expect("a line");
    let columns: Vec<&str> = line.split("\",\"").collect();
    columns[1].parse().unwrap_or_else(|_| panic!("{line}"))
}

fn by_a_plain_client(server: &Server, sha: &str, depth: u64) -> f64 {
    let mut raw = server.raw();
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < RUN {
        let call = |n: u64| {
            let key = format!("tollgate:bench:{{{}}}", key(done + n));
            ["EVALSHA", sha, "1", &key, "check", "1", "1", CALLED, "b", "1", "1000", "1000000000"].map(str::to_owned)
        };
        let calls: Vec<_> = (0..depth).map(call).collect();
        for answer in raw.ask_all(&calls) {
            assert!(matches!(answer, Value::Array(_)), "{answer:?}");
        }
        done += depth;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn denied(server: &Server) {
    alone().block_on(async {
        let store = RedisStore::builder(&server.url()).deadline(Duration::from_secs(5)).try_build().expect("a URL");
        let limiter = RedisLimiter::new(&store, "denied", Quota::per_day(1)).expect("it can be kept");
        limiter.check("key").await.expect("the first");
        let (start, mut checks) = (Instant::now(), 0_u64);
        while start.elapsed() < Duration::from_secs(4) {
            limiter.check("key").await.expect_err("no other");
            checks += 1;
        }
        let (seconds, trips) = (start.elapsed().as_secs_f64(), limiter.stats().round_trips - 1);
        println!();
        println!(
            "a hot denied key: {:.0} checks a second, {:.2} round trips a second",
            checks as f64 / seconds,
            trips as f64 / seconds
        );
    });
}

/// What one of the programs does: it hammers one key, and says how often it passed.
fn program(url: &str, seconds: u64, leases: bool) {
    alone().block_on(async {
        let store = RedisStore::builder(url).deadline(Duration::from_secs(5)).try_build().expect("a URL");
        let builder = RedisLimiter::builder(&store, "programs", Quota::per_second(2000).burst(burst(leases)));
        let builder = if leases { builder.leases(8) } else { builder };
        let limiter = builder.try_build().expect("it can be kept");
        let (start, passed) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (limiter, passed) = (limiter.clone(), passed.clone());
                tokio::spawn(async move {
                    while start.elapsed() < Duration::from_secs(seconds) {
                        passed.fetch_add(u64::from(limiter.check("key").await.is_ok()), Relaxed);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        let stats = limiter.stats();
        assert_eq!(stats.unanswered, 0, "all were answered by the server");
        println!("{} {}", passed.load(Relaxed), stats.round_trips);
    });
}

fn server_micros(server: &Server) -> u64 {
    let time = server.raw().ask(&["TIME"]);
    let number = |index: usize| time.array()[index].text().parse::<u64>().expect("a number");
    number(0) * 1_000_000 + number(1)
}

/// With leases each of the eight needs a hundred at least.
fn burst(leases: bool) -> u64 {
    if leases { 1000 } else { 500 }
}

fn programs(leases: bool) {
    let Some(server) = Server::start() else { return };
    let myself = std::env::current_exe().expect("this program");
    let start = server_micros(&server);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = Command::new(&myself);
            command.args(["program", &server.url(), "60", &leases.to_string()]).stdout(Stdio::piped());
            command.spawn().expect("this program again")
        })
        .collect();
    let (mut passed, mut trips) = (0, 0);
    for mut child in children {
        let mut text = String::new();
        child.stdout.take().expect("it is piped").read_to_string(&mut text).expect("text");
        assert!(child.wait().expect("it ends").success());
        let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        passed += numbers[0];
        trips += numbers[1];
    }
    let micros = server_micros(&server) - start;
    let bound = burst(leases) + micros * 2000 / 1_000_000;
    println!(
        "8 programs for {:.1} s on one key, 2000/second burst {}{}: {passed} passed of at most {bound}, in {trips} round trips",
        micros as f64 / 1e6,
        burst(leases),
        if leases { ", with leases" } else { "" }
    );
    assert!(passed <= bound, "the limit was exceeded by {}", passed - bound);
}

/// Four limiters, each with a connection of its own, at four fifths of what one key may pass, 500 of the burst for each.
fn leases() {
    const BURST: u64 = 2000;
    let Some(server) = Server::start() else { return };
    // A server that has just come up counts what it may have forgotten.
    std::thread::sleep(Duration::from_secs(3));
    let time = alone().block_on(async {
        let store = || RedisStore::builder(&server.url()).deadline(Duration::from_secs(5)).try_build().expect("a URL");
        let limiter = |store: &RedisStore| RedisLimiter::builder(store, "leases", Quota::per_second(BURST));
        let leasing: Vec<_> = (0..4).map(|_| limiter(&store()).leases(4).try_build().expect("it pays")).collect();
        let looks = limiter(&store()).try_build().expect("it can be kept");
        looks.check("key").await.expect("the first");
        let (start, until) = (Instant::now(), Duration::from_secs(30));
        // What a server would owe that is asked each time, and when.
        let owed = Arc::new(std::sync::Mutex::new((1.0, start)));
        let now = |owed: &mut (f64, Instant)| {
            *owed = ((owed.0 - owed.1.elapsed().as_secs_f64() * BURST as f64).max(0.0), Instant::now());
            owed.0
        };
        let tasks: Vec<_> = leasing
            .iter()
            .zip(1..)
            .map(|(limiter, seed)| {
                let (limiter, owed, mut random) = (limiter.clone(), owed.clone(), seed * 0x9E37_79B9_7F4A_7C15_u64);
                tokio::spawn(async move {
                    let (mut checks, mut passed, mut next) = (0_u64, 0_u64, 0.0);
                    while start.elapsed() < until {
                        // Each at a moment of its own, as far as a timer's millisecond can tell.
                        while next < start.elapsed().as_secs_f64() {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
                            next -= (1.0 - part).ln() / (0.8 * BURST as f64 / 4.0);
                            checks += 1;
                            if limiter.check("key").await.is_ok() {
                                passed += 1;
                                let mut owed = owed.lock().expect("no panic");
                                now(&mut owed);
                                owed.0 += 1.0;
                            }
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    (checks, passed)
                })
            })
            .collect();
        let (mut stranded, mut most, mut count) = (0.0, 0.0_f64, 0.0);
        while start.elapsed() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let left = looks.peek("key").await.expect("it answers").remaining();
            let part = ((BURST - left) as f64 - now(&mut owed.lock().expect("no panic"))) / BURST as f64;
            (stranded, most, count) = (stranded + part, most.max(part), count + 1.0);
        }
        let (mut checks, mut passed) = (0, 0);
        for task in tasks {
            let (its_checks, its_passed) = task.await.expect("no panic");
            (checks, passed) = (checks + its_checks, passed + its_passed);
        }
        let stats: Vec<_> = leasing.iter().map(RedisLimiter::stats).collect();
        let sum = |of: fn(&tollgate::redis::RedisStats) -> u64| stats.iter().map(of).sum::<u64>();
        let trips = sum(|stats| stats.round_trips);
        println!("4 limiters on one key, 2000/second, 0.8 of it asked for, for 30 s:");
        println!(
            "  {checks} checks, {passed} passed, {trips} round trips: {:.1} checks a trip",
            checks as f64 / trips as f64
        );
        println!("  stranded: {:.1} % of the burst, {:.1} % at most", stranded / count * 100.0, most * 100.0);
        println!(
            "  leased {}, spent {}, never spent {}; not answered by the server {}",
            sum(|stats| stats.leased_drawn),
            sum(|stats| stats.leased_spent),
            sum(|stats| stats.leased_stranded),
            sum(|stats| stats.unanswered)
        );
        // What a local answer takes.
        let one = &leasing[0];
        let (mut times, mut held) = (Vec::new(), 0);
        while times.len() < 2000 {
            let before = one.stats().leased;
            let start = Instant::now();
            let asking = one.check("key");
            let _ = asking.await;
            let time = start.elapsed();
            if one.stats().leased > before {
                times.push(time.as_nanos() as f64);
                held += 1;
            }
            if held % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        median(times)
    });
    println!("  a check that is answered here takes {time:.0} ns");
    println!();
    programs(true);
}

fn kills() {
    let Some(mut server) = Server::start() else { return };
    alone().block_on(async {
        let store = RedisStore::new(&server.url()).expect("a URL");
        let builder = RedisLimiter::builder(&store, "kills", Quota::per_second(100));
        let limiter = builder.when_unreachable(WhenUnreachable::local(4)).try_build().expect("it can be kept");
        store.connect().await.expect("it is there");
        // 1000 checks a second, each in a task of its own, so that none waits for another.
        let waits = Arc::new(std::sync::Mutex::new(Vec::new()));
        let on = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let load = tokio::spawn({
            let (limiter, waits, on) = (limiter.clone(), waits.clone(), on.clone());
            async move {
                let mut timer = tokio::time::interval(Duration::from_millis(1));
                let mut n = 0_u64;
                while on.load(Relaxed) {
                    timer.tick().await;
                    n += 1;
                    let (check, waits) = (limiter.check(&("client", n % 100)), waits.clone());
                    tokio::spawn(async move {
                        let start = Instant::now();
                        let _ = check.await;
                        waits.lock().expect("no panic").push(start.elapsed());
                    });
                }
            }
        });
        let (mut opened, mut back) = (Vec::new(), Vec::new());
        let is_out = |out: bool| {
            let store = store.clone();
            async move {
                let start = Instant::now();
                while store.stats().is_out != out {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    assert!(start.elapsed() < Duration::from_secs(30), "it never came to that: out {out}");
                }
                start.elapsed()
            }
        };
        for cycle in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if cycle % 2 == 0 {
                server.kill()
            } else {
                server.pause()
            }
            opened.push(is_out(true).await);
            tokio::time::sleep(Duration::from_millis(300)).await;
            if cycle % 2 == 0 {
                server.restart()
            } else {
                server.resume()
            }
            back.push(is_out(false).await);
        }
        on.store(false, Relaxed);
        load.await.expect("no panic");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut raw = server.raw();
        let keys = raw.ask(&["KEYS", "*"]);
        let stay = keys.array().iter().filter(|key| raw.ask(&["PTTL", key.text()]).int() < 0).count();
        let mut waits = waits.lock().expect("no panic").clone();
        for times in [&mut waits, &mut opened, &mut back] {
            times.sort();
        }
        let at = |times: &[Duration], part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!("100 times killed or stopped, 1000 checks a second, {} checks, none an error:", waits.len());
        println!(
            "  a check took {:?} in the middle, {:?} at p99.9, {:?} at most",
            at(&waits, 0.5),
            at(&waits, 0.999),
            at(&waits, 1.0)
        );
        println!("  given up after {:?} in the middle, {:?} at most", at(&opened, 0.5), at(&opened, 1.0));
        println!("  found again after {:?} in the middle, {:?} at most", at(&back, 0.5), at(&back, 1.0));
        println!("  keys without an expiry: {stay} of {}", keys.array().len());
        println!("  {:?}", limiter.stats());
    });
}
