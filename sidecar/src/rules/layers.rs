//! [`Limits`]: the layer that counts requests, around what answers them.

use std::sync::Arc;

use http::HeaderValue;
use tollgate::http::{Headers, JointLayer, KeyExtractor as _};
use tollgate::{Backend, Plan, RateLimitLayer, RedisLimiter};

use super::counted::CountedIn;
use super::counts_by_limit::CountsByLimit;
use super::denied_by::DeniedBy;
use super::limit_key::{LimitKey, Mark, Rules};
use crate::config::{Config, Cost, DeniedBody, Limit, Percent};

/// The layer that counts requests, around what answers them.
#[derive(Clone, Debug)]
pub enum Limits {
    /// There is no limit.
    None,
    /// There is one.
    One(RateLimitLayer<LimitKey>),
    /// A request must pass all, and is charged to all or to none.
    Several(JointLayer),
    /// The same in a store.
    There(JointLayer<RedisLimiter>),
}

/// What all layers are made of.
pub(super) struct Maker<'a> {
    pub(super) config: &'a Config,
    pub(super) rules: &'a Arc<Rules>,
    pub(super) counts: &'a CountsByLimit,
}

impl Maker<'_> {
    /// The limits of the configuration, each counted by the limiter in its place.
    pub(super) fn limits(&self, limiters: &[CountedIn]) -> Limits {
        if self.config.store.is_some() {
            return self.limits_there(limiters);
        }
        let layers = self.needed().filter_map(|(at, is_shadow)| {
            let limiter = limiters[at].here()?;
            Some(self.layer(at, is_shadow, limiter, &limiters[at]))
        });
        let mut layers = layers.collect::<Vec<_>>().into_iter();
        match (layers.next(), layers.next()) {
            (None, _) => Limits::None,
            (Some(one), None) => Limits::One(one),
            (Some(one), Some(other)) => Limits::Several(layers.fold(one.and(other), JointLayer::and)),
        }
    }

    fn limits_there(&self, limiters: &[CountedIn]) -> Limits {
        let layers = self.needed().filter_map(|(at, is_shadow)| {
            let limiter = limiters[at].there()?;
            Some(JointLayer::from(self.layer(at, is_shadow, limiter, &limiters[at])))
        });
        layers.reduce(JointLayer::and).map_or(Limits::None, Limits::There)
    }

    /// The limits that act, and those that watch. One that acts on a part of the requests has two layers that share its counts.
    fn needed(&self) -> impl Iterator<Item = (usize, bool)> {
        self.config.limits.iter().enumerate().flat_map(|(at, limit)| {
            let acts = (limit.enforced > Percent::NONE).then_some((at, false));
            let watches = (limit.enforced < Percent::ALL).then_some((at, true));
            acts.into_iter().chain(watches)
        })
    }

    /// The layer of a limit, for the requests on which it acts, or for those that it watches.
    fn layer<L: Backend>(
        &self,
        at: usize,
        is_shadow: bool,
        limiter: &L,
        counted: &CountedIn,
    ) -> RateLimitLayer<LimitKey, L> {
        let limit: &Limit = &self.config.limits[at];
        let plans: Vec<Plan> = counted.plans(limit);
        let key = LimitKey { rules: self.rules.clone(), limit: at };
        let bit = 1 << at;
        let mut layer = RateLimitLayer::sharing(limiter).key(key).count_into(&self.counts.counters);
        if !self.rules.plain {
            layer = layer.exempt(move |head| {
                let mark: Option<&Mark> = head.extensions.get();
                mark.is_some_and(|mark| mark.limits & bit == 0 || (mark.shadow & bit != 0) != is_shadow)
            });
        }
        if is_shadow {
            layer = layer.shadow();
        } else {
            layer = self.tell_denials(layer, at, counted);
        }
        if limit.cost != Cost::Fixed(1) {
            let rules = self.rules.clone();
            layer = layer.cost(move |head| {
                let by_proxy = head.extensions.get().is_some_and(|mark: &Mark| mark.by_proxy);
                rules.matcher.rules[at].cost_of(head, by_proxy)
            });
        }
        layer = settle(layer, &limit.cost);
        if !plans.is_empty() {
            let rules = self.rules.clone();
            layer = layer.plan(move |head| {
                let by_proxy = head.extensions.get().is_some_and(|mark: &Mark| mark.by_proxy);
                let plan = if by_proxy { rules.matcher.rules[at].plan_of(head) } else { None };
                plan.map_or(Plan::DEFAULT, |plan| plans[plan])
            });
        }
        answers(layer, self.config)
    }
}

impl Maker<'_> {
    /// Tells those who want to know of each denial: the access log, and who keeps the keys that are denied most.
    fn tell_denials<L: Backend>(
        &self,
        layer: RateLimitLayer<LimitKey, L>,
        at: usize,
        counted: &CountedIn,
    ) -> RateLimitLayer<LimitKey, L> {
        let is_logged = self.config.access_log;
        // A limiter in this process tells itself.
        let told = (self.config.offenders > 0 && counted.there().is_some()).then(|| counted.told().clone());
        if !is_logged && told.is_none() {
            return layer;
        }
        let key = LimitKey { rules: self.rules.clone(), limit: at };
        layer.on_denied(move |_, head| {
            head.extensions.get().into_iter().for_each(|by: &DeniedBy| by.set(at));
            if let Some(told) = &told
                && let Ok(key) = key.extract(head)
            {
                told.tell_denied(&key);
            }
        })
    }
}

/// Settles what a request cost when its response is there.
fn settle<L: Backend>(layer: RateLimitLayer<LimitKey, L>, cost: &Cost) -> RateLimitLayer<LimitKey, L> {
    let header = match cost {
        Cost::ResponseBytes => return layer.settle_by_body(|bytes| bytes),
        Cost::ResponseHeader(header) => header.clone(),
        Cost::Fixed(_) | Cost::RequestHeader(_) => return layer,
    };
    layer.settle(move |response| {
        // What it costs is what the upstream says, and what was reserved where it says nothing that can be read.
        let mut lines = response.headers.get_all(&header).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok()?.trim().parse().ok(),
            _ => None,
        }
    })
}

/// What a denied client is told, and others.
fn answers<L: Backend>(mut layer: RateLimitLayer<LimitKey, L>, config: &Config) -> RateLimitLayer<LimitKey, L> {
    if config.rate_headers != Headers::None {
        layer = layer.headers(config.rate_headers).headers_on_every_response();
    }
    layer = match &config.denied.body {
        // As Envoy says it, which names no character set.
        DeniedBody::Text(text) => layer.denial_body(HeaderValue::from_static("text/plain"), text.clone()),
        DeniedBody::Problem => layer.denial_problem(),
    };
    for (name, value) in &config.denied.headers {
        layer = layer.denial_header(name.clone(), value.clone());
    }
    layer
}
