//! [`Enforcer`]: the limits of a configuration, with their counts.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tollgate::http::{Headers, JointLayer, NoKey};
use tollgate::{Offender, RateLimiter, RedisLimiter};

use super::counted::CountedIn;
use super::counts_by_limit::CountsByLimit;
use super::layers::{Limits, Maker};
use super::limit_key::{Mark, Rules};
use super::store::Shared;
use super::{Draw, Judged, Matcher, RequestKey, Shares};
use crate::config::{Carried, Changes, Config, Cost, KeyPart, Limit};

/// The limits of a configuration, with their counts. Clones share them.
///
/// A request is [judged](Self::judge) first, which marks it, and then goes through the [layer](Self::layer), which counts it as it
/// is marked.
#[derive(Clone, Debug)]
pub struct Enforcer {
    rules: Arc<Rules>,
    limiters: Arc<[CountedIn]>,
    layer: Limits,
    /// The same limits, if no request's head has a say: each counts all, by the peer or by nothing.
    blind: Blind,
    store: Option<Shared>,
    config: Arc<Config>,
}

/// Limits that can be asked without a request's head.
#[derive(Clone, Debug)]
enum Blind {
    None,
    Here(JointLayer),
    /// It denies what is known to be denied in the store.
    There(JointLayer<RedisLimiter>),
}

/// What a configuration says that cannot be done.
pub type EnforceError = Box<dyn std::error::Error + Send + Sync>;

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

impl Enforcer {
    /// The limits of a configuration, with nothing spent.
    ///
    /// # Errors
    ///
    /// If the configuration has what none that was read has.
    pub fn new(config: &Config, counts: &CountsByLimit) -> Result<Self, EnforceError> {
        let store = config.store.as_ref().map(Shared::new).transpose()?;
        let counted = |limit| CountedIn::new(limit, config.offenders, store.as_ref());
        let limiters = config.limits.iter().map(counted).collect::<Result<_, _>>()?;
        Self::with(config, limiters, store, counts)
    }

    /// The limits of a changed configuration, and what has changed. A limit is its name: under the same name, what was spent stays
    /// where it can.
    ///
    /// Limits that both have are changed at once, so this one should not be used for long.
    ///
    /// # Errors
    ///
    /// If the configuration has what none that was read has, or what cannot be counted in the store.
    pub fn reloaded(&self, config: &Config, counts: &CountsByLimit) -> Result<(Self, Changes), EnforceError> {
        Matcher::new(config)?;
        let store = match (&config.store, &self.store) {
            (None, _) => None,
            (Some(config), None) => Some(Shared::new(config)?),
            (Some(config), Some(store)) => Some(store.reloaded(config)?),
        };
        let same_store = match (&store, &self.store) {
            (None, None) => true,
            (Some(now), Some(before)) => now.is_as(before),
            _ => false,
        };
        // First what can fail: that a limit cannot be counted in the store.
        let fresh = |limit| CountedIn::new(limit, config.offenders, store.as_ref());
        let there = |limit| store.is_some().then(|| fresh(limit)).transpose();
        let made = config.limits.iter().map(there).collect::<Result<Vec<_>, _>>()?;
        let mut changes = Changes::with_room(&self.config, config, |at| self.limiters[at].room());
        let mut gone = vec![true; self.limiters.len()];
        let mut limiters = Vec::new();
        for ((at, limit), made) in config.limits.iter().enumerate().zip(made) {
            if let Carried::Kept(before) = changes.limits[at] {
                let same_room = store.is_none() || self.config.limits[before].capacity == limit.capacity;
                if same_store && same_room && self.limiters[before].replace(limit) {
                    gone[before] = false;
                    limiters.push(self.limiters[before].clone());
                    continue;
                }
                // The store itself remembers what was spent.
                if store.is_none() {
                    changes.starts_fresh(at, limit, "the limiter could not be changed");
                }
            }
            limiters.push(made.map_or_else(|| fresh(limit), Ok)?);
        }
        for (limiter, _) in self.limiters.iter().zip(gone).filter(|(_, gone)| *gone) {
            if let (Some(limiter), Some(store)) = (limiter.there(), &self.store) {
                store.retire(limiter);
            }
        }
        Ok((Self::with(config, limiters, store, counts)?, changes))
    }

    fn with(
        config: &Config,
        limiters: Vec<CountedIn>,
        store: Option<Shared>,
        counts: &CountsByLimit,
    ) -> Result<Self, EnforceError> {
        let shares = config.limits.iter().map(Shares::new).collect();
        let plain = config.exempt.is_empty() && config.limits.iter().all(counts_all);
        let rules = Arc::new(Rules { matcher: Matcher::new(config)?, shares, plain });
        let layer = Maker { config, rules: &rules, counts }.limits(&limiters);
        let blind = match &layer {
            _ if !plain || !config.trusted_proxies.is_empty() || config.access_log => Blind::None,
            Limits::One(layer) => Blind::Here(layer.clone().into()),
            Limits::Several(layer) => Blind::Here(layer.clone()),
            Limits::There(layer) => Blind::There(layer.clone()),
            Limits::None => Blind::None,
        };
        Ok(Self { rules, limiters: limiters.into(), layer, blind, store, config: Arc::new(config.clone()) })
    }

    /// Says what is to happen to a request, and marks it for the layer. Its head carries the peer's address as a
    /// [`PeerAddr`](tollgate::http::PeerAddr).
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn judge(&self, head: &mut Parts) -> Result<Ruling, NoKey> {
        if self.counts_all() {
            return Ok(Ruling::Count);
        }
        let Rules { matcher, shares, .. } = &*self.rules;
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

    /// Whether every limit counts every request, so that there is nothing to judge.
    pub fn counts_all(&self) -> bool {
        self.rules.plain && !self.config.limits.is_empty()
    }

    /// Whether all is decided about a request before its head is read, and nothing after: each limit counts all, by the peer or by
    /// nothing, at a cost that is known, nobody writes down what was asked, and a response says nothing of the limits.
    pub fn is_blind(&self) -> bool {
        let is_known = |limit: &Limit| matches!(limit.cost, Cost::Fixed(_));
        let Config { trusted_proxies, access_log, rate_headers, limits, .. } = &*self.config;
        let is_silent = !access_log && *rate_headers == Headers::None;
        self.rules.plain && trusted_proxies.is_empty() && is_silent && limits.iter().all(is_known)
    }

    /// The answer to a request that is denied whatever its head says, by the peer in its extensions, which it takes. `None`: it would pass,
    /// and nothing is charged; or its head has a say.
    pub fn denial_of_any(&self, head: &mut Parts) -> Option<Response<Bytes>> {
        match &self.blind {
            Blind::Here(limits) => limits.answer_if_denied(head),
            Blind::There(limits) => limits.answer_if_denied(head),
            Blind::None => None,
        }
    }

    /// The client of a request, with its whole address.
    ///
    /// # Errors
    ///
    /// If the head does not carry the peer's.
    pub fn client(&self, head: &Parts) -> Result<IpAddr, NoKey> {
        self.rules.matcher.client(head)
    }

    /// Whether a limit counts by a header whose name, in lower case, is such.
    pub fn counts_by_header(&self, is: impl Fn(&str) -> bool) -> bool {
        let parts = self.config.limits.iter().flat_map(|limit| limit.key.parts());
        parts.filter_map(|part| if let KeyPart::Header(name) = part { Some(name.as_str()) } else { None }).any(is)
    }

    /// The layer.
    pub fn layer(&self) -> &Limits {
        &self.layer
    }

    /// The limits that are counted in this process, and their counts.
    pub fn limiters(&self) -> impl Iterator<Item = (&Limit, &RateLimiter)> {
        let all = self.config.limits.iter().zip(self.limiters.iter());
        all.filter_map(|(limit, counted)| Some((limit, counted.here()?)))
    }

    /// The limits that are counted in the store.
    pub fn limiters_there(&self) -> impl Iterator<Item = (&Limit, &RedisLimiter)> {
        let all = self.config.limits.iter().zip(self.limiters.iter());
        all.filter_map(|(limit, counted)| Some((limit, counted.there()?)))
    }

    /// A limit, by its place, if it is counted in this process.
    pub fn limiter_here(&self, limit: usize) -> Option<&RateLimiter> {
        self.limiters.get(limit)?.here()
    }

    /// The keys that a limit, by its place, denies most.
    pub fn offenders(&self, limit: usize) -> Vec<Offender> {
        self.limiters.get(limit).map(|counted| counted.told().offenders()).unwrap_or_default()
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

    /// Where limits are counted, if that is not this process.
    pub fn store(&self) -> Option<&Shared> {
        self.store.as_ref()
    }

    /// The configuration that is in force.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Whether a limit counts every request, and acts on each.
fn counts_all(limit: &Limit) -> bool {
    let needs_nothing = limit.key.parts().iter().all(|part| matches!(part, KeyPart::Address | KeyPart::Global));
    let is_everything = limit.scope.is_everything() && limit.instead_of.is_empty() && limit.is_always();
    let has_no_terms = limit.plans.is_none() && !matches!(limit.cost, Cost::RequestHeader(_));
    needs_nothing && is_everything && has_no_terms
}
