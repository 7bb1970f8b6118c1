//! [`read`]: the TOML file, read into a [`Config`]. All that is wrong with it is said at once.

mod limits;
mod wires;

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tollgate::{RedisLimiter, RedisStore};
use toml::de::DeTable;

pub(crate) use self::limits::limit_error;
use super::problem::{FileError, Problem};
use super::reader::{Section, Sink, Value};
use super::{Config, DeniedBody, Exemption, OnFailure, Overrides, Percent, Ranges, Scope, Store, Upstream, words};

/// The longest file that is read: as long as a ConfigMap can be.
pub(super) const TEXT_MAX: usize = 1 << 20;

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
            let what = format!("the file has more than the {TEXT_MAX} bytes that are read");
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
    pub(super) fn scope(
        &mut self,
        section: &mut Section<'_, '_>,
        mut hosts: Option<&mut Vec<(String, Range<usize>)>>,
    ) -> Scope {
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
    pub(super) fn several<'t, 'i>(&mut self, value: Option<Value<'t, 'i>>) -> Vec<Value<'t, 'i>> {
        let Some(value) = value else { return Vec::new() };
        let values = value.one_or_more();
        if values.is_empty() {
            value.is_wrong(self.sink, format!("the list is empty; leave out {:?} instead", value.key));
        }
        values
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
        if let Some((value, Some(Percent::NONE))) = share {
            value.is_wrong(self.sink, "a share of nothing denies everything: write on_failure = \"closed\"");
        }
        let deadline = section.take("deadline").and_then(|value| {
            value.parsed(self.sink, "deadline = \"25ms\"", |text| match words::duration(text)? {
                deadline if deadline > Duration::from_secs(10) => {
                    Err("a request does not wait longer than 10s".to_owned())
                }
                deadline => Ok(deadline),
            })
        });
        if given.is_some_and(|given| given.is_table()) && redis.is_none() && self.overrides.redis.is_none() {
            section.lacks("redis", "[store] needs \"redis\", as in redis = \"redis://redis:6379\"");
        }
        section.finish(self.sink);
        let redis = self.overrides.redis.clone().or(address);
        let (on_failure, deadline) = (on_failure.unwrap_or(local), deadline.unwrap_or(Store::DEADLINE));
        config.store = redis.map(|redis| Store { redis, on_failure, deadline });
        if config.store.is_some() {
            self.limits_fit_the_store(config);
        }
    }

    /// Whether each limit can be counted exactly in a store. The library says why not.
    fn limits_fit_the_store(&mut self, config: &Config) {
        let Ok(store) = RedisStore::new("redis://localhost") else { return };
        for limit in &config.limits {
            let plans = limit.plans.iter().flat_map(|plans| &plans.policies);
            let builder = RedisLimiter::builder(&store, &limit.name, &limit.policy).capacity(1);
            let builder = plans.fold(builder, |builder, (name, policy)| builder.plan(name, policy));
            if let Err(error) = builder.try_build() {
                let lines = self.text.split_inclusive('\n').map(str::len);
                let at: usize = lines.take(limit.line.unwrap_or(1) - 1).sum();
                self.sink.say(at..at + 1, format!("{} cannot be counted in Redis: {error}", limit.name));
            }
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
        if let Some(value) = section.take("body_bytes") {
            caps.body_bytes = value.number(self.sink, 0..=u64::MAX, "body_bytes = 1048576");
        }
        section.finish(self.sink);
        if let Some(threads) = root.take("threads").and_then(|value| value.number(self.sink, 1..=256, "threads = 2")) {
            config.threads = threads as usize; // at most 256
        }
        let log = root.take("log").and_then(|value| value.parsed(self.sink, "log = \"json\"", words::log));
        config.log = self.overrides.log.or(log).unwrap_or_default();
        let requires = root.take("requires_upstream");
        let requires = requires.and_then(|value| value.boolean(self.sink, "requires_upstream = false"));
        config.requires_upstream = requires.unwrap_or(true);
        let access = root.take("access_log").and_then(|value| value.boolean(self.sink, "access_log = true"));
        config.access_log = self.overrides.access_log || access.unwrap_or(false);
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

/// Stands where an upstream could not be read; such a configuration is never given out.
fn nowhere() -> Upstream {
    "http://localhost:1".parse().expect("an upstream")
}
