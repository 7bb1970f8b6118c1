//! The house keeps its edges: what may import what, read from the sources.

mod doc_width;
mod foreign_types;
mod imports;
mod laws;
mod names;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each part of the crate, and the parts it may name. Parts at the root of `src/` are the limiter; folders are doors.
const EDGES: &[(&str, &[&str])] = &[
    ("guide", &[]),
    ("name", &[]),
    ("clock", &[]),
    ("fingerprint", &[]),
    ("table", &["fingerprint"]),
    ("queue", &["fingerprint"]),
    ("offenders", &["fingerprint"]),
    ("throttle", &["offenders"]),
    ("key", &[]),
    ("algorithm", &[]),
    ("decision", &["name"]),
    ("error", &["name"]),
    ("quota", &["algorithm", "error"]),
    ("policy", &["quota", "name", "error"]),
    ("parse", &["policy", "quota", "error"]),
    ("serde", &["parse", "policy", "quota", "error"]),
    ("plan", &[]),
    ("setting_error", &[]),
    ("rules", &["policy", "quota", "name", "algorithm", "decision", "fingerprint"]),
    (
        "engine",
        &[
            "rules",
            "table",
            "clock",
            "queue",
            "policy",
            "algorithm",
            "decision",
            "fingerprint",
            "throttle",
            "offenders",
        ],
    ),
    (
        "limiter",
        &[
            "engine",
            "reservation",
            "plan",
            "setting_error",
            "policy",
            "table",
            "clock",
            "decision",
            "throttle",
            "queue",
            "fingerprint",
            "key",
            "offenders",
        ],
    ),
    ("reservation", &["engine", "plan", "decision", "fingerprint"]),
    ("account", &["limiter", "offenders", "decision", "fingerprint"]),
    ("demand", &["limiter", "reservation", "plan", "decision", "fingerprint"]),
    ("backend", &["demand", "limiter", "reservation", "plan", "key", "decision"]),
    ("wait", &["backend", "limiter", "reservation", "plan", "queue", "decision", "clock", "fingerprint", "key"]),
    (
        "http",
        &[
            "setting_error",
            "backend",
            "demand",
            "limiter",
            "reservation",
            "policy",
            "plan",
            "quota",
            "decision",
            "key",
            "throttle",
            "wait",
        ],
    ),
    (
        "redis",
        &[
            "setting_error",
            "backend",
            "demand",
            "wait",
            "limiter",
            "reservation",
            "plan",
            "policy",
            "quota",
            "name",
            "decision",
            "queue",
            "clock",
            "throttle",
            "fingerprint",
            "key",
        ],
    ),
];

/// Crates that only doors may name.
const DOORS_ONLY: &[&str] = &[
    "http",
    "http_body",
    "tower",
    "tower_layer",
    "tower_service",
    "tokio",
    "axum",
    "tonic",
    "bytes",
    "metrics",
    "redis",
];

/// The same but for the last: the layer asks what it is given, and knows no server.
const DOORS_BUT_REDIS: &[&str] = DOORS_ONLY.split_at(DOORS_ONLY.len() - 1).0;

/// Each door, and those of these crates that it may name.
const DOORS: &[(&str, &[&str])] = &[("wait", &["tokio"]), ("redis", &["redis", "tokio"]), ("http", DOORS_BUT_REDIS)];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    files(folder, &["rs"], found);
}

/// All files below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|other| ending == *other)) {
            found.push(path);
        }
    }
}

/// The code of every source file, without comments, with the part it belongs to.
fn parts() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    assert!(paths.len() > 15, "the sources were found");
    // Tests inside the sources may name what they like.
    paths.retain(|path| !path.ends_with("loom_tests.rs"));
    let part = |path: &Path| {
        let inside = path.strip_prefix(&src).expect("found in src");
        inside.components().next().expect("a file").as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    let code = |path: &Path| {
        let text = fs::read_to_string(path).expect("a source file is text");
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    };
    paths.into_iter().map(|path| (part(&path), path.clone(), code(&path))).filter(|(part, ..)| part != "lib").collect()
}

/// The names that follow `prefix` in a text, as in `crate::NAME`; a group `crate::{a, b}` counts as `{`, which no part is.
fn names_after<'a>(prefix: &'a str, code: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 { &rest[..rest.len().min(1)] } else { &rest[..end] }
    })
}

#[test]
fn parts_name_only_the_parts_below_them() {
    for (part, path, code) in parts() {
        let (_, allowed) = EDGES.iter().find(|(name, _)| *name == part).unwrap_or_else(|| {
            panic!("{part} is new: give it a place in the house, in this test and in ARCHITECTURE.md")
        });
        for name in names_after("crate::", &code) {
            let fine = name == part || allowed.contains(&name);
            assert!(fine, "{} names crate::{name}, which {part} must not", path.display());
        }
    }
}

#[test]
fn the_limiter_knows_no_door() {
    for (part, path, code) in parts() {
        let door = DOORS.iter().find(|(door, _)| *door == part);
        let foreign = |name: &&&str| !door.is_some_and(|(_, may)| may.contains(*name));
        let foreign: Vec<&str> = DOORS_ONLY.iter().filter(foreign).copied().collect();
        let uses = code.lines().map(str::trim).filter(|line| line.starts_with("use ") || line.starts_with("pub use "));
        for line in uses {
            let path_of_use = line.trim_start_matches("pub ").trim_start_matches("use ").trim_start_matches("::");
            let first = path_of_use.split([':', ';', ' ']).next().unwrap_or_default();
            assert!(!foreign.contains(&first), "{}: {part} must not use {first}", path.display());
        }
        for name in foreign {
            // The compiler's hints may point to a door, as a user would name it.
            let code = code.replace(&format!("tollgate::{name}::"), "");
            assert!(!code.contains(&format!("{name}::")), "{}: {part} must not name {name}::", path.display());
        }
    }
}

#[test]
fn there_are_no_circles_among_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The package on crates.io comes without the sidecar.
    for src in ["src", "sidecar/src"].map(|src| root.join(src)).iter().filter(|src| src.exists()) {
        let mut paths = Vec::new();
        sources(src, &mut paths);
        paths.retain(|path| !path.ends_with("loom_tests.rs"));
        let name = |path: &PathBuf| {
            let inside = path.strip_prefix(src).expect("found in src");
            inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
        };
        let files: Vec<(String, String)> =
            paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("a source file is text"))).collect();
        let graph = imports::graph(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let circles = imports::circles(&graph);
        assert!(circles.is_empty(), "circles among files of {}:\n{}", src.display(), circles.join("\n"));
    }
}

#[test]
fn one_file_reads_the_time() {
    // Tokio's time, which tests pause, has a clock of its own.
    let tokio = Path::new("wait").join("clock.rs");
    let readers: BTreeSet<_> = parts()
        .into_iter()
        .filter(|(_, path, _)| !path.ends_with(&tokio))
        .filter(|(_, _, code)| ["Instant::now", "SystemTime::now", "quanta::"].iter().any(|read| code.contains(read)))
        .map(|(part, ..)| part)
        .collect();
    assert_eq!(readers.into_iter().collect::<Vec<_>>(), ["clock"]);
}

/// Globals outlive every limiter and are shared by all. There is one: what the processor's counter is.
#[test]
fn the_only_global_is_what_the_counter_is() {
    let mut globals = Vec::new();
    for (part, _, code) in parts() {
        let lines = code.lines().map(str::trim).filter(|line| !line.contains("&'static "));
        let declared = |line: &&str| {
            let rest = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            rest.strip_prefix("static ").is_some_and(|rest| rest.contains(':'))
        };
        globals.extend(lines.filter(declared).map(|line| format!("{part}: {line}")));
    }
    assert_eq!(globals, ["clock: static TICK_COUNTER: OnceLock<Option<TickCounter>> = OnceLock::new();"]);
}

#[test]
fn what_is_deliberately_absent_is_absent() {
    for (part, path, code) in parts() {
        let code = code.replace("scope.spawn(", ""); // threads of tests, which end with them
        for absent in [
            "unsafe ",
            "thread::spawn",
            "tokio::spawn",
            ".spawn(",
            "static mut",
            "OnceLock",
            "LazyLock",
            "thread_local!",
        ] {
            if (part.as_str(), absent) == ("clock", "OnceLock") {
                continue; // its one global, which the test above names
            }
            if absent.contains("spawn") && path.ends_with("redis/node.rs") {
                continue; // to make a connection takes longer than the check that needs it first may wait
            }
            if absent == ".spawn(" && path.ends_with("redis/inquiry.rs") {
                continue; // nobody waits for what a layer gives back
            }
            assert!(!code.contains(absent), "{}: {part} has `{absent}`", path.display());
        }
    }
}
