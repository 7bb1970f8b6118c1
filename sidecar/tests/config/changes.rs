//! What a reload changes, and `check --against`.

use tollgate_sidecar::config::{Carried, Changes, Config, Overrides, read};

use crate::check::File;
use crate::cli::{stderr, stdout, tollgate};
use crate::written::EVERYTHING;

const OLD: &str = "listen = \"0.0.0.0:5002\"\nupstream = \"http://localhost:5000\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
    [limits.client]\nlimit = \"28/second\"\n[limits.login]\npath = \"/login\"\nlimit = \"5/minute\"\nkey = [\"address\", \"header:x-username\"]\n";

fn config(text: &str) -> Config {
    read("file.toml", text.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// What is told of this in place of that, and which limits keep what was spent.
#[track_caller]
fn check(from: &str, to: &str, told: &[&str], kept: &[Option<usize>]) {
    assert!(OLD.contains(from), "{from}");
    let changes = Changes::between(&config(OLD), &config(&OLD.replace(from, to)));
    let all: Vec<&String> = changes.told.iter().chain(&changes.until_restart).collect();
    assert_eq!(all, told);
    let carried: Vec<Option<usize>> =
        changes.limits.iter().map(|carried| if let Carried::Kept(at) = carried { Some(*at) } else { None }).collect();
    assert_eq!(carried, kept);
}

const KEPT: &[Option<usize>] = &[Some(0), Some(1)];

#[test]
fn a_limit_is_its_name() {
    check("", "", &[], KEPT);
    check("28/second", "14/second", &["client: 28/second is now 14/second; what was spent stays"], KEPT);
    check("28/second", "28/second fixed", &["client: 28/second is now 28/second fixed; what was spent stays"], KEPT);
    check("\"/login\"", "\"/signin\"", &["login: /login is now /signin; what was spent stays"], KEPT);
    check(
        "[limits.client]",
        "[limits.visitor]",
        &[
            "visitor: starts fresh: it is client under a new name, and what was spent belongs to the name",
            "client: gone, and what was spent with it",
        ],
        &[None, Some(1)],
    );
    check(
        "[limits.login]",
        "[limits.new]\nlimit = \"1/second\"\n[limits.login]",
        &["new: new, 1/second"],
        &[Some(0), None, Some(1)],
    );
    // Order does not matter, nor do lines.
    let (start, client) = ("listen = \"0.0.0.0:5002\"", "[limits.client]\nlimit = \"28/second\"\n");
    let moved = format!("# a line more\n{}{client}", OLD.replace(client, ""));
    let changes = Changes::between(&config(OLD), &config(&moved));
    assert!(changes.is_empty() && moved.contains(start), "{changes:?}");
    assert_eq!(changes.limits, [Carried::Kept(1), Carried::Kept(0)]);
}

#[test]
fn what_cannot_be_carried_over_starts_fresh_and_says_why() {
    let fresh = &[Some(0), None];
    check(
        "[\"address\", \"header:x-username\"]",
        "\"address\"",
        &["login: starts fresh: it was counted by address and header:x-username and is by address"],
        fresh,
    );
    // There is room for one quota more.
    check(
        "5/minute",
        "5/minute; 100/day",
        &[
            "login: 5/minute is now 5/minute; 100/day; what was spent stays",
            "login: if it had fewer quotas when the program started, it may start fresh, and the log says so",
        ],
        KEPT,
    );
    check(
        "5/minute",
        "5/minute; 100/day; 300/week",
        &["login: 5/minute is now 5/minute; 100/day; 300/week; starts fresh: there is room for 2 quotas and it has 3"],
        fresh,
    );
    // The other way round there is room.
    let more = config(&OLD.replace("5/minute", "5/minute; 100/day; 300/week"));
    assert_eq!(Changes::between(&more, &config(OLD)).limits, [Carried::Kept(0), Carried::Kept(1)]);
    check(
        "limit = \"5/minute\"",
        "limit = \"5/minute\"\ncapacity = 1000",
        &["login: starts fresh: it remembered 1048576 keys and remembers 1000"],
        fresh,
    );
    check(
        "limit = \"5/minute\"",
        "limit = \"5/minute\"\nplan = \"header:x-plan\"\nplans = { pro = \"9/minute\" }",
        &["login: its plans have changed; starts fresh: its plans have other names"],
        fresh,
    );
    check(
        "[limits.client]",
        "[store]\nredis = \"redis://a\"\n[limits.client]",
        &[
            "client: starts fresh: it is counted elsewhere now",
            "login: starts fresh: it is counted elsewhere now",
            "store: changed",
        ],
        &[None, None],
    );
}

/// In one line, for the log and for whoever asks beforehand.
#[test]
fn the_sum_of_it_is_said() {
    for (from, to, said) in [
        ("28/second", "14/second", "what was spent stays with client and login"),
        ("[limits.client]", "[limits.visitor]", "what was spent stays with login; visitor starts fresh"),
        (OLD.split_once("[limits").unwrap().1, ".a]\nlimit = \"1/day\"", "a starts fresh"),
        ("[limits.client]", "[store]\nredis = \"redis://a\"\n[limits.client]", "client and login start fresh"),
    ] {
        let new = config(&OLD.replace(from, to));
        assert_eq!(Changes::between(&config(OLD), &new).summary(&new), said);
    }
}

#[test]
fn a_rehearsal_that_becomes_real_keeps_what_it_counted() {
    let old = OLD.replace("limit = \"5/minute\"", "limit = \"5/minute\"\nshadow = true");
    let changes = Changes::between(&config(&old), &config(OLD));
    assert_eq!(changes.told, ["login: shadow on 100% is now acting on 100% of 100%; what was spent stays"]);
}

#[test]
fn what_waits_for_a_restart_keeps_its_old_value() {
    for (key, lines) in [
        ("listen", "listen = \"0.0.0.0:5002\"|listen = \"0.0.0.0:6002\""),
        ("admin", "upstream|admin = \"off\"\nupstream"),
        ("offenders", "upstream|offenders = 20\nupstream"),
        ("metrics", "upstream|metrics = \"0.0.0.0:5004\"\nupstream"),
        ("threads", "upstream|threads = 77\nupstream"),
        ("log", "upstream|log = \"json\"\nupstream"),
        ("caps", "[limits.client]|[caps]\nfields = 50\n[limits.client]"),
    ] {
        let (from, to) = lines.split_once('|').unwrap();
        check(from, to, &[&format!("{key}: refused until restart, the old value stays")], KEPT);
        let (old, new) = (config(OLD), config(&OLD.replace(from, to)));
        assert_eq!(new.taken_up_after(&old).to_full_toml(), old.to_full_toml(), "{key}");
    }
    // All else is taken up.
    let (old, new) = (config(OLD), config(EVERYTHING));
    let taken = new.clone().taken_up_after(&old);
    assert_eq!((taken.listen, &taken.admin, taken.metrics), (old.listen, &old.admin, old.metrics));
    assert_eq!((&taken.limits, &taken.upstreams, &taken.denied), (&new.limits, &new.upstreams, &new.denied));
    assert!(taken.tls.is_none(), "TLS comes with the listener");
}

#[test]
fn the_rest_is_told_in_a_line_each() {
    check("localhost:5000", "localhost:5001", &["upstream: http://localhost:5000 is now http://localhost:5001"], KEPT);
    check("10.0.0.0/8", "10.0.0.0/16", &["trusted_proxies: 10.0.0.0/8 is now 10.0.0.0/16"], KEPT);
    check(
        "[limits.client]",
        "exempt = [{ path = \"/healthz\" }]\naccess_log = true\nrequires_upstream = false\n[denied]\nbody = \"problem\"\n[deadlines]\nidle = \"5s\"\n[limits.client]",
        &[
            "exempt: nothing is now /healthz",
            "denied: changed",
            "deadlines: changed",
            "requires_upstream: changed",
            "access_log: changed",
        ],
        KEPT,
    );
}

#[test]
fn check_against_tells_beforehand() {
    let (old, new) = (
        File::new("old.toml", OLD),
        File::new("new.toml", &OLD.replace("28/second", "14/second").replace("5002", "6002")),
    );
    let output = tollgate(&["check", new.path(), "--against", old.path()]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let text = stdout(&output);
    assert!(text.contains("  client: 28/second is now 14/second; what was spent stays\n"), "{text}");
    assert!(text.contains("  listen: refused until restart, the old value stays\n"), "{text}");
    assert!(text.contains("So what was spent stays with client and login.\n"), "{text}");
    let output = tollgate(&["check", old.path(), "--against", old.path()]);
    assert!(stdout(&output).contains("Nothing changes from"), "{}", stdout(&output));
}
