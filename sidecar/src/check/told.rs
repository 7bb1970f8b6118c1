//! What happens to one request.

use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::pace::{Acting, Pace};
use super::request::{Asked, AskedError};
use super::rows::Rows;
use crate::config::{Config, Cost, Exemption, Headers, Limit, Missing, Percent, Scope};
use crate::rules::{Counted, Draw, Judged, Matcher, Unlike, host_of};

pub(super) fn request(config: &Config, asked: &Asked) -> Result<String, AskedError> {
    let head = asked.head(config);
    let matcher = Matcher::new(config).map_err(|error| AskedError(error.to_string()))?;
    let by = match asked.proxy(config) {
        Some(range) => format!(" (as told by a proxy in {range})"),
        None if config.trusted_proxies.contains(asked.client()) => " (a trusted proxy itself)".to_owned(),
        None => String::new(),
    };
    let mut text = format!("{asked}{by}\n");
    let host = host_of(&head);
    let Some(upstream) = config.upstreams.of(host.as_deref()) else {
        let hosts: Vec<&str> = config.upstreams.hosts().into_iter().flatten().collect();
        let Some(host) = host else {
            let example = hosts.first().copied().unwrap_or_default();
            return Err(AskedError(format!("which host is it for? Add --header \"host: {example}\"")));
        };
        return Ok(text + &format!("Refused: 421 Misdirected Request, since {host} is none of {}.\n", hosts.join(", ")));
    };
    let judged = matcher.judge(&head, |limit| usual_draw(&config.limits[limit]));
    let client = matcher.client(&head).map_err(|error| AskedError(error.to_string()))?;
    let mut rows = Rows::new();
    for (at, exemption) in config.exempt.iter().enumerate() {
        let said = match matcher.exemption_is_about(at, &head, client) {
            Ok(()) => "yes: no limit counts it".to_owned(),
            Err(unlike) => format!("no: {}", only(&exemption.scope, Some(exemption), unlike)),
        };
        rows.add("exempt", exemption.line, said);
    }
    let (mut counting, mut lacks) = (Vec::new(), None);
    match judged {
        Judged::Exempt(_) => {
            return Ok(text + &rows.to_string() + &format!("To {upstream}, always: it is exempt.\n"));
        }
        Judged::Counted(limits) => counting = limits.collect(),
        Judged::Lacks { limit, what } => lacks = Some((limit, what)),
        Judged::NoPeer(error) => return Err(AskedError(error.to_string())),
    }
    for (at, limit) in config.limits.iter().enumerate() {
        let counted = counting.iter().find(|counted| counted.limit == at);
        let said = match (matcher.limit_is_about(at, &head), counted) {
            (Err(unlike), _) => format!("no: {}", only(&limit.scope, None, unlike)),
            (Ok(()), Some(counted)) => counts(limit, counted),
            (Ok(()), None) => match &lacks {
                Some((lacking, what)) if *lacking == at => format!("refuses it: {what}"),
                Some(_) => "is not asked any more".to_owned(),
                None => does_not_count(config, limit, &counting),
            },
        };
        rows.add(&limit.name, limit.line, said);
    }
    text += &rows.to_string();
    if let Some((_, what)) = lacks {
        return Ok(text + &format!("Refused: 400, {what}.\n"));
    }
    let acting = counting.iter().filter(|counted| !counted.shadow).map(|counted| {
        let limit = &config.limits[counted.limit];
        Acting { name: &limit.name, policy: policy_of(limit, counted), cost: counted.cost }
    });
    match Pace::of(&acting.collect::<Vec<_>>()) {
        None => text += &format!("To {upstream}: no limit denies it.\n"),
        Some(pace) => {
            text += &format!("To {upstream}: {}.\n{}\n", pace.text, denial(config, &head, pace.retry_after));
        }
    }
    Ok(text)
}

/// What a limit that acts on some requests does, on those.
fn usual_draw(limit: &Limit) -> Draw {
    if limit.enabled == Percent::NONE {
        Draw::Off
    } else if limit.is_shadow() {
        Draw::Shadow
    } else {
        Draw::Act
    }
}

fn policy_of<'a>(limit: &'a Limit, counted: &Counted<'_>) -> &'a tollgate::Policy {
    let plans = limit.plans.as_ref().zip(counted.plan);
    plans.map_or(&limit.policy, |(plans, plan)| &plans.policies[plan].1)
}

/// `counts it: 28/second for 1.2.3.4`
fn counts(limit: &Limit, counted: &Counted<'_>) -> String {
    let plan = match limit.plans.as_ref().zip(counted.plan) {
        Some((plans, plan)) => format!(" (plan {})", plans.policies[plan].0),
        None => String::new(),
    };
    let verb = if counted.shadow { "watches it" } else { "counts it" };
    let mut text = format!("{verb}: {}{plan} for {}", policy_of(limit, counted), counted.key);
    match &limit.cost {
        Cost::Fixed(1) => {}
        Cost::Fixed(cost) => text += &format!(", as {cost}"),
        Cost::RequestHeader(header) => {
            text += &format!(", as {} (from {header}, else {})", counted.cost, limit.reserve)
        }
        Cost::ResponseHeader(header) => {
            text += &format!(", as {} until the response says in {header} what it cost", counted.cost);
        }
        Cost::ResponseBytes => text += &format!(", as {} until the response's bytes are counted", counted.cost),
    }
    if limit.enabled < Percent::ALL {
        text += &format!(", on {} of requests", limit.enabled);
    }
    match limit.enforced {
        Percent::ALL => {}
        Percent::NONE => text += ", and denies nothing (shadow)",
        enforced => text += &format!(", acts on {enforced}"),
    }
    text
}

/// Why a limit that is about a request does not count it.
fn does_not_count(config: &Config, limit: &Limit, counting: &[Counted<'_>]) -> String {
    let others = counting.iter().filter(|counted| !counted.shadow).map(|counted| &config.limits[counted.limit]);
    let instead = others.filter(|other| other.instead_of.contains(&limit.name)).collect::<Vec<_>>();
    match &instead[..] {
        [] if limit.enabled == Percent::NONE => "no: it looks at 0% of requests".to_owned(),
        [] if limit.missing == Missing::Skip || limit.is_shadow() => "no: it has nothing to count it by".to_owned(),
        // One that was itself replaced.
        [] => "no: another limit counts it instead".to_owned(),
        [other, ..] if other.is_always() => format!("no: {} counts it instead", other.name),
        [other, ..] => format!("only where {} does not act: {}", other.name, limit.policy),
    }
}

/// `only POST`
fn only(scope: &Scope, exemption: Option<&Exemption>, unlike: Unlike) -> String {
    let part = |change: fn(&Scope) -> Scope| change(scope).to_string();
    match unlike {
        Unlike::Path => format!("only {}", part(|scope| Scope { paths: scope.paths.clone(), ..Scope::default() })),
        Unlike::Method => {
            format!("only {}", part(|scope| Scope { methods: scope.methods.clone(), ..Scope::default() }))
        }
        Unlike::Host => format!("only {}", part(|scope| Scope { hosts: scope.hosts.clone(), ..Scope::default() })),
        Unlike::From => {
            let from = exemption.map(|exemption| exemption.from.written().join(" or ")).unwrap_or_default();
            format!("only from {from}")
        }
        Unlike::Spelling => "only where the path is spelled plainly".to_owned(),
    }
}

/// `Above that: 429, text/plain "local_rate_limited", Retry-After: 1`
fn denial(config: &Config, head: &Parts, retry_after: Option<u64>) -> String {
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let is_grpc = head.method == Method::POST && content_type.is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let mut words = if is_grpc {
        vec!["200 with grpc-status 8 (RESOURCE_EXHAUSTED)".to_owned()]
    } else {
        vec!["429".to_owned(), config.denied.body.to_string()]
    };
    for (name, value) in &config.denied.headers {
        words.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    match (is_grpc, retry_after) {
        (false, Some(seconds)) => words.push(format!("Retry-After: {seconds}")),
        (false, None) => words.push("no Retry-After, since no wait helps".to_owned()),
        (true, _) => {}
    }
    let headers = config.rate_headers.names();
    if config.rate_headers != Headers::None && !is_grpc {
        words.extend(headers.iter().skip(1).map(|name| name.to_string()));
    }
    format!("Above that: {}", words.join(", "))
}
