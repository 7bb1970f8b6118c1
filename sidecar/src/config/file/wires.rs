//! Where it listens and where requests go: `listen`, `tls`, `upstream`, `[upstreams]`, `admin`, `metrics`.

use std::net::SocketAddr;
use std::ops::Range;

use super::{File, NO_FILE};
use crate::config::reader::{Section, Value};
use crate::config::{Admin, Config, Tls, Upstream, Upstreams, words};

impl File<'_> {
    /// Where to listen, with TLS or not, and where that stands.
    pub(super) fn listen(&mut self, root: &mut Section<'_, '_>) -> Option<((SocketAddr, bool), Range<usize>)> {
        let value = root.take("listen");
        let given = value.and_then(|value| {
            let listen = value.parsed(self.sink, "listen = \"0.0.0.0:5002\"", words::listen)?;
            Some((listen, value.at()))
        });
        match self.overrides.listen {
            Some(listen) => Some((listen, value.map_or(0..1, |value| value.at()))),
            None if value.is_some() => given,
            None => {
                let (example, flag) = ("listen = \"0.0.0.0:5002\"", "--listen 0.0.0.0:5002");
                root.lacks("listen", self.needs("listen", "where clients connect to", example, flag));
                None
            }
        }
    }

    /// What is said where a key of the whole file is missing.
    fn needs(&self, key: &str, what: &str, example: &str, flag: &str) -> String {
        if self.name == NO_FILE {
            format!("nothing says {what}: give {flag}, or a file with --config")
        } else {
            format!("{key:?} is missing: write {what}, as in {example}")
        }
    }

    pub(super) fn upstreams(&mut self, root: &mut Section<'_, '_>) -> Option<Upstreams> {
        let one = root.take("upstream");
        let parsed = one.map(|value| value.parsed(self.sink, "upstream = \"http://localhost:5000\"", words::upstream));
        let has_hosts = root.take("upstreams");
        let section = root.section("upstreams", self.sink);
        let mut by_host: Vec<(String, Upstream)> = Vec::new();
        let mut is_good = true;
        for (key, value) in section.entries() {
            let host = words::host(key.get_ref());
            let upstream = value.parsed(self.sink, "\"shop.example\" = \"http://localhost:5000\"", words::upstream);
            match (host, upstream) {
                (Ok(host), Some(_)) if by_host.iter().any(|(other, _)| *other == host) => {
                    self.sink.say(key.span(), format!("the host {host} is there twice"));
                    is_good = false;
                }
                (Ok(host), Some(upstream)) => by_host.push((host, upstream)),
                (Err(what), _) => {
                    self.sink.say(key.span(), what);
                    is_good = false;
                }
                _ => is_good = false,
            }
        }
        if let Some(upstream) = &self.overrides.upstream {
            return Some(Upstreams::One(upstream.clone()));
        }
        match (parsed, has_hosts) {
            (Some(_), Some(hosts)) => {
                hosts.is_wrong(self.sink, "there is an \"upstream\" for all hosts too: leave out either");
                None
            }
            (Some(upstream), None) => Some(Upstreams::One(upstream?)),
            (None, Some(hosts)) => {
                if by_host.is_empty() && is_good && hosts.is_table() {
                    hosts.is_wrong(self.sink, "no host is listed, as in \"shop.example\" = \"http://localhost:5000\"");
                }
                (is_good && !by_host.is_empty()).then_some(Upstreams::ByHost(by_host))
            }
            (None, None) => {
                let (example, flag) = ("upstream = \"http://localhost:5000\"", "--upstream http://localhost:5000");
                root.lacks("upstream", self.needs("upstream", "where requests go", example, flag));
                None
            }
        }
    }

    pub(super) fn tls(
        &mut self,
        root: &mut Section<'_, '_>,
        listen: Option<&((SocketAddr, bool), Range<usize>)>,
    ) -> Option<Tls> {
        const EXAMPLE: &str = "tls = { cert = \"/etc/tls/tls.crt\", key = \"/etc/tls/tls.key\" }";
        let given = root.take("tls");
        let mut section = root.section("tls", self.sink);
        let mut file = |key: &'static str| {
            let path = section.take(key).map(|value| value.text(self.sink, EXAMPLE));
            if given.is_some_and(|given| given.is_table()) && path.is_none() {
                section.lacks(key, format!("[tls] needs \"{key}\", as in {EXAMPLE}"));
            }
            path.flatten()
        };
        let (cert, key) = (file("cert"), file("key"));
        section.finish(self.sink);
        let ((_, with_tls), at) = listen?;
        match given {
            Some(given) if !with_tls => given.is_wrong(
                self.sink,
                "TLS is spoken where \"listen\" begins with https://, as in \"https://0.0.0.0:8443\"",
            ),
            None if *with_tls => {
                self.sink.lacks(at.clone(), format!("TLS needs a certificate and its key, as in {EXAMPLE}"));
            }
            _ => {}
        }
        Some(Tls::new(cert?, key?))
    }

    pub(super) fn listeners(&mut self, root: &mut Section<'_, '_>, config: &mut Config, listens: bool) {
        let admin = root.take("admin");
        let given = admin.and_then(|value| value.parsed(self.sink, "admin = \"127.0.0.1:5003\"", words::admin));
        if let Some(admin) = self.overrides.admin.clone().or(given) {
            config.admin = admin;
        }
        let most = 0..=Config::OFFENDERS_MAX as u64;
        let given = root.take("offenders").and_then(|value| value.number(self.sink, most, "offenders = 20"));
        config.offenders = self.overrides.offenders.or(given.map(|given| given as usize)).unwrap_or_default(); // at most 1024
        let metrics = root.take("metrics");
        let given = metrics.and_then(|value| value.parsed(self.sink, "metrics = \"0.0.0.0:5004\"", words::address));
        config.metrics = self.overrides.metrics.or(given);
        let at = |value: Option<Value<'_, '_>>| value.map_or(0..1, |value| value.at());
        if let Some(Admin::Tcp(address)) = config.admin {
            if listens && is_same(address, config.listen) {
                self.sink
                    .say(at(admin), format!("the admin page cannot be on {address} as well: clients connect there"));
            }
            if config.metrics.is_some_and(|metrics| is_same(address, metrics)) {
                let what =
                    format!("the admin page and the metrics cannot both be on {address}: give either another port");
                self.sink.say(at(metrics.or(admin)), what);
            }
        }
        if listens && config.metrics.is_some_and(|metrics| is_same(metrics, config.listen)) {
            self.sink.say(at(metrics), "the metrics need a port of their own: clients connect to this one".to_owned());
        }
    }

    /// A proxy in front of itself would forward each request to itself for ever.
    pub(super) fn loops(&mut self, config: &Config, listen: Option<Range<usize>>, upstreams_are_known: bool) {
        let Some(at) = listen.filter(|_| upstreams_are_known) else { return };
        if let Some(upstream) = config.upstreams.iter().find(|upstream| is_itself(upstream, config.listen)) {
            self.sink.say(at, format!("the upstream {upstream} is this proxy itself: give either another port"));
        }
    }
}

/// Whether a listener on one of these would take the other's connections.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (any || one.ip().to_canonical() == other.ip().to_canonical())
}

/// Whether a request to this upstream would come to this proxy, as far as the address tells.
fn is_itself(upstream: &Upstream, listen: SocketAddr) -> bool {
    let host = upstream.authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback() || ip.is_unspecified();
    let same = match host.parse::<std::net::IpAddr>() {
        Ok(ip) => ip == listen.ip() || (is_loopback(ip) && listen.ip().is_unspecified()),
        Err(_) => host.eq_ignore_ascii_case("localhost") && is_loopback(listen.ip()),
    };
    same && upstream.authority.port_u16() == Some(listen.port()) && listen.port() != 0
}
