//! Clusters: where requests go.

use std::time::Duration;

use super::fields::{Fields, Item, Place, Report, duration};
use crate::config::{Protocol, Upstream, words};

/// What Envoy waits for a connection unless told otherwise.
const CONNECT: Duration = Duration::from_secs(5);

/// A cluster, as far as it can be forwarded to.
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) at: Place,
    pub(super) upstream: Upstream,
    pub(super) connect: Duration,
}

pub(super) fn clusters(items: Vec<Item<'_, '_>>, report: &mut Report) -> Vec<Cluster> {
    items.iter().filter_map(|item| cluster(item.fields(report)?, report)).collect()
}

fn cluster(mut cluster: Fields<'_, '_>, report: &mut Report) -> Option<Cluster> {
    let at = cluster.at();
    let name = cluster.text("name").unwrap_or_default();
    let connect = match cluster.value("connect_timeout") {
        None => CONNECT,
        Some(item) => {
            let given = item.text().and_then(|text| duration(&text));
            let fits = |given: &Duration| !given.is_zero() && *given <= Duration::from_secs(24 * 3600);
            given.filter(fits).unwrap_or_else(|| {
                report.say(item.at, "is not a time that can be kept; 5s was taken");
                CONNECT
            })
        }
    };
    if let Some(item) = cluster.value("type") {
        let kind = item.text().unwrap_or_default().to_ascii_uppercase();
        if !["STATIC", "STRICT_DNS", "LOGICAL_DNS"].contains(&kind.as_str()) {
            report.say(item.at, "there is no discovery: the upstream is one address");
        }
    }
    // With one endpoint there is nothing to balance, and both families of addresses are tried.
    cluster.ignore(&["lb_policy", "dns_lookup_family", "alt_stat_name"]);
    let mut protocol = Protocol::Http1;
    if let Some(item) = cluster.value("http2_protocol_options") {
        protocol = Protocol::H2c;
        if !super::fields::entries(item.node).is_empty() {
            report.say(item.at, "HTTP/2 is spoken with the settings of this proxy");
        }
    }
    if let Some(mut options) = cluster.fields("typed_extension_protocol_options", report) {
        if let Some(mut http) = options.fields("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", report) {
            http.ignore(&["@type"]);
            if let Some(mut explicit) = http.fields("explicit_http_config", report) {
                if explicit.take("http2_protocol_options").is_some() {
                    protocol = Protocol::H2c;
                }
                explicit.ignore(&["http_protocol_options"]);
                explicit.finish(report);
            }
            http.finish(report);
        }
        options.finish(report);
    }
    let mut addresses = Vec::new();
    if let Some(mut assignment) = cluster.fields("load_assignment", report) {
        assignment.ignore(&["cluster_name"]);
        for endpoints in assignment.list("endpoints", report) {
            let Some(mut endpoints) = endpoints.fields(report) else { continue };
            for endpoint in endpoints.list("lb_endpoints", report) {
                let Some(mut fields) = endpoint.fields(report) else { continue };
                if let Some(mut inner) = fields.fields("endpoint", report) {
                    addresses.extend(inner.fields("address", report).and_then(|address| socket(address, report)));
                    inner.finish(report);
                }
                fields.finish(report);
                if addresses.len() > 1 {
                    report.say(endpoint.at, "requests go to one endpoint, the first: load is not balanced");
                }
            }
            endpoints.finish(report);
        }
        assignment.finish(report);
    }
    cluster.finish(report);
    let Some((host, port)) = addresses.into_iter().next() else {
        report.say(at, "has no endpoint with an address and a port");
        return None;
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let scheme = if protocol == Protocol::H2c { "h2c" } else { "http" };
    match words::upstream(&format!("{scheme}://{host}:{port}")) {
        Ok(upstream) => Some(Cluster { name, at, upstream, connect }),
        Err(what) => {
            report.say(at, what);
            None
        }
    }
}

/// An address and a port.
pub(super) fn socket(mut address: Fields<'_, '_>, report: &mut Report) -> Option<(String, u16)> {
    let socket = address.fields("socket_address", report);
    address.finish(report);
    let mut socket = socket?;
    let host = socket.text("address");
    let port = socket.number("port_value").and_then(|port| u16::try_from(port).ok());
    if socket.text("protocol").is_some_and(|protocol| !protocol.eq_ignore_ascii_case("tcp")) {
        report.say(socket.at(), "only TCP is spoken");
    }
    socket.finish(report);
    host.zip(port)
}
