//! [`Shares`]: which requests a limit looks at and acts on, while it is being introduced.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Draw;
use crate::config::{Limit, Percent};

/// 2⁶⁴ divided by the golden ratio: its multiples spread evenly, and no pattern in the traffic lines up with them.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Draws for one limit. Of any n requests in a row, the number taken is off its share by a few at most.
#[derive(Debug)]
pub struct Shares {
    enabled: Share,
    enforced: Share,
}

#[derive(Debug)]
struct Share {
    /// All numbers below this are taken; none stands for all.
    below: Option<u64>,
    next: AtomicU64,
}

impl Shares {
    /// Those of a limit.
    pub fn new(limit: &Limit) -> Self {
        Self { enabled: Share::new(limit.enabled), enforced: Share::new(limit.enforced) }
    }

    /// The draw for the next request.
    pub fn draw(&self) -> Draw {
        if !self.enabled.take() {
            Draw::Off
        } else if !self.enforced.take() {
            Draw::Shadow
        } else {
            Draw::Act
        }
    }
}

impl Share {
    fn new(percent: Percent) -> Self {
        let below = (percent < Percent::ALL).then(|| (percent.get() / 100.0 * u64::MAX as f64) as u64); // saturates
        Self { below, next: AtomicU64::new(0) }
    }

    fn take(&self) -> bool {
        match self.below {
            None => true,
            Some(0) => false,
            // A count that publishes nothing: relaxed.
            Some(below) => self.next.fetch_add(GOLDEN, Relaxed) < below,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even() {
        let mut limit = Limit::new("search", "10/second".parse().unwrap());
        limit.enabled = "50%".parse().unwrap();
        limit.enforced = "10%".parse().unwrap();
        let shares = Shares::new(&limit);
        let drawn: Vec<_> = (0..1000).map(|_| shares.draw()).collect();
        let count = |draw| drawn.iter().filter(|drawn| **drawn == draw).count();
        assert!(count(Draw::Off).abs_diff(500) < 5 && count(Draw::Act).abs_diff(50) < 5, "{drawn:?}");
    }

    #[test]
    fn all_and_none_are_exact() {
        let mut limit = Limit::new("search", "10/second".parse().unwrap());
        assert!((0..100).all(|_| Shares::new(&limit).draw() == Draw::Act));
        limit.enforced = Percent::NONE;
        let shares = Shares::new(&limit);
        assert!((0..100).all(|_| shares.draw() == Draw::Shadow));
    }
}
