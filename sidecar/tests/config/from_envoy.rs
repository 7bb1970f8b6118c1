//! `tollgate from-envoy`: what is translated, and what is named because it is not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tollgate_sidecar::config::{Config, Overrides, read};
use tollgate_sidecar::from_envoy::{Translated, translate};

use crate::cli::{stderr, stdout, tollgate};
use crate::examples::example;

const ARTICLE: &str = include_str!("envoy/article.yaml");

/// The article's configuration without Kubernetes around it.
fn bare() -> String {
    let (_, inner) = ARTICLE.split_once("envoy.yaml: |\n").unwrap();
    inner.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect()
}

#[track_caller]
fn translated(envoy: &str) -> Translated {
    translate(envoy.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{envoy}"))
}

/// The article's configuration with this in place of that, and what is written and named then.
#[track_caller]
fn edited(from: &str, to: &str) -> (String, String) {
    let bare = bare();
    assert!(bare.contains(from), "{from}");
    let Translated { config, unhonoured } = translated(&bare.replace(from, to));
    let toml = config.to_toml();
    assert_is_a_file(&toml);
    (toml, unhonoured.iter().map(|field| format!("{field}\n")).collect())
}

#[track_caller]
fn assert_is_a_file(toml: &str) -> Config {
    read("file.toml", toml.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{toml}\n{error}"))
}

/// That something is named, with its path.
#[track_caller]
fn names(from: &str, to: &str, words: &[&str]) -> String {
    let (toml, named) = edited(from, to);
    for word in words {
        assert!(named.contains(word), "{word} is in:\n{named}\n{toml}");
    }
    toml
}

const FILTER: &str =
    "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";

#[test]
fn the_articles_configuration_is_the_articles_file() {
    let article = read("article.toml", example("article").as_bytes(), &Overrides::default()).unwrap();
    for envoy in [ARTICLE.to_owned(), bare()] {
        let Translated { config, unhonoured } = translated(&envoy);
        assert_eq!(unhonoured, []);
        assert_eq!(config.to_toml(), article.to_toml());
    }
}

#[test]
fn the_program_prints_a_file_and_names_the_rest() {
    let path = format!("{}/tests/config/envoy/article.yaml", env!("CARGO_MANIFEST_DIR"));
    let output = tollgate(&["from-envoy", &path]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    assert_eq!(stdout(&output).lines().count(), 7);
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["from-envoy", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let envoy = ARTICLE.replace("stat_prefix: http_local_rate_limiter", "descriptors: []");
    child.stdin.take().unwrap().write_all(envoy.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_is_a_file(&stdout(&output));
    let line = ARTICLE.lines().position(|line| line.contains("http_local_rate_limiter")).unwrap() + 1;
    let said = stderr(&output);
    assert!(said.starts_with(&format!("-:{line}: {FILTER}.descriptors: write a limit for each")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_file_without_an_envoy_is_refused() {
    for (envoy, words) in [
        ("", "holds no Envoy configuration"),
        ("a: [", "is not YAML"),
        ("kind: Service\n", "holds no Envoy configuration"),
        ("static_resources: {}", "has no listener"),
        ("static_resources: 7", "is not YAML|has no static_resources"),
    ] {
        let error = translate(envoy.as_bytes()).unwrap_err().to_string();
        assert!(words.split('|').any(|words| error.contains(words)), "{envoy}: {error}");
    }
    let error = translate(&bare().replace("cluster: app", "cluster: other").into_bytes()).unwrap_err().to_string();
    assert_eq!(error, "routes to the cluster \"other\", which is not there");
    assert!(translate(b"\xFF").unwrap_err().to_string().contains("UTF-8"));
    assert_eq!(tollgate(&["from-envoy", "absent.yaml"]).status.code(), Some(2));
}

#[test]
fn buckets_are_limits() {
    let limit = |from: &str, to: &str| {
        let (toml, named) = edited(from, to);
        assert_eq!(named, "");
        toml.lines().find(|line| line.starts_with("limit = ")).unwrap().to_owned()
    };
    assert_eq!(limit("max_tokens: 29", "max_tokens: 100"), "limit = \"29/second burst 100\"");
    assert_eq!(limit("tokens_per_fill: 29\n", "tokens_per_fill: 10\n"), "limit = \"10/second burst 29\"");
    // Left out, it is one at a time.
    assert_eq!(limit("tokens_per_fill: 29\n", "\n"), "limit = \"1/second burst 29\"");
    assert_eq!(limit("fill_interval: 1s", "fill_interval: 60s"), "limit = \"29/minute\"");
    assert_eq!(limit("fill_interval: 1s", "fill_interval: 0.5s"), "limit = \"29/500 ms\"");
    names("max_tokens: 29", "", &["token_bucket: needs max_tokens and fill_interval"]);
    names(
        "fill_interval: 1s",
        "fill_interval: 0s",
        &["token_bucket: cannot be kept: a period must be longer than zero"],
    );
}

/// What Envoy leaves out is off, and says so in the file.
#[test]
fn shares_are_those_of_envoy() {
    let enabled = "\n                      filter_enabled:\n                        runtime_key: local_rate_limit_enabled\n                        default_value:\n                          numerator: 100\n                          denominator: HUNDRED";
    let (toml, named) = edited(enabled, "");
    assert!(toml.contains("enabled = \"0%\"") && named.is_empty(), "{toml}{named}");
    let (toml, _) = edited(&enabled.replace("enabled", "enforced"), "");
    assert!(toml.contains("shadow = true"), "{toml}");
    let (toml, _) = edited(enabled, &enabled.replace("HUNDRED", "TEN_THOUSAND").replace("100", "125"));
    assert!(toml.contains("enabled = \"1.25%\""), "{toml}");
    let (toml, _) = edited(enabled, &enabled.replace("HUNDRED", "MILLION").replace("100", "500"));
    assert!(toml.contains("enabled = \"0.05%\""), "{toml}");
}

/// A runtime key matters where somebody can change it.
#[test]
fn runtime_keys_are_named_where_they_can_be_changed() {
    let admin = "admin:\n  address:\n    socket_address: { address: 0.0.0.0, port_value: 9901 }\nstatic_resources:";
    names(
        "static_resources:",
        admin,
        &[
            "2: admin.address: Envoy's admin interface is not served",
            &format!("{FILTER}.filter_enabled.runtime_key: there are no runtime keys"),
            &format!("{FILTER}.filter_enforced.runtime_key"),
        ],
    );
    names(
        "static_resources:",
        "layered_runtime: { layers: [] }\nstatic_resources:",
        &["layered_runtime: there are no runtime keys"],
    );
}

#[test]
fn what_the_filter_has_more_is_named() {
    let with = |more: &str| format!("stat_prefix: http_local_rate_limiter\n                      {more}");
    for (more, words) in [
        ("status: { code: ServiceUnavailable }", "status: a denial is 429"),
        ("local_cluster_rate_limit: {}", "local_cluster_rate_limit: to share a limit among replicas"),
        ("rate_limits: []", "rate_limits: write a limit for each"),
        ("request_headers_to_add_when_not_enforced: []", "requests are forwarded unchanged"),
        ("vh_rate_limits: INCLUDE", "vh_rate_limits: not done here"),
        ("something_new: 7", "something_new: not done here"),
    ] {
        names("stat_prefix: http_local_rate_limiter", &with(more), &[&format!("{FILTER}."), words]);
    }
    let toml = names(
        "stat_prefix: http_local_rate_limiter",
        &with("local_rate_limit_per_downstream_connection: true"),
        &["each client address has the limit instead"],
    );
    assert!(!toml.contains("key"), "{toml}");
    let (toml, named) =
        edited("stat_prefix: http_local_rate_limiter", &with("enable_x_ratelimit_headers: DRAFT_VERSION_03"));
    assert!(toml.contains("rate_headers = \"x-ratelimit\"") && named.is_empty(), "{toml}{named}");
    names("value: \"true\"", "value: \"%START_TIME%\"", &["nothing is put in for %NAMES%"]);
    names("key: x-local-rate-limit", "key: retry-after", &["is set by the proxy itself"]);
}

/// Istio writes filters in this form.
#[test]
fn a_typed_struct_is_understood() {
    let (start, rest) = bare()
        .split_once("                      stat_prefix: http_local_rate_limiter")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (filter, end) = rest
        .split_once("                  - name: envoy.filters.http.router")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let filter: String =
        format!("                      stat_prefix: x{filter}").lines().map(|line| format!("  {line}\n")).collect();
    let kind = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    let start = start.replace(&format!("\"@type\": {kind}"), &format!("\"@type\": type.googleapis.com/udpa.type.v1.TypedStruct\n                      type_url: {kind}\n                      value:"));
    let envoy = format!("{start}{filter}                  - name: envoy.filters.http.router{end}");
    let Translated { config, unhonoured } = translated(&envoy);
    assert_eq!(unhonoured, [], "{envoy}");
    assert_eq!(config.to_toml(), translated(&bare()).config.to_toml());
}

/// Envoy takes a route's limit instead of the listener's, and the first route that fits.
#[test]
fn limits_of_routes_stand_in_for_the_listeners() {
    let routes = r#"routes:
                        - match: { path: /login }
                          route: { cluster: app }
                          typed_per_filter_config:
                            envoy.filters.http.local_ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                              stat_prefix: login
                              token_bucket: { max_tokens: 5, tokens_per_fill: 5, fill_interval: 60s }
                              filter_enabled: { default_value: { numerator: 100 } }
                              filter_enforced: { default_value: { numerator: 100 } }
                        - match: { prefix: /api/ }
                          route: { cluster: app, timeout: 3s }
                          typed_per_filter_config:
                            envoy.filters.http.local_ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                              token_bucket: { max_tokens: 100, tokens_per_fill: 100, fill_interval: 1s }
                              filter_enabled: { default_value: { numerator: 100 } }
                              filter_enforced: { default_value: { numerator: 100 } }"#;
    let (toml, named) = edited("routes:", routes);
    assert_eq!(named, "");
    let config = assert_is_a_file(&toml);
    let told: Vec<String> = config
        .limits
        .iter()
        .map(|limit| format!("{} {} instead of {:?}", limit.scope, limit.policy, limit.instead_of))
        .collect();
    assert_eq!(
        told,
        [
            "every request 29/second instead of []",
            "/login 5/minute instead of [\"all\", \"local_service-route-1\"]",
            "/api/* 100/second instead of [\"all\"]",
        ],
        "{toml}"
    );
    assert_eq!(config.deadlines.response.as_secs(), 3);
    let two = format!(
        "{routes}\n                        - match: {{ prefix: /x/ }}\n                          route: {{ cluster: app, timeout: 9s }}"
    );
    let (toml, named) = edited("routes:", &two);
    assert!(toml.contains("response = \"3s\""), "{toml}");
    assert!(named.contains("routes[2].route.timeout: all responses have one deadline"), "{named}");
    let (_, named) = edited("routes:", &routes.replace("prefix: /api/", "prefix: /api"));
    assert!(named.contains("a pattern ends with a whole segment: /api/* was taken"), "{named}");
    let (_, named) = edited("routes:", &routes.replace("path: /login", "safe_regex: { regex: '/l.*' }"));
    assert!(named.contains("match.safe_regex: not done here"), "{named}");
    let (_, named) = edited("routes:", &routes.replace("stat_prefix: login", "descriptors: []"));
    assert!(named.contains("typed_per_filter_config.envoy.filters.http.local_ratelimit.descriptors"), "{named}");
}

#[test]
fn hosts_are_upstreams() {
    let (toml, named) = edited("domains: [\"*\"]", "domains: [\"shop.example\", \"shop.example:8080\", \"*.example\"]");
    assert!(toml.contains("[upstreams]\n\"shop.example\" = \"http://localhost:5000\""), "{toml}");
    assert!(named.contains("domains[2]: hosts are listed one by one"), "{named}");
    let other = "routes:\n                        - match: { prefix: /api }\n                          route: { cluster: other }";
    let bare = bare().replace("routes:", other).replace("clusters:\n", "clusters:\n    - name: other\n      load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 7000 } } } }] }] }\n");
    let Translated { config, unhonoured } = translated(&bare);
    assert!(config.to_toml().contains("upstream = \"http://127.0.0.1:7000\""));
    let named: String = unhonoured.iter().map(|field| format!("{field}\n")).collect();
    assert!(named.contains("routes[1]: all requests of a host go to one upstream"), "{named}");
    assert!(named.contains("clusters[1]: no route of the listener leads there"), "{named}");
}

/// A host that Envoy takes and this does not is named, or taken.
#[test]
fn hosts_that_are_not_listed_are_not_lost() {
    let (toml, named) = edited("domains: [\"*\"]", "domains: [\"shop.example\", \"*\"]");
    assert!(toml.contains("upstream = \"http://localhost:5000\"") && named.is_empty(), "{toml}{named}");
    let limit = "stat_prefix: x\n                              token_bucket: { max_tokens: 5, tokens_per_fill: 5, fill_interval: 60s }\n                              \
        filter_enabled: { default_value: { numerator: 100 } }\n                              filter_enforced: { default_value: { numerator: 100 } }";
    let host = |name: &str, domains: &str, cluster: &str, limit: &str| {
        format!(
            "                        - name: {name}\n                          domains: [{domains}]\n                          routes: [{{ match: {{ prefix: / }}, route: {{ cluster: {cluster} }} }}]\n                          \
             typed_per_filter_config:\n                            envoy.filters.http.local_ratelimit:\n                              {limit}\n"
        )
    };
    let other = "clusters:\n    - name: other\n      load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 7000 } } } }] }] }\n";
    let edited = |first: &str, second: &str| {
        let hosts = format!(
            "virtual_hosts:\n{}{}",
            host("one", "\"*\"", first, limit),
            host("two", "shop.example", second, limit)
        );
        let bare = bare();
        let (before, rest) = bare.split_once("virtual_hosts:\n").unwrap();
        let (_, after) = rest.split_once("                http_filters:").unwrap();
        let Translated { config, unhonoured } =
            translated(&format!("{before}{hosts}                http_filters:{after}").replace("clusters:\n", other));
        let named: String = unhonoured.iter().map(|field| format!("{field}\n")).collect();
        (config, named)
    };
    let (config, named) = edited("app", "app");
    assert!(config.to_toml().contains("upstream = \"http://localhost:5000\""), "{}", config.to_toml());
    assert!(!named.contains("domains"), "{named}");
    // The limit of the host that is listed counts instead of the other's, though it stands behind it.
    let instead: Vec<_> = config.limits.iter().map(|limit| (limit.scope.hosts.len(), limit.instead_of.len())).collect();
    assert_eq!(instead, [(0, 0), (1, 2), (0, 1)], "{}", config.to_toml());
    let (config, named) = edited("other", "app");
    assert!(
        config.to_toml().contains("[upstreams]\n\"shop.example\" = \"http://localhost:5000\""),
        "{}",
        config.to_toml()
    );
    assert!(named.contains("virtual_hosts[0].domains[0]: a host that is not listed is answered 421"), "{named}");
}

#[test]
fn clusters_are_one_upstream() {
    let (toml, named) = edited("type: STRICT_DNS", "type: STRICT_DNS\n      http2_protocol_options: {}");
    assert!(toml.contains("upstream = \"h2c://localhost:5000\"") && named.is_empty(), "{toml}{named}");
    let typed = "type: STATIC\n      typed_extension_protocol_options:\n        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n          \"@type\": x\n          explicit_http_config: { http2_protocol_options: {} }";
    let (toml, named) = edited("type: STRICT_DNS", typed);
    assert!(toml.contains("upstream = \"h2c://localhost:5000\"") && named.is_empty(), "{toml}{named}");
    names("type: STRICT_DNS", "type: EDS", &["clusters[0].type: there is no discovery"]);
    names(
        "type: STRICT_DNS",
        "health_checks: []\n      transport_socket: {}",
        &["clusters[0].health_checks: not done here", "clusters[0].transport_socket"],
    );
    let toml = names(
        "- endpoint:",
        "- endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 80 } } }\n              - endpoint:",
        &["load is not balanced"],
    );
    assert!(toml.contains("upstream = \"http://10.0.0.1:80\""), "{toml}");
    let (toml, _) = edited("connect_timeout: 0.25s", "connect_timeout: 2s");
    assert!(toml.contains("connect = \"2s\""), "{toml}");
    let (toml, _) = edited("connect_timeout: 0.25s", "dns_lookup_family: V4_ONLY");
    assert!(toml.contains("connect = \"5s\""), "Envoy's own default:\n{toml}");
}

#[test]
fn of_several_listeners_the_one_with_a_limit_is_taken() {
    let other =
        "listeners:\n    - name: plain\n      address: { socket_address: { address: 0.0.0.0, port_value: 80 } }\n";
    let toml = names("listeners:\n", other, &["3: static_resources.listeners[0]: a proxy listens once"]);
    assert!(toml.contains("listen = \"0.0.0.0:5002\""), "{toml}");
    let two = format!("{ARTICLE}---\n{ARTICLE}");
    let unhonoured = translated(&two).unhonoured;
    assert_eq!(unhonoured.len(), 1, "{unhonoured:?}");
    assert!(unhonoured[0].why.contains("one proxy has one configuration"));
}

#[test]
fn other_objects_of_kubernetes_are_passed_by() {
    let file = format!("kind: Service\nmetadata: {{ name: app }}\n---\n{ARTICLE}---\nkind: Deployment\n");
    let Translated { config, unhonoured } = translated(&file);
    assert_eq!(unhonoured, []);
    assert_eq!(config.limits.len(), 1);
}

#[test]
fn the_rest_of_a_listener_is_named() {
    names(
        "codec_type: AUTO",
        "xff_num_trusted_hops: 1\n                access_log: [{ name: x, typed_config: { \"@type\": a.FileAccessLog, path: /var/log/a } }]",
        &["xff_num_trusted_hops: proxies are trusted by address", "access_log[0]: the access log goes to stderr"],
    );
    let (toml, named) =
        edited("codec_type: AUTO", "access_log: [{ name: x, typed_config: { \"@type\": a.StdoutAccessLog } }]");
    assert!(toml.contains("access_log = true") && named.is_empty(), "{toml}{named}");
    names(
        "http_filters:\n",
        "http_filters:\n                  - name: envoy.filters.http.lua\n",
        &["http_filters[0]: the filter envoy.filters.http.lua is not there"],
    );
    names(
        "- filters:",
        "- transport_socket: { name: tls }\n          filters:",
        &["transport_socket: write listen = \"https://..\""],
    );
}
