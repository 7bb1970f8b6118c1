//! What is wrong with a file, all at once, each with its line and a caret under the place.

use tollgate_sidecar::config::{Config, Overrides, read};

fn good(text: &str) -> Config {
    read("good.toml", text.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn bad(text: impl AsRef<[u8]>) -> String {
    read("bad.toml", text.as_ref(), &Overrides::default()).expect_err("it is bad").to_string()
}

/// A file with these lines after `listen` and `upstream` (which are the first two), and what is said of them.
#[track_caller]
fn check(lines: &str, expected: &str) {
    let shown = bad(format!("listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\n{lines}"));
    assert_eq!(shown.trim_end(), expected.trim_end(), "\n{shown}");
}

/// A file with these lines, of which something is said that has these words.
#[track_caller]
fn says(lines: &str, words: &str) {
    let shown = bad(format!("listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\n{lines}"));
    assert!(shown.contains(words), "{words}\nis not in\n{shown}");
    assert_eq!(shown.matches("bad.toml:").count(), 1, "one thing is wrong, and once said:\n{shown}");
}

/// The one of the manual.
const BAD: &str = r#"listen = "0.0.0.0:5002"
upstream = "http://localhost:5000"
trusted_proxies = ["10.0.0.0/88"]

[limits.client]
limit = "28/secnd"

[limits.login]
path = "/login"
limt = "5/minute"
"#;

#[test]
fn every_problem_is_shown_at_once_with_its_place() {
    let shown = bad(BAD);
    let expected = r#"bad.toml:3:20: "10.0.0.0/88" is not an address range: write an address, as in "192.0.2.7", or a network, as in "10.0.0.0/8" or "2001:db8::/32"
   3 | trusted_proxies = ["10.0.0.0/88"]
     |                    ^^^^^^^^^^^^^
bad.toml:6:13: invalid limit "28/secnd": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "second"
   6 | limit = "28/secnd"
     |             ^^^^^
bad.toml:10:1: unknown key "limt" in [limits.login]. Did you mean "limit"?
  10 | limt = "5/minute"
     | ^^^^
"#;
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn what_the_limits_of_a_file_cannot_say() {
    check(
        "[limits.client]\nkey = \"adress\"\nlimit = \"28/second\"",
        r#"bad.toml:4:7: "adress" is not a key: it is one of address, global, host, bearer, header:NAME, cookie:NAME. Did you mean "address"?
   4 | key = "adress"
     |       ^^^^^^^^"#,
    );
    says("[limits.client]\nkey = \"global\"", "[limits.client] needs a \"limit\", as in limit = \"28/second\"");
    says("limits = 7", "\"limits\" is a table");
    says("[limits]\nclient = \"28/second\"", "a limit is a table, as in [limits.client] limit = \"28/second\"");
    says("[limits.\"my limit\"]\nlimit = \"28/second\"", "is not a name for a limit");
    says("[limits.a]\nlimit = 28", "\"limit\" is a string, as in limit = \"28/second\", and not a whole number");
    says("[limits.a]\nlimit = \"1/s\"\nkey = [\"address\", \"address\"]", "address is there twice");
    says("[limits.a]\nlimit = \"1/s\"\nkey = [\"address\", \"global\"]", "stands alone");
    says("[limits.a]\nlimit = \"1/s\"\nkey = []", "the list is empty");
    says(
        "[limits.a]\nlimit = \"1/s\"\nkey = [\"header:a\", \"header:b\", \"header:c\", \"header:d\"]",
        "at most 3 parts",
    );
    says("[limits.a]\nlimit = \"1/s\"\nkey = \"header:x y\"", "\"x y\" is not the name of a header");
    says("[limits.a]\nlimit = \"1/s\"\nkey = \"host\"", "clients write any host");
    says("[limits.a]\nlimit = \"1/s\"\nmissing = \"skip\"", "an address is never missing");
    says(
        "[limits.a]\nlimit = \"1/s\"\nkey = \"bearer\"\nmissing = \"ignore\"",
        "it is \"refuse\" or \"address\" or \"skip\"",
    );
    says("[limits.a]\nlimit = \"1/s\"\npath = \"login\"", "\"login\" is not a path: a path begins with '/'");
    says("[limits.a]\nlimit = \"1/s\"\nmethod = \"post\"", "Did you mean \"POST\"?");
    says("[limits.a]\nlimit = \"1/s\"\ninstead_of = \"a\"", "does not stand in for itself");
    says(
        "[limits.a]\nlimit = \"1/s\"\ninstead_of = \"client\"\n[limits.clients]\nlimit = \"1/s\"",
        "there is no limit \"client\". Did you mean \"clients\"?",
    );
    says("[limits.a]\nlimit = \"1/s\"\nshadow = true\nenforced = \"10%\"", "a shadow limit enforces nothing");
    says("[limits.a]\nlimit = \"1/s\"\nenabled = \"101%\"", "\"101%\" is not a percentage");
    says("[limits.a]\nlimit = \"1/s\"\nenabled = 10", "\"enabled\" is a string, as in enabled = \"10%\"");
    says("[limits.a]\nlimit = \"1/s\"\nreserve = 5", "here it is known at once");
    says("[limits.a]\nlimit = \"1/s\"\ncost = \"response-byte\"", "Did you mean \"response-bytes\"?");
    says("[limits.a]\nlimit = \"1/s\"\ncost = 0", "\"cost\" is a whole number from 1 to");
    says("[limits.a]\nlimit = \"1/s\"\ncapacity = 0", "\"capacity\" is a whole number from 1 to 4294967296");
}

#[test]
fn limits_that_stand_in_for_each_other_are_refused() {
    let shown = bad("listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\n\
        [limits.a]\nlimit = \"1/s\"\ninstead_of = \"b\"\n[limits.b]\nlimit = \"1/s\"\ninstead_of = \"c\"\n\
        [limits.c]\nlimit = \"1/s\"\ninstead_of = \"a\"\n[limits.d]\nlimit = \"1/s\"\ninstead_of = \"a\"\n");
    assert_eq!(shown.matches("would stand in for each other").count(), 3, "d is outside of the circle:\n{shown}");
}

/// Clients write any header. Only a proxy that is known may say what they pay.
#[test]
fn plans_and_costs_of_clients_are_refused() {
    let expected = r#"bad.toml:5:8: clients would choose their plan: say whose word counts, as in trusted_proxies = ["10.0.0.0/8"]
   5 | plan = "header:x-plan"
     |        ^^^^^^^^^^^^^^^"#;
    check("[limits.a]\nlimit = \"1/s\"\nplan = \"header:x-plan\"\nplans = { pro = \"9/s\" }", expected);
    says("[limits.a]\nlimit = \"1/s\"\ncost = \"header:x-cost\"", "clients would choose their cost");
    let trusting = "trusted_proxies = [\"10.0.0.0/8\"]\n[limits.a]\nlimit = \"1/s\"\n";
    says(&format!("{trusting}plan = \"header:x-plan\""), "there is no plan");
    says(&format!("{trusting}plans = {{ pro = \"9/s\" }}"), "nothing tells which plan");
    says(&format!("{trusting}plan = \"x-plan\"\nplans = {{ pro = \"9/s\" }}"), "a plan is told in a header");
    let plans: String = (0..16).map(|at| format!("p{at} = \"1/s\"\n")).collect();
    says(&format!("{trusting}plan = \"header:x-plan\"\n[limits.a.plans]\n{plans}"), "at most 15 plans");
    // A flag may say whom to trust.
    let text = "listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\n[limits.a]\nlimit = \"1/s\"\ncost = \"header:x-cost\"";
    let mut overrides = Overrides::default();
    overrides.trusted_proxies = Some(tollgate_sidecar::config::Ranges::new(["10.0.0.0/8"]).unwrap());
    assert!(read("good.toml", text.as_bytes(), &overrides).is_ok());
}

#[test]
fn what_is_listened_on_and_forwarded_to() {
    let file = |listen: &str, upstream: &str| bad(format!("listen = {listen:?}\nupstream = {upstream:?}\n"));
    for (listen, words) in [
        ("5002", "write address and port, as in \"0.0.0.0:5002\""),
        (":8080", "as in \"0.0.0.0:8080\""),
        ("example.com:80", "is not an address to listen on"),
        ("ftp://0.0.0.0:21", "\"ftp\" is not listened to"),
        ("https://0.0.0.0:8443", "TLS needs a certificate and its key"),
    ] {
        let shown = file(listen, "http://localhost:5000");
        assert!(shown.contains(words), "{shown}");
    }
    for (upstream, words) in [
        ("localhost:5000", "write \"http://localhost:5000\""),
        ("https://localhost:5000", "TLS is not spoken to an upstream"),
        ("http://localhost:5000/api", "leave out the path"),
        ("http://", "write http://HOST:PORT"),
        ("http://localhost:5002", "is this proxy itself"),
        ("http://127.0.0.1:5002", "is this proxy itself"),
    ] {
        let shown = file("0.0.0.0:5002", upstream);
        assert!(shown.contains(words), "{shown}");
    }
    says("[upstreams]\n\"a.example\" = \"http://localhost:5001\"", "leave out either");
    says("tls = { cert = \"a\", key = \"b\" }", "TLS is spoken where \"listen\" begins with https://");
    says("admin = \"0.0.0.0:5003\"", "is open to others");
    says("admin = \"127.0.0.1:5002\"", "clients connect there");
    says("metrics = \"127.0.0.1:5003\"", "cannot both be on 127.0.0.1:5003");
    says("metrics = \"0.0.0.0:5002\"", "a port of their own");
    assert!(good("listen = \"localhost:5002\"\nupstream = \"http://localhost:5000\"\nadmin = \"off\"").admin.is_none());
    let unix = good("listen = \"[::]:5002\"\nupstream = \"http://localhost:5000\"\nadmin = \"unix:/run/a.sock\"");
    assert_eq!(unix.admin.unwrap().to_string(), "unix:/run/a.sock");
}

#[test]
fn hosts_are_those_that_are_served() {
    let file = "listen = \"0.0.0.0:5002\"\n[upstreams]\n\"shop.example\" = \"http://localhost:5000\"\n";
    let shown = bad(format!("{file}[limits.a]\nlimit = \"1/s\"\nhost = \"shop.exmple\"\n"));
    assert!(shown.contains("not among the [upstreams]. Did you mean \"shop.example\"?"), "{shown}");
    let shown = bad(format!("{file}\"Shop.Example.\" = \"http://localhost:5001\"\n"));
    assert!(shown.contains("the host shop.example is there twice"), "{shown}");
    let shown = bad("listen = \"0.0.0.0:5002\"\n[upstreams]\n");
    assert!(shown.contains("no host is listed"), "{shown}");
}

#[test]
fn what_denials_and_exemptions_cannot_say() {
    says("[denied]\nbody = \"problm\"", "it is \"text\" or \"problem\". Did you mean \"problem\"?");
    says("[denied]\nheaders = { retry-after = \"1\" }", "is set by the proxy itself");
    says("[denied]\nheaders = { \"a b\" = \"1\" }", "is not the name of a header");
    says("[denied]\nheaders = { a = \"1\\n\" }", "cannot be the value of a header");
    says("[denied]\nbody = \"problem\"\ntext = \"no\"", "leave out either");
    says("exempt = [{}]", "an exemption says which requests it is for");
    says("exempt = \"/healthz\"", "\"exempt\" is a list, as in exempt = [{ path");
    says(
        "exempt = [{ path = \"/healthz\", form = \"10.0.0.0/8\" }]",
        "unknown key \"form\" in an exemption. Did you mean \"from\"?",
    );
    says("rate_headers = \"drft\"", "Did you mean \"draft\"?");
    says("[store]\nshare = \"50%\"", "[store] needs \"redis\"");
    says("[store]\nredis = \"redis:6379\"", "as in \"redis://redis:6379\"");
    says("[store]\nredis = \"redis://redis\"\nshare = \"50%\"\non_failure = \"open\"", "\"share\" is of local limits");
    says("[store]\nredis = \"redis://redis\"\nshare = \"0%\"", "write on_failure = \"closed\"");
    says("[store]\nredis = \"redis://redis\"\ndeadline = \"11s\"", "does not wait longer than 10s");
    says(
        "trusted_proxies = [\"10.0.0.0/8\"]\n[store]\nredis = \"redis://redis\"\n[limits.a]\nlimit = \"1/day\"\nkey = \"header:k\"\nplan = \"header:p\"\nplans = { b = \"10000000000000000/year\" }",
        "a cannot be counted in Redis: ",
    );
    says("deadlines = { connect = \"250\" }", "\"250\" is not a time: write it as in \"250ms\"");
    says("deadlines = { drain = \"2 days\" }", "is not a time");
    says("caps = { fields = 1 }", "\"fields\" is a whole number from 16 to 10000");
}

#[test]
fn unknown_keys_are_errors_everywhere() {
    for (lines, words) in [
        ("lisen = 1", "unknown key \"lisen\". Did you mean \"listen\"?"),
        ("colour = 1", "unknown key \"colour\"; known are listen, upstream, upstreams, tls,"),
        ("[denied]\nheader = {}", "unknown key \"header\" in [denied]. Did you mean \"headers\"?"),
        ("[store]\nredis = \"redis://a\"\nurl = 1", "unknown key \"url\" in [store]"),
        ("[deadlines]\nconect = \"1s\"", "unknown key \"conect\" in [deadlines]. Did you mean \"connect\"?"),
        ("[caps]\nconnection = 1", "unknown key \"connection\" in [caps]. Did you mean \"connections\"?"),
    ] {
        says(lines, words);
    }
    let shown = bad(
        "listen = \"https://0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\ntls = { cert = \"a\", key = \"b\", ca = \"c\" }",
    );
    assert!(shown.contains("unknown key \"ca\" in [tls]"), "{shown}");
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let expected = r#"bad.toml:1:1: "listen" is missing: write where clients connect to, as in listen = "0.0.0.0:5002"
   1 | 
     | ^
bad.toml:1:1: "upstream" is missing: write where requests go, as in upstream = "http://localhost:5000"
   1 | 
     | ^
"#;
    assert_eq!(bad(""), expected);
}

/// What follows from a line that cannot be read is not said besides.
#[test]
fn what_is_no_toml_is_said_once() {
    let shown = bad("listen = \"0.0.0.0:5002\nupstream = \"http://localhost:5000\"\n[limits.a]\nlimt = \"1/s\"\n");
    let expected = r#"bad.toml:1:23: invalid basic string, expected `"`
   1 | listen = "0.0.0.0:5002
     |                       ^
bad.toml:4:1: unknown key "limt" in [limits.a]. Did you mean "limit"?
   4 | limt = "1/s"
     | ^^^^
"#;
    assert_eq!(shown, expected, "\n{shown}");
    says("log = \"text\"\nlog = \"json\"", "duplicate key");
    says("[limits.a]\nlimit = \"28/secnd", "invalid basic string");
    says("threads = ", "string values must be quoted");
}

#[test]
fn bytes_that_are_no_text_are_pointed_at() {
    let shown = bad(b"listen = \"\xFF\"\n");
    assert!(
        shown.starts_with("bad.toml:1:11: the file is not UTF-8 text from here on\n   1 | listen = \"\u{FFFD}\"\n"),
        "{shown}"
    );
    let long = bad(vec![b'#'; (1 << 20) + 1]);
    assert!(long.contains("the file has more than the 1048576 bytes that are read"), "{long}");
}

#[test]
fn carets_stand_under_tabs_wide_letters_and_in_long_lines() {
    check(
        "limits.a\t=\t{ path = '/é', limit = '28/secnd' }",
        "bad.toml:3:39: invalid limit \"28/secnd\": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps \"second\"\n\
         \x20  3 | limits.a\t=\t{ path = '/é', limit = '28/secnd' }\n     |         \t \t                           ^^^^^",
    );
    let shown = bad(format!(
        "listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\nexempt = [{}{{ pth = 1 }}]",
        "{ path = \"/a\" }, ".repeat(100)
    ));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1].find("pth"), lines[2].find('^'), "\n{shown}");
    assert!(lines[1].len() < 200, "\n{shown}");
    // What a terminal would obey is not shown.
    let shown = bad("a = \"\u{9b}31m\u{7}\"");
    assert!(!shown.contains('\u{9b}') && !shown.contains('\u{7}'), "{shown:?}");
}

/// A limit in a string with escapes is shown as a whole.
#[test]
fn a_string_with_escapes_is_pointed_at_as_a_whole() {
    check(
        "[limits.a]\nlimit = \"28/\\u0073ecnd\"",
        "bad.toml:4:9: invalid limit \"28/secnd\": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps \"second\"\n\
         \x20  4 | limit = \"28/\\u0073ecnd\"\n     |         ^^^^^^^^^^^^^^^",
    );
}
