//! The limiter without HTTP: a job queue that gives each tenant its share.
//!
//! ```text
//! cargo run --example direct
//! ```

use std::time::Duration;

use tollgate::{Policy, Quota, RateLimiter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ten jobs a second for each tenant, three at once, and never more than twelve in this program's first minute.
    let policy =
        Policy::new([("pace", Quota::per_second(10).burst(3)), ("minute", Quota::per_minute(12).fixed_window())])?;
    let limiter = RateLimiter::new(policy);

    let mut jobs = (1..=20).map(|job| ("acme", job)).chain((1..=3).map(|job| ("zenith", job))).peekable();
    while let Some(&(tenant, job)) = jobs.peek() {
        match limiter.check(tenant) {
            Ok(permit) => {
                let status = permit.status();
                println!("{tenant} job {job} runs; {} left of {}", status.remaining(), status.quota());
                jobs.next();
            }
            Err(denied) => match denied.retry_after() {
                Some(wait) if wait < Duration::from_secs(1) => std::thread::sleep(wait),
                _ => {
                    println!("{tenant} job {job} is put off: {denied}");
                    jobs.next();
                }
            },
        }
    }

    // A job can cost more than one, and a job that costs more than there ever is can never run.
    println!("a batch of 2: {:?}", limiter.check_n("acme", 2).map_err(|denied| denied.to_string()));
    println!("a batch of 50: {:?}", limiter.check_n("acme", 50).map_err(|denied| denied.to_string()));

    // Any hashable key will do, and nothing is allocated for it.
    limiter.check(&("zenith", 42_u64))?;
    println!("{:?}", limiter.stats());
    Ok(())
}
