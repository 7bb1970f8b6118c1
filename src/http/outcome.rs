//! [`Settlement`]: a charge that waits for its response.

use std::fmt;
use std::sync::Arc;

use http::{Response, response};

use super::body::AnswerBody;
use super::headers::{AnswerHeaders, ToldLater};
use super::meter::Meter;
use crate::backend::Receipt;
use crate::decision::Denied;

type ByHead = dyn Fn(&response::Parts) -> Option<u64> + Send + Sync;
type ByBody = dyn Fn(u64) -> u64 + Send + Sync;

/// What a request cost, by what came of it.
#[derive(Clone, Default)]
pub(super) struct Outcome {
    pub(super) by_head: Option<Arc<ByHead>>,
    pub(super) by_body: Option<Arc<ByBody>>,
}

/// What is still to be done when the response is there. Small, since it is a part of every request's future.
#[derive(Debug)]
pub(super) enum After<R> {
    Nothing,
    Tell(Box<AnswerHeaders>),
    Settle(Box<Settlement<R>>),
    /// First the one, then the other.
    Both(Box<[After<R>; 2]>),
}

/// A charge that waits for its response. Dropped before, it stays charged.
#[derive(Debug)]
pub(super) struct Settlement<R> {
    pub(super) receipt: Box<R>,
    pub(super) outcome: Arc<Outcome>,
    pub(super) tell: Option<ToldLater>,
}

impl<R: Receipt> After<R> {
    /// First this, then another.
    pub(super) fn then(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, only) | (only, Self::Nothing) => only,
            both => Self::Both(Box::new(both.into())),
        }
    }

    /// Does it.
    pub(super) fn finish<B: AnswerBody>(self, response: Response<B>) -> Response<B> {
        let (mut response, told) = match self {
            Self::Nothing => return response,
            Self::Tell(told) => (response, Some(*told)),
            Self::Settle(settlement) => settlement.settle(response),
            Self::Both(both) => return both.into_iter().fold(response, |response, after| after.finish(response)),
        };
        // A denial from further inside keeps its own headers: they say where the client stands with the limit that it has
        // reached.
        if let Some(told) = told.filter(|_| response.extensions().get::<Denied>().is_none()) {
            told.insert_into(response.headers_mut());
        }
        response
    }
}

impl<R: Receipt> Settlement<R> {
    /// Settles by the response's head, or leaves it to the body's end; with the headers that the response shall have.
    pub(super) fn settle<B: AnswerBody>(self, response: Response<B>) -> (Response<B>, Option<AnswerHeaders>) {
        let Self { receipt, outcome, tell } = self;
        let (head, mut body) = response.into_parts();
        let actual = outcome.by_head.as_ref().and_then(|by_head| by_head(&head));
        let status = match (actual, &outcome.by_body) {
            (Some(actual), _) => receipt.settle(actual),
            (None, None) => *receipt.status(),
            (None, Some(by_body)) => {
                let (status, by_body) = (*receipt.status(), by_body.clone());
                body = body.metered(Meter::new(move |bytes| {
                    receipt.settle(by_body(bytes));
                }));
                status
            }
        };
        (Response::from_parts(head, body), tell.and_then(|teller| teller.tell(&status)))
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("by_head", &self.by_head.is_some())
            .field("by_body", &self.by_body.is_some())
            .finish()
    }
}
