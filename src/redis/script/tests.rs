//! The script on a real server, against slow and obvious twins that know exact fractions, at microsecond ticks.
//!
//! The script reads the time in one line. Here that line takes it from the last argument instead.

use proptest::prelude::*;

use super::*;
use crate::policy::Policy;

#[path = "../../../tests/redis/server.rs"]
#[allow(dead_code, reason = "shared with tests/redis, which needs more of it")]
mod server;

use server::{Raw, Server, Value};

mod policies;
mod told;
mod twin;

use twin::{Charging, Order, Twin};

/// The script, its time given as the last argument.
fn script_with_time() -> String {
    let lines = SCRIPT.lines().filter(|line| line.contains("'TIME'")).count();
    assert_eq!(lines, 1, "time is read in one line");
    SCRIPT.replace("redis.call('TIME')", "{ floor(tonumber(ARGV[#ARGV]) / 1000000), tonumber(ARGV[#ARGV]) % 1000000 }")
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    WaitForRetry(i64),
    Check(u64),
    Reserve(u64),
    Peek(u64),
    Refund(u64),
    Settle(u64),
}

fn command(script: &str, key: &str, op: Op, cost: u64, told: &[ScriptQuota], more: &[u64]) -> Vec<String> {
    let quotas = told.iter().zip(["q0/day", "q1/day", "q2/day"]);
    let quotas = quotas.map(|(told, called)| (called.to_owned(), told.clone())).collect();
    command_of(script, &[(key, op, cost, quotas)], more)
}

/// What is asked about one of several: its key, and its quotas as they are called.
type SubjectAsked<'a> = (&'a str, Op, u64, Vec<(String, ScriptQuota)>);

fn command_of(script: &str, parts: &[SubjectAsked<'_>], more: &[u64]) -> Vec<String> {
    let mut words = vec!["EVAL".to_owned(), script.to_owned(), parts.len().to_string()];
    words.extend(parts.iter().map(|(key, ..)| (*key).to_owned()));
    for (_, op, cost, quotas) in parts {
        words.extend([op.as_str().to_owned(), cost.to_string(), quotas.len().to_string()]);
        for (called, told) in quotas {
            let (kind, numbers) = told.arguments();
            words.extend([called.clone(), kind.to_owned()]);
            words.extend(numbers.map(|number| number.to_string()));
        }
    }
    words.extend(more.iter().map(u64::to_string));
    words
}

fn ask(raw: &mut Raw, script: &str, key: &str, op: Op, cost: u64, told: &[ScriptQuota], more: &[u64]) -> Reply {
    let value = raw.ask(&command(script, key, op, cost, told, more));
    match &value {
        Value::Array(_) => Reply::read(&value.ints(), told.len()).expect("an answer of the script"),
        other => panic!("{op:?} {told:?}: {other:?}"),
    }
}

const START: u64 = 1_764_000_000_000_000;

/// Times are exact until the year 2255, less the ten years that a wait can last.
const LATEST: u64 = (1 << 53) - 10 * 366 * 86_400 * 1_000_000;

/// Runs one history, and says how often it passed and was denied.
fn agree(raw: &mut Raw, script: &str, key: &str, quotas: &[Quota], start: u64, steps: &[Step]) -> (u64, u64) {
    let all: Order = (0..quotas.len()).collect();
    agree_by_turns(raw, script, key, quotas, &[all], start, steps)
}

/// The same, by policies that take turns, each with some of the quotas. But as long as nothing is kept of the key, by the first,
/// which has all: one that knows less would give its own what it finds.
fn agree_by_turns(
    raw: &mut Raw,
    script: &str,
    key: &str,
    quotas: &[Quota],
    policies: &[Order],
    start: u64,
    steps: &[Step],
) -> (u64, u64) {
    let told: Vec<ScriptQuota> = quotas.iter().map(|quota| ScriptQuota::new(quota).expect("it can be kept")).collect();
    let mut twins: Vec<Twin> = quotas.iter().map(|quota| Twin::new(*quota)).collect();
    let (mut now, mut charged, mut retry) = (start, Vec::<Charging>::new(), 0);
    let (mut passed, mut denied) = (0, 0);
    raw.ask(&["DEL", key]);
    for (n, step) in steps.iter().enumerate() {
        if now > LATEST {
            break;
        }
        let (op, cost) = match *step {
            Step::Wait(micros) => {
                now += micros;
                continue;
            }
            Step::WaitForRetry(off) => {
                now = (now + retry).saturating_add_signed(off).max(now);
                continue;
            }
            Step::Check(cost) => (Op::Check, cost),
            Step::Reserve(cost) => (Op::Reserve, cost),
            Step::Peek(cost) => (Op::Peek, cost),
            Step::Refund(cost) => (Op::Refund, cost),
            Step::Settle(cost) if !charged.is_empty() => (Op::Settle, cost),
            Step::Settle(_) => continue,
        };
        let is_new = policies.len() > 1 && raw.ask(&["EXISTS", key]).int() == 0;
        let mut order = policies[if is_new { 0 } else { n % policies.len() }].clone();
        let mut more = Vec::new();
        let before = twins.clone();
        let mut fits = false;
        let (mut settled, mut writes) = (None, cost > 0 && op != Op::Peek);
        match op {
            Op::Check | Op::Reserve => {
                fits = order.iter().all(|&index| twins[index].fits(now, cost));
                writes &= fits;
                if writes {
                    order.iter().for_each(|&index| twins[index].charge(now, cost));
                }
            }
            Op::Refund if writes => order.iter().for_each(|&index| twins[index].refund(now, cost)),
            Op::Settle => {
                let charge = charged.remove(cost as usize % charged.len());
                let unused = cost.min(charge.cost);
                order.clone_from(&charge.order);
                writes = unused > 0;
                if writes {
                    for (at, &index) in order.iter().enumerate() {
                        twins[index].settle(now, unused, &charge, at);
                    }
                }
                more.push(charge.at);
                more.extend(&charge.marks);
                settled = Some(unused);
            }
            _ => {}
        }
        if writes {
            let others = (0..quotas.len()).filter(|index| !order.contains(index));
            others.for_each(|index| twins[index].touch(now));
        }
        more.push(now);
        let context = || format!("step {n} {step:?} at {now} by {order:?} of {quotas:?}: {steps:?}");
        let part = order.iter().map(|&index| (format!("q{index}/day"), told[index].clone())).collect();
        let value = raw.ask(&command_of(script, &[(key, op, settled.unwrap_or(cost), part)], &more));
        assert!(matches!(value, Value::Array(_)), "{value:?}, {}", context());
        let reply = Reply::read(&value.ints(), order.len()).expect("an answer of the script");
        assert_eq!(reply.time, now, "{}", context());
        let asks = matches!(op, Op::Check | Op::Reserve);
        assert_eq!(reply.passed, fits || !asks, "{}", context());
        for (&index, judged) in order.iter().zip(&reply.quotas) {
            let twin = &twins[index];
            assert_eq!(judged.left, twin.left(now), "left of {index}, {}", context());
            let fresh = |at: u64| twin.spent(at).0 == 0;
            let back = now + judged.reset_micros;
            assert!(fresh(back), "back of {index} at {back}, {}", context());
            let early = judged.reset_micros > 0 && fresh(back - 1);
            // A window is said to be back when it is over, though its share may be rounded to nothing, or be refunded, earlier.
            assert!(!early || !twin.is_bucket(), "back of {index} before {back}, {}", context());
            if matches!(op, Op::Settle | Op::Refund) {
                continue;
            }
            let before = &before[index];
            match judged.wait_micros {
                None => assert!(cost > twin.limit(), "never: {index}, {}", context()),
                Some(0) => assert!(before.fits(now, cost), "at once: {index}, {}", context()),
                Some(wait) => {
                    assert!(before.fits(now + wait, cost), "{wait} too short: {index}, {}", context());
                    assert!(!before.fits(now + wait - 1, cost), "{wait} too long: {index}, {}", context());
                }
            }
        }
        if asks {
            retry = reply.quotas.iter().filter_map(|quota| quota.wait_micros).max().unwrap_or_default();
            if reply.passed {
                passed += 1;
            } else {
                denied += 1;
            }
        }
        if op == Op::Reserve && reply.passed && cost > 0 {
            let of = order.iter().map(|&index| (twins[index].mark(now), twins[index].spent(now).0)).collect();
            charged.push(Charging { order, at: now, cost, of, marks: reply.marks });
        }
    }
    (passed, denied)
}

fn quota() -> impl Strategy<Value = Quota> {
    let algorithm = prop_oneof![
        3 => Just(Algorithm::TokenBucket),
        1 => Just(Algorithm::FixedWindow),
        1 => Just(Algorithm::AlignedWindow),
        1 => Just(Algorithm::SlidingWindow),
        1 => Just(Algorithm::StrictWindow),
    ];
    let period = prop_oneof![1_000_u64..2_000_000, Just(1_000_000_u64), Just(60_000_000), Just(86_400_000_000)];
    (algorithm, 1_u64..12, period, 1_u64..30).prop_map(|(algorithm, amount, micros, burst)| {
        let quota = Quota::new(amount, std::time::Duration::from_micros(micros)).expect("slow enough");
        match algorithm {
            Algorithm::TokenBucket => quota.burst(burst),
            other => quota.try_algorithm(other).expect("small enough"),
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..3_000_000).prop_map(Step::Wait),
        1 => (0_u64..200_000_000_000).prop_map(Step::Wait),
        3 => (0_u64..1000).prop_map(Step::Wait),
        6 => (-1_i64..=1).prop_map(Step::WaitForRetry),
        12 => (0_u64..4).prop_map(Step::Check),
        1 => (0_u64..40).prop_map(Step::Check),
        3 => (0_u64..4).prop_map(Step::Reserve),
        2 => (0_u64..15).prop_map(Step::Peek),
        1 => (0_u64..4).prop_map(Step::Refund),
        2 => (0_u64..4).prop_map(Step::Settle),
    ]
}

/// Plays random histories of that many quotas to a server. Each says how many checks passed and were denied.
fn play(
    cases: u32,
    quotas: impl Into<prop::collection::SizeRange>,
    history: impl Fn(&mut Raw, &[Quota], u64, &[Step]) -> (u64, u64),
) {
    let Some(server) = Server::start() else { return };
    let (raw, totals) = (std::cell::RefCell::new(server.raw()), std::cell::Cell::new((0, 0)));
    let histories =
        (prop::collection::vec(quota(), quotas), START..START + 200_000_000_000, prop::collection::vec(step(), 20..80));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config)
        .run(&histories, |(quotas, start, steps)| {
            let (passed, denied) = history(&mut raw.borrow_mut(), &quotas, start, &steps);
            let (all_passed, all_denied) = totals.get();
            totals.set((all_passed + passed, all_denied + denied));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let (passed, denied) = totals.get();
    assert!(passed > 1000 && denied > 1000, "{passed} passed, {denied} denied");
}

#[test]
fn the_script_agrees_with_exact_twins_on_random_histories() {
    let script = script_with_time();
    play(400, 1..4, |raw, quotas, start, steps| agree(raw, &script, "model", quotas, start, steps));
}

/// Policies that have some of the same quotas, in any order, leave each what it is.
#[test]
fn policies_of_other_widths_and_orders_agree_with_exact_twins() {
    let script = script_with_time();
    let policies = [vec![0, 1, 2], vec![2, 0], vec![1], vec![1, 2, 0], vec![0]];
    play(200, 3, |raw, quotas, start, steps| agree_by_turns(raw, &script, "turns", quotas, &policies, start, steps));
}

/// Several subjects are asked about in one call: all are charged or none is, and what is asked of one adds up.
#[test]
fn several_subjects_are_charged_as_one() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    let ten = |called: &str| vec![(called.to_owned(), ScriptQuota::new(&"10/day".parse().unwrap()).unwrap())];
    let mut check = |parts: &[(&str, u64)]| -> Vec<(bool, u64)> {
        let parts: Vec<SubjectAsked<'_>> =
            parts.iter().map(|&(key, cost)| (key, Op::Check, cost, ten("10/day"))).collect();
        let value = raw.ask(&command_of(SCRIPT, &parts, &[]));
        let each = value.array().iter().map(|value| Reply::read(&value.ints(), 1).expect("an answer"));
        each.map(|reply| (reply.passed, reply.quotas[0].left)).collect()
    };
    assert_eq!(check(&[("x", 4), ("y", 6)]), [(true, 6), (true, 4)]);
    assert_eq!(check(&[("x", 4), ("y", 6), ("z", 1)]), [(true, 2), (false, 4), (true, 9)]);
    assert_eq!(check(&[("x", 0), ("y", 0), ("z", 0)]), [(true, 6), (true, 4), (true, 10)], "nothing was charged");
    assert_eq!(check(&[("x", 4), ("x", 3)]), [(true, 2), (false, 2)], "together they are too much");
    assert_eq!(check(&[("x", 4), ("y", 1), ("x", 2)]), [(true, 2), (true, 3), (true, 0)]);
    assert_eq!(check(&[("x", 0), ("y", 0)]), [(true, 0), (true, 3)]);
    assert_eq!(raw.ask(&["EXISTS", "x", "y", "z"]).int(), 2);
    for key in ["x", "y"] {
        assert!(raw.ask(&["PTTL", key]).int() > 1000, "{key}");
    }
    // One that is no limit's stops all.
    raw.ask(&["SET", "z", "mine"]);
    let parts: Vec<SubjectAsked<'_>> = ["y", "z"].map(|key| (key, Op::Check, 1, ten("10/day"))).into();
    let value = raw.ask(&command_of(SCRIPT, &parts, &[]));
    assert!(matches!(&value, Value::Error(error) if error.starts_with("TOLLGATE ")), "{value:?}");
    let value = raw.ask(&command_of(SCRIPT, &[("y", Op::Peek, 0, ten("10/day"))], &[]));
    assert_eq!(Reply::read(&value.ints(), 1).unwrap().quotas[0].left, 3);
}

#[test]
fn quotas_at_the_edge_of_what_is_exact_agree_too() {
    let Some(server) = Server::start() else { return };
    let (script, mut raw) = (script_with_time(), server.raw());
    for text in [
        "1000000000/second burst 1000000000",
        "1/365 days burst 10",
        "100/3660 days burst 900",
        "86400000000/day burst 3000000000000001",
        "1000000/day",
        "4294967296/day strict",
        "1000000000/day fixed",
        "1000/day sliding",
        "52124/day sliding",
        "52125/day sliding",
        "100000000/day sliding",
    ] {
        let quota: Quota = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let limit = quota.limit();
        let mut steps = Vec::new();
        for part in [limit / 3, limit - limit / 3, limit / 2, limit, 1, limit / 7, limit - 1, 1, limit] {
            steps.extend([
                Step::Check(part),
                Step::Check(1),
                Step::Peek(limit),
                Step::WaitForRetry(-1),
                Step::Check(1),
            ]);
            steps.extend([
                Step::WaitForRetry(0),
                Step::Reserve(part),
                Step::Settle(part / 2),
                Step::Wait(1),
                Step::Check(part),
            ]);
            steps.extend([Step::WaitForRetry(0), Step::Check(part)]);
        }
        let (passed, denied) = agree(&mut raw, &script, "edge", &[quota], START, &steps);
        assert!(passed > 5 && denied > 5, "{text}: {passed} passed, {denied} denied");
    }
}

#[test]
fn time_that_steps_back_stands_still_for_a_subject() {
    let Some(server) = Server::start() else { return };
    let (script, mut raw) = (script_with_time(), server.raw());
    for text in ["10/second", "10/second fixed", "10/second fixed aligned", "10/second sliding", "10/second strict"] {
        let told = [ScriptQuota::new(&text.parse().unwrap()).unwrap()];
        raw.ask(&["DEL", "back"]);
        let mut check = |cost: u64, at: u64| ask(&mut raw, &script, "back", Op::Check, cost, &told, &[at]);
        assert!(check(10, START).passed);
        let wait = check(1, START).quotas[0].wait_micros.unwrap();
        // An hour back: nothing more passes, and the wait is an hour longer.
        let back = START - 3_600_000_000;
        let denied = check(1, back);
        assert!(!denied.passed, "{text}");
        assert_eq!(denied.quotas[0].wait_micros, Some(wait + 3_600_000_000), "{text}");
        assert!(!check(1, START + wait - 1).passed, "{text}");
        assert!(check(1, START + wait).passed, "{text}");
    }
}

#[test]
fn state_and_expiry_are_written_together_and_outlast_what_is_owed() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    for (text, cost) in [
        ("10/second", 3),
        ("10/day burst 2", 2),
        ("10/hour fixed", 1),
        ("10/hour fixed aligned", 1),
        ("10/hour sliding", 1),
        ("10/hour strict", 1),
        ("10/second; 100/day", 5),
    ] {
        let policy: Policy = text.parse().unwrap();
        let told: Vec<ScriptQuota> = policy.quotas().map(|(_, quota)| ScriptQuota::new(quota).unwrap()).collect();
        let key = format!("expires {text}");
        let reply = ask(&mut raw, SCRIPT, &key, Op::Check, cost, &told, &[]);
        let owed = reply.quotas.iter().map(|quota| quota.reset_micros).max().unwrap();
        let expires = raw.ask(&["PTTL", &key]).int();
        assert!(expires * 1000 >= owed as i64, "{text}: {expires} ms for {owed} us");
        assert!(expires * 1000 <= owed as i64 + 2_000_000, "{text}: {expires} ms for {owed} us");
        // All given back, nothing is left to be kept.
        ask(&mut raw, SCRIPT, &key, Op::Refund, cost, &told, &[]);
        assert_eq!(raw.ask(&["EXISTS", &key]).int(), 0, "{text}");
        // A denial and a look write nothing.
        ask(&mut raw, SCRIPT, &key, Op::Check, 1000, &told, &[]);
        ask(&mut raw, SCRIPT, &key, Op::Peek, 1, &told, &[]);
        assert_eq!(raw.ask(&["EXISTS", &key]).int(), 0, "{text}");
    }
}

#[test]
fn a_value_that_is_no_limits_is_left_alone() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    let told = [ScriptQuota::new(&"10/second".parse().unwrap()).unwrap()];
    for garbage in [
        "",
        "hello",
        "12",
        "12 q/day:b,1",
        "12 q/day:x,1,2,3",
        "12 q/day:b,0,1,1",
        "12 q/day:s,1,2,3",
        "9 q/day:b,1,1,1,1",
        "12 b,1,2,3",
        "12 :b,1,2,3",
        "12 q/day:w,1,2,,",
        "12 q/day:b,1,2,3 q",
        "12@ q/day:b,1,2,3",
        "12@1@1 q/day:b,1,2,3",
        "\u{0}\u{1}",
    ] {
        raw.ask(&["SET", "garbage", garbage]);
        let answer = raw.ask(&command(SCRIPT, "garbage", Op::Check, 1, &told, &[]));
        assert!(matches!(&answer, Value::Error(error) if error.starts_with("TOLLGATE ")), "{garbage:?}: {answer:?}");
        assert_eq!(raw.ask(&["GET", "garbage"]).text(), garbage);
    }
    raw.ask(&["DEL", "garbage"]);
    raw.ask(&["LPUSH", "garbage", "1"]);
    let answer = raw.ask(&command(SCRIPT, "garbage", Op::Check, 1, &told, &[]));
    assert!(matches!(&answer, Value::Error(error) if error.starts_with("WRONGTYPE ")), "{answer:?}");
}
