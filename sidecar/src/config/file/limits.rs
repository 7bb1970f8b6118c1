//! `[limits]`: how much, for which requests, and whom it counts.

use std::ops::Range;
use std::str::FromStr;

use tollgate::{ParseError, Policy, RateLimiter, SettingError};

use super::File;
use crate::config::problem::did_you_mean;
use crate::config::reader::{Section, Value};
use crate::config::{Config, Cost, Key, KeyPart, Limit, Missing, Percent, Plans, words};

/// Where parts of a limit stand, for what is only known when all limits are.
struct Places {
    instead_of: Vec<(String, Range<usize>)>,
    hosts: Vec<(String, Range<usize>)>,
    by_host: Option<Range<usize>>,
    from_proxies: Vec<(&'static str, Range<usize>)>,
}

impl File<'_> {
    pub(super) fn limits(&mut self, root: &mut Section<'_, '_>, config: &mut Config, hosts_are_known: bool) {
        let section = root.section("limits", self.sink);
        let mut places = Vec::new();
        for (key, value) in section.entries() {
            let name = key.get_ref();
            if !value.is_table() {
                let what = format!("a limit is a table, as in [limits.{name}] limit = \"28/second\"");
                value.is_wrong(self.sink, what);
                continue;
            }
            if !words::is_limit_name(name) {
                let what = format!(
                    "{name:?} is not a name for a limit: write 1 to 63 letters, digits, '-' or '_', the first a letter"
                );
                self.sink.say(key.span(), what);
            }
            if places.len() == Config::LIMITS_MAX {
                self.sink.say(key.span(), format!("there are at most {} limits", Config::LIMITS_MAX));
                break;
            }
            let Some(table) = value.table(self.sink) else { continue };
            let shown = if words::is_limit_name(name) { name.to_string() } else { format!("{name:?}") };
            let mut section = Section::new(format!("[limits.{shown}]"), key.span(), table);
            let (limit, at) = self.limit(name, &mut section);
            section.finish(self.sink);
            config.limits.push(limit);
            places.push(at);
        }
        for (at, places) in places.iter().enumerate() {
            self.limit_among_others(at, places, config, hosts_are_known);
        }
        self.circles(&places, config);
        config.limits.extend(self.overrides.limit.iter().cloned());
    }

    fn limit(&mut self, name: &str, section: &mut Section<'_, '_>) -> (Limit, Places) {
        let stand_in = || Policy::from(tollgate::Quota::per_second(1));
        let mut limit = Limit::new(name, stand_in());
        limit.line = Some(self.line(section.at().start));
        let mut places = Places { instead_of: vec![], hosts: vec![], by_host: None, from_proxies: vec![] };
        let mut policy = None;
        match section.take("limit") {
            Some(value) => policy = self.policy(value, "limit = \"28/second\""),
            None => {
                let what = format!("{} needs a \"limit\", as in limit = \"28/second\"", section.name());
                section.lacks("limit", what);
            }
        }
        if let Some(value) = section.take("key") {
            limit.key = self.key(value, &mut places).unwrap_or_else(Key::address);
        }
        if let Some(value) = section.take("missing") {
            limit.missing = value.parsed(self.sink, "missing = \"skip\"", words::missing).unwrap_or_default();
            if limit.key.parts().iter().all(|part| matches!(part, KeyPart::Address | KeyPart::Global)) {
                value.is_wrong(
                    self.sink,
                    "\"missing\" is about keys of headers, cookies and hosts: an address is never missing",
                );
                limit.missing = Missing::Refuse;
            }
        }
        limit.scope = self.scope(section, Some(&mut places.hosts));
        for value in self.several(section.take("instead_of")) {
            if let Some(name) = value.text(self.sink, "instead_of = \"client\"") {
                limit.instead_of.push(name.to_owned());
                places.instead_of.push((name.to_owned(), value.at()));
            }
        }
        limit.plans = self.plans(section, policy.as_ref(), &mut places);
        self.cost(section, &mut limit, &mut places);
        self.rollout(section, &mut limit);
        if let Some(value) = section.take("capacity") {
            let capacity = value.number(self.sink, 1..=1 << 32, "capacity = 100000");
            limit.capacity = capacity.map_or(Limit::CAPACITY, |capacity| capacity as usize); // fits where it is useful
        }
        limit.policy = policy.unwrap_or_else(stand_in);
        (limit, places)
    }

    /// A limit's string. The error points inside it.
    fn policy(&mut self, value: Value<'_, '_>, example: &str) -> Option<Policy> {
        let text = value.text(self.sink, example)?;
        match Policy::from_str(text) {
            Ok(policy) => Some(policy),
            Err(error) => {
                let near = error.near().strip_suffix("...").unwrap_or(error.near());
                let bytes = error.position()..error.position() + near.len();
                self.sink.say(value.inside(self.text, bytes), limit_error(text, &error));
                None
            }
        }
    }

    fn key(&mut self, value: Value<'_, '_>, places: &mut Places) -> Option<Key> {
        let mut parts: Vec<KeyPart> = Vec::new();
        for item in self.several(Some(value)) {
            let part = item.parsed(self.sink, "key = \"address\"", words::key_part)?;
            if parts.contains(&part) {
                item.is_wrong(self.sink, format!("{part} is there twice"));
            }
            if part == KeyPart::Host {
                places.by_host = Some(item.at());
            }
            parts.push(part);
        }
        if parts.len() > 1 && parts.contains(&KeyPart::Global) {
            value.is_wrong(self.sink, "\"global\" is one key for everybody, and stands alone");
        }
        let many = parts.len() > Key::PARTS_MAX;
        if many {
            value.is_wrong(self.sink, format!("a key has at most {} parts", Key::PARTS_MAX));
        }
        Key::new(parts)
    }

    fn plans(&mut self, section: &mut Section<'_, '_>, policy: Option<&Policy>, places: &mut Places) -> Option<Plans> {
        let plan = section.take("plan");
        let header = plan.map(|value| {
            places.from_proxies.push(("plan", value.at()));
            value.parsed(self.sink, "plan = \"header:x-plan\"", words::plan)
        });
        let given = section.take("plans");
        let plans = section.section("plans", self.sink);
        let mut policies: Vec<(String, Policy)> = Vec::new();
        for (key, value) in plans.entries() {
            let Some(other) = self.policy(value, "plans = { pro = \"6000/minute\" }") else { continue };
            // The library says what does not fit.
            if let Some(policy) = policy
                && let Err(error) = fits(policy, &policies, key.get_ref(), &other)
            {
                value.is_wrong(self.sink, error.to_string());
                continue;
            }
            policies.push((key.get_ref().to_string(), other));
        }
        match (plan, given) {
            (Some(plan), None) => {
                plan.is_wrong(self.sink, "there is no plan, as in plans = { pro = \"6000/minute\" }");
            }
            (None, Some(plans)) => {
                plans.is_wrong(self.sink, "nothing tells which plan a request is on, as in plan = \"header:x-plan\"");
            }
            _ => {}
        }
        Some(Plans { header: header??, policies })
    }

    fn cost(&mut self, section: &mut Section<'_, '_>, limit: &mut Limit, places: &mut Places) {
        if let Some(value) = section.take("cost") {
            let example = "cost = \"response-bytes\"";
            let number = if value.is_number() {
                value.number(self.sink, 1..=u64::MAX, "cost = 10").map(Cost::Fixed)
            } else {
                value.parsed(self.sink, example, words::cost)
            };
            limit.cost = number.unwrap_or(Cost::Fixed(1));
            if matches!(limit.cost, Cost::RequestHeader(_)) {
                places.from_proxies.push(("cost", value.at()));
            }
        }
        if let Some(value) = section.take("reserve") {
            limit.reserve = value.number(self.sink, 0..=u64::MAX, "reserve = 500").unwrap_or(1);
            if matches!(limit.cost, Cost::Fixed(_)) {
                value.is_wrong(
                    self.sink,
                    "\"reserve\" is held until the cost is known, as with cost = \"response-bytes\", and here it is known at once",
                );
            }
        }
    }

    /// A percentage, where one is given, and its place.
    pub(super) fn percent<'t, 'i>(
        &mut self,
        section: &mut Section<'t, 'i>,
        key: &'static str,
        example: &str,
    ) -> Option<(Value<'t, 'i>, Option<Percent>)> {
        let value = section.take(key)?;
        let parse = |text: &str| text.parse::<Percent>().map_err(|what| format!("{text:?} {what}"));
        Some((value, value.parsed(self.sink, example, parse)))
    }

    fn rollout(&mut self, section: &mut Section<'_, '_>, limit: &mut Limit) {
        if let Some((_, Some(enabled))) = self.percent(section, "enabled", "enabled = \"10%\"") {
            limit.enabled = enabled;
        }
        let enforced = self.percent(section, "enforced", "enforced = \"10%\"");
        if let Some((_, Some(enforced))) = enforced {
            limit.enforced = enforced;
        }
        let shadow = section.take("shadow").and_then(|value| value.boolean(self.sink, "shadow = true"));
        if shadow == Some(true) {
            if let Some((other, _)) = enforced {
                let what = "a shadow limit enforces nothing: take out shadow to enforce it on some requests";
                other.is_wrong(self.sink, what);
            }
            limit.enforced = Percent::NONE;
        }
    }

    /// What a limit says of others, of hosts and of proxies.
    fn limit_among_others(&mut self, at: usize, places: &Places, config: &Config, hosts_are_known: bool) {
        let names = || config.limits.iter().map(|limit| limit.name.as_str());
        for (name, place) in &places.instead_of {
            if *name == config.limits[at].name {
                self.sink.say(place.clone(), "a limit does not stand in for itself");
            } else if !names().any(|other| other == name) {
                let near = did_you_mean(name, names());
                self.sink.say(place.clone(), format!("there is no limit {name:?}.{near}"));
            }
        }
        if config.trusted_proxies.is_empty() {
            for (what, place) in &places.from_proxies {
                self.sink.lacks(
                    place.clone(),
                    format!(
                        "clients would choose their {what}: say whose word counts, as in trusted_proxies = [\"10.0.0.0/8\"]"
                    ),
                );
            }
        }
        if !hosts_are_known {
            return;
        }
        match config.upstreams.hosts() {
            Some(hosts) => {
                let hosts: Vec<&str> = hosts.collect();
                for (host, place) in &places.hosts {
                    if !hosts.contains(&host.as_str()) {
                        let near = did_you_mean(host, hosts.iter().copied());
                        self.sink.say(place.clone(), format!("{host:?} is not among the [upstreams].{near}"));
                    }
                }
            }
            None => {
                if let Some(place) = &places.by_host {
                    let what = "clients write any host: list those that are served under [upstreams], as in \
                                \"shop.example\" = \"http://localhost:5000\"";
                    self.sink.lacks(place.clone(), what);
                }
            }
        }
    }

    /// Limits that stand in for each other would leave none.
    fn circles(&mut self, places: &[Places], config: &Config) {
        let limits = &config.limits;
        let follow = |name: &str| limits.iter().find(|limit| limit.name == *name).map(|limit| &limit.instead_of);
        for (limit, places) in limits.iter().zip(places) {
            for (first, place) in places.instead_of.iter().filter(|(first, _)| *first != limit.name) {
                let mut reached = vec![first.as_str()];
                let mut at = 0;
                while at < reached.len() {
                    for next in follow(reached[at]).into_iter().flatten() {
                        if !reached.contains(&next.as_str()) {
                            reached.push(next);
                        }
                    }
                    at += 1;
                }
                if reached.contains(&limit.name.as_str()) {
                    let what =
                        format!("{} and {first} would stand in for each other, and none would count", limit.name);
                    self.sink.say(place.clone(), what);
                }
            }
        }
    }
}

/// `invalid limit "28/secnd": expected a unit: ..`
pub(crate) fn limit_error(text: &str, error: &ParseError) -> String {
    /// The most of a string that an error repeats, in characters.
    const SHOWN_MAX: usize = 80;
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let dots = if shown.len() < text.len() { "..." } else { "" };
    format!("invalid limit {shown:?}{dots}: {}", error.problem())
}

/// Whether a limiter can have this plan beside the others. The library says why not.
fn fits(policy: &Policy, before: &[(String, Policy)], name: &str, plan: &Policy) -> Result<(), SettingError> {
    let mut limiter = RateLimiter::builder(policy);
    for (name, policy) in before {
        limiter = limiter.plan(name, policy)?;
    }
    limiter.plan(name, plan).map(|_| ())
}
