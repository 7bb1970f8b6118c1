//! [`CountsByLimit`]: what became of requests, by limit, over all configurations of a proxy.

use tollgate::http::{Counters, LimiterCounts};

/// What became of requests, by limit. A limit is its name, however often its policy changes. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct CountsByLimit {
    pub(super) counters: Counters,
}

impl CountsByLimit {
    /// What has been counted, each limit once.
    pub fn snapshot(&self) -> Vec<LimiterCounts> {
        let mut limits: Vec<LimiterCounts> = Vec::new();
        for counts in self.counters.snapshot() {
            match limits.iter_mut().find(|limit| limit.name == counts.name) {
                Some(limit) => add(limit, counts),
                None => limits.push(counts),
            }
        }
        limits
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
