//! Leases as they are shipped, the script and what a program holds, simulated with all that can go wrong.

mod bound;
mod exact;
#[path = "../../src/redis/lease.rs"]
#[allow(dead_code, reason = "what only the limiter needs of it")]
mod lease;
mod lua;
mod overload;
mod price;
mod random;
mod twins;
mod world;

use lua::{SCRIPT, Server};
use world::{About, Found, World};

/// How many steps a run has.
const STEPS: u64 = 4000;

/// How many steps all runs of a kind have together: more by the environment's `TOLLGATE_LEASE_STEPS`.
fn steps() -> u64 {
    let steps = std::env::var("TOLLGATE_LEASE_STEPS").ok();
    steps.map_or(300_000, |steps| steps.parse().expect("a number"))
}

fn abouts() -> Vec<About> {
    let plain = About { buckets: 1, ..About::default() };
    vec![
        plain,
        About { window: true, ..plain },
        About { buckets: 3, ..plain },
        About { window: true, buckets: 2, ..plain },
        About { steps_back: true, buckets: 2, ..plain },
        About { late: true, ..plain },
        About { restart: true, ..plain },
        About { restart: true, window: true, buckets: 2, ..plain },
        About { change: true, ..plain },
        About { change: true, window: true, buckets: 2, ..plain },
    ]
}

#[test]
fn never_more_passes_than_burst_and_rate_allow() {
    let server = Server::new(SCRIPT);
    let abouts = abouts();
    let runs = steps() / STEPS;
    let mut totals = vec![Found::default(); abouts.len()];
    let mut reached = 0;
    for seed in 0..runs {
        let kind = (seed % abouts.len() as u64) as usize;
        let found = World::new(&server, seed, abouts[kind]).run(STEPS);
        assert!(!found.excess, "seed {seed}, {:?}: {found:?}", abouts[kind]);
        reached += u64::from(found.reached);
        let total = &mut totals[kind];
        total.steps += found.steps;
        total.calls += found.calls;
        total.lots += found.lots;
        total.passed += found.passed;
        total.local += found.local;
        total.stranded += found.stranded;
    }
    for (about, total) in abouts.iter().zip(&totals) {
        println!("{about:?}: {total:?}");
        assert!(total.lots > 100 && total.local > 200, "{about:?}: {total:?}");
    }
    println!("{runs} runs, the bound reached exactly in {reached}");
    // A bound that is never reached is none.
    assert!(reached * 30 > runs, "the bound was reached in {reached} of {runs}");
}

/// Each must be found in some run. How many there are, tells how likely one is to be missed.
#[test]
fn each_broken_twin_is_found() {
    // Enough to tell how likely each is to be missed.
    let most = (steps() / STEPS * 3).min(300);
    let only = std::env::var("TOLLGATE_LEASE_TWIN").unwrap_or_default();
    for twins::Twin { name, script, about } in twins::twins().into_iter().filter(|twin| twin.name.contains(&only)) {
        let server = Server::new(&script);
        let run = |seed: u64| World::new(&server, seed, about).run(STEPS).excess;
        if std::env::var_os("TOLLGATE_LEASE_STEPS").is_some() {
            let found = (0..most).filter(|&seed| run(seed)).count();
            println!("{name}: found in {found} of {most} runs");
            assert!(found > 0, "{name}");
        } else {
            let found = (0..most).find(|&seed| run(seed));
            println!("{name}: found in run {found:?}");
            assert!(found.is_some(), "{name}");
        }
    }
}
