//! tollgate and its peers on the same work, side by side in one run.
//!
//! `cargo run --release -- hot`, or another of the names below, or `all`; and
//! `cargo run --release --features allocations -- allocations`.

mod contention;
mod count;
mod flood;
mod hashes;
mod hot;
mod keys;
mod layer;
mod limiters;
mod measure;
mod memory;
#[cfg(feature = "others")]
mod others;
mod serve;
mod slowest;

/// Counts allocations, which slows them down; so only for the run that asks for it.
#[cfg(feature = "allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

const USAGE: &str = "usage: tollgate-peers hot | keys | contention | memory | flood | slowest | layer | hashes | all, \
                     others (feature), or serve none | tollgate | tower_governor | axum-governor | tower | axum_gcra allowed | denied";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hot"] => hot::run(),
        ["keys"] => keys::run(),
        ["contention"] => contention::run(),
        ["memory"] => memory::run(),
        ["memory", limiter, family] => memory::child(limiter, family),
        ["flood"] => flood::run(),
        ["slowest"] => slowest::run(),
        ["layer"] => layer::run(),
        #[cfg(feature = "others")]
        ["others"] => others::run(),
        ["count", what, times] => count::run(what, times),
        ["serve", limiter, work] => serve::run(limiter, work),
        #[cfg(feature = "allocations")]
        ["allocations"] => layer::count(),
        ["hashes"] => hashes::run(),
        ["all"] => {
            for run in [hot::run, keys::run, contention::run, memory::run, flood::run, slowest::run, layer::run] {
                run();
            }
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}
