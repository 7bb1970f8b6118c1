//! [`DeniedBy`]: which limit denied a request, for those who want to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Learns which limit denies a request, from the request's extensions. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct DeniedBy {
    /// The limit's place and one; 0 if none has. One task reads it after it has written it: relaxed.
    limit: Arc<AtomicUsize>,
}

impl DeniedBy {
    /// The limit, by its place.
    pub fn limit(&self) -> Option<usize> {
        self.limit.load(Relaxed).checked_sub(1)
    }

    pub(super) fn set(&self, limit: usize) {
        self.limit.store(limit + 1, Relaxed);
    }
}
