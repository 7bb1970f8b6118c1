//! [`Enforcer`]: the limits of a configuration, with their counts.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Response};
use tollgate::http::{Counters, Headers, JointLayer, KeyExtractor, NoKey, SettingError};
use tollgate::{Plan, RateLimitLayer, RateLimiter};

use super::denied_by::DeniedBy;
use super::key::RequestKey;
use super::{Draw, Judged, Matcher, Shares};
use crate::config::{Carried, Changes, Config, Cost, DeniedBody, KeyPart, Limit, Percent};

/// The limits of a configuration, with their counts. Clones share them.
///
/// A request is [judged](Self::judge) first, which marks it, and then goes through the [layer](Self::layer), which counts it as it
/// is marked.
#[derive(Clone, Debug)]
pub struct Enforcer {
    rules: Arc<Rules>,
    limiters: Arc<[Counted]>,
    layer: Limits,
    config: Arc<Config>,
}

/// A limiter, and for how many quotas it was built.
#[derive(Clone, Debug)]
struct Counted {
    limiter: RateLimiter,
    room: usize,
}

/// What decides about requests, without their counts.
#[derive(Debug)]
struct Rules {
    matcher: Matcher,
    shares: Vec<Shares>,
    /// Whether every limit counts every request, so that there is nothing to judge.
    plain: bool,
}

/// The layer that counts requests, around what answers them.
#[derive(Clone, Debug)]
pub enum Limits {
    /// There is no limit.
    None,
    /// There is one.
    One(RateLimitLayer<LimitKey>),
    /// A request must pass all, and is charged to all or to none.
    Several(JointLayer),
}

/// What is to happen to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The layer counts it, and then it is forwarded.
    Count,
    /// No limit counts it, as it happens: it can go past the layer.
    Pass,
    /// The same, since it is exempt.
    Exempt,
    /// It lacks what it is counted by, and this is to be told: answer 400.
    Lacks(String),
}

/// Which limits count a request, in its extensions.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The limits that count it, as bits.
    limits: u64,
    /// Of those, the ones that deny nothing.
    shadow: u64,
    client: IpAddr,
    by_proxy: bool,
}

impl Enforcer {
    /// The limits of a configuration, with nothing spent.
    ///
    /// # Errors
    ///
    /// If the configuration has what none that was read has.
    pub fn new(config: &Config, counters: &Counters) -> Result<Self, SettingError> {
        let limiters = config.limits.iter().map(|limit| Counted::new(limit, config.offenders)).collect();
        Self::with(config, limiters, counters)
    }

    /// The limits of a changed configuration, and what has changed. A limit is its name: under the same name, what was spent stays
    /// where it can.
    ///
    /// Limits that both have are changed at once, so this one should not be used for long.
    ///
    /// # Errors
    ///
    /// If the configuration has what none that was read has. Then nothing has changed.
    pub fn reloaded(&self, config: &Config, counters: &Counters) -> Result<(Self, Changes), SettingError> {
        Matcher::new(config)?;
        let mut changes = Changes::with_room(&self.config, config, |at| self.limiters[at].room);
        let mut limiters = Vec::new();
        for (at, limit) in config.limits.iter().enumerate() {
            limiters.push(match changes.limits[at] {
                Carried::Kept(before) if replace(&self.limiters[before].limiter, limit) => {
                    self.limiters[before].clone()
                }
                Carried::Kept(_) => {
                    changes.starts_fresh(at, limit, "the limiter could not be changed");
                    Counted::new(limit, config.offenders)
                }
                Carried::Fresh => Counted::new(limit, config.offenders),
            });
        }
        Ok((Self::with(config, limiters, counters)?, changes))
    }

    fn with(config: &Config, limiters: Vec<Counted>, counters: &Counters) -> Result<Self, SettingError> {
        let shares = config.limits.iter().map(Shares::new).collect();
        let plain = config.exempt.is_empty() && config.limits.iter().all(counts_all);
        let rules = Arc::new(Rules { matcher: Matcher::new(config)?, shares, plain });
        let mut layers = Vec::new();
        for (at, (limit, Counted { limiter, .. })) in config.limits.iter().zip(&limiters).enumerate() {
            // A limit that acts on a part of the requests has two layers that share its counts: one acts, the other watches.
            for is_shadow in [false, true] {
                let is_needed = if is_shadow { limit.enforced < Percent::ALL } else { limit.enforced > Percent::NONE };
                if is_needed {
                    layers.push(layer(at, is_shadow, limit, limiter, &rules, config, counters));
                }
            }
        }
        let mut layers = layers.into_iter();
        let layer = match (layers.next(), layers.next()) {
            (None, _) => Limits::None,
            (Some(one), None) => Limits::One(one),
            (Some(one), Some(other)) => Limits::Several(layers.fold(one.and(other), JointLayer::and)),
        };
        Ok(Self { rules, limiters: limiters.into(), layer, config: Arc::new(config.clone()) })
    }

    /// Says what is to happen to a request, and marks it for the layer. Its head carries the peer's address as a
    /// [`PeerAddr`](tollgate::http::PeerAddr).
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn judge(&self, head: &mut Parts) -> Result<Ruling, NoKey> {
        let Rules { matcher, shares, plain } = &*self.rules;
        if *plain && !self.config.limits.is_empty() {
            return Ok(Ruling::Count);
        }
        let draw = |limit: usize| if self.config.limits[limit].is_always() { Draw::Act } else { shares[limit].draw() };
        let mark = match matcher.judge(head, draw) {
            Judged::Exempt(_) => return Ok(Ruling::Exempt),
            Judged::Counted(counting) if counting.limits == 0 => return Ok(Ruling::Pass),
            Judged::Counted(counting) => Mark {
                limits: counting.limits,
                shadow: counting.shadow,
                client: counting.client,
                by_proxy: counting.by_proxy,
            },
            Judged::Lacks { what, .. } => return Ok(Ruling::Lacks(what)),
            Judged::NoPeer(no_peer) => return Err(no_peer),
        };
        head.extensions.insert(mark);
        Ok(Ruling::Count)
    }

    /// The client of a request, with its whole address.
    ///
    /// # Errors
    ///
    /// If the head does not carry the peer's.
    pub fn client(&self, head: &Parts) -> Result<IpAddr, NoKey> {
        self.rules.matcher.client(head)
    }

    /// The layer.
    pub fn layer(&self) -> &Limits {
        &self.layer
    }

    /// The limits and their counts.
    pub fn limiters(&self) -> impl Iterator<Item = (&Limit, &RateLimiter)> {
        self.config.limits.iter().zip(self.limiters.iter().map(|counted| &counted.limiter))
    }

    /// The key by which a limit, by its place, counts a request of this head from this client, wherever the request came from.
    ///
    /// # Errors
    ///
    /// If the request lacks what the limit counts by. The error says what.
    pub fn key_of<'a>(&'a self, limit: usize, head: &'a Parts, client: IpAddr) -> Result<RequestKey<'a>, String> {
        let Matcher { rules, counted, .. } = &self.rules.matcher;
        let rule = &rules[limit];
        rule.key.of(head, counted.key_of(client), rule.missing)
    }

    /// The configuration that is in force.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// The key of a request by one limit, as the request is marked.
#[derive(Clone, Debug)]
pub struct LimitKey {
    rules: Arc<Rules>,
    limit: usize,
}

impl KeyExtractor for LimitKey {
    type Key<'a> = RequestKey<'a>;

    fn extract<'a>(&'a self, head: &'a Parts) -> Result<RequestKey<'a>, NoKey> {
        let Rules { matcher, plain, .. } = &*self.rules;
        let client = match head.extensions.get() {
            Some(Mark { client, .. }) => *client,
            None if *plain => matcher.counted.extract(head)?,
            None => return Err(NoKey::Misconfigured("the request has not been judged".into())),
        };
        let rule = &matcher.rules[self.limit];
        rule.key.of(head, client, rule.missing).map_err(|what| NoKey::Absent(what.into()))
    }
}

/// Whether a limit counts every request, and acts on each.
fn counts_all(limit: &Limit) -> bool {
    let needs_nothing = limit.key.parts().iter().all(|part| matches!(part, KeyPart::Address | KeyPart::Global));
    let is_everything = limit.scope.is_everything() && limit.instead_of.is_empty() && limit.is_always();
    let has_no_terms = limit.plans.is_none() && !matches!(limit.cost, Cost::RequestHeader(_));
    needs_nothing && is_everything && has_no_terms
}

impl Counted {
    /// With nothing spent.
    fn new(limit: &Limit, offenders: usize) -> Self {
        let room = limit.room();
        let builder = RateLimiter::builder(&limit.policy).name(&limit.name).capacity(limit.capacity);
        let mut builder = builder.quotas(room).offenders(offenders);
        for (name, policy) in limit.plans.iter().flat_map(|plans| &plans.policies) {
            builder = builder.plan(name, policy).expect("plans were tried when the file was read");
        }
        Self { limiter: builder.build(), room }
    }
}

/// Changes what a limiter enforces. Whether that could be done.
fn replace(limiter: &RateLimiter, limit: &Limit) -> bool {
    let plans = limit.plans.iter().flat_map(|plans| &plans.policies);
    let plans = plans.map(|(name, policy)| Some((limiter.on(limiter.plan(name)?).ok()?, policy)));
    let Some(plans) = plans.collect::<Option<Vec<_>>>() else { return false };
    let all = plans.iter().map(|(limiter, policy)| (limiter, *policy)).chain([(limiter, &limit.policy)]);
    all.into_iter().all(|(limiter, policy)| limiter.policy() == *policy || limiter.replace_policy(policy).is_ok())
}

/// The layer of a limit, for the requests on which it acts, or for those that it watches.
fn layer(
    at: usize,
    is_shadow: bool,
    limit: &Limit,
    limiter: &RateLimiter,
    rules: &Arc<Rules>,
    config: &Config,
    counters: &Counters,
) -> RateLimitLayer<LimitKey> {
    let key = LimitKey { rules: rules.clone(), limit: at };
    let bit = 1 << at;
    let mut layer = RateLimitLayer::sharing(limiter).key(key).count_into(counters);
    if !rules.plain {
        layer = layer.exempt(move |head| {
            let mark: Option<&Mark> = head.extensions.get();
            mark.is_some_and(|mark| mark.limits & bit == 0 || (mark.shadow & bit != 0) != is_shadow)
        });
    }
    if is_shadow {
        layer = layer.shadow();
    } else if config.access_log {
        layer = layer.on_denied(move |_, head| head.extensions.get().into_iter().for_each(|by: &DeniedBy| by.set(at)));
    }
    if limit.cost != Cost::Fixed(1) {
        let rules = rules.clone();
        layer = layer.cost(move |head| {
            let by_proxy = head.extensions.get().is_some_and(|mark: &Mark| mark.by_proxy);
            rules.matcher.rules[at].cost_of(head, by_proxy)
        });
    }
    match &limit.cost {
        Cost::ResponseHeader(header) => {
            let header = header.clone();
            // What it costs is what the upstream says, and what was reserved where it says nothing that can be read.
            layer = layer.settle(move |response| {
                let mut lines = response.headers.get_all(&header).iter();
                match (lines.next(), lines.next()) {
                    (Some(line), None) => line.to_str().ok()?.trim().parse().ok(),
                    _ => None,
                }
            });
        }
        Cost::ResponseBytes => layer = layer.settle_by_body(|bytes| bytes),
        Cost::Fixed(_) | Cost::RequestHeader(_) => {}
    }
    if let Some(plans) = &limit.plans {
        let plans: Vec<Plan> = plans.policies.iter().map(|(name, _)| limiter.plan(name).unwrap_or_default()).collect();
        let rules = rules.clone();
        layer = layer.plan(move |head| {
            let by_proxy = head.extensions.get().is_some_and(|mark: &Mark| mark.by_proxy);
            let plan = if by_proxy { rules.matcher.rules[at].plan_of(head) } else { None };
            plan.map_or(Plan::DEFAULT, |plan| plans[plan])
        });
    }
    answers(layer, config)
}

/// What a denied client is told, and others.
fn answers(mut layer: RateLimitLayer<LimitKey>, config: &Config) -> RateLimitLayer<LimitKey> {
    if config.rate_headers != Headers::None {
        layer = layer.headers(config.rate_headers).headers_on_every_response();
    }
    layer = match &config.denied.body {
        // As Envoy says it, which names no character set.
        DeniedBody::Text(text) => {
            let text = Bytes::from(text.clone());
            layer.denial_response(move |_, _| {
                let mut response = Response::new(text.clone());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                response
            })
        }
        DeniedBody::Problem => layer.denial_problem(),
    };
    for (name, value) in &config.denied.headers {
        layer = layer.denial_header(name.clone(), value.clone());
    }
    layer
}
