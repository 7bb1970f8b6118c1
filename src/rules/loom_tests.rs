//! The rules' proof, explored by the model checker.

use super::*;
use crate::quota::Quota;
use loom::sync::Arc;
use loom::thread;

/// A policy whose numbers tell which it is.
fn policy(amount: u64) -> Policy {
    Quota::per_second(amount).into()
}

/// A reader meets two replacements, the second of which writes the bank that the reader may have begun to copy. What it
/// gets is wholly of one policy, and of the version it says.
#[test]
fn loom_a_copy_is_of_one_policy() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(|| {
        let rules = Arc::new(Rules::new(vec![policy(1)], 0, 7));
        let writer = {
            let rules = rules.clone();
            thread::spawn(move || {
                rules.replace(0, policy(2), || {});
                rules.replace(0, policy(3), || {});
            })
        };
        let (version, quota) = rules.first(0);
        assert_eq!(quota.limit, version + 1);
        assert_eq!(quota.counter.remaining(0, 0), version + 1);
        assert_eq!(quota.seal, rules.seal(version, 0));
        writer.join().unwrap();
        assert_eq!(rules.version(), 2);
    });
}

/// The quotas of the version before are asked for while their bank is written anew. What comes is wholly theirs, or nothing.
///
/// Without the look at `writing`, numbers of version 2 came as those of version 0.
#[test]
fn loom_a_copy_of_the_version_before_is_whole() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(|| {
        let rules = Arc::new(Rules::new(vec![policy(1)], 0, 7));
        let writer = {
            let rules = rules.clone();
            thread::spawn(move || {
                rules.replace(0, policy(2), || {});
                rules.replace(0, policy(3), || {});
            })
        };
        if let Some(quota) = rules.of(Rules::tag(0, 0), 0) {
            assert_eq!((quota.limit, quota.seal, quota.counter.remaining(0, 0)), (1, 0, 1));
        }
        writer.join().unwrap();
        assert!(rules.of(Rules::tag(0, 0), 0).is_none());
    });
}

/// While the table is walked after a change, which takes as long as the table is large, the policy can be read.
///
/// When one lock stood for both, this stood still.
#[test]
fn loom_the_policy_can_be_read_during_the_walk() {
    loom::model(|| {
        let rules = Rules::new(vec![policy(1)], 0, 7);
        rules.replace(0, policy(2), || assert_eq!(rules.policy(0), policy(2)));
    });
}
