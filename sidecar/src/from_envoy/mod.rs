//! `tollgate from-envoy`: an Envoy configuration, as the file of this proxy that does the same.
//!
//! Every field of the file is either taken, or without effect here as there, or named. What is named is left for a
//! person to decide about.

mod cluster;
mod document;
mod error;
mod fields;
mod limit;
mod listener;

pub use self::error::FromEnvoyError;
pub use self::fields::Unhonoured;

use self::fields::{Fields, Report};
use crate::config::{Config, Limit, Upstream};

/// An Envoy configuration, translated.
#[derive(Debug)]
pub struct Translated {
    /// What does the same here, as far as it can.
    pub config: Config,
    /// What does not.
    pub unhonoured: Vec<Unhonoured>,
}

/// Translates a file: an Envoy configuration in YAML or JSON, bare or inside a Kubernetes ConfigMap.
///
/// # Errors
///
/// If the file is not YAML, holds no Envoy configuration, or one without a listener or an upstream.
pub fn translate(contents: &[u8]) -> Result<Translated, FromEnvoyError> {
    let text = std::str::from_utf8(contents).map_err(|_| FromEnvoyError("is not UTF-8 text".to_owned()))?;
    let mut report = Report::default();
    let envoy = document::envoy(text, &mut report)?;
    let nodes = document::load(&envoy.text).map_err(FromEnvoyError)?;
    let root = nodes.first().ok_or_else(|| FromEnvoyError("is empty".to_owned()))?;
    report.lines_before = envoy.lines_before;
    let root = Fields::of(root, "", &mut report).ok_or_else(|| FromEnvoyError("is no table".to_owned()))?;
    let config = whole(root, &mut report)?;
    let mut unhonoured = report.unhonoured;
    unhonoured.sort_by_key(|field| field.line);
    Ok(Translated { config, unhonoured })
}

fn whole(mut root: Fields<'_, '_>, report: &mut Report) -> Result<Config, FromEnvoyError> {
    let admin = root.fields("admin", report);
    let layers = root.take("layered_runtime");
    // Without these two, nobody can change a runtime key, and its default is what counts.
    report.runtime_can_change = admin.is_some() || layers.is_some();
    if let Some(layers) = layers {
        report.add(layers, "layered_runtime", "there are no runtime keys; their defaults were taken");
    }
    if let Some(mut admin) = admin {
        let at = admin.place("address").unwrap_or_else(|| admin.at());
        let _ = (admin.take("address"), admin.take("access_log_path"), admin.take("access_log"));
        report.say(at, "Envoy's admin interface is not served; there is a page for operators on 127.0.0.1:5003, and metrics = \"0.0.0.0:5004\" serves /metrics");
        admin.finish(report);
    }
    root.ignore(&["node", "stats_flush_interval"]);
    let mut resources = root.fields("static_resources", report).ok_or_else(|| {
        FromEnvoyError("has no static_resources: configuration that a server hands out cannot be read".to_owned())
    })?;
    let clusters = cluster::clusters(resources.list("clusters", report), report);
    let listeners = resources.list("listeners", report);
    let listener = listener::the_one(&listeners, report).ok_or_else(|| FromEnvoyError("has no listener".to_owned()))?;
    let found = listener::read(listener, report)?;
    resources.finish(report);
    root.finish(report);
    let upstream = |name: &str| clusters.iter().find(|cluster| cluster.name == name);
    let mut config = None;
    let mut by_host: Vec<(String, Upstream)> = Vec::new();
    for route in &found.routes {
        let Some(cluster) = upstream(&route.cluster) else {
            return Err(FromEnvoyError(format!("routes to the cluster {:?}, which is not there", route.cluster)));
        };
        config.get_or_insert_with(|| {
            let mut config = Config::new(found.listen, cluster.upstream.clone());
            config.deadlines.connect = cluster.connect;
            config
        });
        for host in &route.hosts {
            if !by_host.iter().any(|(other, _)| other == host) {
                by_host.push((host.clone(), cluster.upstream.clone()));
            }
        }
    }
    let mut config = config.ok_or_else(|| FromEnvoyError("has no route to a cluster".to_owned()))?;
    let is_one = found.routes.iter().all(|route| route.cluster == found.routes[0].cluster);
    match &found.other_hosts {
        // All hosts go there, whether they are listed or not.
        Some(_) if is_one => {}
        _ if by_host.is_empty() => {}
        others => {
            if let Some(at) = others {
                report.say(
                    at.clone(),
                    "a host that is not listed is answered 421 where hosts have upstreams of their own",
                );
            }
            config.upstreams = crate::config::Upstreams::ByHost(by_host);
        }
    }
    for cluster in clusters.iter().filter(|cluster| !found.routes.iter().any(|route| route.cluster == cluster.name)) {
        report.say(cluster.at.clone(), "no route of the listener leads there; it was left out");
    }
    config.limits = limits(&found);
    config.denied = found.denied;
    config.rate_headers = found.rate_headers;
    config.access_log = found.access_log;
    config.deadlines.idle = found.idle.unwrap_or(config.deadlines.idle);
    config.deadlines.response = found.response.unwrap_or(config.deadlines.response);
    Ok(config)
}

/// The limits of a listener and of its routes. Envoy takes the first route that fits, of a host that is listed rather than of all, and its limit
/// instead of the listener's.
fn limits(found: &listener::FoundListener) -> Vec<Limit> {
    let mut limits: Vec<Limit> = found.limit.iter().cloned().collect();
    let mut own: Vec<Limit> = found.routes.iter().filter_map(|route| route.limit.clone()).collect();
    own.sort_by_key(|limit| limit.scope.hosts.is_empty());
    for (at, mut limit) in own.iter().cloned().enumerate() {
        limit.instead_of.extend(found.limit.iter().map(|whole| whole.name.clone()));
        limit.instead_of.extend(own[at + 1..].iter().map(|later| later.name.clone()));
        limits.push(limit);
    }
    limits
}
