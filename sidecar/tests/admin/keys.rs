//! One key: found by its text or by what is typed, peeked at, and reset.

use tollgate_sidecar::config::{Config, KeyPart, Missing, Overrides, read};

use crate::desk::{Desk, header, limit};
use crate::world::{Peer, from};

fn peek(desk: &Desk, query: &str) -> serde_json::Value {
    let answer = desk.get(&format!("/peek?{query}"));
    assert_eq!(answer.status(), 200, "{query}: {}", answer.start);
    serde_json::from_str(&answer.body()).unwrap()
}

fn remaining(desk: &Desk, query: &str) -> u64 {
    peek(desk, query)["plans"][0]["quotas"][0]["remaining"].as_u64().unwrap()
}

#[test]
fn an_address_is_peeked_at_and_reset_by_itself() {
    let desk = Desk::start(|config| config.limits.push(limit("client", "3/day", &[KeyPart::Address])));
    for client in [[127, 0, 0, 8], [127, 0, 0, 8], [127, 0, 0, 9]] {
        let stream = from(client, desk.proxy.address());
        assert_eq!(Peer::of(stream).ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status(), 200);
    }
    let left = || [8, 9, 10].map(|last| remaining(&desk, &format!("limit=client&key=127.0.0.{last}")));
    assert_eq!(left(), [1, 2, 3]);
    assert_eq!(left(), [1, 2, 3], "a peek charges nothing");
    assert_eq!(desk.post("/reset", "limit=client&key=127.0.0.8").status(), 303);
    assert_eq!(left(), [3, 2, 3]);
    // IPv6 clients are counted by their network, however the address is written.
    assert_eq!(peek(&desk, "limit=client&key=2001:db8::7")["shown"], "2001:db8::");
    assert_eq!(peek(&desk, "limit=client&key=2001%253Adb8%253A%253A7")["shown"], "2001:db8::");
    for (path, status) in [("/reset", 404), ("/find", 404)] {
        assert_eq!(desk.post(path, "limit=none&key=127.0.0.8").status(), status);
    }
    assert_eq!(desk.post("/reset", "limit=client&key=nobody").status(), 404);
}

/// The value is typed once, and is from then on only known by its fingerprint.
#[test]
fn a_secret_key_is_looked_up_by_its_value() {
    let desk = Desk::start(|config| {
        config.limits.push(limit("user", "1/day", &[header("x-user"), KeyPart::Address, KeyPart::Cookie("s".into())]));
    });
    let fields = "x-user: s3cr3t a+b\r\ncookie: t=1; s=c00k1e\r\n";
    assert_eq!((desk.through(fields), desk.through(fields)), (200, 429));
    let form = desk.get("/limit?name=user").body();
    for label in ["Client address", "Value of the header x-user", "Value of the cookie s"] {
        assert!(form.contains(&format!("<label>{label}<input")), "{form}");
    }
    let found = desk.post("/find", "limit=user&client=127.0.0.1&part-0=s3cr3t+a%2Bb&part-2=c00k1e");
    assert_eq!(found.status(), 303);
    let location = found.field("location").unwrap().to_owned();
    assert!(!location.contains("s3cr3t") && !location.contains("c00k1e"), "{location}");
    let page = desk.get(&location).body();
    assert!(page.contains("A request passes in 24 h"), "{page}");
    assert!(!page.contains("s3cr3t") && !page.contains("c00k1e"), "{page}");
    let query = location.strip_prefix("/key?").unwrap();
    assert_eq!(remaining(&desk, query), 0);
    assert_eq!(desk.post("/reset", query).status(), 303);
    assert_eq!(desk.through(fields), 200);
    // Something else is somebody else.
    let other = desk.post("/find", "limit=user&client=127.0.0.1&part-0=s3cr3t&part-2=c00k1e");
    assert_eq!(remaining(&desk, other.field("location").unwrap().strip_prefix("/key?").unwrap()), 1);
    // What is missing is said.
    let lacks = desk.post("/find", "limit=user&client=127.0.0.1&part-0=x");
    assert_eq!(lacks.status(), 422);
    assert!(lacks.body().contains("cookie"), "{}", lacks.body());
    assert_eq!(desk.post("/find", "limit=user&part-0=x&part-2=y").status(), 422);
    assert_eq!(desk.post("/find", "limit=user&client=127.0.0.1&part-0=a%0D%0Ab&part-2=y").status(), 422);
    // A fingerprint alone finds nobody.
    let unknown = "127.0.0.1:0123456789abcdef0123456789abcdef:0123456789abcdef0123456789abcdef";
    assert_eq!(desk.get(&format!("/key?limit=user&key={unknown}")).status(), 404);
}

/// Nobody but the limiter knows the key.
#[test]
fn who_is_denied_most_is_reset_without_its_key() {
    let desk = Desk::start(|config| {
        config.offenders = 3;
        config.limits.push(limit("user", "1/day", &[header("x-user")]));
    });
    for user in ["a", "a", "b", "b", "b"] {
        desk.through(&format!("x-user: {user}\r\n"));
    }
    let stats = desk.stats();
    let most: Vec<_> = stats["limits"][0]["most_denied"].as_array().unwrap().clone();
    assert_eq!(most.len(), 2);
    let key = most[0]["key"].as_str().unwrap();
    assert_eq!(desk.post("/reset", &format!("limit=user&key={key}")).status(), 303);
    assert_eq!((desk.through("x-user: b\r\n"), desk.through("x-user: a\r\n")), (200, 429));
}

#[test]
fn an_address_stands_in_for_a_header_that_is_missing() {
    let desk = Desk::start(|config| {
        let mut user = limit("user", "1/day", &[header("x-user")]);
        user.missing = Missing::Address;
        config.limits.push(user);
    });
    assert_eq!(desk.through(""), 200);
    assert_eq!(remaining(&desk, "limit=user&key=127.0.0.1"), 0);
    let found = desk.post("/find", "limit=user&client=127.0.0.1&part-0=");
    assert_eq!(found.field("location"), Some("/key?limit=user&key=127.0.0.1"));
}

#[test]
fn a_key_stands_otherwise_on_each_plan() {
    let file = "listen = \"127.0.0.1:0\"\nupstream = \"http://localhost:5000\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
                [limits.api]\nlimit = \"2/day\"\nplan = \"header:x-plan\"\nplans = { pro = \"5/day\" }\n";
    let plans: Config = read("a.toml", file.as_bytes(), &Overrides::default()).unwrap();
    let desk = Desk::start(|config| {
        config.trusted_proxies = plans.trusted_proxies.clone();
        config.limits = plans.limits.clone();
        config.offenders = 5;
    });
    assert_eq!(desk.through("x-forwarded-for: 192.0.2.7\r\nx-plan: pro\r\n"), 200);
    let peeked = peek(&desk, "limit=api&key=192.0.2.7");
    let left = |plan: usize| peeked["plans"][plan]["quotas"][0]["remaining"].as_u64();
    assert_eq!((&peeked["plans"][0]["plan"], left(0)), (&"default".into(), Some(1)));
    assert_eq!((&peeked["plans"][1]["plan"], left(1)), (&"pro".into(), Some(4)));
    let page = desk.get("/key?limit=api&key=192.0.2.7").body();
    assert!(page.contains("A request passes now on plan pro."), "{page}");
    // Who is denied by default would still pass on the other plan, and nobody knows which one comes next.
    let other = "x-forwarded-for: 192.0.2.8\r\n";
    assert_eq!([0; 3].map(|_| desk.through(other)), [200, 200, 429]);
    let stats = desk.stats();
    let most = &stats["limits"][0]["most_denied"][0];
    assert_eq!(most["key"], "192.0.2.8");
    assert!(most["free"].as_str().is_some_and(|free| free.starts_with("at most 43")), "{most}");
    assert!(desk.get("/").body().contains("at most 12 h"));
}
