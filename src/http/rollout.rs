//! [`Rollout`]: on how many requests a limit is tried, while it is introduced.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::setting_error::SettingError;

/// The percentages of requests that a limit looks at and acts on, which can be changed while it runs.
///
/// As Envoy's `filter_enabled` and `filter_enforced`, except that both are 100 unless set, where Envoy's are 0:
///
/// - `enabled`: of the requests in its scope, a layer looks at this percentage. The others pass as if it were not there.
/// - `enforced`: of the requests that it would deny, it denies this percentage. The others pass, and are counted and reported
///   as shadow-denied. They are charged nothing, as any denied request.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::Rollout;
///
/// // Look at everything, deny nothing yet.
/// let rollout = Rollout::new();
/// rollout.set_enforced_percent(0)?;
/// let layer = RateLimitLayer::per_second(28).rollout(&rollout);
///
/// // Later, wherever the program's switches are:
/// rollout.set_enforced_percent(12.5)?;
/// # let _ = layer;
/// # Ok::<(), tollgate::SettingError>(())
/// ```
///
/// Cheap to clone; clones share everything, and one rollout can steer several layers.
///
/// # Which requests
///
/// They are spread evenly, by multiples of the golden ratio and not by chance. Of any n in a row, the number taken is off its
/// share by a few at most, and no pattern in the traffic lines up with it. They are not chosen by client: each client meets
/// the limit on some of its requests.
#[derive(Clone)]
pub struct Rollout {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    enabled: Share,
    enforced: Share,
}

impl Rollout {
    /// Looks at every request and acts on every one, until told otherwise.
    pub fn new() -> Self {
        Self { inner: Arc::default() }
    }

    /// Looks at this percentage of requests from the next one on: any number from 0 to 100, with its fraction.
    ///
    /// # Errors
    ///
    /// When it is not from 0 to 100. Nothing was changed then.
    pub fn set_enabled_percent(&self, percent: impl Into<f64>) -> Result<(), SettingError> {
        self.inner.enabled.set(percent.into())
    }

    /// Acts on this percentage of the requests that it would deny, from the next one on: any number from 0 to 100, with its
    /// fraction.
    ///
    /// # Errors
    ///
    /// When it is not from 0 to 100. Nothing was changed then.
    pub fn set_enforced_percent(&self, percent: impl Into<f64>) -> Result<(), SettingError> {
        self.inner.enforced.set(percent.into())
    }

    /// The percentage looked at, kept to within 10⁻⁷ of what was set.
    pub fn enabled_percent(&self) -> f64 {
        self.inner.enabled.percent()
    }

    /// The percentage acted on, kept to within 10⁻⁷ of what was set.
    pub fn enforced_percent(&self) -> f64 {
        self.inner.enforced.percent()
    }

    /// Whether to look at this request.
    pub(super) fn looks(&self) -> bool {
        self.inner.enabled.takes_next()
    }

    /// Whether to act on this denial.
    pub(super) fn acts(&self) -> bool {
        self.inner.enforced.takes_next()
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollout")
            .field("enabled", &self.enabled_percent())
            .field("enforced", &self.enforced_percent())
            .finish()
    }
}

/// A part of all that come, and how many have come.
#[derive(Debug)]
struct Share {
    /// Of [`WHOLE`].
    parts: AtomicU64,
    seen: AtomicU64,
}

const WHOLE: u64 = 1 << 32;

/// 2⁶⁴ divided by the golden ratio: the multiples of the number that is hardest to approximate by fractions are spread
/// most evenly (Weyl, 1916; Knuth, TAOCP 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Share {
    fn set(&self, percent: f64) -> Result<(), SettingError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(SettingError::new(format!("{percent} is not a percentage from 0 to 100")));
        }
        // What is not 0 takes some, and what is not 100 leaves some.
        let parts = match (percent / 100.0 * WHOLE as f64).round() as u64 {
            0 if percent > 0.0 => 1,
            WHOLE if percent < 100.0 => WHOLE - 1,
            parts => parts,
        };
        self.parts.store(parts, Relaxed);
        Ok(())
    }

    fn percent(&self) -> f64 {
        self.parts.load(Relaxed) as f64 / WHOLE as f64 * 100.0
    }

    // Relaxed: the share is a number by itself, and the count only has to differ from one to the next.
    fn takes_next(&self) -> bool {
        match self.parts.load(Relaxed) {
            0 => false,
            WHOLE => true,
            parts => self.seen.fetch_add(1, Relaxed).wrapping_mul(GOLDEN) >> 32 < parts,
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        // From 1, because 0 is below every share, and a program that restarts often would take many first ones.
        Self { parts: AtomicU64::new(WHOLE), seen: AtomicU64::new(1) }
    }
}
