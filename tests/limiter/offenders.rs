//! The keys that are denied most.

use std::hash::{Hash, Hasher};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tollgate::{Clock, Key, KeyText, Quota, RateLimiter};

fn limiter(offenders: usize) -> RateLimiter {
    RateLimiter::builder(Quota::per_minute(1)).offenders(offenders).capacity(10).clock(Clock::manual()).build()
}

#[test]
fn how_many_are_kept_has_a_bound() {
    assert!(limiter(1024).offenders().is_empty());
    for many in [1025, usize::MAX] {
        let refused = RateLimiter::builder(Quota::per_minute(1)).offenders(many).try_build().unwrap_err();
        assert_eq!(refused.to_string(), format!("at most 1024 offenders are kept, not {many}"));
    }
}

/// A key of somebody else's that looks at the limiter while it writes itself: it was asked for its text under a lock.
#[test]
fn a_key_may_look_at_the_limiter_that_asks_for_its_text() {
    struct Curious(RateLimiter);
    impl Hash for Curious {
        fn hash<H: Hasher>(&self, state: &mut H) {
            "curious".hash(state);
        }
    }
    impl Key for Curious {
        fn write(&self, text: &mut KeyText) {
            text.part(&self.0.offenders().len().to_string());
            self.0.tell_denied("another");
        }
    }
    let limiter = limiter(10);
    let (told, tells) = mpsc::channel();
    let asked = limiter.clone();
    thread::spawn(move || {
        asked.tell_denied(&Curious(asked.clone()));
        told.send(()).expect("somebody waits");
    });
    tells.recv_timeout(Duration::from_secs(60)).expect("it waits for itself");
    let mut keys: Vec<_> = limiter.offenders().iter().map(|offender| offender.key().to_owned()).collect();
    keys.sort();
    assert_eq!(keys, ["0", "another"]);
}

/// A key of bytes that a client sent: all of them were escaped, under a lock, and the room for them was kept.
#[test]
fn of_a_long_key_the_beginning_is_kept() {
    let limiter = limiter(2);
    for key in ["\u{7f}".repeat(100_000), "x".repeat(100_000)] {
        limiter.tell_denied(&(&*key, "part"));
    }
    let mut keys: Vec<_> = limiter.offenders().iter().map(|offender| offender.key().to_owned()).collect();
    keys.sort();
    assert_eq!(keys, ["%7F".repeat(42), "x".repeat(128)]);
    limiter.tell_denied(&("short", 7));
    assert!(limiter.offenders().iter().any(|offender| offender.key() == "short:7"));
}

/// The account of an offender is its key's, also where nobody knows the key.
#[test]
fn an_offender_is_looked_after_without_its_key() {
    let clock = Clock::manual();
    let limiter = RateLimiter::builder(Quota::per_minute(2)).offenders(4).clock(clock.clone()).build();
    for key in ["alice", "bob"] {
        while limiter.check(key).is_ok() {}
        limiter.tell_denied(key);
    }
    clock.advance(Duration::from_secs(10));
    let offenders = limiter.offenders();
    let alice = offenders.iter().find(|offender| offender.key() == "alice").unwrap();
    let account = limiter.account_of(alice);
    assert_eq!(account.look().unwrap_err().retry_after(), Some(Duration::from_secs(20)));
    assert_eq!(account.standing(), limiter.standing("alice"));
    assert_eq!(account.look(), limiter.account("alice").look(), "looking charges nothing");
    account.reset();
    assert_eq!((limiter.peek("alice").remaining(), limiter.peek("bob").remaining()), (2, 0));
    limiter.account("bob").reset();
    assert_eq!(limiter.peek("bob").remaining(), 2);
    assert!(!format!("{alice:?}").contains("fingerprint"));
}
