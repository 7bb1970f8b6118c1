//! [`CountsByLimit`]: what became of requests, by limit, over all configurations of a proxy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tollgate::http::{Counters, LimiterCounts};

/// What became of requests, by limit. A limit is its name, however often its policy changes. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct CountsByLimit {
    pub(super) counters: Counters,
    taken_back: Arc<Mutex<BTreeMap<String, Arc<TakenBack>>>>,
}

/// Requests that a limit let pass and that one asked later denied. Counts that publish nothing: relaxed.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    requests: AtomicU64,
    /// The most that was told of those that it let pass: a counter does not go back when one of them is denied a moment later.
    told: AtomicU64,
}

impl CountsByLimit {
    /// Who counts what this limit let pass in vain.
    pub(super) fn taken_back(&self, limit: &str) -> Arc<TakenBack> {
        let mut all = self.taken_back.lock().expect("nothing panics under it");
        all.entry(limit.to_owned()).or_default().clone()
    }

    /// What has been counted, each limit once.
    pub fn snapshot(&self) -> Vec<LimiterCounts> {
        let mut limits: Vec<LimiterCounts> = Vec::new();
        for counts in self.counters.snapshot() {
            match limits.iter_mut().find(|limit| limit.name == counts.name) {
                Some(limit) => add(limit, counts),
                None => limits.push(counts),
            }
        }
        let taken_back = self.taken_back.lock().expect("nothing panics under it");
        for limit in &mut limits {
            if let Some(taken_back) = taken_back.get(&limit.name) {
                limit.allowed = taken_back.rest_of(limit.allowed);
            }
        }
        limits
    }
}

impl TakenBack {
    pub(super) fn count(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    fn rest_of(&self, allowed: u64) -> u64 {
        let rest = allowed.saturating_sub(self.requests.load(Relaxed));
        self.told.fetch_max(rest, Relaxed).max(rest)
    }
}

/// Adds what was counted under another policy of the same limit.
fn add(limit: &mut LimiterCounts, more: LimiterCounts) {
    limit.allowed += more.allowed;
    limit.errors += more.errors;
    for (these, others) in [
        (&mut limit.denied_by, more.denied_by),
        (&mut limit.shadow_denied_by, more.shadow_denied_by),
        (&mut limit.near_limit_by, more.near_limit_by),
    ] {
        for (quota, count) in others {
            *these.entry(quota).or_default() += count;
        }
    }
}
