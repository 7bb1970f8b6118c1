//! [`Member`]: one of several layers that ask about a request as one, and what becomes of the request.

use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::decide::Decision;
use super::outcome::After;
use super::settings::Settings;
use crate::backend::{Asker, Backend, Judged, Wanted};
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

impl<L: Backend> Asker<L> for Member<L> {
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

    fn let_pass(&self, denied: &Denied, head: &Parts) -> After<L::Receipt> {
        self.tell_denied();
        self.settings.let_pass(denied, self.plan, head)
    }

    fn tell_denied(&self) {
        if let Some(suspect) = &self.suspect {
            self.settings.limiter.limiter().tell_suspect_denied(suspect);
        }
    }
}

/// What becomes of a request, by what was said to all.
pub(super) fn conclude<L: Backend>(judged: Judged<Member<L>, L::Receipt>, head: &mut Parts) -> Decision<L> {
    let mut judged = match judged {
        Ok(judged) => judged,
        Err((member, denied)) => return Decision::Answer(member.refuse(denied, head)),
    };
    // Where two tell the same, the last one is heard: of those that act, that with least left.
    judged.sort_by_key(|(member, said)| match said {
        Ok(granted) if !member.only_watches() => (true, Reverse(granted.permit.status().remaining())),
        _ => (false, Reverse(0)),
    });
    let after = judged.into_iter().fold(After::Nothing, |after, (member, said)| {
        after.then(match said {
            Ok(granted) => member.settings.pass(granted, member.plan, head),
            Err(denied) => member.let_pass(&denied, head),
        })
    });
    Decision::Pass(after)
}
