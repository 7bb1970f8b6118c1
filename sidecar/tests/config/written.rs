//! What is written out says the same as what was read.

use std::path::PathBuf;

use tollgate_sidecar::config::{Config, Overrides, read};

use crate::examples::{ALL, example};

fn parsed(text: &str) -> Config {
    let mut config =
        read("file.toml", text.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{text}\n{error}"));
    // Another layout has other lines.
    config.limits.iter_mut().for_each(|limit| limit.line = None);
    config.exempt.iter_mut().for_each(|exemption| exemption.line = None);
    config
}

/// Everything that a file can say.
pub(crate) const EVERYTHING: &str = r#"
listen = "https://[::]:8443"
tls = { cert = "/etc/tls \"x\".crt", key = "/etc/tls.key" }
trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]
exempt = [{ path = ["/healthz", "/a%20b"], method = "GET", host = "a.example", from = ["10.0.0.0/8", "::1"] }, { from = "192.0.2.7" }]
rate_headers = "x-ratelimit-epoch"
admin = "unix:/run/tollgate.sock"
offenders = 20
metrics = "0.0.0.0:5004"
log = "json"
access_log = true
requires_upstream = false
threads = 3
[upstreams]
"a.example" = "http://localhost:5000"
"b.example" = "h2c://[::1]:5001"
[denied]
headers = { x-local-rate-limit = "true", x-quoted = "a \"b\"" }
text = "slow down, \u00e9"
[store]
redis = "redis://user:secret@redis:6379/1"
on_failure = "closed"
[deadlines]
connect = "250ms"
header = "5s"
idle = "1m"
response = "1.5s"
drain = "1h"
[caps]
connections = 100
connections_per_client = 10
head_bytes = 16384
fields = 50
body_bytes = 1048576
[limits.client]
limit = "burst: 10/second burst 30; daily: 1000/day fixed"
[limits.api]
path = ["/api/*", "/v2/*"]
method = ["POST", "PUT"]
host = "b.example"
limit = "60/minute"
key = ["host", "cookie:session", "header:x-user"]
missing = "skip"
instead_of = ["client", "search"]
plan = "header:x-plan"
plans = { pro = "600/minute", "très cher" = "6000/minute" }
cost = "header:x-cost"
reserve = 7
enabled = "50%"
enforced = "12.5%"
capacity = 1000
[limits.search]
limit = "1/second"
key = "bearer"
missing = "address"
cost = 3
shadow = true
"#;

#[test]
fn a_configuration_is_written_as_the_file_that_says_it() {
    let examples = ALL.map(example);
    for text in examples.iter().map(String::as_str).chain([EVERYTHING]) {
        let config = parsed(text);
        let written = config.to_toml();
        let again = parsed(&written);
        assert_eq!(again, config, "{written}");
        let mut full = parsed(&config.to_full_toml());
        if let (Some(full), Some(store)) = (&mut full.store, &config.store) {
            full.redis.clone_from(&store.redis);
        }
        assert_eq!(full, config);
    }
}

#[test]
fn a_short_file_stays_short() {
    let expected = r#"listen = "0.0.0.0:5002"
upstream = "http://localhost:5000"
[denied]
headers = { x-local-rate-limit = "true" }
[limits.all]
limit = "29/second"
key = "global"
"#;
    assert_eq!(parsed(&example("article")).to_toml(), expected);
}

#[test]
fn a_password_is_not_shown() {
    let shown = parsed(EVERYTHING).to_full_toml();
    assert!(shown.contains("redis = \"redis://***@redis:6379/1\"") && !shown.contains("secret"), "{shown}");
    let _: PathBuf = parsed(EVERYTHING).tls.unwrap().cert;
}
