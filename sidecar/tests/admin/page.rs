//! What is served to whom, and what every answer carries.

use tollgate_sidecar::config::{Config, KeyPart};

use crate::desk::{Desk, header, limit};
use crate::world::{Peer, eventually, global};

/// One request a day, and one limit that only watches.
fn desk() -> Desk {
    Desk::start(|config| {
        config.offenders = 5;
        config.limits.push(global("1/day"));
        let mut watching = limit("watching", "1/day", &[KeyPart::Address]);
        watching.enforced = "0%".parse().unwrap();
        watching.line = Some(12);
        config.limits.push(watching);
    })
}

#[test]
fn every_answer_forbids_what_is_not_needed() {
    let desk = desk();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (line, status) in [
        ("GET /", 200),
        ("HEAD /", 200),
        ("GET /stats", 200),
        ("GET /limit?name=all", 200),
        ("GET /limit?name=none", 404),
        ("GET /key?limit=all&key=*", 200),
        ("GET /key?limit=all&key=a%3Ab", 404),
        ("GET /reset", 405),
        ("GET /find", 405),
        ("DELETE /stats", 405),
        ("POST /", 405),
        ("GET /favicon.ico", 404),
        ("POST /reset", 403),
        ("OPTIONS *", 404),
    ] {
        let answer = if line.starts_with("HEAD") {
            let mut peer = Peer::connect(desk.address);
            peer.send(format!("{line} HTTP/1.1\r\nhost: {}\r\n\r\n", desk.host)).unwrap();
            peer.head()
        } else {
            desk.ask(line, &form, "")
        };
        assert_eq!(answer.status(), status, "{line}: {}", answer.start);
        let policy = answer.field("content-security-policy").unwrap();
        let parts: Vec<_> = policy.split("; ").collect();
        assert_eq!(parts[0], "default-src 'none'", "{line}");
        assert!(parts[1].starts_with("style-src 'sha256-") && !parts[1].contains("unsafe"), "{line}");
        assert_eq!(parts[2..], ["form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"], "{line}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("connection", "close"),
        ] {
            assert_eq!(answer.all(name), [value], "{line}: {name}");
        }
        assert_eq!(answer.field("access-control-allow-origin"), None, "{line}");
        assert!(!answer.body().to_lowercase().contains("<script"), "{line}");
    }
}

#[test]
fn the_page_has_the_rules_in_words_and_numbers() {
    let desk = desk();
    for _ in 0..4 {
        desk.through("");
    }
    eventually("all are counted", || desk.stats()["requests"]["denied"] == 3);
    let stats = desk.stats();
    assert_eq!(stats["requests"]["allowed"], 1);
    assert!(stats["per_second"]["denied"].as_f64().unwrap() > 0.0);
    let (all, watching) = (&stats["limits"][0], &stats["limits"][1]);
    assert_eq!((&all["name"], &all["denied"], &all["state"]), (&"all".into(), &3.into(), &"enforced".into()));
    assert_eq!((&watching["line"], &watching["state"]), (&12.into(), &"shadow: denies nothing".into()));
    assert_eq!(all["most_denied"][0]["key"], "*");
    let free = all["most_denied"][0]["free"].as_f64().unwrap();
    assert!((86_000.0..=86_400.0).contains(&free), "{free}");
    let page = desk.get("/").body();
    for words in [
        "Denying ",
        "Configuration: taken up ",
        "<title>",
        "shadow: denies nothing",
        "<td class=\"n\">12</td>",
        "everybody</bdi>",
        "<svg",
        "Free in",
        "24 h",
        "/?refresh=5",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
}

#[test]
fn a_page_comes_again_only_if_that_is_asked_for() {
    let desk = desk();
    assert_eq!(desk.get("/").field("refresh"), None);
    assert_eq!(desk.get("/?refresh=1").field("refresh"), None);
    let page = desk.get("/?refresh=5");
    assert_eq!(page.field("refresh"), Some("5"));
    assert!(page.body().contains("Refresh: <a href=\"/\">off</a> / <b aria-current=\"true\">5 s</b>"));
}

/// A page elsewhere that makes its name lead to this machine.
#[test]
fn only_a_loopback_host_is_answered() {
    let desk = desk();
    let port = desk.address.port();
    for host in ["localhost", "127.0.0.1", &format!("localhost:{port}"), "[::1]:80"] {
        assert_eq!(desk.ask("GET /stats", &[("host", host)], "").status(), 200, "{host}");
    }
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0"] {
        for line in ["GET /", "GET /stats", "GET /key?limit=all&key=*", "POST /reset", "GET /none"] {
            let answer = desk.ask(line, &[("host", host)], "");
            assert_eq!(answer.status(), 403, "{line} {host}");
            assert!(answer.body().contains("http://127.0.0.1:PORT/") && !answer.body().contains("watching"));
        }
    }
    // None, two, and one in the target beside another.
    let status = |request: String| Peer::connect(desk.address).ask(request).status();
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n".into()), 403);
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n".into()), 403);
    assert_eq!(status("GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n".into()), 403);
    assert_eq!(status("GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\n\r\n".into()), 403);
}

/// Each thing that is missing or wrong refuses the change, and nothing has changed.
#[test]
fn nothing_changes_but_by_the_page_s_own_form() {
    let desk = desk();
    assert_eq!((desk.through(""), desk.through("")), (200, 429));
    let (origin, token) = (format!("http://{}", desk.host), desk.token());
    let form = format!("limit=all&key=*&token={token}");
    const KIND: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    let other = format!("http://127.0.0.1:{}", desk.address.port().wrapping_add(1));
    for (why, line, fields, body, status) in [
        ("a GET", format!("GET /reset?{form}"), vec![("origin", &*origin), KIND], "", 405),
        ("no origin", "POST /reset".into(), vec![KIND], &*form, 403),
        ("an origin that is hidden", "POST /reset".into(), vec![("origin", "null"), KIND], &form, 403),
        ("another origin", "POST /reset".into(), vec![("origin", "http://evil.example"), KIND], &form, 403),
        ("another port", "POST /reset".into(), vec![("origin", &other), KIND], &form, 403),
        (
            "another site, as a browser says",
            "POST /reset".into(),
            vec![("origin", &origin), KIND, ("sec-fetch-site", "cross-site")],
            &form,
            403,
        ),
        ("no token", "POST /reset".into(), vec![("origin", &origin), KIND], "limit=all&key=*", 403),
        (
            "another token",
            "POST /reset".into(),
            vec![("origin", &origin), KIND],
            &form.replace(&token[..4], if token.starts_with("0000") { "1111" } else { "0000" }),
            403,
        ),
        ("a token twice", "POST /reset".into(), vec![("origin", &origin), KIND], &format!("{form}&token=x"), 403),
        (
            "the token in the link",
            format!("POST /reset?{form}"),
            vec![("origin", &origin), KIND],
            "limit=all&key=*",
            403,
        ),
        (
            "another kind of body",
            "POST /reset".into(),
            vec![("origin", &origin), ("content-type", "text/plain")],
            &form,
            415,
        ),
    ] {
        let answer = desk.ask(&line, &fields, body);
        assert_eq!(answer.status(), status, "{why}: {}", answer.start);
        assert_eq!(desk.through(""), 429, "{why}");
    }
    let answer = desk.ask("POST /reset", &[("origin", &origin), KIND], &form);
    assert_eq!((answer.status(), answer.field("location")), (303, Some("/key?limit=all&key=%2A")));
    assert_eq!((desk.through(""), desk.through("")), (200, 429));
    assert!(desk.get("/").body().contains("<h2>Resets</h2>"));
    assert!(desk.get("/key?limit=all&key=*").body().contains("It was reset "));
}

#[test]
fn a_file_that_was_refused_is_told_with_all_that_is_wrong() {
    let desk = desk();
    let why = ["6:13: unknown key \"limt\" <script>alert(1)</script>", "7:1: \u{202e}dne"];
    desk.proxy.refuse_reload(why.map(str::to_owned).to_vec());
    let page = desk.get("/").body();
    for words in [
        "Configuration: old.</span> A new file was refused ",
        "<details><summary>What is wrong with the new file</summary>",
        "6:13: unknown key &quot;limt&quot; &lt;script&gt;alert",
        "7:1: &lt;U+202E&gt;dne",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let told = &desk.stats()["config"]["newer_one_refused"];
    assert_eq!((&told["why"][1], told["at"].as_u64().unwrap() > 1_700_000_000), (&why[1].into(), true));
    // A good one is in force, with its limits.
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "http://127.0.0.1:9".parse().unwrap());
    config.limits.push(limit("renamed", "7/day", &[KeyPart::Address]));
    desk.proxy.reload(&config).unwrap();
    let page = desk.get("/").body();
    assert!(page.contains("Configuration: taken up ") && page.contains(">renamed</a>"), "{page}");
    assert!(!page.contains("watching") && desk.stats()["config"]["newer_one_refused"].is_null());
}

/// What clients send reaches no page as it is.
#[test]
fn keys_are_hostile_text() {
    let secret = "s3cr3t<script>alert(1)</script>\"'\u{e9}";
    let desk = Desk::start(|config| {
        config.offenders = 5;
        config.limits.push(limit("user", "1/day", &[KeyPart::Address, header("x-user")]));
    });
    for _ in 0..2 {
        desk.through(&format!("x-user: {secret}\r\n"));
    }
    let stats = desk.stats();
    let denied = &stats["limits"][0]["most_denied"][0];
    let (key, shown) = (denied["key"].as_str().unwrap(), denied["shown"].as_str().unwrap());
    let fingerprint = key.strip_prefix("127.0.0.1:").unwrap();
    assert_eq!(fingerprint.len(), 32);
    assert_eq!(shown, format!("127.0.0.1 + #{}", &fingerprint[..8]));
    let page = desk.get("/").body();
    assert!(page.contains(shown));
    for text in [page, stats.to_string(), desk.get(&format!("/key?limit=user&key={key}")).body()] {
        assert!(!text.contains("s3cr3t") && !text.contains("<script") && !text.contains("alert("), "{text}");
    }
    // What somebody puts into a link.
    for path in [
        "/limit?name=%3Cscript%3Ealert(1)%3C/script%3E",
        "/key?limit=user&key=%3Cscript%3Ealert(1)%3C/script%3E",
        "/%3Cscript%3Ealert(1)",
        "/?refresh=%3Cscript%3Ealert(1)",
        "/key?limit=user%22%3E%3Cscript%3Ealert(1)&key=127.0.0.1",
    ] {
        let body = desk.get(path).body();
        assert!(!body.contains("<script") && !body.contains("alert("), "{path}: {body}");
    }
    let found = desk.post("/find", "limit=user&client=%3Cscript%3Ealert(1)&part-1=x");
    assert_eq!(found.status(), 422);
    assert!(!found.body().contains("<script") && !found.body().contains("alert("));
}
