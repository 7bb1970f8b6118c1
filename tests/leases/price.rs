//! What leases save, and what they cost: checks a round trip, and how much of the burst lies idle.

use std::collections::VecDeque;

use crate::bound::Interval;
use crate::lease::{Holding, LeaseTerms};
use crate::lua::{SCRIPT, Server};
use crate::random::Random;

const SECOND: u64 = 1_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug)]
struct Price {
    checks_per_trip: f64,
    /// What the server counts as owed and a server that is asked each time would not, in parts of the burst.
    stranded: f64,
    passed: f64,
}

struct Node {
    holding: Holding,
    waiting: VecDeque<u64>,
    /// When the call that is under way was sent, reaches the server, and comes back, and what it asks for.
    call: Option<(u64, u64, u64)>,
    next: u64,
}

/// So many programs ask for one key, together this part of what passes, each check at a moment of its own; for so many seconds.
/// A bucket of this burst, full again in a second, and slots of this many thousandths of that. A round trip takes a millisecond.
fn price(burst: u64, nodes: u64, per_mille: u64, load: f64, seconds: u64) -> Price {
    let server = Server::new(SCRIPT);
    let bucket = [SECOND / 10, burst / 10, SECOND / 10 * burst];
    let words = server.words(&[("b", bucket)]);
    let slot = SECOND * per_mille / 1000;
    let terms = LeaseTerms { slot_nanos: slot * 1000, most: burst / 2, pass: burst * per_mille / 1000 };
    let (start, mut random) = (1_764_000_000 * SECOND, Random(7));
    server.restart(start - 3600 * SECOND);
    let mean = SECOND as f64 * nodes as f64 / (burst as f64 * load);
    let mut exponential = move || {
        let part = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((-(1.0 - part).ln() * mean) as u64).max(1)
    };
    let node =
        |_| Node { holding: Holding::default(), waiting: VecDeque::new(), call: None, next: start + exponential() };
    let mut all: Vec<Node> = (0..nodes).map(node).collect();
    let mut central = Interval::of(&[bucket]);
    let (mut checks, mut passed, mut trips, mut looks, mut stranded) = (0_u64, 0_u64, 0_u64, 0_u64, 0.0);
    let mut look = start + SECOND;
    let mut warm = false;
    loop {
        // Who comes next: a check, a call's answer, or a look.
        let at = |node: &Node| node.call.map_or(u64::MAX, |(_, back, _)| back).min(node.next);
        let index = (0..all.len()).min_by_key(|&index| at(&all[index])).expect("there are some");
        let now = at(&all[index]);
        if now > start + seconds * SECOND {
            break;
        }
        if !warm && now > start + SECOND {
            (warm, checks, passed, trips) = (true, 0, 0, 0);
        }
        if look < now {
            let left = server.call(look, &words, "peek", 1, None).judged[0][0];
            central.pass(0, look);
            stranded += 1.0 - left as f64 / burst as f64 - central.owed();
            looks += 1;
            look += 5000;
            continue;
        }
        let node = &mut all[index];
        if let Some((sent, back, want)) = node.call.filter(|&(_, back, _)| back == now) {
            node.call = None;
            trips += 1;
            let reply = server.call(back - 500, &words, "lease", 1, Some([slot, terms.most, want]));
            node.waiting.pop_front().expect("it asked for the first");
            if reply.passed {
                central.pass(1, now);
                passed += 1;
                node.holding.receive(reply.lent, reply.life, sent * 1000, now * 1000);
            } else {
                // The others are denied, too.
                node.waiting.clear();
            }
            while !node.waiting.is_empty() && node.holding.take(1, now * 1000).is_some() {
                node.waiting.pop_front();
                central.pass(1, now);
                passed += 1;
            }
        } else {
            node.next = now + exponential();
            checks += 1;
            if node.holding.spend(1, &terms, now * 1000).is_some() {
                central.pass(1, now);
                passed += 1;
            } else {
                node.waiting.push_back(now);
            }
        }
        if node.call.is_none() && !node.waiting.is_empty() {
            node.call = Some((now, now + 1000, node.holding.want(&terms, now * 1000)));
        }
    }
    assert!(central.worst <= 0, "never too much");
    Price {
        checks_per_trip: checks as f64 / trips as f64,
        stranded: stranded / looks as f64,
        passed: passed as f64 / checks as f64,
    }
}

/// The slot's width that the library takes, in thousandths of the time in which a bucket fills, as it stands there.
pub(crate) fn shipped() -> u64 {
    let source = include_str!("../../src/redis/terms.rs");
    let (_, rest) = source.split_once("const SLOT_PER_MILLE: u128 = ").expect("it is there");
    rest.split(';').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn twenty_checks_a_trip_strand_a_tenth_of_the_burst_at_most() {
    let long = std::env::var_os("TOLLGATE_LEASE_STEPS").is_some();
    let Price { checks_per_trip, stranded, passed } = price(2000, 4, shipped(), 0.8, if long { 60 } else { 6 });
    println!("500 of burst for each of four: {checks_per_trip:.1} checks a trip, {:.1} % stranded", stranded * 100.0);
    assert!(checks_per_trip >= 20.0 && stranded <= 0.1, "{checks_per_trip} {stranded}");
    assert!(passed > 0.999, "{passed}");
    if long {
        println!("| burst, nodes | φ 0.03 | 0.065 | 0.1 | 0.2 |");
        for (burst, nodes) in [(1000, 4), (2000, 4), (10_000, 4), (10_000, 16), (100_000, 64)] {
            let cell = |per_mille| {
                let price = price(burst, nodes, per_mille, 0.8, 5);
                format!("{:.1} / {:.0} %", price.checks_per_trip, price.stranded * 100.0)
            };
            let row: Vec<String> = [30, 65, 100, 200].into_iter().map(cell).collect();
            println!("| {burst}, {nodes} | {} |", row.join(" | "));
        }
    }
}
