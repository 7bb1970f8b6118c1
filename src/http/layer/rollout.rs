//! Trying a limit before it bites.

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::http::rollout::Rollout;

/// # Rollout
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Shadow mode, to try a limit on real traffic before it bites: it decides, charges, counts and reports as ever, and
    /// lets everything pass.
    ///
    /// What it would have denied is [counted](Self::count_into) and [told](Self::on_shadow_denied) apart, and logged once a
    /// second as `requests over the limit, let pass`. A request without a key passes too.
    /// [Headers on every response](Self::headers_on_every_response), where asked for, say that nothing remains;
    /// `Retry-After` is not sent.
    ///
    /// [`rollout`](Self::rollout) does the same for a percentage that can be changed while running; where both are set,
    /// nothing is denied.
    #[must_use]
    pub fn shadow(self) -> Self {
        self.setting(|settings| settings.shadow = true)
    }

    /// Looks at and acts on the percentages of requests that a [`Rollout`] says at the time.
    #[must_use]
    pub fn rollout(self, rollout: &Rollout) -> Self {
        let rollout = rollout.clone();
        self.setting(|settings| settings.rollout = Some(rollout))
    }
}
