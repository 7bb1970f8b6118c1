//! `tollgate check`: what will happen to which request, in plain words.

use tollgate_sidecar::check::{Asked, notes, request};
use tollgate_sidecar::config::{Config, Overrides, read};

use crate::cli::{stderr, stdout, tollgate};
use crate::examples::{ALL, example};

fn config(text: &str) -> Config {
    read("file.toml", text.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A file in a folder of its own, which is removed in the end.
pub(crate) struct File(std::path::PathBuf);

impl File {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tollgate-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = self.0.parent().map(std::fs::remove_dir);
    }
}

/// What is said of a request with these headers.
#[track_caller]
fn said(config: &Config, asked: &str, headers: &[&str]) -> String {
    let asked: Asked = asked.parse().unwrap();
    let asked = headers.iter().fold(asked, |asked, header| asked.with_header(header).unwrap());
    request(config, &asked).unwrap()
}

#[track_caller]
fn check(config: &Config, asked: &str, headers: &[&str], expected: &str) {
    let said = said(config, asked, headers);
    assert_eq!(said, expected, "\n{said}");
}

/// The one of the manual, byte for byte.
#[test]
fn the_manuals_example() {
    let text: String = example("behind-a-balancer").lines().skip(1).map(|line| format!("{line}\n")).collect();
    let file = File::new("b.toml", &text);
    let output = tollgate(&["check", file.path(), "--request", "GET /login from 1.2.3.4"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let expected = r#"b.toml is valid: 2 limits, 1 exemption.

GET /login from 1.2.3.4 (as told by a proxy in 10.0.0.0/8)
  exempt  line 4   no: only /healthz
  client  line 5   counts it: 28/second for 1.2.3.4
  login   line 7   no: only POST
To http://localhost:5000: 28 at once, then one each 35.7 ms.
Above that: 429, text/plain "local_rate_limited", Retry-After: 1

Note: clients choose x-username, so each new name is a new login limit.
Only client bounds an address that tries many.
"#;
    let folder = file.path().strip_suffix("b.toml").unwrap();
    assert_eq!(stdout(&output).replace(folder, ""), expected);
}

#[test]
fn every_limit_is_told_about() {
    let config = config(&example("behind-a-balancer"));
    check(
        &config,
        "POST /login from 1.2.3.4",
        &["x-username: alice"],
        r#"POST /login from 1.2.3.4 (as told by a proxy in 10.0.0.0/8)
  exempt  line 5   no: only /healthz
  client  line 6   counts it: 28/second for 1.2.3.4
  login   line 8   counts it: 5/minute for 1.2.3.4 + #2bd806c9
To http://localhost:5000: 5 at once (login), in the long run one each 12 s (login).
Above that: 429, text/plain "local_rate_limited", Retry-After: 12
"#,
    );
    check(
        &config,
        "POST /login from 1.2.3.4",
        &[],
        r#"POST /login from 1.2.3.4 (as told by a proxy in 10.0.0.0/8)
  exempt  line 5   no: only /healthz
  client  line 6   is not asked any more
  login   line 8   refuses it: the request lacks the header x-username
Refused: 400, the request lacks the header x-username.
"#,
    );
    check(
        &config,
        "/healthz from 10.1.2.3",
        &[],
        "GET /healthz from 10.1.2.3 (a trusted proxy itself)\n  exempt  line 5   yes: no limit counts it\n\
         To http://localhost:5000, always: it is exempt.\n",
    );
    let said_ = said(&config, "GET /healthz from 10.1.2.3", &["x-forwarded-for: 1.2.3.4"]);
    assert!(said_.contains("no: only from 10.0.0.0/8") && said_.contains("for 1.2.3.4"), "{said_}");
    let said_ = said(&config, "GET //healthz from 10.1.2.3", &[]);
    assert!(said_.contains("no: only where the path is spelled plainly"), "{said_}");
}

#[test]
fn plans_and_costs_are_told() {
    let plans = config(&example("plans"));
    let said_ = said(&plans, "GET / from 1.2.3.4", &["x-api-key: k", "x-plan: pro"]);
    assert!(said_.contains("counts it: 6000/minute (plan pro) for #8254c329"), "{said_}");
    assert!(said_.contains("6000 at once, then one each 10 ms"), "{said_}");
    assert!(said_.contains("429, application/problem+json, Retry-After: 1, ratelimit-policy, ratelimit"), "{said_}");
    // What a client says by itself is not believed.
    let said_ = said(&plans, "GET / from 1.2.3.4", &["x-api-key: k", "x-plan: pro", "x-forwarded-for: 9.9.9.9"]);
    assert!(said_.contains("counts it: 60/minute for"), "{said_}");
    let cost = said(&config(&example("cost")), "GET / from 1.2.3.4", &["x-api-key: k"]);
    assert!(cost.contains("as 500 until the response says in x-tokens-used what it cost"), "{cost}");
    assert!(cost.contains("200 at once, then one each 18 s"), "{cost}");
}

#[test]
fn a_rehearsal_denies_nothing() {
    let text = example("rehearsal");
    let said_ = said(&config(&text), "GET /search from 1.2.3.4", &[]);
    assert!(said_.contains("watches it: 10/second for 1.2.3.4, and denies nothing (shadow)"), "{said_}");
    assert!(said_.ends_with("To http://localhost:5000: no limit denies it.\n"), "{said_}");
    let said_ = said(&config(&text.replace("shadow = true", "enforced = \"10%\"")), "GET /search from 1.2.3.4", &[]);
    assert!(said_.contains("counts it: 10/second for 1.2.3.4, acts on 10%"), "{said_}");
}

#[test]
fn hosts_and_replacements_are_told() {
    let config = config(&example("tls"));
    check(
        &config,
        "GET https://api.example/ from 1.2.3.4",
        &[],
        "GET https://api.example/ from 1.2.3.4\n  client  line 7   no: api counts it instead\n  \
         api     line 9   counts it: 100/second for 1.2.3.4\nTo http://localhost:5001: 100 at once, then one each 10 ms.\n\
         Above that: 429, text/plain \"local_rate_limited\", Retry-After: 1\n",
    );
    let other = said(&config, "GET / from 1.2.3.4", &["host: other.example"]);
    assert!(
        other.contains("Refused: 421 Misdirected Request, since other.example is none of shop.example, api.example."),
        "{other}"
    );
    let asked: Asked = "GET / from 1.2.3.4".parse().unwrap();
    let error = request(&config, &asked).unwrap_err().to_string();
    assert_eq!(error, "which host is it for? Add --header \"host: shop.example\"");
}

#[test]
fn grpc_is_told_in_its_own_words() {
    let said_ =
        said(&config(&example("grpc")), "POST /shop.Cart/Add from 1.2.3.4", &["content-type: application/grpc"]);
    assert!(said_.contains("Above that: 200 with grpc-status 8 (RESOURCE_EXHAUSTED)"), "{said_}");
}

/// What is explained is what the limiter does: the pace is counted out by one.
#[test]
fn the_pace_is_what_the_limiter_does() {
    let config = config(&example("article"));
    let said_ = said(&config, "GET / from 1.2.3.4", &[]);
    assert!(said_.contains("29 at once, then one each 34.5 ms"), "{said_}");
    assert!(said_.contains("x-local-rate-limit: true, Retry-After: 1"), "{said_}");
    let clock = tollgate::Clock::manual();
    let limiter = tollgate::RateLimiter::builder(&config.limits[0].policy).clock(clock.clone()).build();
    assert_eq!((0..100).filter(|_| limiter.check(&()).is_ok()).count(), 29);
    clock.advance(std::time::Duration::from_micros(34_400));
    assert!(limiter.check(&()).is_err());
    clock.advance(std::time::Duration::from_micros(100));
    assert!(limiter.check(&()).is_ok());
}

#[test]
fn what_is_no_request_is_refused() {
    for (asked, words) in [
        ("", "is not a request"),
        ("login", "is not a request"),
        ("get /", "Did you mean \"GET\"?"),
        ("GET login", "login is not a path"),
        ("GET / from nowhere", "\"nowhere\" is not an address"),
        ("GET / from", "\"from\" is followed by an address"),
        ("GET / extra", "is not a request"),
    ] {
        let error = asked.parse::<Asked>().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("GET /login from 192.0.2.7"), "{asked}: {error}");
    }
    let output = tollgate(&["check", "examples/article.toml", "--request", "GET login"]);
    assert_eq!(output.status.code(), Some(2));
    let output = tollgate(&["check", "examples/article.toml", "--header", "a: b"]);
    assert_eq!(output.status.code(), Some(2));
    let output = tollgate(&["check", "examples/article.toml", "--request", "GET /", "--header", "a"]);
    assert!(stderr(&output).contains("\"a\" is not a header"), "{}", stderr(&output));
}

/// The names in these are what a warning is about.
#[track_caller]
fn warns(limits: &str, expected: &[&str]) {
    let config = config(&format!("listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\n{limits}"));
    let notes = notes(&config);
    assert_eq!(notes.len(), expected.len(), "{notes:#?}");
    for (note, expected) in notes.iter().zip(expected) {
        assert!(note.contains(expected), "{expected} is in {note}");
    }
}

#[test]
fn what_is_legal_and_probably_not_meant_is_warned_of() {
    let client = "[limits.client]\nlimit = \"28/second\"\n";
    warns(client, &[]);
    warns("", &["Warning: there is no limit, so everything passes."]);
    warns(
        "[limits.search]\nlimit = \"10/second\"\nenabled = \"10%\"\nshadow = true\n",
        &["Warning: search rehearses on 10% of requests, so 10/second behaves like 100/second."],
    );
    warns(
        "[limits.a]\nlimit = \"login: 5/minute burst 8; 100/day fixed\"\nenabled = \"50%\"\nshadow = true\n",
        &["behaves like login: 10/minute burst 16; 200/day fixed."],
    );
    let api = "[limits.api]\nlimit = \"60/minute\"\nkey = \"header:x-api-key\"\n";
    warns(
        api,
        &["Warning: clients choose x-api-key, so each new key is a new api limit,\nand nothing bounds an address"],
    );
    warns(
        &format!("{client}{api}"),
        &["Note: clients choose x-api-key, so each new key is a new api limit.\nOnly client bounds"],
    );
    // What does not bound it: another path, a rehearsal, a limit that it stands in for.
    warns(&format!("{client}path = \"/login\"\n{api}"), &["nothing bounds"]);
    warns(&format!("{client}shadow = true\n{api}"), &["nothing bounds"]);
    warns(&format!("{client}{api}instead_of = \"client\"\n"), &["nothing bounds", "client never counts"]);
    warns(&format!("{client}{api}path = \"/api/*\"\ninstead_of = \"client\"\n"), &["nothing bounds"]);
    warns(&format!("trusted_proxies = [\"0.0.0.0/0\"]\n{client}"), &["every client chooses what it is counted by"]);
    warns(&format!("exempt = [{{ path = \"/healthz\" }}]\n{client}"), &["anybody can flood it"]);
    warns(&format!("{client}host = \"a.example\"\n"), &["clients write any host"]);
    warns(&format!("{client}cost = \"response-bytes\"\n"), &["no response is charged more than was held"]);
    warns(&format!("{client}cost = \"response-bytes\"\nreserve = 1000\n"), &[]);
    warns("[limits.none]\nlimit = \"0/second\"\n", &["it denies every request"]);
    warns(&format!("offenders = 20\nadmin = \"off\"\n{client}"), &["admin is off, so nobody sees them"]);
    warns(&format!("offenders = 20\n{client}"), &[]);
    warns(
        &format!("[store]\nredis = \"redis://:secret@a\"\n{client}"),
        &[
            "counted in redis://***@a, together with all who count there under the same names.\nWhile it does not answer, this proxy alone allows 50%",
        ],
    );
    warns(
        &format!("[store]\nredis = \"redis://a\"\non_failure = \"closed\"\n{client}[limits.b]\nlimit = \"1/day\"\n"),
        &["that a limit counts.\nIt judges all limits of a request as one, if it is a single server. In a cluster"],
    );
}

#[test]
fn an_overview_tells_of_all_requests() {
    let output = tollgate(&["check", "examples/behind-a-balancer.toml"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for line in [
        "examples/behind-a-balancer.toml is valid: 2 limits, 1 exemption.",
        "Requests that come to 0.0.0.0:5002 go to http://localhost:5000.",
        "A client is what a proxy in 10.0.0.0/8 tells, or else the address that connects.",
        "  exempt  line 5   /healthz from 10.0.0.0/8: never limited",
        "  login   line 8   POST /login: 5/minute for each client address and x-username",
        "Every limit that counts a request must let it pass. A denial charges none of them.",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\nis in\n{text}");
    }
    for name in ALL {
        assert_eq!(tollgate(&["check", &format!("examples/{name}.toml")]).status.code(), Some(0), "{name}");
    }
}

#[test]
fn a_bad_file_is_refused_with_all_that_is_wrong() {
    let file = File::new("bad.toml", "listen = \"0.0.0.0:5002\"\nlimit = 7\n");
    for words in [&["check", file.path()][..], &["serve", "-c", file.path()]] {
        let output = tollgate(words);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()));
        let said = stderr(&output);
        assert!(said.contains("bad.toml:2:1: unknown key \"limit\". Did you mean \"limits\"?"), "{said}");
        assert!(said.contains("\"upstream\" is missing"), "{said}");
        assert!(said.ends_with("2 errors. Nothing was started.\n"), "{said}");
    }
}
