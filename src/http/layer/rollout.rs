//! Trying a limit before it bites.

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::http::rollout::Rollout;

/// # Rollout
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Shadow mode, to try a limit on real traffic before it bites. The layer decides, charges, counts and reports as
    /// always, and lets everything pass.
    ///
    /// The requests that it would have denied are [counted](Self::count_into) and [told](Self::on_shadow_denied) apart, and
    /// logged as `requests over the limit, let pass`. A request without a key passes too. If
    /// [headers on every response](Self::headers_on_every_response) are set, they say that nothing remains.
    /// `Retry-After` is not sent.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28).shadow();
    /// # let _ = layer;
    /// ```
    ///
    /// [`rollout`](Self::rollout) does the same for a percentage, which can be changed while the program runs. Where both are
    /// set, nothing is denied.
    #[must_use]
    pub fn shadow(self) -> Self {
        self.setting(|settings| settings.shadow = true)
    }

    /// Looks at a percentage of requests, and acts on a percentage of those over the limit. The [`Rollout`] says which, and can
    /// be changed while the program runs.
    #[must_use]
    pub fn rollout(self, rollout: &Rollout) -> Self {
        let rollout = rollout.clone();
        self.setting(|settings| settings.rollout = Some(rollout))
    }
}
