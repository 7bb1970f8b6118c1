//! [`Remembered`]: denials that need not be asked for again.

use parking_lot::Mutex;

use crate::decision::Denied;
use crate::fingerprint::Fingerprint;

/// Buckets of keys. Each has a lock of its own.
const BUCKETS: usize = 512;

/// How many denials a bucket remembers at most: 4096 in all, of some 150 bytes each.
const DENIALS_PER_BUCKET: usize = 8;

/// Which keys are over their limit, and until when they are. For so long they are denied here, without a round trip. But at
/// most for a while at a time, as nobody here sees what others give back: then one check asks again.
///
/// A key has a denial for each cost that it is asked for. Where there are too many at once, those are forgotten whose wait is over
/// first. They are asked for again.
#[derive(Debug)]
pub(super) struct Remembered {
    buckets: Box<[Mutex<Vec<RememberedDenial>>]>,
    /// The longest time for which nobody asks.
    longest_nanos: u64,
}

/// Which check was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) key: Fingerprint,
    pub(super) plan: usize,
    pub(super) version: u64,
    pub(super) cost: u64,
}

#[derive(Debug)]
struct RememberedDenial {
    check: Check,
    denied: Denied,
    /// When the answer came.
    since: u64,
    /// Until then no such check can pass, as far as was known.
    until: u64,
    /// When to ask again.
    again_at: u64,
}

impl Remembered {
    pub(super) fn new(longest_nanos: u64) -> Self {
        let buckets = if longest_nanos == 0 { 0 } else { BUCKETS };
        Self { buckets: (0..buckets).map(|_| Mutex::default()).collect(), longest_nanos }
    }

    /// For how long nobody asks, at most.
    pub(super) fn longest_nanos(&self) -> u64 {
        self.longest_nanos
    }

    /// What a check is to be told, if that is known.
    pub(super) fn denial(&self, check: &Check, now: u64) -> Option<Denied> {
        if self.is_to_ask(check, now) { None } else { self.denial_ahead(check, now) }
    }

    /// Whether it is this check's turn to ask about what is known. Then the others need not.
    pub(super) fn is_to_ask(&self, check: &Check, now: u64) -> bool {
        let Some(mut bucket) = self.bucket(check.key).map(Mutex::lock) else { return false };
        // Of another cost it would be known that it is denied, but not how long to wait.
        let entry = bucket.iter_mut().find(|entry| entry.check == *check && now >= entry.again_at);
        entry.map(|entry| entry.again_at = now.saturating_add(self.longest_nanos)).is_some()
    }

    /// The same as [`denial`](Self::denial), to one who will not ask the server if it is not known.
    pub(super) fn denial_ahead(&self, check: &Check, now: u64) -> Option<Denied> {
        self.bucket(check.key)?.lock().iter().find(|entry| entry.check == *check)?.denied_at(now)
    }

    /// Remembers a denial that was asked for at one time, and answered at another.
    pub(super) fn keep(&self, check: Check, denied: Denied, asked: u64, answered: u64) {
        let (Some(bucket), Some(retry_after)) = (self.bucket(check.key), denied.retry_after_nanos) else { return };
        // The server was asked no earlier than that, so nothing is denied here that would pass there.
        let until = asked.saturating_add(retry_after);
        let again_at = until.min(asked.saturating_add(self.longest_nanos));
        if until <= answered {
            return;
        }
        let entry = RememberedDenial { check, denied, since: answered, until, again_at };
        let mut bucket = bucket.lock();
        bucket.retain(|entry| entry.check != check && entry.until > answered);
        if bucket.len() == DENIALS_PER_BUCKET {
            let first_over = (0..bucket.len()).min_by_key(|&index| bucket[index].until).expect("it is full");
            bucket.swap_remove(first_over);
        }
        bucket.push(entry);
    }

    /// Forgets a denial, as such a check has passed that was asked for after it.
    pub(super) fn forget_since(&self, check: &Check, asked: u64) {
        if let Some(bucket) = self.bucket(check.key) {
            bucket.lock().retain(|entry| entry.check != *check || entry.since > asked);
        }
    }

    /// Forgets a key's denial, as something was given back.
    pub(super) fn forget(&self, key: Fingerprint) {
        if let Some(bucket) = self.bucket(key) {
            bucket.lock().retain(|entry| entry.check.key != key);
        }
    }

    fn bucket(&self, key: Fingerprint) -> Option<&Mutex<Vec<RememberedDenial>>> {
        self.buckets.get((key.bits() >> 40) as usize % BUCKETS)
    }
}

impl RememberedDenial {
    /// What it comes to now, unless it is over, or is to be asked for again.
    fn denied_at(&self, now: u64) -> Option<Denied> {
        if now >= self.until.min(self.again_at) {
            return None;
        }
        let passed = now.saturating_sub(self.since);
        let mut denied = self.denied;
        denied.retry_after_nanos = denied.retry_after_nanos.map(|nanos| nanos.saturating_sub(passed).max(1));
        denied.status.reset_after_nanos = denied.status.reset_after_nanos.saturating_sub(passed);
        Some(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::TagMask;
    use crate::limiter::RateLimiter;
    use crate::quota::Quota;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    fn check(key: u64, cost: u64) -> Check {
        Check { key: Fingerprint::new(key << 20, TagMask::new(2)), plan: 0, version: 0, cost }
    }

    fn denied(retry_after_nanos: u64) -> Denied {
        let limiter = RateLimiter::new(Quota::per_second(0));
        let mut denied = limiter.check("key").unwrap_err();
        denied.retry_after_nanos = Some(retry_after_nanos);
        denied
    }

    fn told(remembered: &Remembered, check: &Check, now: u64) -> Option<u64> {
        remembered.denial(check, now).map(|denied| denied.retry_after_nanos.unwrap())
    }

    #[test]
    fn a_denial_is_told_again_until_it_is_over() {
        let remembered = Remembered::new(SECOND);
        let check = check(7, 1);
        assert_eq!(told(&remembered, &check, 0), None);
        // Asked at 100 ms, answered at 110: over at some moment between 300 and 310.
        remembered.keep(check, denied(200 * MS), 100 * MS, 110 * MS);
        assert_eq!(told(&remembered, &check, 110 * MS), Some(200 * MS));
        assert_eq!(told(&remembered, &check, 299 * MS), Some(11 * MS), "who waits so long comes after 310");
        assert_eq!(told(&remembered, &check, 300 * MS), None);
        let dearer = Check { cost: 2, ..check };
        assert_eq!(told(&remembered, &dearer, 200 * MS), None, "how long, is not known");
        remembered.keep(dearer, denied(400 * MS), 200 * MS, 200 * MS);
        assert_eq!(told(&remembered, &dearer, 250 * MS), Some(350 * MS));
        assert_eq!(told(&remembered, &check, 250 * MS), Some(60 * MS), "as if nobody asked for more");
        assert_eq!(told(&remembered, &Check { plan: 1, ..check }, 200 * MS), None);
        assert_eq!(told(&remembered, &Check { version: 1, ..check }, 200 * MS), None);
        remembered.forget_since(&dearer, 199 * MS);
        assert!(told(&remembered, &dearer, 250 * MS).is_some(), "who asked before the denial came knows nothing newer");
        remembered.forget_since(&dearer, 200 * MS);
        assert_eq!(told(&remembered, &dearer, 250 * MS), None, "one has passed");
        remembered.forget(check.key);
        assert_eq!(told(&remembered, &check, 250 * MS), None);
    }

    /// Otherwise nobody would ask the server: whoever looks ahead asks for itself in a moment.
    #[cfg(feature = "tower")]
    #[test]
    fn who_looks_ahead_takes_nobody_s_turn_to_ask() {
        let remembered = Remembered::new(SECOND);
        let check = check(7, 1);
        remembered.keep(check, denied(60 * SECOND), 0, 0);
        assert!(remembered.denial_ahead(&check, SECOND - 1).is_some());
        assert!(remembered.denial_ahead(&check, SECOND).is_none());
        assert!(remembered.denial_ahead(&Check { cost: 2, ..check }, 0).is_none());
        assert_eq!(told(&remembered, &check, SECOND), None, "this one asks");
        assert!(told(&remembered, &check, SECOND).is_some());
    }

    #[test]
    fn one_asks_again_each_second_and_the_others_need_not() {
        let remembered = Remembered::new(SECOND);
        let check = check(7, 1);
        remembered.keep(check, denied(60 * SECOND), 0, 0);
        let mut asked = 0;
        for ms in 0..59_999 {
            asked += u32::from(told(&remembered, &check, ms * MS).is_none());
        }
        assert_eq!(asked, 59);
        assert_eq!(told(&remembered, &check, 60 * SECOND), None);
        assert_eq!(told(&remembered, &check, 60 * SECOND), None, "it may pass: all ask");
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (remembered, denied) = (Remembered::new(SECOND), denied(60 * SECOND));
        // Twenty times as many as there is room for.
        for key in 1..82_000 {
            let retry_after_nanos = Some(60 * SECOND + key);
            remembered.keep(check(key * 1_000_003, 1), Denied { retry_after_nanos, ..denied }, 0, 0);
        }
        let len: usize = remembered.buckets.iter().map(|bucket| bucket.lock().len()).sum();
        assert_eq!(len, BUCKETS * DENIALS_PER_BUCKET);
        let nothing = Remembered::new(0);
        nothing.keep(check(7, 1), denied, 0, 0);
        assert_eq!(told(&nothing, &check(7, 1), 0), None);
    }
}
