//! Policies that differ, by turns on one key.

use super::*;

/// Where a quota goes on: by its name, then by its period, then in order. As in process: see `rules/given.rs`.
#[test]
fn a_quota_goes_on_with_what_belongs_to_it() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw();
    // Records that have spent 1, 2 and so on, by turns with the policy that finds them, and what each of its quotas finds spent.
    for (kept, policy, finds) in [
        ("5/minute; 100/day", "5/minute; 100/day", &[1, 2][..]),
        ("5/minute; 100/day", "100/day; 5/minute", &[2, 1]),
        ("a: 5/minute; b: 100/day", "b: 7/hour", &[2]),
        ("a: 5/minute; b: 100/day", "70/day", &[2]),
        ("a: 5/minute; b: 100/day", "7/hour", &[1]),
        ("a: 5/minute; b: 100/day", "7/hour; 8/week", &[1, 2]),
        ("a: 5/minute; b: 100/day", "b: 5/minute; a: 9/day", &[2, 1]),
        ("a: 5/minute; b: 100/day", "b: 5/minute; c: 9/day", &[2, 1]),
        ("5/minute", "20/minute; 100/day", &[1, 0]),
        ("100/day", "5/minute; 90/day", &[0, 1]),
        ("a: 5/minute; b: 100/day", "c: 7/week; b: 100/day; d: 8/hour", &[1, 2, 0]),
        ("a: 5/7 days; 6/minute", "50/week; minute: 9/hour", &[1, 2]),
    ] {
        let [kept, policy] = [kept, policy].map(|text| text.parse::<Policy>().unwrap());
        let mut value = START.to_string();
        for ((name, quota), spent) in kept.quotas().zip(1..) {
            value += &format!(" {}:f,1000,9000000000000000,{spent}", called(name, quota));
        }
        raw.ask(&["SET", "kept", &value]);
        let windows = policy
            .quotas()
            .map(|(name, quota)| (called(name, quota), ScriptQuota { kind: "f", numbers: [1000, 1000, 0] }));
        let windows: Vec<_> = windows.collect();
        let quotas = windows.len();
        let value = raw.ask(&command_of(SCRIPT, &[("kept", Op::Peek, 1, windows.clone())], &[]));
        let reply = Reply::read(&value.ints(), quotas).unwrap();
        let found: Vec<u64> = reply.quotas.iter().map(|judged| 1000 - judged.left).collect();
        assert_eq!(found, finds, "{kept}, and then {policy}");
        // A charge leaves as many records as the wider of the two has, and no two for one quota.
        raw.ask(&command_of(SCRIPT, &[("kept", Op::Check, 1, windows)], &[]));
        let value = raw.ask(&["GET", "kept"]);
        let names: std::collections::BTreeSet<_> =
            value.text().split(' ').skip(1).map(|record| record.split(':').next()).collect();
        assert_eq!(names.len(), quotas.max(kept.quotas().len()), "{value:?}");
    }
}

/// Two limiters of one name with different policies, by turns: what was spent under one counts under the other.
#[test]
fn what_was_spent_under_another_policy_stays_spent() {
    let Some(server) = Server::start() else { return };
    let (script, mut raw) = (script_with_time(), server.raw());
    let policies = [
        "10/minute",
        "20/minute burst 10",
        "10/hour",
        "10/minute fixed",
        "10/hour fixed",
        "10/minute fixed aligned",
        "10/minute sliding",
        "10/hour sliding",
        "10/minute strict",
        "10/hour strict",
    ];
    for (from, to) in policies.iter().flat_map(|from| policies.iter().map(move |to| (from, to))) {
        let [one, other] = [from, to].map(|text| [ScriptQuota::new(&text.parse().unwrap()).unwrap()]);
        raw.ask(&["DEL", "carried"]);
        // Not at the end of any window, so that what is spent now is spent in a moment.
        let start = START + 61_000_000;
        let mut check = |told: &[ScriptQuota; 1], cost: u64, at: u64| {
            ask(&mut raw, &script, "carried", Op::Check, cost, told, &[at])
        };
        assert!(check(&one, 7, start).passed);
        let later = start + 1_000_000;
        let judged = check(&other, 4, later);
        assert!(!judged.passed, "{from}, then {to}: {judged:?}");
        assert!((2..=3).contains(&judged.quotas[0].left), "{from}, then {to}: {judged:?}");
        assert!(check(&other, 2, later).passed, "{from}, then {to}");
        assert!(!check(&one, 2, later).passed, "{from}, then {to}, and back");
        // By turns, with a denied check between: nobody is kept out for ever.
        let mut at = later;
        for _ in 0..100 {
            at += 80_000_000;
            check(&one, 10, at);
            check(&other, 10, at);
        }
        assert!(check(&one, 1, at + 7_200_000_000).passed, "{from}, then {to}");
    }
}

/// A limiter of more quotas keeps those that one of fewer does not know.
#[test]
fn what_a_wider_policy_counted_stays() {
    let Some(server) = Server::start() else { return };
    let (script, mut raw) = (script_with_time(), server.raw());
    let wide = ["10/second", "12/day"].map(|text| ScriptQuota::new(&text.parse().unwrap()).unwrap());
    let narrow = [wide[0].clone()];
    assert!(ask(&mut raw, &script, "wide", Op::Check, 10, &wide, &[START]).passed);
    let later = START + 1_000_000;
    assert!(ask(&mut raw, &script, "wide", Op::Check, 10, &narrow, &[later]).passed);
    let later = later + 1_000_000;
    let judged = ask(&mut raw, &script, "wide", Op::Check, 3, &wide, &[later]);
    assert!(!judged.passed, "{judged:?}");
    assert_eq!(judged.quotas[1].left, 2);
    assert!(raw.ask(&["PTTL", "wide"]).int() > 3_600_000);
}

/// What time has given back of a charge is known only while there is one rate. So nothing more is given back of one that was made
/// before another policy charged the key, whatever has been charged since.
#[test]
fn what_was_charged_before_policies_took_turns_is_not_settled() {
    let Some(server) = Server::start() else { return };
    let (script, mut raw) = (script_with_time(), server.raw());
    let one = |text: &str| [ScriptQuota::new(&text.parse().unwrap()).unwrap()];
    for (slow, fast) in [
        ("10/hour", "10/second"),
        ("10/hour burst 10", "30/hour burst 10"),
        ("10/hour", "10/second fixed"),
        ("10/day sliding", "10/second"),
        ("10/day strict", "10/second"),
        ("10/day fixed aligned", "10/second strict"),
    ] {
        for and_back in [false, true] {
            let context = format!("{slow} and {fast}, and back: {and_back}");
            let (slow, fast) = (one(slow), one(fast));
            raw.ask(&["DEL", "turns"]);
            let mut ask = |op: Op, cost: u64, told: &[ScriptQuota], more: &[u64]| {
                ask(&mut raw, &script, "turns", op, cost, told, more)
            };
            let (start, second) = (START + 61_000_000, 1_000_000);
            assert!(ask(Op::Check, 1, &slow, &[start]).passed, "{context}");
            let charged = ask(Op::Reserve, 9, &slow, &[start]);
            // Time gives back what was charged, by the other's rate.
            let mut now = start;
            while !ask(Op::Check, 5, &fast, &[now]).passed {
                now += 360 * second;
            }
            now += 3600 * second;
            assert!(ask(Op::Check, 5, &fast, &[now]).passed, "{context}");
            if and_back {
                assert!(ask(Op::Check, 1, &slow, &[now]).passed, "{context}");
            }
            let left = ask(Op::Peek, 0, &fast, &[now]).quotas[0].left;
            let settle = |charged: &Reply, now: u64| [&[charged.time], &charged.marks[..], &[now]].concat();
            let settled = ask(Op::Settle, 9, &slow, &settle(&charged, now));
            assert!(!settled.passed, "{context}");
            assert_eq!(ask(Op::Peek, 0, &fast, &[now]).quotas[0].left, left, "{context}");
            // A charge that was made since is given back.
            let charged = ask(Op::Reserve, 1, &slow, &[now]);
            let left = charged.quotas[0].left;
            assert!(charged.passed, "{context}");
            let settled = ask(Op::Settle, 1, &slow, &settle(&charged, now));
            assert!(settled.passed && settled.quotas[0].left == left + 1, "{context}: {settled:?}");
        }
    }
}
