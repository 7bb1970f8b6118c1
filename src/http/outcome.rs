//! [`Settlement`]: a charge that waits for its response.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Response, response};

use super::body::ResponseBody;
use super::reject::Answers;
use crate::reservation::Reservation;

type ByHead = dyn Fn(&response::Parts) -> Option<u64> + Send + Sync;
type ByBody = dyn Fn(u64) -> u64 + Send + Sync;

/// What a request cost, by what came of it.
#[derive(Clone, Default)]
pub(super) struct Outcome {
    pub(super) by_head: Option<Arc<ByHead>>,
    pub(super) by_body: Option<Arc<ByBody>>,
}

/// What is still to be done when the response is there.
#[derive(Debug)]
pub(super) enum After {
    Nothing,
    Headers(Box<HeaderMap>),
    Settle(Box<Settlement>),
}

/// A charge that waits for its response. Dropped before, it stays charged.
#[derive(Debug)]
pub(super) struct Settlement {
    reservation: Reservation,
    outcome: Arc<Outcome>,
    answers: Arc<Answers>,
}

impl Settlement {
    pub(super) fn new(reservation: Reservation, outcome: &Arc<Outcome>, answers: &Arc<Answers>) -> Self {
        Self { reservation, outcome: outcome.clone(), answers: answers.clone() }
    }

    /// Settles by the response's head, or leaves it to the body's end; with the headers that the response shall have.
    pub(super) fn settle<B>(self, response: Response<B>) -> (Response<ResponseBody<B>>, Option<Box<HeaderMap>>) {
        let Self { reservation, outcome, answers } = self;
        let (head, body) = response.into_parts();
        let actual = outcome.by_head.as_ref().and_then(|by_head| by_head(&head));
        let limiter = reservation.limiter().clone();
        let (body, status) = match (actual, &outcome.by_body) {
            (Some(actual), _) => (ResponseBody::inner(body), reservation.settled(actual)),
            (None, None) => (ResponseBody::inner(body), *reservation.permit().status()),
            (None, Some(by_body)) => {
                let status = *reservation.permit().status();
                let meter = Meter { bytes: 0, by_body: by_body.clone(), reservation: Some(reservation) };
                (ResponseBody::metered(body, meter), status)
            }
        };
        (Response::from_parts(head, body), answers.when_passed(&status, &limiter))
    }
}

/// Counts the bytes of a body, and settles when it is dropped: at its end, or wherever the client left.
pub(super) struct Meter {
    bytes: u64,
    by_body: Arc<ByBody>,
    reservation: Option<Reservation>,
}

impl Meter {
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // The user's closure is not called while another panic unwinds, since its own would end the process.
        if std::thread::panicking() {
            return;
        }
        if let Some(reservation) = self.reservation.take() {
            reservation.settled((self.by_body)(self.bytes));
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("bytes", &self.bytes)
            .field("reservation", &self.reservation)
            .finish_non_exhaustive()
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
