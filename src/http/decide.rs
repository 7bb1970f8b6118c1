//! [`Decide`]: what becomes of a request, whatever it is counted by.

use std::cell::Cell;
use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::denials::WhenNoKey;
use super::headers::ToldLater;
use super::key::NoKey;
use super::member::Member;
use super::observers::{log_foreign_plan, log_no_key};
use super::outcome::{After, Settlement};
use super::rollout::Rollout;
use super::settings::Settings;
use crate::backend::{AllSaid, Answer, Backend, Grant, Joint, Party as _, Question, Wanted};
use crate::decision::{Denied, Status};
use crate::key::{Key, SharedKey};
use crate::plan::Plan;

/// Decides about a request, whatever it is counted by: what a layer needs that leaves some to another.
pub(super) trait Decide<L: Backend>: Send + Sync {
    fn decide(&self, head: &mut Parts) -> Decision<L>;

    /// What there is to ask about a request, where it is to be asked together with others.
    fn question(&self, head: &mut Parts) -> ToAsk<L>
    where
        L: Joint;

    /// The same before the service is asked, which asks once more. So what may only be decided or told once is left to it.
    fn question_ahead(&self, head: &mut Parts) -> ToAsk<L>
    where
        L: Joint;
}

/// What there is to ask about a request.
pub(super) enum ToAsk<L: Joint> {
    Question(L::Terms, Member<L>),
    /// Nothing: this becomes of it, as far as this layer is concerned.
    Decided(Decision<L>),
}

/// What becomes of a request.
pub(super) enum Decision<L: Backend> {
    /// It passes, and this is to be done with its response.
    Pass(After<L::Receipt>),
    /// It is answered here.
    Answer(Response<Bytes>),
    /// The answer about it comes later.
    Wait(L::Wait, Pending<L>),
}

/// A question that is not answered yet.
pub(super) struct Pending<L> {
    /// Those of the layer that asked.
    pub(super) settings: Arc<Settings<L>>,
    /// The plan that it asked about.
    pub(super) plan: Plan,
    /// Whether this layer acts this time, where that was asked before the answer is known. It is asked once.
    pub(super) acts: Option<bool>,
}

impl<L: Backend> Decision<L> {
    /// It passes, and nothing is to be done with its response.
    pub(super) const PASS: Self = Self::Pass(After::Nothing);

    /// What becomes of a request, by what was said to all.
    pub(super) fn of_all(judged: AllSaid<Member<L>, L::Receipt>, head: &mut Parts) -> Self {
        let mut judged = match judged {
            Ok(judged) => judged,
            Err((member, denied)) => return Self::Answer(member.refuse(denied, head)),
        };
        // Where two tell the same, the last one is heard: of those that act, that with least left.
        if judged.iter().any(|(member, _)| member.settings.tells_where_one_stands()) {
            judged.sort_by_key(|(member, said)| match said {
                Ok(granted) if !member.only_watches() => (true, Reverse(granted.permit.status().remaining())),
                _ => (false, Reverse(0)),
            });
        }
        let after = judged.into_iter().fold(After::Nothing, |after, (member, said)| {
            after.then(match said {
                Ok(granted) => member.settings.pass(granted, member.plan, head),
                Err(denied) => member.let_pass(&denied, head),
            })
        });
        Self::Pass(after)
    }
}

/// An answer, and the plan that the question was about.
pub(super) struct Said<L: Backend> {
    answer: Answer<L::Receipt, L::Wait>,
    plan: Plan,
    /// Whether this layer acts this time, where that was asked already.
    acts: Option<bool>,
}

impl<L: Backend> Settings<L> {
    /// What a request is charged; `None` if it is not looked at.
    pub(super) fn cost(&self, head: &Parts) -> Option<u64> {
        if self.rollout.as_ref().is_some_and(|rollout| !rollout.looks()) {
            return None;
        }
        match &self.cost {
            None => Some(1),
            Some(cost) => Some(cost(head)).filter(|&cost| cost > 0),
        }
    }

    /// Asks about a request. The head is needed to know its plan.
    #[inline]
    pub(super) fn ask<K: Key + ?Sized>(&self, key: &K, cost: u64, head: &Parts) -> Said<L> {
        self.ask_for(key, self.plan_of(head), cost, self.wanted())
    }

    /// What is wanted beside the permit.
    #[inline]
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { receipt: self.outcome.is_some(), standing: self.tells_handler }
    }

    /// Asks about a request where nothing is set that concerns one that passes.
    #[inline]
    pub(super) fn ask_for_one<K: Key + ?Sized>(&self, key: &K) -> Result<(), Said<L>> {
        let acts = Cell::new(None);
        let answer = self.limiter.ask_for_one(key, || self.may_wait(&acts));
        answer.map_err(|answer| self.said(key, answer, self.limiter.limiter().current_plan(), &acts))
    }

    /// Asks about a request where [nothing depends on it](Self::asks_by_request), and tells what is to be told if it passes.
    pub(super) fn ask_plainly<K: Key + ?Sized>(&self, key: &K) -> Result<After<L::Receipt>, Said<L>> {
        let plan = self.limiter.limiter().current_plan();
        match self.ask_for(key, plan, 1, Wanted::default()) {
            Said { answer: Answer::Granted(grant), .. } => {
                let status = grant.permit.status();
                self.observers.allowed(status);
                Ok(self.tell(status, plan))
            }
            said => Err(said),
        }
    }

    #[inline]
    fn ask_for<K: Key + ?Sized>(&self, key: &K, plan: Plan, cost: u64, wanted: Wanted) -> Said<L> {
        let acts = Cell::new(None);
        let answer = self.limiter.ask(&Question { key, plan, cost, wanted }, || self.may_wait(&acts));
        self.said(key, answer, plan, &acts)
    }

    #[inline]
    fn said<K: Key + ?Sized>(
        &self,
        key: &K,
        answer: Answer<L::Receipt, L::Wait>,
        plan: Plan,
        acts: &Cell<Option<bool>>,
    ) -> Said<L> {
        if let Answer::Denied(_) = answer {
            self.limiter.limiter().tell_denied(key);
        }
        Said { answer, plan, acts: acts.get() }
    }

    /// What there is to ask about a request together with others.
    pub(super) fn question<K: Key + ?Sized>(self: &Arc<Self>, key: &K, cost: u64, head: &Parts) -> ToAsk<L>
    where
        L: Joint,
    {
        let plan = self.plan_of(head);
        let member = Member { settings: self.clone(), plan, suspect: self.limiter.limiter().suspect(key) };
        ToAsk::Question(self.limiter.terms(plan, key, cost), member)
    }

    /// Whether a request may wait instead of being denied, and says so to whoever asks later.
    fn may_wait(&self, acts: &Cell<Option<bool>>) -> bool {
        let this_time = self.acts();
        acts.set(Some(this_time));
        this_time
    }

    /// The plan that a request is judged by.
    #[inline]
    pub(super) fn plan_of(&self, head: &Parts) -> Plan {
        match &self.plan {
            None => self.limiter.limiter().current_plan(),
            Some(plan) => self.own_plan(plan(head)),
        }
    }

    /// A plan of another limiter is not judged by: it says nothing about this one.
    fn own_plan(&self, plan: Plan) -> Plan {
        let limiter = self.limiter.limiter();
        if limiter.has(plan) {
            return plan;
        }
        log_foreign_plan(limiter);
        Plan::DEFAULT
    }

    /// What becomes of a request, by what was said about it.
    #[inline]
    pub(super) fn conclude(self: &Arc<Self>, said: Said<L>, head: &mut Parts) -> Decision<L> {
        let Said { answer, plan, acts } = said;
        match answer {
            Answer::Granted(grant) => Decision::Pass(self.pass(grant, plan, head)),
            Answer::Denied(denied) => self.deny(denied, plan, acts, head),
            Answer::NotDelayed(denied) => Decision::Pass(self.let_pass(&denied, plan, head)),
            Answer::Later(wait) => Decision::Wait(wait, Pending { settings: self.clone(), plan, acts }),
        }
    }

    /// Lets a request pass that was charged.
    pub(super) fn pass(&self, grant: Grant<L::Receipt>, plan: Plan, head: &mut Parts) -> After<L::Receipt> {
        let Grant { permit, receipt, standing } = grant;
        self.observers.allowed(permit.status());
        if let Some(standing) = standing {
            head.extensions.insert(standing);
        }
        match (receipt, &self.outcome) {
            (Some(receipt), Some(outcome)) => {
                let tell = self.telling.on_every_response.then(|| ToldLater {
                    telling: self.telling.clone(),
                    limiter: self.limiter.limiter().clone(),
                    plan,
                });
                let settlement = Settlement { receipt, outcome: outcome.clone(), tell };
                After::Settle(Box::new(settlement))
            }
            _ => self.tell(permit.status(), plan),
        }
    }

    /// What the response to a request that passes tells of where the client stands, if that is wanted.
    #[inline]
    fn tell(&self, status: &Status, plan: Plan) -> After<L::Receipt> {
        if !self.telling.on_every_response {
            return After::Nothing;
        }
        match self.telling.when_passed(status, self.limiter.limiter(), plan) {
            None => After::Nothing,
            Some(told) => After::Tell(Box::new(told)),
        }
    }

    #[inline]
    fn deny(&self, denied: Denied, plan: Plan, acts: Option<bool>, head: &mut Parts) -> Decision<L> {
        if acts.unwrap_or_else(|| self.acts()) {
            Decision::Answer(self.refuse(denied, plan, head))
        } else {
            Decision::Pass(self.let_pass(&denied, plan, head))
        }
    }

    /// Whether this layer acts on what it finds, this time.
    #[inline]
    pub(super) fn acts(&self) -> bool {
        !self.shadow && self.rollout.as_ref().is_none_or(Rollout::acts)
    }

    /// The answer to a request that does not pass.
    #[inline]
    pub(super) fn refuse(&self, denied: Denied, plan: Plan, head: &mut Parts) -> Response<Bytes> {
        let limiter = self.limiter.limiter();
        self.observers.denied(&denied, head, limiter);
        let told = self.telling.when_denied(&denied, limiter, plan);
        self.denials.answer(&denied, head, told)
    }

    /// Lets a request pass that is over the limit.
    pub(super) fn let_pass(&self, denied: &Denied, plan: Plan, head: &Parts) -> After<L::Receipt> {
        self.observers.shadow_denied(denied, head, self.limiter.limiter());
        self.tell(denied.status(), plan)
    }

    /// What becomes of a request that has no key.
    #[cold]
    pub(super) fn without_key(self: &Arc<Self>, no_key: &NoKey, cost: u64, head: &mut Parts) -> Decision<L> {
        match self.refuse_without_key(no_key, head) {
            Some(decision) => decision,
            None => {
                let said = self.ask(&SharedKey, cost, head);
                self.conclude(said, head)
            }
        }
    }

    /// The same, unless it is counted with all others that have none.
    #[cold]
    pub(super) fn refuse_without_key(&self, no_key: &NoKey, head: &Parts) -> Option<Decision<L>> {
        log_no_key(no_key, self.limiter.limiter());
        match self.when_no_key {
            WhenNoKey::Share => return None,
            WhenNoKey::Allow => self.observers.no_key(),
            WhenNoKey::Refuse => {
                self.observers.no_key();
                if self.acts() {
                    return Some(Decision::Answer(self.denials.without_key(no_key, head)));
                }
            }
        }
        Some(Decision::PASS)
    }
}

#[cfg(feature = "tokio")]
impl<L: crate::backend::Delay> Pending<L> {
    /// The same question, which will be answered without delay, as part of a layer that delays.
    pub(super) fn undelayed(self) -> Pending<L::Delayed> {
        let Self { settings, plan, acts } = self;
        let limiter = settings.limiter.delayed(std::time::Duration::ZERO);
        Pending { settings: Arc::new(settings.over(limiter)), plan, acts }
    }
}

impl<L: Backend> Pending<L> {
    /// What becomes of a request whose answer is there at last.
    pub(super) fn conclude(self, answer: Result<Grant<L::Receipt>, Denied>, head: &mut Parts) -> Decision<L> {
        let Self { settings, plan, acts } = self;
        match answer {
            Ok(grant) => Decision::Pass(settings.pass(grant, plan, head)),
            Err(denied) => settings.deny(denied, plan, acts, head),
        }
    }
}
