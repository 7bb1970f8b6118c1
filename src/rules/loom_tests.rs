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
        let rules = Arc::new(Rules::new(vec![policy(1)], 1, 0, 7));
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

/// The quotas of the version before are asked what a word owes while their bank is written anew. The answer is wholly theirs, or
/// none: by the numbers of version 2 the same word owes much more.
///
/// Seen to fail without the look at `writing`.
#[test]
fn loom_a_copy_of_the_version_before_is_whole() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(|| {
        let rules = Arc::new(Rules::new(vec![policy(1000)], 1, 0, 7));
        let writer = {
            let rules = rules.clone();
            thread::spawn(move || {
                rules.replace(0, policy(2000), || {});
                rules.replace(0, policy(3000), || {});
            })
        };
        let counter = Quota::per_second(1000).counter(0, 1000);
        let Verdict::Allow(word) = counter.decide(0, 0, 1000) else { panic!("it passes") };
        let (words, now) = ([word, 0, 0, 0, 0, 0, 0, 0], 500_000_000);
        if let Some(owed) = rules.owed(Rules::tag(0, 0), &words, now) {
            assert_eq!(owed, 500);
        }
        writer.join().unwrap();
        assert!(rules.owed(Rules::tag(0, 0), &words, now).is_none());
    });
}

/// While the table is walked after a change, which takes as long as the table is large, the policy can be read.
///
/// When one lock stood for both, this stood still.
#[test]
fn loom_the_policy_can_be_read_during_the_walk() {
    loom::model(|| {
        let rules = Rules::new(vec![policy(1)], 1, 0, 7);
        rules.replace(0, policy(2), || assert_eq!(rules.policy(0), policy(2)));
    });
}
