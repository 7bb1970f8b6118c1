//! [`read`]: the TOML file, read into a [`Config`]. All that is wrong with it is said at once.

use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;

use tollgate::{ParseError, PlanError, Policy, RateLimiter};
use toml::de::DeTable;

use super::problem::{FileError, Problem, did_you_mean};
use super::reader::{Section, Sink, Value};
use super::{
    Admin, Config, Cost, DeniedBody, Exemption, Key, KeyPart, Limit, Missing, OnFailure, Overrides, Percent, Plans,
    Ranges, Scope, Store, Tls, Upstream, Upstreams, words,
};

/// The longest file that is read: as long as a ConfigMap can be.
const TEXT_MAX: usize = 1 << 20;

/// The name that stands for a proxy without a file, in messages.
pub(crate) const NO_FILE: &str = "";

/// Reads a file, given by its name and contents.
///
/// # Errors
///
/// If it is not UTF-8 or TOML, or says what cannot be meant. The error has all problems with their places.
pub fn read(name: &str, contents: &[u8], overrides: &Overrides) -> Result<Config, FileError> {
    let text = match std::str::from_utf8(contents) {
        _ if contents.len() > TEXT_MAX => {
            let what = format!("the file has {} bytes; at most {TEXT_MAX} are read", contents.len());
            return Err(FileError::new(name, "", vec![Problem { at: 0..0, what }]));
        }
        Ok(text) => text,
        Err(error) => {
            let (good, bad) = contents.split_at(error.valid_up_to());
            let text = format!("{}{}", String::from_utf8_lossy(good), String::from_utf8_lossy(bad));
            let at = good.len()..good.len() + 1;
            let at = at.start..at.end.max(at.start + '\u{FFFD}'.len_utf8()).min(text.len());
            let what = "the file is not UTF-8 text from here on".to_owned();
            return Err(FileError::new(name, &text, vec![Problem { at, what }]));
        }
    };
    // Some editors begin a file with a mark of its encoding.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut sink = Sink::default();
    for error in errors {
        let at = error.span().unwrap_or(0..0);
        let at = floor(text, at.start)..floor(text, at.end);
        sink.broken(text, at, error.message());
    }
    let config = File { text, name, sink: &mut sink, overrides }.config(table.get_ref());
    let problems = sink.into_problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(FileError::new(name, text, problems)),
    }
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default()
}

/// A file while it is read.
struct File<'a> {
    text: &'a str,
    name: &'a str,
    sink: &'a mut Sink,
    overrides: &'a Overrides,
}

/// Where parts of a limit stand, for what is only known when all limits are.
struct Places {
    instead_of: Vec<(String, Range<usize>)>,
    hosts: Vec<(String, Range<usize>)>,
    by_host: Option<Range<usize>>,
    from_proxies: Vec<(&'static str, Range<usize>)>,
}

impl File<'_> {
    /// `None` only after something was said.
    fn config(&mut self, table: &DeTable<'_>) -> Option<Config> {
        let mut root = Section::root(table);
        let listen = self.listen(&mut root);
        let upstreams = self.upstreams(&mut root);
        let placeholder: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut config = Config::new(listen.as_ref().map_or(placeholder, |(listen, ..)| listen.0), nowhere());
        if let Some(upstreams) = &upstreams {
            config.upstreams = upstreams.clone();
        }
        config.tls = self.tls(&mut root, listen.as_ref());
        config.trusted_proxies = self.trusted_proxies(&mut root);
        self.exempt(&mut root, &mut config);
        self.denied(&mut root, &mut config);
        if let Some(headers) = root.take("rate_headers") {
            let parsed =
                headers.parsed(self.sink, "rate_headers = \"draft\"", |text| words::one_of(text, words::RATE_HEADERS));
            config.rate_headers = parsed.unwrap_or_default();
        }
        self.limits(&mut root, &mut config, upstreams.is_some());
        self.store(&mut root, &mut config);
        self.listeners(&mut root, &mut config, listen.is_some());
        self.rest(&mut root, &mut config);
        self.loops(&config, listen.as_ref().map(|(_, at)| at.clone()), upstreams.is_some());
        root.finish(self.sink);
        (listen.is_some() && upstreams.is_some()).then_some(config)
    }

    /// Where to listen, with TLS or not, and where that stands.
    fn listen(&mut self, root: &mut Section<'_, '_>) -> Option<((SocketAddr, bool), Range<usize>)> {
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

    fn upstreams(&mut self, root: &mut Section<'_, '_>) -> Option<Upstreams> {
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

    fn tls(&mut self, root: &mut Section<'_, '_>, listen: Option<&((SocketAddr, bool), Range<usize>)>) -> Option<Tls> {
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

    fn trusted_proxies(&mut self, root: &mut Section<'_, '_>) -> Ranges {
        let given = root.take("trusted_proxies").map(|value| self.ranges(value, "trusted_proxies = [\"10.0.0.0/8\"]"));
        self.overrides.trusted_proxies.clone().or(given).unwrap_or_default()
    }

    /// One range or a list of them.
    fn ranges(&mut self, value: Value<'_, '_>, example: &str) -> Ranges {
        let mut good = Vec::new();
        for item in value.one_or_more() {
            let range = item.parsed(self.sink, example, |text| {
                Ranges::new([text]).map_err(|error| error.to_string()).map(|_| text.to_owned())
            });
            good.extend(range);
        }
        Ranges::new(good).unwrap_or_default()
    }

    fn exempt(&mut self, root: &mut Section<'_, '_>, config: &mut Config) {
        const EXAMPLE: &str = "exempt = [{ path = \"/healthz\", from = \"10.0.0.0/8\" }]";
        if let Some(value) = root.take("exempt") {
            for item in value.list(self.sink, EXAMPLE) {
                let Some(table) = item.table(self.sink) else { continue };
                let mut section = Section::new("an exemption", item.at(), table);
                let scope = self.scope(&mut section, None);
                let from = section.take("from").map(|from| self.ranges(from, EXAMPLE)).unwrap_or_default();
                let is_empty = section.entries().is_empty();
                section.finish(self.sink);
                if is_empty {
                    let what = format!("an exemption says which requests it is for, as in {EXAMPLE}");
                    self.sink.lacks(item.at(), what);
                }
                let line = Some(self.line(item.at().start));
                config.exempt.push(Exemption { line, scope, from });
            }
        }
        config.exempt.extend(self.overrides.exempt.iter().cloned());
    }

    fn denied(&mut self, root: &mut Section<'_, '_>, config: &mut Config) {
        const HEADERS: &str = "headers = { x-local-rate-limit = \"true\" }";
        let mut section = root.section("denied", self.sink);
        let headers = section.section("headers", self.sink);
        for (key, value) in headers.entries() {
            let Some(text) = value.text(self.sink, HEADERS) else { continue };
            match words::denial_header(key.get_ref(), text) {
                Ok((name, _)) if config.denied.headers.iter().any(|(other, _)| *other == name) => {
                    self.sink.say(key.span(), format!("the header {name} is there twice"));
                }
                Ok(header) => config.denied.headers.push(header),
                Err(what) => self.sink.say(key.span(), what),
            }
        }
        for (name, value) in &self.overrides.denial_headers {
            config.denied.headers.retain(|(other, _)| other != name);
            config.denied.headers.push((name.clone(), value.clone()));
        }
        if let Some(body) = section.take("body") {
            config.denied.body = body.parsed(self.sink, "body = \"problem\"", words::body).unwrap_or_default();
        }
        if let Some(text) = section.take("text") {
            if config.denied.body == DeniedBody::Problem {
                text.is_wrong(self.sink, "the body is a problem document and has no text: leave out either");
            }
            if let Some(text) = text.text(self.sink, "text = \"slow down\"") {
                config.denied.body = DeniedBody::Text(text.to_owned());
            }
        }
        section.finish(self.sink);
    }

    /// `path`, `method` and `host` of a limit or an exemption. Notes where hosts stand.
    fn scope(&mut self, section: &mut Section<'_, '_>, mut hosts: Option<&mut Vec<(String, Range<usize>)>>) -> Scope {
        let mut scope = Scope::default();
        for value in self.several(section.take("path")) {
            let parse = |text: &str| text.parse().map_err(|error| format!("{text:?} is not a path: {error}"));
            scope.paths.extend(value.parsed(self.sink, "path = \"/login\"", parse));
        }
        for value in self.several(section.take("method")) {
            scope.methods.extend(value.parsed(self.sink, "method = \"POST\"", words::method));
        }
        for value in self.several(section.take("host")) {
            if let Some(host) = value.parsed(self.sink, "host = \"api.example\"", words::host) {
                if let Some(hosts) = hosts.as_deref_mut() {
                    hosts.push((host.clone(), value.at()));
                }
                scope.hosts.push(host);
            }
        }
        scope
    }

    /// One value or a list of at least one.
    fn several<'t, 'i>(&mut self, value: Option<Value<'t, 'i>>) -> Vec<Value<'t, 'i>> {
        let Some(value) = value else { return Vec::new() };
        let values = value.one_or_more();
        if values.is_empty() {
            value.is_wrong(self.sink, format!("the list is empty; leave out {:?} instead", value.key));
        }
        values
    }

    fn limits(&mut self, root: &mut Section<'_, '_>, config: &mut Config, hosts_are_known: bool) {
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
    fn percent<'t, 'i>(
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

    fn store(&mut self, root: &mut Section<'_, '_>, config: &mut Config) {
        let given = root.take("store");
        let mut section = root.section("store", self.sink);
        let redis = section.take("redis");
        let address = redis.and_then(|value| value.parsed(self.sink, "redis = \"redis://redis:6379\"", words::redis));
        let share = self.percent(&mut section, "share", "share = \"50%\"");
        let local = OnFailure::Local(share.and_then(|(_, share)| share).unwrap_or(Store::SHARE));
        let on_failure = section.take("on_failure").and_then(|value| {
            let known = [("local", local), ("open", OnFailure::Open), ("closed", OnFailure::Closed)];
            value.parsed(self.sink, "on_failure = \"local\"", |text| words::one_of(text, known))
        });
        if let (Some((value, _)), Some(OnFailure::Open | OnFailure::Closed)) = (share, on_failure) {
            value.is_wrong(self.sink, "\"share\" is of local limits, with on_failure = \"local\"");
        }
        if given.is_some_and(|given| given.is_table()) && redis.is_none() && self.overrides.redis.is_none() {
            section.lacks("redis", "[store] needs \"redis\", as in redis = \"redis://redis:6379\"");
        }
        section.finish(self.sink);
        let redis = self.overrides.redis.clone().or(address);
        config.store = redis.map(|redis| Store { redis, on_failure: on_failure.unwrap_or(local) });
    }

    fn listeners(&mut self, root: &mut Section<'_, '_>, config: &mut Config, listens: bool) {
        let admin = root.take("admin");
        let given = admin.and_then(|value| value.parsed(self.sink, "admin = \"127.0.0.1:5003\"", words::admin));
        if let Some(admin) = self.overrides.admin.clone().or(given) {
            config.admin = admin;
        }
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

    /// Deadlines, caps, threads and logs.
    fn rest(&mut self, root: &mut Section<'_, '_>, config: &mut Config) {
        let mut section = root.section("deadlines", self.sink);
        let deadlines = &mut config.deadlines;
        for (key, deadline) in [
            ("connect", &mut deadlines.connect),
            ("header", &mut deadlines.header),
            ("idle", &mut deadlines.idle),
            ("response", &mut deadlines.response),
            ("drain", &mut deadlines.drain),
        ] {
            let Some(value) = section.take(key) else { continue };
            *deadline = value.parsed(self.sink, &format!("{key} = \"10s\""), words::duration).unwrap_or(*deadline);
        }
        section.finish(self.sink);
        if let Some(drain) = self.overrides.drain {
            config.deadlines.drain = drain;
        }
        let mut section = root.section("caps", self.sink);
        let caps = &mut config.caps;
        for (key, cap, range) in [
            ("connections", &mut caps.connections, 1..=1_000_000),
            ("connections_per_client", &mut caps.connections_per_client, 1..=1_000_000),
            ("head_bytes", &mut caps.head_bytes, 8192..=1 << 20),
            ("fields", &mut caps.fields, 16..=10_000),
        ] {
            let Some(value) = section.take(key) else { continue };
            if let Some(number) = value.number(self.sink, range, &format!("{key} = {cap}")) {
                *cap = number as usize; // at most a million or so
            }
        }
        section.finish(self.sink);
        if let Some(threads) = root.take("threads").and_then(|value| value.number(self.sink, 1..=256, "threads = 2")) {
            config.threads = threads as usize; // at most 256
        }
        let log = root.take("log").and_then(|value| value.parsed(self.sink, "log = \"json\"", words::log));
        config.log = self.overrides.log.or(log).unwrap_or_default();
        let access = root.take("access_log").and_then(|value| value.boolean(self.sink, "access_log = true"));
        config.access_log = self.overrides.access_log || access.unwrap_or(false);
    }

    /// A proxy in front of itself would forward each request to itself for ever.
    fn loops(&mut self, config: &Config, listen: Option<Range<usize>>, upstreams_are_known: bool) {
        let Some(at) = listen.filter(|_| upstreams_are_known) else { return };
        if let Some(upstream) = config.upstreams.iter().find(|upstream| is_itself(upstream, config.listen)) {
            self.sink.say(at, format!("the upstream {upstream} is this proxy itself: give either another port"));
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
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
fn fits(policy: &Policy, before: &[(String, Policy)], name: &str, plan: &Policy) -> Result<(), PlanError> {
    let mut limiter = RateLimiter::builder(policy);
    for (name, policy) in before {
        limiter = limiter.plan(name, policy)?;
    }
    limiter.plan(name, plan).map(|_| ())
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

/// Stands where an upstream could not be read; such a configuration is never given out.
fn nowhere() -> Upstream {
    "http://localhost:1".parse().expect("an upstream")
}
