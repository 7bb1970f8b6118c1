//! [`Matcher`]: which limits count a request, and by which key. What `check` explains and what the proxy does come from here:
//! an [`Enforcer`] is a matcher with limiters.
//!
//! It decides from a request's head alone: no clock, no counter. Two draws of each limit that is introduced gradually
//! ([`Draw`]) are made by the caller.

mod counted;
mod counts_by_limit;
mod denied_by;
mod enforcer;
mod host;
mod key;
mod layers;
mod limit_key;
mod share;
mod store;
#[cfg(test)]
mod tests;
mod text_key;

use std::net::IpAddr;

use http::Method;
use http::request::Parts;
use tollgate::SettingError;
use tollgate::http::{ClientIp, KeyExtractor, NoKey, PeerAddr};

pub use self::counts_by_limit::CountsByLimit;
pub use self::denied_by::DeniedBy;
pub use self::enforcer::{EnforceError, Enforcer, Ruling};
pub use self::host::host_of;
use self::key::Extract;
pub use self::key::RequestKey;
pub use self::layers::Limits;
pub use self::limit_key::LimitKey;
pub use self::share::Shares;
pub use self::store::Shared;
pub use self::text_key::TextKey;
pub(crate) use self::text_key::unescaped;
use crate::config::{Config, Cost, Exemption, Key, Limit, Missing, Path, Ranges, Scope};

/// Says which limits count a request, and by which key.
///
/// Every limit that [counts](Counted) must pass. Three rules keep a client from choosing its limits by an odd request:
///
/// - A limit sees a path and a method in every spelling. An exemption, and a limit *instead of* another, take a limit away only where
///   both are in their plain spelling.
/// - A limit stands in for another only where it acts: not in its rehearsal, and not on a request that it skips.
/// - Plans and costs in a request's headers count only if a trusted proxy sent it.
#[derive(Debug)]
pub struct Matcher {
    /// The whole address, for exemptions.
    address: ClientIp,
    /// The address as clients are counted.
    counted: ClientIp,
    trusted: Ranges,
    exempt: Vec<Exemption>,
    rules: Vec<Rule>,
}

/// A limit, ready to be asked about.
#[derive(Debug)]
struct Rule {
    scope: Scope,
    key: Extract,
    missing: Missing,
    /// The limits that it stands in for, as bits.
    instead_of: u64,
    plan: Option<(http::HeaderName, Vec<String>)>,
    cost: Cost,
    reserve: u64,
}

/// Whether a limit looks at a request, while it is being introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// It does not.
    Off,
    /// It looks, and denies nothing.
    Shadow,
    /// It acts.
    Act,
}

/// What the limits say about a request.
#[derive(Debug)]
pub enum Judged<'a> {
    /// No limit counts it, because of this exemption (by its place in the configuration).
    Exempt(usize),
    /// These limits count it; perhaps none.
    Counted(Counting<'a>),
    /// A limit (by its place) counts by something that the request does not have: answer 400.
    Lacks {
        /// Which limit.
        limit: usize,
        /// What to tell the client: `the request lacks the header x-api-key`.
        what: String,
    },
    /// The proxy has not said who the peer is: it must insert a [`PeerAddr`].
    NoPeer(NoKey),
}

/// The limits that count a request, one after the other.
#[derive(Clone, Debug)]
pub struct Counting<'a> {
    matcher: &'a Matcher,
    head: &'a Parts,
    client: IpAddr,
    host: Option<std::borrow::Cow<'a, str>>,
    by_proxy: bool,
    /// Those that are left.
    limits: u64,
    shadow: u64,
}

/// A limit that counts a request.
#[derive(Debug)]
pub struct Counted<'a> {
    /// The limit, by its place in the configuration.
    pub limit: usize,
    /// What it counts by.
    pub key: RequestKey<'a>,
    /// The plan, by its place in the limit's list; the limit's own policy if there is none.
    pub plan: Option<usize>,
    /// What is charged now.
    pub cost: u64,
    /// Whether it denies nothing.
    pub shadow: bool,
}

/// Why a limit does not look at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// Another path.
    Path,
    /// Another method.
    Method,
    /// Another host.
    Host,
    /// Another client.
    From,
    /// The path and the method, but in a spelling that an exemption does not hold for.
    Spelling,
}

impl Matcher {
    /// The limits and exemptions of a configuration.
    ///
    /// # Errors
    ///
    /// If the configuration has what none that was read has: a range that is no range, or the name of something that
    /// does not exist.
    pub fn new(config: &Config) -> Result<Self, SettingError> {
        let counted = if config.trusted_proxies.is_empty() {
            ClientIp::peer()
        } else {
            ClientIp::behind(config.trusted_proxies.written())?
        };
        let hosts: Vec<String> = config.upstreams.hosts().into_iter().flatten().map(str::to_owned).collect();
        let rules = config.limits.iter().map(|limit| Rule::new(limit, config, &hosts));
        Ok(Self {
            address: counted.clone().ipv6_prefix(128)?,
            counted,
            trusted: config.trusted_proxies.clone(),
            exempt: config.exempt.clone(),
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Which limits count a request. Its head carries the peer's address as a [`PeerAddr`].
    ///
    /// `draw` is asked once for each limit that is about the request.
    pub fn judge<'a>(&'a self, head: &'a Parts, mut draw: impl FnMut(usize) -> Draw) -> Judged<'a> {
        let client = match self.address.extract(head) {
            Ok(client) => client,
            Err(no_peer) => return Judged::NoPeer(no_peer),
        };
        let path = Path::of(head.uri.path());
        let host = host_of(head);
        let exempt = |exemption: &Exemption| exempts(exemption, &head.method, &path, host.as_deref(), client).is_ok();
        if let Some(at) = self.exempt.iter().position(exempt) {
            return Judged::Exempt(at);
        }
        let by_proxy = self.is_by_proxy(head);
        let mut counting =
            Counting { matcher: self, head, client: self.counted.key_of(client), host, by_proxy, limits: 0, shadow: 0 };
        let (mut replaced, mut lacking) = (0, 0);
        for (at, rule) in self.rules.iter().enumerate() {
            if !is_about(&rule.scope, &head.method, &path, counting.host.as_deref()) {
                continue;
            }
            let drawn = draw(at);
            if drawn == Draw::Off {
                continue;
            }
            let bit = 1 << at;
            if !rule.key.is_simple() && rule.key.of(head, counting.client, rule.missing).is_err() {
                // A rehearsal refuses nothing.
                if rule.missing == Missing::Skip || drawn == Draw::Shadow {
                    continue;
                }
                lacking |= bit;
            }
            counting.limits |= bit;
            if drawn == Draw::Shadow {
                counting.shadow |= bit;
            } else if rule.scope.has_plainly(&path, &head.method) {
                replaced |= rule.instead_of;
            }
        }
        counting.limits &= !replaced;
        let lacking = lacking & counting.limits;
        if lacking != 0 {
            let limit = lacking.trailing_zeros() as usize; // below 64
            let rule = &self.rules[limit];
            if let Err(what) = rule.key.of(head, counting.client, rule.missing) {
                return Judged::Lacks { limit, what };
            }
        }
        Judged::Counted(counting)
    }

    /// The client of a request, as an exemption sees it: with its whole address.
    ///
    /// # Errors
    ///
    /// If the head carries no peer.
    pub fn client(&self, head: &Parts) -> Result<IpAddr, NoKey> {
        self.address.extract(head)
    }

    /// Why a limit, by its place, is not about a request. `Ok` if it is.
    pub fn limit_is_about(&self, limit: usize, head: &Parts) -> Result<(), Unlike> {
        about(&self.rules[limit].scope, &head.method, &Path::of(head.uri.path()), host_of(head).as_deref())
    }

    /// Why an exemption, by its place, is not about a request of this client. `Ok` if it is.
    pub fn exemption_is_about(&self, exemption: usize, head: &Parts, client: IpAddr) -> Result<(), Unlike> {
        let path = Path::of(head.uri.path());
        exempts(&self.exempt[exemption], &head.method, &path, host_of(head).as_deref(), client)
    }

    fn is_by_proxy(&self, head: &Parts) -> bool {
        let peer = head.extensions.get::<PeerAddr>();
        !self.trusted.is_empty() && peer.is_some_and(|PeerAddr(peer)| self.trusted.contains(peer.ip()))
    }
}

impl Rule {
    fn new(limit: &Limit, config: &Config, hosts: &[String]) -> Result<Self, SettingError> {
        let place = |name: &String| config.limits.iter().position(|other| other.name == *name);
        let plans = |plans: &crate::config::Plans| {
            (plans.header.clone(), plans.policies.iter().map(|(name, _)| name.clone()).collect())
        };
        Ok(Self {
            scope: limit.scope.clone(),
            key: Extract::new(&limit.key, hosts)?,
            missing: limit.missing,
            instead_of: limit.instead_of.iter().filter_map(place).fold(0, |bits, at| bits | 1 << at),
            plan: limit.plans.as_ref().map(plans),
            cost: limit.cost.clone(),
            reserve: limit.reserve,
        })
    }

    fn plan_of(&self, head: &Parts) -> Option<usize> {
        let (header, plans) = self.plan.as_ref()?;
        let name = alone(head, header)?;
        plans.iter().position(|plan| plan.as_bytes() == name)
    }

    fn cost_of(&self, head: &Parts, by_proxy: bool) -> u64 {
        match &self.cost {
            Cost::Fixed(cost) => *cost,
            Cost::RequestHeader(header) if by_proxy => {
                let told = alone(head, header).and_then(|told| std::str::from_utf8(told).ok()?.trim().parse().ok());
                told.unwrap_or(self.reserve)
            }
            Cost::RequestHeader(_) | Cost::ResponseHeader(_) | Cost::ResponseBytes => self.reserve,
        }
    }
}

/// The value of a header, if there is one line of it. Of several, nobody can say which one the proxy wrote.
fn alone<'a>(head: &'a Parts, header: &http::HeaderName) -> Option<&'a [u8]> {
    let mut lines = head.headers.get_all(header).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line.as_bytes()),
        _ => None,
    }
}

impl<'a> Iterator for Counting<'a> {
    type Item = Counted<'a>;

    fn next(&mut self) -> Option<Counted<'a>> {
        if self.limits == 0 {
            return None;
        }
        let limit = self.limits.trailing_zeros() as usize; // below 64
        self.limits &= self.limits - 1;
        let rule = &self.matcher.rules[limit];
        let key = rule.key.of(self.head, self.client, rule.missing);
        let key = key.expect("looked for when it was judged");
        let plan = if self.by_proxy { rule.plan_of(self.head) } else { None };
        let cost = rule.cost_of(self.head, self.by_proxy);
        Some(Counted { limit, key, plan, cost, shadow: self.shadow & 1 << limit != 0 })
    }
}

fn is_about(scope: &Scope, method: &Method, path: &Path<'_>, host: Option<&str>) -> bool {
    scope.is_everything() || about(scope, method, path, host).is_ok()
}

fn about(scope: &Scope, method: &Method, path: &Path<'_>, host: Option<&str>) -> Result<(), Unlike> {
    if !scope.has_host(host) {
        return Err(Unlike::Host);
    }
    if !scope.has_path(path) {
        return Err(Unlike::Path);
    }
    if !scope.has_method(method) {
        return Err(Unlike::Method);
    }
    Ok(())
}

fn exempts(
    exemption: &Exemption,
    method: &Method,
    path: &Path<'_>,
    host: Option<&str>,
    client: IpAddr,
) -> Result<(), Unlike> {
    about(&exemption.scope, method, path, host)?;
    if !exemption.from.is_empty() && !exemption.from.contains(client) {
        return Err(Unlike::From);
    }
    if !exemption.scope.has_plainly(path, method) {
        return Err(Unlike::Spelling);
    }
    Ok(())
}

/// Whether a limit counts by what clients choose, and by nothing else that bounds them.
pub fn is_chosen_by_clients(key: &Key) -> bool {
    key.parts().iter().any(crate::config::KeyPart::is_chosen_by_clients)
}
