//! Several threads that do the same at once.

use std::hint::black_box;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// After so many operations a thread looks whether the others still run.
const CHUNK: u64 = 64;

/// What an operation costs each of `threads` while all of them run, times `count`.
///
/// Each thread has a processor of its own, if there are as many. It is given its own number and that of its turn. All
/// start together, once each has warmed up, and the first that has done `count` ends it for all: only time that they
/// have in common counts.
pub fn together<R>(threads: usize, count: u64, operation: impl Fn(u64, u64) -> R + Sync) -> Duration {
    let processors = core_affinity::get_core_ids().unwrap_or_default();
    let (warm, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = |thread: usize| {
        if threads > 1 && threads <= processors.len() {
            core_affinity::set_for_current(processors[thread]);
        }
        let turns = |from: u64, most: u64| {
            let chunk = CHUNK.min(most);
            for turn in from..from + chunk {
                black_box(&operation(thread as u64, turn));
            }
            chunk
        };
        let mut turn = 0;
        while turn < count / 20 {
            turn += turns(turn, CHUNK);
        }
        // Those that are warm go on until the last is.
        warm.fetch_add(1, Release);
        while warm.load(Acquire) < threads {
            turn += turns(turn, CHUNK);
        }
        let start = Instant::now();
        let mut done = 0;
        while done < count && ended.load(Relaxed) == 0 {
            done += turns(turn + done, count - done);
        }
        let elapsed = start.elapsed();
        ended.fetch_add(1, Relaxed);
        // And none stops before all have seen that it is over.
        while ended.load(Relaxed) < threads {
            turn += turns(turn + done, CHUNK);
        }
        (elapsed, done)
    };
    let (elapsed, done) = std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        let runs = handles.into_iter().map(|handle| handle.join().expect("no operation panics"));
        runs.fold((Duration::ZERO, 0), |(elapsed, done), run| (elapsed + run.0, done + run.1))
    });
    elapsed.mul_f64(count as f64 / done as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::together;

    #[test]
    fn each_thread_has_its_turns_in_order_and_one_has_all_of_them() {
        for threads in [1, 2, 3] {
            let turns = Mutex::new(vec![0; threads]);
            let cost = together(threads, 1000, |thread, turn| {
                let mut turns = turns.lock().unwrap();
                assert_eq!(turn, turns[thread as usize]);
                turns[thread as usize] += 1;
            });
            let turns = turns.into_inner().unwrap();
            // Beside those that count, each has some before, to warm up.
            assert!(turns.iter().all(|&turns| turns >= 50) && turns.iter().any(|&turns| turns >= 1050), "{turns:?}");
            assert!(cost > Duration::ZERO);
        }
    }
}
