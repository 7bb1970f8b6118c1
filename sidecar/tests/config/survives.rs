//! No bytes make a reader panic, and what an error points at is in the file.

use proptest::prelude::*;
use tollgate_sidecar::check::{Asked, request};
use tollgate_sidecar::config::{FileError, Overrides, read};
use tollgate_sidecar::from_envoy::translate;

use crate::examples::{ALL, example};

/// A change of a text: which example, and where what is done to it.
#[derive(Clone, Debug)]
enum Edit {
    Drop { at: usize, len: usize },
    Insert { at: usize, text: String },
    Byte { at: usize, byte: u8 },
    Swap { at: usize, to: usize, len: usize },
}

/// Edits of one of so many texts, with pieces of its language.
fn edits(texts: usize, pieces: &[&'static str]) -> impl Strategy<Value = (usize, Vec<Edit>)> {
    let at = || 0..1000_usize;
    let token = prop::sample::select(pieces.to_vec());
    let edit = prop_oneof![
        (at(), 0..40_usize).prop_map(|(at, len)| Edit::Drop { at, len }),
        (at(), token).prop_map(|(at, text)| Edit::Insert { at, text: text.to_owned() }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte { at, byte }),
        (at(), at(), 0..60_usize).prop_map(|(at, to, len)| Edit::Swap { at, to, len }),
    ];
    (0..texts, prop::collection::vec(edit, 0..6))
}

fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for edit in edits {
        let within = |at: usize, text: &[u8]| at % (text.len() + 1);
        match edit {
            Edit::Drop { at, len } => {
                let at = within(*at, &text);
                let end = (at + len).min(text.len());
                text.drain(at..end);
            }
            Edit::Insert { at, text: new } => {
                let at = within(*at, &text);
                text.splice(at..at, new.bytes());
            }
            Edit::Byte { at, byte } => {
                let at = within(*at, &text);
                if let Some(place) = text.get_mut(at) {
                    *place = *byte;
                }
            }
            Edit::Swap { at, to, len } => {
                let at = within(*at, &text);
                let end = (at + len).min(text.len());
                let piece: Vec<u8> = text[at..end].to_vec();
                let to = within(*to, &text);
                text.splice(to..to, piece);
            }
        }
    }
    text
}

#[track_caller]
fn survives(bytes: &[u8]) {
    let Err(error) = read("bad.toml", bytes, &Overrides::default()) else { return };
    assert!(!error.problems().is_empty(), "nothing is said of {:?}", String::from_utf8_lossy(bytes));
    let shown = error.to_string();
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let problems = error.problems();
    for problem in problems.iter().take(100).chain(problems.last()) {
        let (line, column) = error.line_and_column(problem);
        assert!((1..=lines).contains(&line) && column >= 1, "{line}:{column} of {lines} lines");
    }
    for line in shown.lines() {
        assert!(line.chars().count() < 1000, "{line}");
    }
}

const TOML: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "=",
    "[",
    "]",
    "[[",
    "{",
    "}",
    ",",
    ".",
    "#",
    "\n",
    "\\",
    "\\u",
    "[limits.",
    "[limits]",
    "[[exempt]]",
    "%",
    "/",
    "0",
    "-1",
    "1e9",
    "9223372036854775808",
    "nan",
    "true",
    "1979-05-27",
    "é",
    "\u{FEFF}",
    "\u{0}",
    "burst",
    "header:",
    "cookie:",
    "limit = \"",
    "key = ",
    "plans = { ",
    "instead_of = \"client\"\n",
    "10.0.0.0/",
    "http://",
    "*",
    "..",
];

const YAML: &[&str] = &[
    ": ",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "|",
    ">",
    "&a ",
    "*a",
    "!!str ",
    "---\n",
    "\"",
    "'",
    "#",
    "%",
    "~",
    "0",
    "-1",
    "1e400",
    "0.1s",
    "1s",
    "99999999999999999999",
    "descriptors: []",
    "max_tokens: 0",
    "name: envoy.filters.http.local_ratelimit",
    "é",
    "\u{0}",
    "? ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn edited_files((name, edits) in edits(ALL.len(), TOML)) {
        survives(&edited(&example(ALL[name]), &edits));
    }

    /// Whatever Envoy's file was, what is printed is a file.
    #[test]
    fn edited_configurations_of_envoy((_, edits) in edits(1, YAML)) {
        if let Ok(translated) = translate(&edited(include_str!("envoy/article.yaml"), &edits)) {
            let toml = translated.config.to_toml();
            // The upstream may be what it listens on.
            let read = read("file.toml", toml.as_bytes(), &Overrides::default());
            let is_loop = |error: &FileError| error.to_string().contains("is this proxy itself");
            prop_assert!(read.is_ok() || read.is_err_and(|error| is_loop(&error) || error.to_string().contains("clients connect there")), "{}", toml);
        }
    }

    #[test]
    fn edited_requests((_, edits) in edits(1, &["from", " ", "/", "GET", "::1", "%", "http://", "\u{0}"])) {
        let text = String::from_utf8_lossy(&edited("GET /login from 1.2.3.4", &edits)).into_owned();
        if let Ok(asked) = text.parse::<Asked>() {
            let config = read("file.toml", example("behind-a-balancer").as_bytes(), &Overrides::default()).unwrap();
            let _ = request(&config, &asked);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        survives(&bytes);
    }
}

#[test]
fn deep_yaml() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("a:\n ", "")] {
        let text = format!("static_resources: {}{}", open.repeat(20_000), close.repeat(20_000));
        assert!(translate(text.as_bytes()).is_err(), "{open}");
    }
    // These nest without a bracket.
    for text in ["- ".repeat(200_000), format!("static_resources:\n{}", "- ".repeat(200_000))] {
        let error = translate(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("more than 100 levels deep"), "{error}");
    }
    // Each line is nine times the one before.
    let bomb: String =
        (1..12).map(|at| format!("a{at}: &a{at} [{}]\n", vec![format!("*a{}", at - 1); 9].join(", "))).collect();
    assert!(translate(format!("a0: &a0 x\n{bomb}static_resources: *a11").as_bytes()).is_err());
}

/// Depth is bounded, and a long file is read in a moment: what is said of it grows with its length alone.
#[test]
fn deep_and_long_files() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        survives(format!("a = {}{}", open.repeat(10_000), close.repeat(10_000)).as_bytes());
    }
    survives("a.".repeat(20_000).as_bytes());
    survives(format!("[{}]", "a.".repeat(20_000)).as_bytes());
    survives("x\n".repeat(100_000).as_bytes());
    let many: String = (0..8_000).map(|at| format!("[limits.l{at}]\nlimit = \"1/s\"\n")).collect();
    survives(many.as_bytes());
    let many: String = (0..12_000).map(|at| format!("a{at} = 1\n")).collect();
    survives(many.as_bytes());
}
