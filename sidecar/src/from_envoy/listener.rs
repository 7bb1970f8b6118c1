//! Listeners: where clients connect to, the filters, and the routes.

use std::net::SocketAddr;
use std::time::Duration;

use super::cluster::socket;
use super::error::FromEnvoyError;
use super::fields::{Entry, Fields, Item, Place, Report, duration, entries, text_of};
use super::limit::{self, Filter};
use crate::config::{Denied, Headers, Limit, Pattern, words};

/// What a listener does.
pub(super) struct FoundListener {
    pub(super) listen: SocketAddr,
    pub(super) limit: Option<Limit>,
    pub(super) routes: Vec<Route>,
    pub(super) denied: Denied,
    pub(super) rate_headers: Headers,
    pub(super) access_log: bool,
    pub(super) idle: Option<Duration>,
    /// How long a response may take.
    pub(super) response: Option<Duration>,
    /// Where hosts are taken that are not listed, if they are.
    pub(super) other_hosts: Option<Place>,
}

/// Where some requests go, and their own limit.
pub(super) struct Route {
    pub(super) cluster: String,
    /// The hosts that are listed; none for all.
    pub(super) hosts: Vec<String>,
    pub(super) limit: Option<Limit>,
}

/// The listener that is translated: the first with a limit, or else the first. The others are named.
pub(super) fn the_one<'l, 'y, 'i>(listeners: &'l [Item<'y, 'i>], report: &mut Report) -> Option<&'l Item<'y, 'i>> {
    let limits = |item: &&Item<'_, '_>| {
        fn has(node: &saphyr::MarkedYaml<'_>) -> bool {
            let is_filter = entries(node).iter().any(|Entry { name, node, .. }| {
                (name == "name" && text_of(node).as_deref() == Some(limit::NAME)) || has(node)
            });
            is_filter || matches!(&node.data, saphyr::YamlData::Sequence(items) if items.iter().any(has))
        }
        has(item.node)
    };
    let one = listeners.iter().find(limits).or_else(|| listeners.first())?;
    for other in listeners.iter().filter(|other| !std::ptr::eq(*other, one)) {
        report.say(other.at.clone(), "a proxy listens once: run another one for this listener");
    }
    Some(one)
}

pub(super) fn read(item: &Item<'_, '_>, report: &mut Report) -> Result<FoundListener, FromEnvoyError> {
    let error = |what: &str| FromEnvoyError(format!("{} {what}", item.at.field));
    let mut listener = item.fields(report).ok_or_else(|| error("is no table"))?;
    listener.ignore(&["name", "stat_prefix"]);
    let address = listener.fields("address", report).and_then(|address| socket(address, report));
    let (host, port) = address.ok_or_else(|| error("has no address and port"))?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let listen = words::address(&format!("{host}:{port}")).map_err(|what| error(&what))?;
    let mut found = FoundListener {
        listen,
        limit: None,
        routes: Vec::new(),
        denied: Denied::default(),
        rate_headers: Headers::None,
        access_log: false,
        idle: None,
        response: None,
        other_hosts: None,
    };
    for (at, chain) in listener.list("filter_chains", report).iter().enumerate() {
        if at > 0 {
            report.say(chain.at.clone(), "a listener has one chain of filters, and the first was taken");
            continue;
        }
        let Some(mut chain) = chain.fields(report) else { continue };
        chain.ignore(&["name"]);
        if let Some(item) = chain.value("transport_socket") {
            report.say(item.at, "write listen = \"https://..\" and tls = { cert = \"..\", key = \"..\" }");
        }
        for filter in chain.list("filters", report) {
            let Some(mut fields) = filter.fields(report) else { continue };
            let name = fields.text("name").unwrap_or_default();
            let settings = fields.fields("typed_config", report);
            fields.finish(report);
            match settings {
                Some(settings) if name.contains("http_connection_manager") => manager(settings, &mut found, report),
                _ => report.say(filter.at, format!("the filter {name} is not there")),
            }
        }
        chain.finish(report);
    }
    listener.finish(report);
    Ok(found)
}

/// The HTTP connection manager.
fn manager(mut manager: Fields<'_, '_>, found: &mut FoundListener, report: &mut Report) {
    // Names, and what this proxy does anyway.
    manager.ignore(&["@type", "stat_prefix", "codec_type", "generate_request_id", "server_header_transformation"]);
    if let Some(item) = manager.value("use_remote_address") {
        // The address of the connection is always added to X-Forwarded-For.
        if item.text().as_deref() == Some("false") {
            report.say(item.at, "who the client is says trusted_proxies = [\"10.0.0.0/8\"]");
        }
    }
    if let Some(item) = manager.value("xff_num_trusted_hops") {
        report.say(item.at, "proxies are trusted by address and not by number: trusted_proxies = [\"10.0.0.0/8\"]");
    }
    for name in ["stream_idle_timeout", "request_headers_timeout"] {
        if let Some(item) = manager.value(name) {
            report.say(item.at, "write it under [deadlines], as idle or header");
        }
    }
    if let Some(mut options) = manager.fields("common_http_protocol_options", report) {
        if let Some(item) = options.value("idle_timeout") {
            let idle = item.text().and_then(|text| duration(&text));
            let fits = |idle: &Duration| !idle.is_zero() && *idle <= Duration::from_secs(24 * 3600);
            match idle.filter(fits) {
                Some(idle) => found.idle = Some(idle),
                None => report.say(item.at, "is not between 1 ms and a day"),
            }
        }
        options.finish(report);
    }
    for item in manager.list("access_log", report) {
        access_log(&item, found, report);
    }
    for item in manager.list("http_filters", report) {
        let Some(mut filter) = item.fields(report) else { continue };
        let name = filter.text("name").unwrap_or_default();
        let settings = filter.take("typed_config");
        let is_limit = settings.is_some_and(|settings| limit::is_one(&name, settings));
        if name == "envoy.filters.http.router" {
            // It forwards.
        } else if is_limit && found.limit.is_none() {
            if let Some(settings) = filter.fields("typed_config", report) {
                let filter = limit::read("all", settings, report);
                found.limit = take(filter, found);
            }
        } else {
            report.say(item.at, format!("the filter {name} is not there"));
        }
        filter.finish(report);
    }
    if manager.place("rds").is_some() {
        report.say(manager.at(), "routes that a server hands out cannot be read");
        manager.ignore(&["rds"]);
    }
    if let Some(mut routes) = manager.fields("route_config", report) {
        routes.ignore(&["name", "validate_clusters"]);
        for host in routes.list("virtual_hosts", report) {
            if let Some(host) = host.fields(report) {
                virtual_host(host, found, report);
            }
        }
        routes.finish(report);
    }
    manager.finish(report);
}

/// Keeps what a filter says of answers, and gives its limit.
fn take(filter: Filter, found: &mut FoundListener) -> Option<Limit> {
    for (name, value) in filter.headers {
        if !found.denied.headers.iter().any(|(other, _)| *other == name) {
            found.denied.headers.push((name, value));
        }
    }
    if filter.rate_headers != Headers::None {
        found.rate_headers = filter.rate_headers;
    }
    filter.limit
}

fn access_log(item: &Item<'_, '_>, found: &mut FoundListener, report: &mut Report) {
    let Some(mut log) = item.fields(report) else { return };
    log.ignore(&["name"]);
    found.access_log = true;
    if let Some(mut settings) = log.fields("typed_config", report) {
        let kind = settings.text("@type").unwrap_or_default();
        let path = settings.text("path");
        let to_console = kind.ends_with("StdoutAccessLog")
            || kind.ends_with("StderrAccessLog")
            || path.is_some_and(|path| ["/dev/stdout", "/dev/stderr"].contains(&path.as_str()));
        if !to_console {
            report.say(item.at.clone(), "the access log goes to stderr");
        }
        if let Some(item) = settings.value("log_format") {
            report.say(item.at, "the access log has a format of its own, text or JSON: log = \"json\"");
        }
        settings.finish(report);
    }
    log.finish(report);
}

fn virtual_host(mut host: Fields<'_, '_>, found: &mut FoundListener, report: &mut Report) {
    let name = host.text("name").unwrap_or_default();
    let (mut hosts, mut others) = (Vec::new(), None);
    for domain in host.list("domains", report) {
        match domain.text().unwrap_or_default().as_str() {
            "*" => others = Some(domain.at),
            text => match words::host(text.split(':').next().unwrap_or_default()) {
                Ok(host) if hosts.contains(&host) => {}
                Ok(host) => hosts.push(host),
                Err(_) => report.say(domain.at, "hosts are listed one by one, without '*'"),
            },
        }
    }
    if others.is_some() {
        // The others among them.
        hosts.clear();
        found.other_hosts = others;
    }
    let own = own_limit(&mut host, &limit_name(&name, "host", found), found, report);
    let mut went_to: Option<String> = None;
    for item in host.list("routes", report) {
        let Some(mut route) = item.fields(report) else { continue };
        route.ignore(&["name"]);
        let limit = own_limit(&mut route, &limit_name(&name, "route", found), found, report);
        let path = route.fields("match", report).map(|matched| path(matched, limit.is_some(), report));
        let Some(mut action) = route.fields("route", report) else {
            report.say(item.at, "only routes to a cluster are followed: nothing is redirected or answered here");
            continue;
        };
        let cluster = action.text("cluster");
        if let Some(item) = action.value("timeout") {
            let timeout = item.text().and_then(|text| duration(&text));
            let fits = |timeout: &Duration| !timeout.is_zero() && *timeout <= Duration::from_secs(24 * 3600);
            match (timeout.filter(fits), found.response) {
                (None, _) => report.say(item.at, "a response begins within [deadlines] response, from 1 ms to a day"),
                (Some(now), Some(before)) if now != before => {
                    report.say(item.at, "all responses have one deadline, and the first was taken");
                }
                (timeout, _) => found.response = timeout,
            }
        }
        action.finish(report);
        route.finish(report);
        let Some(cluster) = cluster else {
            report.say(item.at, "has no cluster");
            continue;
        };
        if went_to.as_ref().is_some_and(|before| *before != cluster) {
            report.say(item.at, "all requests of a host go to one upstream: paths are not routed");
            continue;
        }
        let limit = limit.map(|mut limit| {
            limit.scope.paths = path.flatten().into_iter().collect();
            limit.scope.hosts.clone_from(&hosts);
            limit
        });
        let first = went_to.is_none();
        went_to = Some(cluster.clone());
        found.routes.push(Route { cluster, hosts: if first { hosts.clone() } else { Vec::new() }, limit });
    }
    if let (Some(mut limit), Some(cluster)) = (own, went_to) {
        limit.scope.hosts = hosts;
        found.routes.push(Route { cluster, hosts: Vec::new(), limit: Some(limit) });
    }
    host.finish(report);
}

/// The limit that a route or host has instead of the listener's.
fn own_limit(fields: &mut Fields<'_, '_>, name: &str, found: &mut FoundListener, report: &mut Report) -> Option<Limit> {
    let mut configs = fields.fields("typed_per_filter_config", report)?;
    let settings = configs.fields(limit::NAME, report);
    configs.finish(report);
    let filter = limit::read(name, settings?, report);
    take(filter, found)
}

/// A name for a limit that no other has.
fn limit_name(host: &str, what: &str, found: &FoundListener) -> String {
    let word: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(30).collect();
    let first = if word.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { "host-" };
    format!("{first}{word}-{what}-{}", found.routes.len())
}

/// The pattern of a route. None for every path.
fn path(mut matched: Fields<'_, '_>, matters: bool, report: &mut Report) -> Option<Pattern> {
    let exact = matched.value("path").map(|item| (item, ""));
    let below = matched.value("path_separated_prefix").map(|item| (item, "/*"));
    let prefix = matched.value("prefix").map(|item| (item, "*"));
    matched.finish(report);
    let (item, end) = exact.or(below).or(prefix)?;
    let text = item.text().unwrap_or_default();
    let pattern = match end {
        "*" if text == "/" || text.is_empty() => return None,
        "*" if text.ends_with('/') => format!("{text}*"),
        "*" => {
            if matters {
                report.say(item.at.clone(), format!("a pattern ends with a whole segment: {text}/* was taken"));
            }
            format!("{text}/*")
        }
        end => format!("{text}{end}"),
    };
    match pattern.parse() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            report.say(item.at, format!("{pattern:?} is not a path here: {error}"));
            None
        }
    }
}
