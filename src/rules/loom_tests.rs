//! The rules' proof, explored by the model checker.

use super::*;
use crate::quota::Quota;
use loom::sync::Arc;
use loom::thread;

/// Numbers of a policy whose limit and name tell which it is.
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
        let rules = Arc::new(Rules::new(vec![policy(1)], 0));
        let writer = {
            let rules = rules.clone();
            thread::spawn(move || {
                rules.replace(0, policy(2), || {});
                rules.replace(0, policy(3), || {});
            })
        };
        let (version, quota) = rules.first(0);
        assert_eq!(quota.limit, version + 1);
        assert_eq!(quota.name.as_str(), format!("{}/second", version + 1));
        writer.join().unwrap();
        assert_eq!(rules.version(), 2);
    });
}
