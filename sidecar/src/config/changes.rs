//! [`Changes`]: what a reload changes, which limits keep what was spent, and what waits for a restart.

use std::fmt;

use super::{Config, KeyPart, Limit};

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Each limit of the new configuration, and what becomes of its counts.
    pub limits: Vec<Carried>,
    /// What changes, a line each, for the log and for a person who asks beforehand.
    pub told: Vec<String>,
    /// What keeps its old value until the program is started again, a line each.
    pub until_restart: Vec<String>,
}

/// What becomes of a limit's counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// What was spent stays, with the old limit of this name, by its place.
    Kept(usize),
    /// It starts with nothing spent.
    Fresh,
}

/// Where limits are counted, before and after.
#[derive(Clone, Copy)]
enum CountedWhere {
    /// In this process.
    Here,
    /// In one store, which remembers by name and key.
    There,
    Another,
}

impl Changes {
    /// From one configuration to another. A limit is its name.
    ///
    /// It takes each old limit for one that was made by the old configuration. A program that has been reloaded may have made it by one
    /// with fewer quotas, and so with less room. That is told.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Self::with_room(old, new, |at| old.limits[at].room());
        let grows = |(limit, carried): (&Limit, &Carried)| match carried {
            Carried::Kept(at) if new.store.is_none() && limit.quotas() > old.limits[*at].quotas() => Some(format!(
                "{}: if it had fewer quotas when the program started, it may start fresh, and the log says so",
                limit.name
            )),
            _ => None,
        };
        let told: Vec<String> = new.limits.iter().zip(&changes.limits).filter_map(grows).collect();
        changes.told.extend(told);
        changes
    }

    /// The same, where each old limit, by its place, has room for so many quotas.
    pub(crate) fn with_room(old: &Config, new: &Config, room: impl Fn(usize) -> usize) -> Self {
        let mut changes = Self::default();
        let redis = |config: &Config| config.store.as_ref().map(|store| store.redis.clone());
        let place = match (redis(old), redis(new)) {
            (None, None) => CountedWhere::Here,
            (old, new) if old == new => CountedWhere::There,
            _ => CountedWhere::Another,
        };
        for limit in &new.limits {
            let carried = match old.limits.iter().position(|other| other.name == limit.name) {
                Some(at) => changes.limit(at, &old.limits[at], limit, room(at), place),
                None => changes.new_limit(limit, old, new),
            };
            changes.limits.push(carried);
        }
        for limit in old.limits.iter().filter(|limit| new.limit(&limit.name).is_none()) {
            let spent = match place {
                CountedWhere::There => "; Redis remembers what was spent until it would be free again",
                _ => ", and what was spent with it",
            };
            changes.say(format!("{}: gone{spent}", limit.name));
        }
        changes.rest(old, new);
        changes
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.until_restart.is_empty()
    }

    fn say(&mut self, line: String) {
        self.told.push(line);
    }

    /// Where what was spent stays, and where not: `what was spent stays with client and login; api starts fresh`.
    pub fn summary(&self, new: &Config) -> String {
        let names = |is_kept: bool| -> Vec<&str> {
            let limits = new.limits.iter().zip(&self.limits);
            limits
                .filter(|(_, carried)| matches!(carried, Carried::Kept(_)) == is_kept)
                .map(|(limit, _)| &*limit.name)
                .collect()
        };
        let (kept, fresh) = (names(true), names(false));
        let kept = (!kept.is_empty()).then(|| format!("what was spent stays with {}", and(&kept)));
        let verb = if fresh.len() == 1 { "starts" } else { "start" };
        let fresh = (!fresh.is_empty()).then(|| format!("{} {verb} fresh", and(&fresh)));
        let parts: Vec<String> = kept.into_iter().chain(fresh).collect();
        if parts.is_empty() { "there are no limits".to_owned() } else { parts.join("; ") }
    }

    /// Corrects what was said of a limit, by its place: it starts fresh all the same.
    pub(crate) fn starts_fresh(&mut self, at: usize, limit: &Limit, why: &str) {
        self.limits[at] = Carried::Fresh;
        let told = format!("{}: ", limit.name);
        self.told.retain(|line| !line.starts_with(&told));
        self.say(format!("{}: starts fresh: {why}", limit.name));
    }

    fn limit(&mut self, at: usize, old: &Limit, new: &Limit, room: usize, place: CountedWhere) -> Carried {
        let why = match place {
            CountedWhere::Here => other_key(old, new).or_else(|| no_room(old, new, room)),
            CountedWhere::There => other_key(old, new),
            CountedWhere::Another => Some("it is counted elsewhere now".to_owned()),
        };
        let mut parts = Vec::new();
        if old.policy != new.policy {
            parts.push(format!("{} is now {}", old.policy, new.policy));
        }
        if old.scope != new.scope {
            parts.push(format!("{} is now {}", old.scope, new.scope));
        }
        if old.plans.as_ref().map(|plans| &plans.policies) != new.plans.as_ref().map(|plans| &plans.policies) {
            parts.push("its plans have changed".to_owned());
        }
        if old.instead_of != new.instead_of {
            let told = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(" and ") };
            parts.push(format!("instead of {} is now instead of {}", told(&old.instead_of), told(&new.instead_of)));
        }
        if (old.enabled, old.enforced) != (new.enabled, new.enforced) {
            let told = |limit: &Limit| match (limit.enabled, limit.is_shadow()) {
                (enabled, true) => format!("shadow on {enabled}"),
                (enabled, false) => format!("acting on {} of {enabled}", limit.enforced),
            };
            parts.push(format!("{} is now {}", told(old), told(new)));
        }
        if (&old.cost, old.reserve) != (&new.cost, new.reserve) {
            parts.push(format!("cost {} is now {}", old.cost, new.cost));
        }
        if old.missing != new.missing {
            parts.push("what happens without a key has changed".to_owned());
        }
        match why {
            Some(why) => {
                parts.push(format!("starts fresh: {why}"));
                self.say(format!("{}: {}", new.name, parts.join("; ")));
                Carried::Fresh
            }
            None => {
                if !parts.is_empty() {
                    self.say(format!("{}: {}; what was spent stays", new.name, parts.join("; ")));
                }
                Carried::Kept(at)
            }
        }
    }

    fn new_limit(&mut self, limit: &Limit, old: &Config, new: &Config) -> Carried {
        let renamed = old.limits.iter().find(|other| {
            let as_before = Limit { name: limit.name.clone(), line: limit.line, ..(*other).clone() };
            new.limit(&other.name).is_none() && as_before == *limit
        });
        self.say(match renamed {
            Some(other) => format!(
                "{}: starts fresh: it is {} under a new name, and what was spent belongs to the name",
                limit.name, other.name
            ),
            None => format!("{}: new, {}", limit.name, limit.policy),
        });
        Carried::Fresh
    }

    /// What is not about limits.
    fn rest(&mut self, old: &Config, new: &Config) {
        if old.upstreams != new.upstreams {
            let told = |config: &Config| {
                config.upstreams.iter().map(|upstream| upstream.to_string()).collect::<Vec<_>>().join(" and ")
            };
            self.say(format!("upstream: {} is now {}", told(old), told(new)));
        }
        if old.trusted_proxies != new.trusted_proxies {
            let told = |config: &Config| match config.trusted_proxies.is_empty() {
                true => "nobody".to_owned(),
                false => config.trusted_proxies.to_string(),
            };
            self.say(format!("trusted_proxies: {} is now {}", told(old), told(new)));
        }
        let exempt = |config: &Config| config.exempt.iter().map(|exemption| exemption.to_string()).collect::<Vec<_>>();
        if exempt(old) != exempt(new) {
            let told = |exempt: Vec<String>| if exempt.is_empty() { "nothing".to_owned() } else { exempt.join(", ") };
            self.say(format!("exempt: {} is now {}", told(exempt(old)), told(exempt(new))));
        }
        for (what, changed) in [
            ("denied", old.denied != new.denied),
            ("rate_headers", old.rate_headers != new.rate_headers),
            ("store", old.store != new.store),
            ("deadlines", old.deadlines != new.deadlines),
            ("requires_upstream", old.requires_upstream != new.requires_upstream),
            ("access_log", old.access_log != new.access_log),
        ] {
            if changed {
                self.say(format!("{what}: changed"));
            }
        }
        for (what, changed) in [
            ("listen", old.listen != new.listen || old.tls.is_some() != new.tls.is_some()),
            ("admin", old.admin != new.admin),
            ("offenders", old.offenders != new.offenders),
            ("metrics", old.metrics != new.metrics),
            ("threads", old.threads != new.threads),
            ("caps", old.caps != new.caps),
            ("log", old.log != new.log),
        ] {
            if changed {
                self.until_restart.push(format!("{what}: refused until restart, the old value stays"));
            }
        }
        if old.tls != new.tls && old.tls.is_some() && new.tls.is_some() {
            self.say("tls: changed".to_owned());
        }
    }
}

impl Config {
    /// This configuration as it can be taken up while the program runs under an old one: what waits for a restart keeps
    /// its old value.
    #[must_use]
    pub fn taken_up_after(self, old: &Self) -> Self {
        let stays_plain = old.tls.is_none();
        Self {
            listen: old.listen,
            tls: if stays_plain { None } else { self.tls.or_else(|| old.tls.clone()) },
            admin: old.admin.clone(),
            offenders: old.offenders,
            metrics: old.metrics,
            threads: old.threads,
            caps: old.caps.clone(),
            log: old.log,
            ..self
        }
    }
}

/// Why what was spent cannot be carried over from one limit to another of its name: accounts are by key.
fn other_key(old: &Limit, new: &Limit) -> Option<String> {
    let told = |limit: &Limit| limit.key.parts().iter().map(KeyPart::to_string).collect::<Vec<_>>().join(" and ");
    (old.key != new.key).then(|| format!("it was counted by {} and is by {}", told(old), told(new)))
}

/// The same, where they are counted in this process, and there is room for so many quotas.
fn no_room(old: &Limit, new: &Limit, room: usize) -> Option<String> {
    let names = |limit: &Limit| -> Vec<String> {
        limit.plans.iter().flat_map(|plans| &plans.policies).map(|(name, _)| name.clone()).collect()
    };
    if new.quotas() > room {
        let (room, now) = (room, new.quotas());
        return Some(format!("there is room for {room} quota{} and it has {now}", if room == 1 { "" } else { "s" }));
    }
    if names(old) != names(new) {
        return Some("its plans have other names".to_owned());
    }
    if old.capacity != new.capacity {
        return Some(format!("it remembered {} keys and remembers {}", old.capacity, new.capacity));
    }
    None
}

/// `a, b and c`.
fn and(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    }
}

/// A line each.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told.iter().chain(&self.until_restart).try_for_each(|line| writeln!(f, "  {line}"))
    }
}
