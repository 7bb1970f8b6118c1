//! The Redis door, over servers that each test starts for itself.

mod access;
mod cluster;
mod fail_over;
mod faults;
mod joint;
mod layer;
mod leases;
mod limits;
#[path = "../http/logged.rs"]
#[allow(dead_code, reason = "shared with tests/http, which needs more of it")]
mod logged;
mod policies;
mod proxy;
mod runtimes;
mod server;
#[cfg(feature = "redis-tls")]
mod tls;
mod together;
mod waiting;

use std::time::Duration;

use server::Server;
use tollgate::redis::{RedisLimiter, RedisStore};
use tollgate::{IntoPolicy, Policy};

/// A store whose deadline no busy machine misses, for tests that are not about deadlines.
fn patient(url: &str) -> RedisStore {
    RedisStore::builder(url).deadline(Duration::from_secs(20)).try_build().expect("a URL")
}

fn limiter(server: &Server, name: &str, policy: impl IntoPolicy) -> RedisLimiter {
    RedisLimiter::new(&patient(&server.url()), name, policy).expect("it can be kept")
}

fn policy(text: &str) -> Policy {
    text.parse().expect("a policy")
}

/// Waits until something is so, and fails if it never is.
async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never happened that {what}");
}
