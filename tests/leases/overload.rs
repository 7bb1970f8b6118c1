//! Programs that ask for more than passes, some for more than others: what each gets, and how soon the burst of a quiet key is used.

use crate::bound::Interval;
use crate::lease::{Holding, LeaseTerms, took_the_last};
use crate::lua::{SCRIPT, Server};
use crate::random::Random;

const SECOND: u64 = 1_000_000;

/// The longest for which the library denies by itself.
const LONGEST: u64 = SECOND;

struct Hungry {
    holding: Holding,
    waiting: u64,
    /// When the call that is under way comes back, and what it asks for.
    call: Option<(u64, u64)>,
    /// Until when it is known that nothing passes.
    dry_until: u64,
    next: u64,
    /// How many microseconds lie between two checks, and how many a round trip takes.
    every: f64,
    trip: u64,
    passed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    /// The least part that a program got of what it should get, and the most: what it asks for, or else as much as others.
    least: f64,
    most: f64,
    /// What passed after a second of what could.
    first: f64,
    /// What passed in all of what could.
    all: f64,
    checks_per_trip: f64,
}

/// What each should get of so much: none gets more than it asks for, and who gets less gets as much as any.
fn fair(asked: &[f64], mut passes: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by(|&one, &other| asked[one].total_cmp(&asked[other]));
    let mut gets = vec![0.0; asked.len()];
    for (place, &index) in order.iter().enumerate() {
        gets[index] = asked[index].min(passes / (asked.len() - place) as f64);
        passes -= gets[index];
    }
    gets
}

/// A bucket that is full in a second. Programs of these weights ask for so many times of what passes; their round trips take so many
/// microseconds.
fn overload(burst: u64, weights: &[u64], trips: &[u64], load: f64, seconds: u64, stands_back: bool) -> Found {
    let server = Server::new(SCRIPT);
    let bucket = [SECOND / 10, burst / 10, SECOND / 10 * burst];
    let words = server.words(&[("b", bucket)]);
    let slot = SECOND * crate::price::shipped() / 1000;
    let terms = LeaseTerms { slot_nanos: slot * 1000, most: burst / 2, pass: burst * slot / SECOND };
    let (start, mut random) = (1_764_000_000 * SECOND, Random(11));
    server.restart(start - 3600 * SECOND);
    let sum: u64 = weights.iter().sum();
    let asks = |weight: u64| burst as f64 * load * weight as f64 / sum as f64;
    let node = |(&weight, &trip): (&u64, &u64)| Hungry {
        holding: Holding::default(),
        waiting: 0,
        call: None,
        dry_until: 0,
        next: start + 1,
        every: SECOND as f64 / asks(weight),
        trip,
        passed: 0,
    };
    let mut nodes: Vec<Hungry> = weights.iter().zip(trips).map(node).collect();
    let mut central = Interval::of(&[bucket]);
    let (mut first, mut passed, mut checks, mut calls) = (None, 0, 0_u64, 0_u64);
    let mut pass = |node: &mut Hungry, now: u64| {
        central.pass(1, now);
        node.passed += 1;
        passed += 1;
        passed
    };
    let mut sofar = 0;
    loop {
        let at = |node: &Hungry| node.call.map_or(u64::MAX, |(back, _)| back).min(node.next);
        let index = (0..nodes.len()).min_by_key(|&index| at(&nodes[index])).expect("there are some");
        let (now, node) = (at(&nodes[index]), &mut nodes[index]);
        if now > start + SECOND && first.is_none() {
            first = Some(sofar as f64 / (2 * burst) as f64);
        }
        if now > start + seconds * SECOND {
            break;
        }
        if let Some((sent_back, want)) = node.call.filter(|&(back, _)| back == now) {
            node.call = None;
            calls += 1;
            let reply = server.call(sent_back - node.trip / 2, &words, "lease", 1, Some([slot, terms.most, want]));
            node.waiting -= 1;
            let pause = (terms.pause_nanos(random.next()) / 1000).min(LONGEST);
            if reply.passed {
                sofar = pass(node, now);
                node.holding.receive(reply.lent, reply.life, (now - node.trip) * 1000, now * 1000);
                let left = u64::try_from(reply.judged[0][0]).expect("not negative");
                if stands_back && took_the_last(want, reply.lent, left) {
                    node.dry_until = now + pause;
                }
                while node.waiting > 0 && node.holding.take(1, now * 1000).is_some() {
                    node.waiting -= 1;
                    sofar = pass(node, now);
                }
            } else {
                let wait = u64::try_from(reply.judged[0][2]).unwrap_or(LONGEST);
                node.dry_until = now + if want > 0 { wait.max(pause) } else { wait };
            }
            if now < node.dry_until {
                node.waiting = 0;
            }
        } else {
            let part = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
            node.next = now + ((-(1.0 - part).ln() * node.every) as u64).max(1);
            checks += 1;
            if node.holding.spend(1, &terms, now * 1000).is_some() {
                sofar = pass(node, now);
            } else if now >= node.dry_until {
                node.waiting += 1;
            }
        }
        if node.call.is_none() && node.waiting > 0 {
            node.call = Some((now + node.trip, node.holding.want(&terms, now * 1000)));
        }
    }
    assert!(central.worst <= 0, "never too much");
    let could = (burst + burst * seconds) as f64;
    let asked: Vec<f64> = weights.iter().map(|&weight| asks(weight) * seconds as f64).collect();
    let shares = fair(&asked, could).into_iter().zip(&nodes).map(|(fair, node)| node.passed as f64 / fair);
    let (least, most) = shares.fold((f64::MAX, 0.0_f64), |(least, most), share| (least.min(share), most.max(share)));
    Found {
        least,
        most,
        first: first.expect("more than a second"),
        all: sofar as f64 / could.min(asked.iter().sum()),
        checks_per_trip: checks as f64 / calls as f64,
    }
}

/// A program that took the last of a bucket stands back as those do who found nothing. Else it is always there first.
#[test]
fn programs_that_ask_for_too_much_get_about_as_much_as_others() {
    let seconds = if std::env::var_os("TOLLGATE_LEASE_STEPS").is_some() { 60 } else { 10 };
    let mut worst = [1.0_f64; 2];
    println!(
        "| asked for, by weights; round trips in ms | times what passes | least share | most | of what can pass | checks a trip |"
    );
    for (weights, trips) in [
        (&[1, 1, 1, 1][..], &[1000, 1000, 1000, 1000][..]),
        (&[1, 2, 4, 8], &[1000, 1000, 1000, 1000]),
        (&[1, 1, 1, 1], &[500, 1000, 2000, 8000]),
        (&[8, 1, 1, 8], &[500, 500, 5000, 5000]),
        (&[1, 20], &[1000, 1000]),
        (&[1; 16], &[1000; 16]),
    ] {
        for load in [1.2, 2.0, 5.0] {
            let found = [false, true].map(|stands_back| {
                let burst = 500 * weights.len() as u64;
                overload(burst, weights, trips, load, seconds, stands_back)
            });
            let [before, now] = found;
            let each = |of: fn(&Found) -> f64| format!("{:.2}, now {:.2}", of(&before), of(&now));
            let (least, most, all) = (each(|found| found.least), each(|found| found.most), each(|found| found.all));
            let checks = each(|found| found.checks_per_trip);
            println!("| {weights:?}; {trips:?} | {load} | {least} | {most} | {all} | {checks} |");
            for (worst, found) in worst.iter_mut().zip(found) {
                *worst = worst.min(found.least);
            }
            assert!(now.all > 0.97 && now.first > 0.9 * load.min(2.0) / 2.0, "little is left unused: {now:?}");
            assert!(now.checks_per_trip > 20.0, "{now:?}");
        }
    }
    let [before, now] = worst;
    println!("the least share: {before:.2}, now {now:.2}");
    assert!(now > 0.5 && before < 0.3, "{before} {now}");
}
