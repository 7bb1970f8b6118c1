//! The script against the specification, word for word, as far as that goes: buckets, and no change of policy.

use crate::lua::{SCRIPT, Server};
use crate::random::Random;

#[derive(Clone, Debug)]
struct Twin {
    time: u64,
    lent: u64,
    before: u64,
    slot: u64,
    most: u64,
    /// Units a token, units a microsecond, units of a full one, units owed.
    buckets: Vec<[u64; 4]>,
}

impl Twin {
    fn refill(&mut self, to: u64) {
        for [unit, gain, _, debt] in &mut self.buckets {
            *debt = debt.saturating_sub(*gain * (to - self.time)).max((self.lent + self.before) * *unit);
        }
        self.time = to;
    }

    fn advance(&mut self, now: u64) {
        for _ in 0..2 {
            let end = (self.time / self.slot + 1) * self.slot;
            if end <= now {
                self.refill(end);
                (self.before, self.lent) = (self.lent, 0);
            }
        }
        self.refill(now);
    }

    fn left(&self) -> Vec<u64> {
        self.buckets.iter().map(|[unit, _, size, debt]| size.saturating_sub(*debt) / unit).collect()
    }

    fn avail(&self) -> u64 {
        self.left().into_iter().min().expect("a bucket")
    }

    fn at(&self, time: u64) -> Self {
        let mut then = self.clone();
        then.advance(time);
        then
    }

    /// What is lent, and for how long, if it passes.
    fn call(&mut self, need: u64, want: u64) -> Option<(u64, u64)> {
        let avail = self.avail();
        if avail < need {
            return None;
        }
        let more = want.min(avail - need).min(self.most.saturating_sub(self.lent + self.before));
        self.buckets.iter_mut().for_each(|[unit, _, _, debt]| *debt += (need + more) * *unit);
        self.lent += more;
        Some((more, (self.time / self.slot + 2) * self.slot - self.time))
    }
}

#[test]
fn the_script_does_what_is_specified_to_the_microsecond() {
    let server = Server::new(SCRIPT);
    let mut random = Random(9);
    let (mut passed, mut denied, mut lent) = (0, 0, 0);
    for _ in 0..crate::steps() / 2000 {
        let mut now = 1_764_000_000_000_000 + random.range(0, 1 << 40);
        server.restart(now - 3_600_000_000);
        let bucket = |random: &mut Random| {
            let (unit, gain) = (random.log_range(1, 100_000), random.range(1, 9));
            [unit, gain, unit * random.log_range(1, 300), 0]
        };
        let buckets: Vec<[u64; 4]> = (0..random.range(1, 4)).map(|_| bucket(&mut random)).collect();
        let words: Vec<_> = buckets.iter().map(|&[unit, gain, size, _]| ("b", [unit, gain, size])).collect();
        let words = server.words(&words);
        let burst = buckets.iter().map(|[unit, _, size, _]| size / unit).min().expect("a bucket");
        let full = buckets.iter().map(|[_, gain, size, _]| size / gain).min().expect("a bucket");
        let slot = random.log_range(1, full / 2 + 3);
        let mut twin = Twin { time: now, lent: 0, before: 0, slot, most: random.range(0, burst + 1), buckets };
        for _ in 0..60 {
            let (need, want) = (random.range(1, burst / 8 + 3), random.range(0, burst + 2));
            let lease = random.in_100(60);
            twin.advance(now);
            let before = twin.clone();
            let expected = twin.call(need, if lease { want } else { 0 });
            let terms = lease.then_some([slot, twin.most, want]);
            let reply = server.call(now, &words, if lease { "lease" } else { "check" }, need, terms);
            let context = format!("{before:?} asked for {need} and {want}: {reply:?}, not {expected:?}");
            assert_eq!(reply.passed, expected.is_some(), "{context}");
            match expected {
                Some((more, life)) if lease => assert_eq!((reply.lent, reply.life), (more, life), "{context}"),
                _ => assert_eq!(reply.lent, 0, "{context}"),
            }
            for (index, judged) in reply.judged.iter().enumerate() {
                let [left, back, wait] = judged.map(|number| u64::try_from(number).unwrap_or(u64::MAX));
                assert_eq!(left, twin.left()[index], "{context}");
                let owes = |time: u64| twin.at(time).buckets[index][3] > 0;
                assert!(!owes(now + back) && (back == 0 || owes(now + back - 1)), "back of {index}: {context}");
                if wait != u64::MAX {
                    let fits = |time: u64| before.at(time).left()[index] >= need;
                    assert!(fits(now + wait) && (wait == 0 || !fits(now + wait - 1)), "wait of {index}: {context}");
                }
            }
            passed += u64::from(reply.passed);
            denied += u64::from(!reply.passed);
            lent += reply.lent;
            let wait = reply.judged.iter().map(|judged| judged[2]).max().expect("a bucket").max(0).unsigned_abs();
            now = match random.range(0, 6) {
                0 => now + wait,
                1 => now + random.log_range(1, full + 2),
                2 => (now / slot + random.range(1, 4)) * slot,
                3 => (now / slot + random.range(1, 4)) * slot - 1,
                _ => now + random.log_range(1, slot + 2),
            };
        }
    }
    assert!(passed > 1000 && denied > 100 && lent > 1000, "{passed} passed, {denied} denied, {lent} lent");
}
