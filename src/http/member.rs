//! [`Member`]: one of several layers that ask about a request as one.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::outcome::After;
use super::settings::Settings;
use crate::backend::{Backend, Party, Wanted};
use crate::decision::Denied;
use crate::limiter::Suspect;
use crate::plan::Plan;

/// One of several layers that ask about a request as one.
pub(super) struct Member<L> {
    pub(super) settings: Arc<Settings<L>>,
    /// The plan that it asks about.
    pub(super) plan: Plan,
    /// The key, if the limiter wants to know it in case of a denial.
    pub(super) suspect: Option<Suspect>,
}

impl<L: Backend> Party<L> for Member<L> {
    fn limiter(&self) -> &L {
        &self.settings.limiter
    }

    fn wanted(&self) -> Wanted {
        self.settings.wanted()
    }

    fn only_watches(&self) -> bool {
        self.settings.shadow
    }

    fn acts(&self) -> bool {
        self.settings.acts()
    }
}

impl<L: Backend> Member<L> {
    /// Its answer to a request that it denies.
    pub(super) fn refuse(&self, denied: Denied, head: &mut Parts) -> Response<Bytes> {
        self.tell_denied();
        self.settings.refuse(denied, self.plan, head)
    }

    /// Lets one pass that it does not act on.
    pub(super) fn let_pass(&self, denied: &Denied, head: &Parts) -> After<L::Receipt> {
        self.tell_denied();
        self.settings.let_pass(denied, self.plan, head)
    }

    fn tell_denied(&self) {
        if let Some(suspect) = &self.suspect {
            self.settings.limiter.limiter().tell_suspect_denied(suspect);
        }
    }
}
