//! What happens to all requests.

use super::rows::Rows;
use crate::config::{Config, Cost, Headers, Limit, Missing, Percent, Upstreams};

pub(super) fn overview(config: &Config) -> String {
    let mut text = String::new();
    let tls = if config.tls.is_some() { " with TLS" } else { "" };
    match &config.upstreams {
        Upstreams::One(upstream) => {
            text += &format!("Requests that come to {}{tls} go to {upstream}.\n", config.listen);
        }
        Upstreams::ByHost(upstreams) => {
            text += &format!(
                "Requests that come to {}{tls} go by their host; for any other host, the answer is 421.\n",
                config.listen
            );
            for (host, upstream) in upstreams {
                text += &format!("  {host} to {upstream}\n");
            }
        }
    }
    text += &match config.trusted_proxies.is_empty() {
        true => "A client is the address that connects; no header is believed.\n".to_owned(),
        false => {
            let proxies = config.trusted_proxies.written().join(" or ");
            format!("A client is what a proxy in {proxies} tells, or else the address that connects.\n")
        }
    };
    let mut rows = Rows::new();
    for exemption in &config.exempt {
        rows.add("exempt", exemption.line, format!("{exemption}: never limited"));
    }
    for limit in &config.limits {
        rows.add(&limit.name, limit.line, told(limit));
    }
    text += &rows.to_string();
    if config.limits.len() > 1 {
        text += match config.store {
            None => "Every limit that counts a request must let it pass. A denial charges none of them.\n",
            Some(_) => {
                "Every limit that counts a request must let it pass. After a denial, what was charged is paid back.\n"
            }
        };
    }
    if !config.limits.iter().all(Limit::is_shadow) {
        let mut words = vec!["429".to_owned(), config.denied.body.to_string()];
        for (name, value) in &config.denied.headers {
            words.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
        let wait = if config.store.is_some() { "the wait of the limit that denied" } else { "the longest wait" };
        words.push(format!("Retry-After as {wait}"));
        text += &format!("Above a limit: {}.\n", words.join(", "));
    }
    if config.rate_headers != Headers::None {
        let names: Vec<_> = config.rate_headers.names().iter().skip(1).map(|name| name.to_string()).collect();
        text += &format!("Every response tells where the client stands, in {}.\n", names.join(" and "));
    }
    text
}

/// `POST /login: 5/minute for each client address and x-username`
fn told(limit: &Limit) -> String {
    let mut text = format!("{}: {} for {}", limit.scope, limit.policy, limit.key);
    if let Some(plans) = &limit.plans {
        let plans_told = plans.policies.iter().map(|(name, policy)| format!("{policy} on plan {name}"));
        text += &format!(", {} (as {} says)", plans_told.collect::<Vec<_>>().join(", "), plans.header);
    }
    match &limit.cost {
        Cost::Fixed(1) => {}
        Cost::Fixed(cost) => text += &format!(", each counts {cost}"),
        Cost::RequestHeader(header) => text += &format!(", each counts what {header} says"),
        Cost::ResponseHeader(header) => {
            text += &format!(", each counts what its response says in {header} ({} are held first)", limit.reserve);
        }
        Cost::ResponseBytes => {
            text += &format!(", each counts the bytes of its response ({} are held first)", limit.reserve)
        }
    }
    if !limit.instead_of.is_empty() {
        text += &format!(", instead of {}", limit.instead_of.join(" and "));
    }
    match limit.missing {
        Missing::Refuse => {}
        Missing::Address => text += ", by address where that is missing",
        Missing::Skip => text += ", where that is there",
    }
    if limit.enabled < Percent::ALL {
        text += &format!(", on {} of requests", limit.enabled);
    }
    match limit.enforced {
        Percent::ALL => {}
        Percent::NONE => text += "; it denies nothing (shadow)",
        enforced => text += &format!("; it acts on {enforced}"),
    }
    text
}
