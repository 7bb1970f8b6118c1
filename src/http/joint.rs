//! Where a request is decided about by several limits as one: the service behind a [`JointLayer`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::body::AnswerBody;
use super::decide::{Decide, Decision, ToAsk};
use super::future::{HeldRequest, ResponseFuture};
use super::layer::JointLayer;
use super::member::Member;
use super::service::{RateLimit, follow};
use crate::backend::{Joint, Party as _};

impl<S, L> Layer<S> for JointLayer<L> {
    type Service = RateLimit<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

impl<S, B, B2, L> Service<Request<B>> for RateLimit<S, JointLayer<L>>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B2: AnswerBody,
    L: Joint,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, L>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let decision = match questions(&self.layer.members, &mut head) {
            ControlFlow::Break(decision) => decision,
            ControlFlow::Continue(questions) => match L::ask_all(questions) {
                Ok(judged) => Decision::of_all(judged, &mut head),
                Err(wait) => return ResponseFuture::waits_for_all(wait, HeldRequest::new(&mut self.inner, head, body)),
            },
        };
        follow(decision, &mut self.inner, head, body)
    }
}

impl<L: Joint> JointLayer<L> {
    /// The answer to a request that would be denied now, told and logged as every denial is; or to one that lacks its key, where that is
    /// refused. Nothing is charged. `None` if it would pass: then nobody is told, and the service asks once more.
    ///
    /// This is for servers that turn away what is over a limit before they read more of a request, or parse it whole. What would
    /// pass may still be denied by the service, if another request was faster. A limit with a
    /// [rollout](crate::http::RateLimitLayer::rollout) is left to the service, which takes its share once. The answer takes the head's
    /// extensions.
    ///
    /// ```
    /// use http::Request;
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::{GlobalKey, JointLayer};
    ///
    /// let limit = RateLimitLayer::per_minute(1).key(GlobalKey);
    /// let limits = JointLayer::from(limit.clone());
    /// let (mut head, ()) = Request::new(()).into_parts();
    /// assert!(limits.answer_if_denied(&mut head).is_none());
    ///
    /// limit.limiter().check(&())?;
    /// assert_eq!(limits.answer_if_denied(&mut head).unwrap().status(), 429);
    /// # Ok::<(), tollgate::Denied>(())
    /// ```
    pub fn answer_if_denied(&self, head: &mut Parts) -> Option<Response<Bytes>> {
        let mut questions = Vec::with_capacity(self.members.len());
        for member in &*self.members {
            match member.question_ahead(head) {
                ToAsk::Question(terms, member) => questions.push((terms, member)),
                ToAsk::Decided(Decision::Answer(response)) => return Some(response),
                ToAsk::Decided(_) => {}
            }
        }
        let (member, denied) = L::foresee(questions)?;
        Some(member.refuse(denied, head))
    }
}

/// What is asked of each, of those that only watch last.
type Questions<L> = Vec<(<L as Joint>::Terms, Member<L>)>;

/// What there is to ask of all that are concerned. Or what one has decided already.
fn questions<L: Joint>(members: &[Arc<dyn Decide<L>>], head: &mut Parts) -> ControlFlow<Decision<L>, Questions<L>> {
    let (mut questions, mut watching) = (Vec::with_capacity(members.len()), Vec::new());
    for member in members {
        match member.question(head) {
            ToAsk::Question(terms, member) if member.only_watches() => watching.push((terms, member)),
            ToAsk::Question(terms, member) => questions.push((terms, member)),
            ToAsk::Decided(Decision::Pass(_)) => {}
            ToAsk::Decided(decision) => return ControlFlow::Break(decision),
        }
    }
    questions.append(&mut watching);
    ControlFlow::Continue(questions)
}
