//! [`Thread`]: what the connections of one thread share, and what is in force there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};

use http::HeaderValue;
use http::request::Parts;
use tokio::sync::watch;

use super::date::Date;
use super::force::InForce;
use super::metrics::Metrics;
use super::upstream::UpstreamPool;
use crate::config::{self, Caps, Config};
use crate::lines::Lines;
use crate::rules::{Enforcer, host_of};

/// What the connections of one thread share.
#[derive(Debug)]
pub(super) struct Thread {
    in_force: RefCell<watch::Receiver<Arc<InForce>>>,
    current: RefCell<Rc<Current>>,
    ready: Arc<AtomicBool>,
    pub(super) metrics: Metrics,
    /// Where the access log goes.
    pub(super) access: Lines,
    pub(super) via: HeaderValue,
    pub(super) caps: Caps,
    pub(super) date: Date,
    /// Where clients are read into before it is known what they say.
    pub(super) room: RefCell<Box<[u8]>>,
    pub(super) drain: Drain,
}

/// How much is read at a time before it is known what it is.
const ROOM: usize = 8 * 1024;

/// What is in force, with the connections that this thread has to the upstreams.
#[derive(Debug)]
pub(super) struct Current {
    in_force: Arc<InForce>,
    pub(super) upstreams: UpstreamPools,
}

impl Thread {
    /// How many bytes the body of a request may have.
    pub(super) fn body_max(&self) -> u64 {
        self.caps.body_bytes.unwrap_or(u64::MAX)
    }

    pub(super) fn new(
        mut in_force: watch::Receiver<Arc<InForce>>,
        metrics: Metrics,
        access: Lines,
        ready: Arc<AtomicBool>,
        via: HeaderValue,
    ) -> Self {
        let now = in_force.borrow_and_update().clone();
        let caps = now.config.caps.clone();
        let current = RefCell::new(Rc::new(Current::new(now, None, &metrics, &ready)));
        Self {
            in_force: RefCell::new(in_force),
            current,
            ready,
            metrics,
            access,
            via,
            caps,
            date: Date::default(),
            room: RefCell::new(vec![0; ROOM].into()),
            drain: Drain::default(),
        }
    }

    /// What is in force now.
    pub(super) fn current(&self) -> Rc<Current> {
        // It costs one load, of a number that is written at a reload.
        if self.in_force.borrow().has_changed().unwrap_or(false) {
            let now = self.in_force.borrow_mut().borrow_and_update().clone();
            let mut current = self.current.borrow_mut();
            *current = Rc::new(Current::new(now, Some(&current), &self.metrics, &self.ready));
        }
        self.current.borrow().clone()
    }
}

impl Current {
    /// Connections to upstreams that stay are kept.
    fn new(in_force: Arc<InForce>, before: Option<&Self>, metrics: &Metrics, ready: &Arc<AtomicBool>) -> Self {
        let deadlines = in_force.config.deadlines;
        let upstream = |target: &config::Upstream| {
            let kept = before.and_then(|before| before.upstreams.iter().find(|upstream| upstream.target() == target));
            let new = || Rc::new(UpstreamPool::new(target.clone(), deadlines, metrics.clone(), ready.clone()));
            let upstream = kept.map_or_else(new, Rc::clone);
            upstream.set_deadlines(deadlines);
            upstream
        };
        let upstreams = match &in_force.config.upstreams {
            config::Upstreams::One(one) => UpstreamPools::One(upstream(one)),
            config::Upstreams::ByHost(all) => {
                UpstreamPools::ByHost(all.iter().map(|(host, one)| (host.clone(), upstream(one))).collect())
            }
        };
        Self { in_force, upstreams }
    }

    pub(super) fn config(&self) -> &Config {
        &self.in_force.config
    }

    pub(super) fn enforcer(&self) -> &Enforcer {
        &self.in_force.enforcer
    }

    pub(super) fn tls(&self) -> Option<&super::tls::Acceptor> {
        self.in_force.tls.as_ref()
    }
}

/// Where requests go.
#[derive(Debug)]
pub(super) enum UpstreamPools {
    One(Rc<UpstreamPool>),
    ByHost(Vec<(String, Rc<UpstreamPool>)>),
}

impl UpstreamPools {
    pub(super) fn of(&self, head: &Parts) -> Option<&Rc<UpstreamPool>> {
        match self {
            Self::One(upstream) => Some(upstream),
            Self::ByHost(upstreams) => {
                let host = host_of(head)?;
                upstreams.iter().find(|(listed, _)| *listed == host).map(|(_, upstream)| upstream)
            }
        }
    }

    /// The one for all requests, if there is one.
    pub(super) fn only(&self) -> Option<&Rc<UpstreamPool>> {
        match self {
            Self::One(upstream) => Some(upstream),
            Self::ByHost(_) => None,
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<UpstreamPool>> {
        let (one, several) = match self {
            Self::One(upstream) => (Some(upstream), &[][..]),
            Self::ByHost(upstreams) => (None, &upstreams[..]),
        };
        one.into_iter().chain(several.iter().map(|(_, upstream)| upstream))
    }
}

/// Tells all connections of a thread to come to an end.
#[derive(Debug, Default)]
pub(super) struct Drain {
    begun: Cell<bool>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waker>>,
}

impl Drain {
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    pub(super) fn begin(&self) {
        self.begun.set(true);
        for (_, waker) in self.waiting.borrow_mut().drain() {
            waker.wake();
        }
    }
}

/// Waits for the thread's connections to be told to end.
#[derive(Debug)]
pub(super) struct EndNotice {
    thread: Rc<Thread>,
    /// Where it waits, and who is woken.
    place: Option<(u64, Waker)>,
}

impl EndNotice {
    pub(super) fn new(thread: Rc<Thread>) -> Self {
        Self { thread, place: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let drain = &self.thread.drain;
        if drain.begun.get() {
            return Poll::Ready(());
        }
        let number = match &self.place {
            Some((_, waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            Some((number, _)) => *number,
            None => drain.next.replace(drain.next.get() + 1),
        };
        drain.waiting.borrow_mut().insert(number, cx.waker().clone());
        self.place = Some((number, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.place {
            self.thread.drain.waiting.borrow_mut().remove(number);
        }
    }
}
