//! [`Sketch`]: the keys that are denied most, in memory of a fixed size.
//!
//! Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
//! 2005) over weights that decay (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", 2009): a denial counts half as much
//! after each minute, so that who has stopped leaves the list. Nothing is recounted as time goes on: instead, later denials
//! weigh more, and all weights are read in units of now.

use std::fmt;

use parking_lot::Mutex;

use crate::fingerprint::Fingerprint;

/// After so long, in nanoseconds, a denial counts half.
const HALF_LIFE: f64 = 60e9;

/// After so many half-lives, all weights are put in smaller numbers. An `f64` goes to 2^1023.
const HALF_LIVES_MAX: f64 = 500.0;

/// How much of a key's text is kept, in bytes. Texts are ASCII.
pub(crate) const TEXT_MAX: usize = 128;

/// The most keys that can be kept: each denial looks through them.
pub(crate) const PLACES_MAX: usize = 1024;

/// One of the keys that were denied most in the last minutes, from [`RateLimiter::offenders`](crate::RateLimiter::offenders).
#[derive(Clone, PartialEq)]
pub struct Offender {
    fingerprint: Fingerprint,
    key: String,
    denied_per_second: f64,
    overestimate: f64,
}

impl Offender {
    /// The key's [text](crate::KeyText), cut after 128 bytes. A client may have chosen it: it is escaped, but it can mislead.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How often it was denied in each second, on the average of the last minutes, in which each minute counts half as much as the
    /// one after it. Never too low, and by at most [`overestimate`](Self::overestimate) too high.
    pub fn denied_per_second(&self) -> f64 {
        self.denied_per_second
    }

    /// By how much the rate may be too high: never more than the rate of all denials divided by the number of keys that are
    /// kept.
    pub fn overestimate(&self) -> f64 {
        self.overestimate
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the fingerprint, which is the limiter's secret.
        let Self { key, denied_per_second, overestimate, .. } = self;
        let mut told = f.debug_struct("Offender");
        told.field("key", key)
            .field("denied_per_second", denied_per_second)
            .field("overestimate", overestimate)
            .finish()
    }
}

/// The keys that are denied most.
pub(crate) struct Sketch {
    places: usize,
    counts: Mutex<DenialCounts>,
}

#[derive(Default)]
struct DenialCounts {
    /// When a denial weighs 1, in nanoseconds of the limiter's clock.
    since: u64,
    each: Vec<Count>,
}

struct Count {
    key: Fingerprint,
    /// Not a `String`, which would keep the room of all that was cut off.
    text: Box<str>,
    weight: f64,
    /// Of it, what may be others', whose place this key took.
    others: f64,
}

impl Sketch {
    /// Of so many keys.
    pub(crate) fn new(places: usize) -> Self {
        let counts = DenialCounts { since: 0, each: Vec::with_capacity(places) };
        Self { places, counts: Mutex::new(counts) }
    }

    /// Counts a denial. The text is asked for when the key was not among those that are kept.
    pub(crate) fn count(&self, key: Fingerprint, now: u64, text: impl FnOnce() -> String) {
        if self.places == 0 || self.counts.lock().again(key, now) {
            return;
        }
        // Without the lock: a key writes its text by somebody else's code.
        let text = cut(text());
        let mut counts = self.counts.lock();
        if counts.again(key, now) {
            return;
        }
        let weight = counts.weight_at(now);
        if counts.each.len() < self.places {
            counts.each.push(Count { key, text, weight, others: 0.0 });
            return;
        }
        let least = counts.each.iter_mut().min_by(|one, other| one.weight.total_cmp(&other.weight));
        let least = least.expect("there is a place");
        *least = Count { key, text, weight: least.weight + weight, others: least.weight };
    }

    /// Those that were denied most, the most first.
    pub(crate) fn most(&self, now: u64) -> Vec<Offender> {
        let mut counts = self.counts.lock();
        // A denial a second for ever would weigh so much.
        let unit = counts.weight_at(now) * HALF_LIFE / 1e9 / std::f64::consts::LN_2;
        let offender = |count: &Count| Offender {
            fingerprint: count.key,
            key: count.text.to_string(),
            denied_per_second: count.weight / unit,
            overestimate: count.others / unit,
        };
        let mut most: Vec<_> = counts.each.iter().map(offender).collect();
        most.sort_by(|one, other| other.denied_per_second.total_cmp(&one.denied_per_second));
        most
    }
}

impl DenialCounts {
    /// Counts a denial of a key that is kept. Says whether it is.
    fn again(&mut self, key: Fingerprint, now: u64) -> bool {
        let weight = self.weight_at(now);
        let count = self.each.iter_mut().find(|count| count.key == key);
        count.map(|count| count.weight += weight).is_some()
    }

    /// What a denial weighs at a time. If the clock has stepped back, what it weighed at first.
    fn weight_at(&mut self, now: u64) -> f64 {
        let half_lives = now.saturating_sub(self.since) as f64 / HALF_LIFE;
        if half_lives <= HALF_LIVES_MAX {
            return half_lives.exp2();
        }
        let smaller = (-half_lives).exp2();
        for count in &mut self.each {
            count.weight *= smaller;
            count.others *= smaller;
        }
        self.since = now;
        1.0
    }
}

/// What is kept of a text: not a part of an escaped byte.
fn cut(text: String) -> Box<str> {
    let Some(kept) = text.get(..TEXT_MAX).filter(|_| text.len() > TEXT_MAX) else { return text.into() };
    let whole = kept.rfind('%').filter(|at| at + 3 > TEXT_MAX).unwrap_or(TEXT_MAX);
    kept[..whole].into()
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch").field("places", &self.places).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::fingerprint::TagMask;

    const SECOND: u64 = 1_000_000_000;

    fn key(number: u64) -> Fingerprint {
        Fingerprint::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), TagMask::new(2))
    }

    fn count(sketch: &Sketch, number: u64, now: u64) {
        sketch.count(key(number), now, || number.to_string());
    }

    #[test]
    fn a_steady_rate_is_told_as_it_is_and_fades_when_it_stops() {
        let sketch = Sketch::new(4);
        for tenth in 0..12_000 {
            count(&sketch, 7, tenth * SECOND / 10);
        }
        let rate = |at: u64| sketch.most(at)[0].denied_per_second();
        assert!((rate(1_200 * SECOND) - 10.0).abs() < 0.1, "{}", rate(1_200 * SECOND));
        assert!((rate(1_260 * SECOND) - 5.0).abs() < 0.05);
        // Across many half-lives, and more than an `f64` could hold.
        assert!(rate(1_200 * 60 * SECOND) < 1e-100);
        count(&sketch, 8, 2_000 * 60 * SECOND);
        assert_eq!(sketch.most(2_000 * 60 * SECOND)[0].key(), "8");
        assert!(rate(u64::MAX).is_finite());
    }

    #[test]
    fn time_that_steps_back_counts_all_the_same() {
        let sketch = Sketch::new(2);
        count(&sketch, 1, 40_000 * 60 * SECOND);
        for _ in 0..10 {
            count(&sketch, 2, SECOND);
        }
        let most = sketch.most(SECOND);
        assert_eq!((most[0].key(), most.len()), ("2", 2));
        assert!(most.iter().all(|offender| offender.denied_per_second().is_finite()));
    }

    /// Never too low, and too high by no more than what it says, which is no more than what all denials make for each place; and
    /// whoever makes more than that is among them.
    #[test]
    fn the_error_stays_within_its_bound() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for places in [1, 3, 16, 64] {
            let sketch = Sketch::new(places);
            let mut exact: HashMap<String, f64> = HashMap::new();
            let mut now = 0;
            for _ in 0..20_000 {
                now += (random() * 20e6) as u64;
                let number = (1.0 / (random() + 1e-4)) as u64; // few keys often, and many seldom
                count(&sketch, number, now);
                *exact.entry(number.to_string()).or_default() += (now as f64 / HALF_LIFE).exp2();
            }
            let unit = (now as f64 / HALF_LIFE).exp2() * HALF_LIFE / 1e9 / std::f64::consts::LN_2;
            let all = exact.values().sum::<f64>() / unit;
            let most = sketch.most(now);
            assert_eq!(most.len(), places);
            for offender in &most {
                let is = exact[offender.key()] / unit;
                let (said, over) = (offender.denied_per_second(), offender.overestimate());
                assert!(said >= is - 1e-9 && said <= is + over + 1e-9, "{places}: {offender:?}, really {is}");
                assert!(over <= all / places as f64 + 1e-9);
            }
            for (key, weight) in exact {
                if weight / unit > all / places as f64 {
                    assert!(most.iter().any(|offender| offender.key() == key), "{places}: {key} is missing");
                }
            }
        }
    }

    #[test]
    fn texts_are_cut_and_asked_for_only_by_newcomers() {
        let sketch = Sketch::new(1);
        sketch.count(key(1), 0, || "x".repeat(10_000));
        sketch.count(key(1), 0, || unreachable!("it is known"));
        assert_eq!(sketch.most(0)[0].key().len(), TEXT_MAX);
        // An escaped byte is kept whole or not at all.
        for before in 120..=130 {
            sketch.count(key(before), 0, || "x".repeat(before as usize) + "%3A" + &"y".repeat(20));
            let kept = sketch.most(0)[0].key().len();
            assert_eq!(kept, if [126, 127].contains(&before) { before as usize } else { TEXT_MAX });
        }
        Sketch::new(0).count(key(1), 0, || unreachable!("there is no place"));
    }
}
