//! A [`Config`] as the file that says it.

use std::fmt::Write as _;

use http::Method;

use super::words::{RATE_HEADERS, written_duration};
use super::{
    Admin, Config, Cost, Deadlines, DeniedBody, Key, Limit, LogFormat, Missing, OnFailure, Percent, Scope, Upstreams,
};

impl Config {
    /// The file that says the same. What is at its default is left out, but for where it listens and forwards to.
    pub fn to_toml(&self) -> String {
        self.written(false)
    }

    /// The file that says the same, with the defaults that are in force. A password of the store is left out.
    pub fn to_full_toml(&self) -> String {
        self.without_password().written(true)
    }

    /// This configuration as it may be shown: a password of the store is left out.
    #[must_use]
    pub fn without_password(&self) -> Self {
        let mut shown = self.clone();
        if let Some(store) = &mut shown.store {
            store.redis = without_password(&store.redis);
        }
        shown
    }

    fn written(&self, full: bool) -> String {
        let mut file = WrittenFile { text: String::new(), full };
        let scheme = if self.tls.is_some() { "https://" } else { "" };
        file.line("listen", quoted(&format!("{scheme}{}", self.listen)));
        if let Some(tls) = &self.tls {
            let path = |path: &std::path::Path| quoted(&path.to_string_lossy());
            file.line("tls", format!("{{ cert = {}, key = {} }}", path(&tls.cert), path(&tls.key)));
        }
        if let Upstreams::One(upstream) = &self.upstreams {
            file.line("upstream", quoted(&upstream.to_string()));
        }
        if !self.trusted_proxies.is_empty() {
            file.line("trusted_proxies", list(self.trusted_proxies.written()));
        }
        if !self.exempt.is_empty() {
            let exempt = self.exempt.iter().map(|exemption| {
                let mut fields = scope(&exemption.scope);
                if !exemption.from.is_empty() {
                    fields.push(("from", one_or_more(exemption.from.written())));
                }
                let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", fields.join(", "))
            });
            file.line("exempt", format!("[{}]", exempt.collect::<Vec<_>>().join(", ")));
        }
        let rate_headers = RATE_HEADERS.iter().find(|(_, headers)| *headers == self.rate_headers);
        if let Some((name, _)) = rate_headers {
            file.unless(*name == "none", "rate_headers", quoted(name));
        }
        let admin = self.admin.as_ref().map_or("off".to_owned(), Admin::to_string);
        file.unless(self.admin == Some(Admin::default()), "admin", quoted(&admin));
        file.unless(self.offenders == 0, "offenders", self.offenders);
        if let Some(metrics) = self.metrics {
            file.line("metrics", quoted(&metrics.to_string()));
        }
        let log = if self.log == LogFormat::Json { "json" } else { "text" };
        file.unless(self.log == LogFormat::Text, "log", quoted(log));
        file.unless(self.requires_upstream, "requires_upstream", self.requires_upstream);
        file.unless(!self.access_log, "access_log", self.access_log);
        file.unless(self.threads == Self::default_threads(), "threads", self.threads);
        self.write_tables(&mut file);
        file.text
    }

    fn write_tables(&self, file: &mut WrittenFile) {
        if let Upstreams::ByHost(upstreams) = &self.upstreams {
            file.table("upstreams");
            for (host, upstream) in upstreams {
                file.line(&quoted(host), quoted(&upstream.to_string()));
            }
        }
        let (is_default, headers) = (self.denied == super::Denied::default(), &self.denied.headers);
        if file.full || !is_default {
            file.table("denied");
            if !headers.is_empty() {
                let header = |(name, value): &(http::HeaderName, http::HeaderValue)| {
                    format!("{} = {}", quoted_key(name.as_str()), quoted(&String::from_utf8_lossy(value.as_bytes())))
                };
                let headers: Vec<_> = headers.iter().map(header).collect();
                file.line("headers", format!("{{ {} }}", headers.join(", ")));
            }
            match &self.denied.body {
                DeniedBody::Problem => file.line("body", quoted("problem")),
                DeniedBody::Text(text) => file.unless(text == DeniedBody::TEXT, "text", quoted(text)),
            }
        }
        if let Some(store) = &self.store {
            file.table("store");
            file.line("redis", quoted(&store.redis));
            match store.on_failure {
                OnFailure::Local(share) => {
                    file.unless(share == super::Store::SHARE, "share", quoted(&share.to_string()))
                }
                OnFailure::Open => file.line("on_failure", quoted("open")),
                OnFailure::Closed => file.line("on_failure", quoted("closed")),
            }
            let deadline = quoted(&written_duration(store.deadline));
            file.unless(store.deadline == super::Store::DEADLINE, "deadline", deadline);
        }
        let default = Deadlines::default();
        if file.full || self.deadlines != default {
            file.table("deadlines");
            let given = &self.deadlines;
            for (key, given, default) in [
                ("connect", given.connect, default.connect),
                ("header", given.header, default.header),
                ("idle", given.idle, default.idle),
                ("response", given.response, default.response),
                ("drain", given.drain, default.drain),
            ] {
                file.unless(given == default, key, quoted(&written_duration(given)));
            }
        }
        let default = super::Caps::default();
        if file.full || self.caps != default {
            file.table("caps");
            let given = &self.caps;
            for (key, given, default) in [
                ("connections", given.connections, default.connections),
                ("connections_per_client", given.connections_per_client, default.connections_per_client),
                ("head_bytes", given.head_bytes, default.head_bytes),
                ("fields", given.fields, default.fields),
            ] {
                file.unless(given == default, key, given);
            }
            if let Some(body_bytes) = self.caps.body_bytes {
                file.line("body_bytes", body_bytes);
            }
        }
        for limit in &self.limits {
            write_limit(limit, file);
        }
    }
}

fn write_limit(limit: &Limit, file: &mut WrittenFile) {
    file.table(&format!("limits.{}", limit.name));
    for (key, value) in scope(&limit.scope) {
        file.line(key, value);
    }
    file.line("limit", quoted(&limit.policy.to_string()));
    let parts: Vec<String> = limit.key.parts().iter().map(|part| part.to_string()).collect();
    file.unless(limit.key == Key::address(), "key", one_or_more(&parts));
    match limit.missing {
        Missing::Refuse => {}
        Missing::Address => file.line("missing", quoted("address")),
        Missing::Skip => file.line("missing", quoted("skip")),
    }
    if !limit.instead_of.is_empty() {
        file.line("instead_of", one_or_more(&limit.instead_of));
    }
    if let Some(plans) = &limit.plans {
        file.line("plan", quoted(&format!("header:{}", plans.header)));
        let plan = |(name, policy): &(String, tollgate::Policy)| {
            format!("{} = {}", quoted_key(name), quoted(&policy.to_string()))
        };
        file.line("plans", format!("{{ {} }}", plans.policies.iter().map(plan).collect::<Vec<_>>().join(", ")));
    }
    match &limit.cost {
        Cost::Fixed(cost) => file.unless(*cost == 1, "cost", cost),
        cost => {
            file.line("cost", quoted(&cost.to_string()));
            file.unless(limit.reserve == 1, "reserve", limit.reserve);
        }
    }
    file.unless(limit.enabled == Percent::ALL, "enabled", quoted(&limit.enabled.to_string()));
    if limit.is_shadow() {
        file.line("shadow", true);
    } else {
        file.unless(limit.enforced == Percent::ALL, "enforced", quoted(&limit.enforced.to_string()));
    }
    file.unless(limit.capacity == Limit::CAPACITY, "capacity", limit.capacity);
}

fn scope(scope: &Scope) -> Vec<(&'static str, String)> {
    let words = |words: Vec<String>| one_or_more(&words);
    let mut fields = Vec::new();
    if !scope.paths.is_empty() {
        fields.push(("path", words(scope.paths.iter().map(|path| path.to_string()).collect())));
    }
    if !scope.methods.is_empty() {
        fields.push(("method", words(scope.methods.iter().map(Method::to_string).collect())));
    }
    if !scope.hosts.is_empty() {
        fields.push(("host", words(scope.hosts.clone())));
    }
    fields
}

/// A file, line by line.
struct WrittenFile {
    text: String,
    /// Whether defaults are written too.
    full: bool,
}

impl WrittenFile {
    fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        writeln!(self.text, "{key} = {value}").expect("a String takes any text");
    }

    /// A line that says nothing new, if it is the default.
    fn unless(&mut self, is_default: bool, key: &str, value: impl std::fmt::Display) {
        if self.full || !is_default {
            self.line(key, value);
        }
    }

    fn table(&mut self, name: &str) {
        writeln!(self.text, "[{name}]").expect("a String takes any text");
    }
}

fn one_or_more(words: &[String]) -> String {
    match words {
        [word] => quoted(word),
        words => list(words),
    }
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}

/// A string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).expect("a String takes any text"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key of TOML, in quotes where it needs them.
fn quoted_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// The address of a store as it may be shown.
pub(crate) fn without_password(redis: &str) -> String {
    match redis.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://***@{host}"),
        None => redis.to_owned(),
    }
}
