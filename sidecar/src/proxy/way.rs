//! [`Ways`]: the way of one client's requests by what is in force, through the limits to the upstream.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use tollgate::http::{AnyBody, JointLayer};
use tollgate::{RateLimit, RateLimitLayer, RedisLimiter};
use tower_layer::Layer as _;

use super::fields::Hop;
use super::forward::Forward;
use super::line::Line;
use super::plain::PlainWay;
use super::thread::{Current, Thread};
use super::upstream::Client;
use crate::rules::{LimitKey, Limits};

/// The way of one client's requests.
#[derive(Debug)]
pub(super) struct Ways {
    line: Rc<Line>,
    is_tls: bool,
    thread: Rc<Thread>,
    now: RefCell<Option<Way>>,
}

/// The way by what is in force. Half of it is made when it is first needed: most connections need one half.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) current: Rc<Current>,
    pub(super) forward: Forward,
    limited: Option<Limited>,
    plain: Option<PlainWay>,
}

/// The service that forwards, behind the limits.
#[derive(Debug)]
pub(super) enum Limited {
    Free,
    One(RateLimit<AnyBody<Forward>, RateLimitLayer<LimitKey>>),
    Several(RateLimit<AnyBody<Forward>, JointLayer>),
    There(RateLimit<AnyBody<Forward>, JointLayer<RedisLimiter>>),
}

impl Ways {
    pub(super) fn new(line: Rc<Line>, is_tls: bool, thread: Rc<Thread>) -> Self {
        Self { line, is_tls, thread, now: RefCell::default() }
    }

    fn client(&self, current: &Current) -> Client {
        let Self { line, is_tls, thread, .. } = self;
        let trusted = current.config().trusted_proxies.contains(line.peer.ip());
        let hop = Hop::new(line.peer, *is_tls, trusted, current.enforcer().clone(), &thread.via);
        Client { hop: Rc::new(hop), line: line.clone(), number: 0, body_max: thread.body_max() }
    }

    /// The one that is in force now.
    pub(super) fn now(&self) -> RefMut<'_, Way> {
        let mut now = self.now.borrow_mut();
        let current = self.thread.current();
        if now.as_ref().is_some_and(|way| !Rc::ptr_eq(&current, &way.current)) {
            *now = None;
        }
        RefMut::map(now, |now| {
            now.get_or_insert_with(|| {
                let client = self.client(&current);
                Way { forward: Forward { current: current.clone(), client }, current, limited: None, plain: None }
            })
        })
    }
}

impl Way {
    /// For requests that hyper reads.
    pub(super) fn limited(&mut self) -> &mut Limited {
        self.limited.get_or_insert_with(|| match self.current.enforcer().layer() {
            Limits::None => Limited::Free,
            Limits::One(layer) => Limited::One(layer.clone().any_body().layer(self.forward.clone())),
            Limits::Several(layer) => Limited::Several(layer.clone().any_body().layer(self.forward.clone())),
            Limits::There(layer) => Limited::There(layer.clone().any_body().layer(self.forward.clone())),
        })
    }

    /// For plain requests.
    pub(super) fn plain(&mut self) -> (&mut PlainWay, &Forward) {
        (self.plain.get_or_insert_with(|| PlainWay::new(&self.current)), &self.forward)
    }
}
