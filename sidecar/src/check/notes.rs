//! [`notes`]: what is legal and probably not meant.

use tollgate::{Policy, Quota};

use crate::config::{Config, Cost, KeyPart, Limit, Missing, OnFailure, Percent, Scope, Store, without_password};

/// What is legal and probably not meant, and what one should know, a paragraph each.
pub fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if config.limits.is_empty() {
        notes.push("Warning: there is no limit, so everything passes.".to_owned());
    }
    if config.trusted_proxies.is_everyone() {
        notes.push(
            "Warning: trusted_proxies holds every address, so every client chooses what it is counted by.\n\
             Give the addresses of your proxies only."
                .to_owned(),
        );
    }
    for exemption in config.exempt.iter().filter(|exemption| exemption.from.is_empty()) {
        notes.push(format!(
            "Note: nothing limits {} for anybody, so anybody can flood it.\n\
             If only probes need it, say from where, as in from = \"10.0.0.0/8\".",
            exemption.scope
        ));
    }
    for limit in &config.limits {
        rehearsal(limit, &mut notes);
        chosen(limit, config, &mut notes);
        replaced(limit, config, &mut notes);
        if matches!(limit.cost, Cost::ResponseHeader(_) | Cost::ResponseBytes) && limit.reserve <= 1 {
            notes.push(format!(
                "Warning: {} holds {} for each request, and no response is charged more than was held.\n\
                 Let reserve be the most that one can cost.",
                limit.name, limit.reserve
            ));
        }
        if limit.policy.quotas().any(|(_, quota)| quota.amount() == 0) {
            notes.push(format!(
                "Warning: {} is {}, so it denies every request that it counts.",
                limit.name, limit.policy
            ));
        }
        if !limit.scope.hosts.is_empty() && config.upstreams.hosts().is_none() {
            notes.push(format!(
                "Warning: clients write any host, so they choose whether {} counts them.\n\
                 List the hosts that are served under [upstreams].",
                limit.name
            ));
        }
    }
    if let Some(store) = &config.store {
        notes.push(shared(config, store));
    }
    if config.offenders > 0 && config.admin.is_none() {
        notes.push(
            "Warning: offenders keeps the keys that are denied most, which takes a lock for each denial,\n\
             and admin is off, so nobody sees them."
                .to_owned(),
        );
    }
    notes
}

/// What a store promises, and what not.
fn shared(config: &Config, store: &Store) -> String {
    let redis = without_password(&store.redis);
    let mut note =
        format!("Note: limits are counted in {redis}, together with all who count there under the same names.\n");
    note += &match store.on_failure {
        OnFailure::Local(share) => format!("While it does not answer, this proxy alone allows {share} of each limit."),
        OnFailure::Open => "While it does not answer, every request passes.".to_owned(),
        OnFailure::Closed => "While it does not answer, no request passes that a limit counts.".to_owned(),
    };
    if config.limits.iter().filter(|limit| !limit.is_shadow()).count() > 1 {
        note += "\nIt judges all limits of a request as one, if it is a single server. In a cluster whose nodes have them apart, they are \
                 asked in turn:\nwhat was charged before a denial is paid back a moment later, so another request may be denied \
                 meanwhile that would have\npassed; and Retry-After is that of the limit that denied.";
    }
    note
}

/// A rehearsal that sees a part of the requests tells little of what the limit would do.
fn rehearsal(limit: &Limit, notes: &mut Vec<String>) {
    if !limit.is_shadow() || limit.enabled == Percent::ALL {
        return;
    }
    let end = match larger(&limit.policy, limit.enabled) {
        Some(policy) => format!("so {} behaves like {policy}", limit.policy),
        None => "so it denies less than it will".to_owned(),
    };
    notes.push(format!(
        "Warning: {} rehearses on {} of requests, {end}.\nLeave out enabled: a shadow limit denies nothing anyway.",
        limit.name, limit.enabled
    ));
}

/// The policy that a part of all requests meets as this one.
fn larger(policy: &Policy, part: Percent) -> Option<Policy> {
    let quotas = policy.quotas().map(|(name, quota)| {
        let larger = |amount: u64| (amount as f64 * 100.0 / part.get()).round() as u64; // for a person to read
        let scaled = Quota::new(larger(quota.amount()), quota.period()).ok()?;
        let scaled =
            if quota.limit() == quota.amount() { scaled } else { scaled.try_burst(larger(quota.limit())).ok()? };
        let scaled = scaled.try_algorithm(quota.algorithm()).ok()?;
        // A quota that had no name of its own gets none.
        Some(if name.starts_with(|c: char| c.is_ascii_digit()) {
            scaled.to_string()
        } else {
            format!("{name}: {scaled}")
        })
    });
    quotas.collect::<Option<Vec<_>>>()?.join("; ").parse().ok()
}

/// A key that clients choose is as many limits as they make up.
fn chosen(limit: &Limit, config: &Config, notes: &mut Vec<String>) {
    let chosen: Vec<&KeyPart> = limit.key.parts().iter().filter(|part| part.is_chosen_by_clients()).collect();
    let Some(first) = chosen.first() else { return };
    let names: Vec<String> = chosen.iter().map(|part| name_of(part)).collect();
    let (names, each) = (names.join(" and "), noun(first));
    let bounds = |other: &&Limit| {
        let by_address = other.key.parts().iter().all(|part| !part.is_chosen_by_clients());
        by_address && other.is_always() && covers(&other.scope, &limit.scope) && !limit.instead_of.contains(&other.name)
    };
    let bounding: Vec<&str> = config.limits.iter().filter(bounds).map(|other| other.name.as_str()).collect();
    notes.push(if bounding.is_empty() {
        format!(
            "Warning: clients choose {names}, so each new {each} is a new {} limit,\n\
             and nothing bounds an address that tries many. Add a limit by address, as in [limits.address] limit = \"28/second\".",
            limit.name
        )
    } else {
        let verb = if bounding.len() == 1 { "bounds" } else { "bound" };
        format!(
            "Note: clients choose {names}, so each new {each} is a new {} limit.\nOnly {} {verb} an address that tries many.",
            limit.name,
            bounding.join(" and ")
        )
    });
}

/// A limit that never counts because another always stands in for it.
fn replaced(limit: &Limit, config: &Config, notes: &mut Vec<String>) {
    for name in &limit.instead_of {
        let Some(other) = config.limit(name) else { continue };
        if limit.is_always() && limit.missing != Missing::Skip && covers(&limit.scope, &other.scope) {
            notes.push(format!(
                "Warning: {name} never counts, because {} stands in for it on every request that it is about.",
                limit.name
            ));
        }
    }
}

/// Whether every request of the other scope is in this one, as far as it is written alike.
fn covers(scope: &Scope, other: &Scope) -> bool {
    fn has<T: PartialEq>(these: &[T], others: &[T]) -> bool {
        these.is_empty() || (!others.is_empty() && others.iter().all(|other| these.contains(other)))
    }
    has(&scope.paths, &other.paths) && has(&scope.methods, &other.methods) && has(&scope.hosts, &other.hosts)
}

fn name_of(part: &KeyPart) -> String {
    match part {
        KeyPart::Header(name) => name.to_string(),
        KeyPart::Cookie(name) => format!("the cookie {name}"),
        _ => "the bearer token".to_owned(),
    }
}

/// What a new value of a key is called.
fn noun(part: &KeyPart) -> &'static str {
    let name = match part {
        KeyPart::Header(name) => name.as_str().to_owned(),
        KeyPart::Cookie(name) => name.to_ascii_lowercase(),
        _ => return "token",
    };
    ["name", "key", "token", "session"].into_iter().find(|noun| name.ends_with(noun)).unwrap_or("value")
}
