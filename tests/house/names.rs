//! One name, one meaning: no two types of a package have the same name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::imports::{closing, tokens};

/// Names that stand for one thing wherever they are declared.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("Mutex", "parking_lot's, as the model checker sees it"),
    ("Sealed", "what only this crate implements, as such traits are called everywhere"),
];

/// The types that a text declares, but for those that belong to a trait or its implementation.
fn types(text: &str) -> Vec<&str> {
    let tokens = tokens(text);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        // `impl` also stands in signatures, where what follows it is no block of items.
        let begins_item = at == 0 || ["}", ";", "]", "{", "unsafe", "pub", ")"].contains(&tokens[at - 1]);
        match tokens[at] {
            "impl" | "macro_rules" if begins_item => at = skip_block(&tokens, at),
            "trait" if begins_item => {
                found.push(tokens[at + 1]);
                at = skip_block(&tokens, at);
            }
            "struct" | "enum" | "union" | "type" if begins_item => found.push(tokens[at + 1]),
            _ => {}
        }
        at += 1;
    }
    found
}

/// Where the block ends that is opened next.
fn skip_block(tokens: &[&str], at: usize) -> usize {
    let open = tokens[at..].iter().position(|token| *token == "{");
    open.map_or(tokens.len(), |open| closing(tokens, at + open))
}

/// Names that are declared more than once, with the files that do, given as names and texts. A file may declare a type twice for
/// two configurations.
fn doubled<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut declared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, text) in files {
        for name in types(text) {
            let files = declared.entry(name).or_default();
            if files.last() != Some(&file) {
                files.push(file);
            }
        }
    }
    declared.retain(|_, files| files.len() > 1);
    declared
}

#[test]
fn a_types_name_stands_for_one_thing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The package on crates.io comes without the sidecar.
    for src in ["src", "sidecar/src"].map(|src| root.join(src)).iter().filter(|src| src.exists()) {
        let mut paths = Vec::new();
        super::sources(src, &mut paths);
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            let inside = path.strip_prefix(src).expect("found in src").display().to_string();
            (inside, fs::read_to_string(path).expect("a source file is text"))
        };
        let files: Vec<(String, String)> = paths.iter().map(read).collect();
        let mut doubled = doubled(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        doubled.retain(|name, _| !EXCEPTIONS.iter().any(|(exception, _)| exception == name));
        let lines: Vec<String> = doubled.iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect();
        assert!(lines.is_empty(), "types of one name in {}:\n{}", src.display(), lines.join("\n"));
    }
}

#[test]
fn declarations_are_found() {
    let check = |text: &str, expected: &[&str]| assert_eq!(types(text), expected, "{text}");
    check("pub struct A; pub(crate) enum B { C } trait D: E {} type F<G> = H;", &["A", "B", "D", "F"]);
    check("mod inside { pub union A {} }\npin_project! { pub struct B { c: C } }", &["A", "B"]);
    check("#[derive(Debug)]\nstruct A<B>(B);", &["A"]);
    // Not what belongs to a trait, nor what is only named.
    check("trait A { type B; }\nimpl A for C { type B = D; fn e() { struct E; } }", &["A"]);
    check("fn a(b: impl Fn() -> C) -> impl D { struct E; }", &["E"]);
    check("// struct A;\nconst B: &str = \"struct C;\";", &[]);
}

#[test]
fn doubled_names_are_found() {
    let files = [("a.rs", "struct A; struct B;"), ("b.rs", "enum A {} #[cfg(c)] struct C; #[cfg(not(c))] struct C;")];
    let found: Vec<_> = doubled(files).into_iter().collect();
    assert_eq!(found, [("A", vec!["a.rs", "b.rs"])]);
}
