//! No type of the Redis client library is in a public signature, so that its next major version is a patch of ours.

use std::path::Path;

use super::files;

/// What a file names of the library.
fn foreign(text: &str) -> Vec<&str> {
    let imports = text.split("use ::redis::").skip(1).filter_map(|rest| rest.split(';').next());
    let words = imports.flat_map(|import| import.split([',', ' ', '{', '}', ':', '\n']));
    words.filter(|word| word.starts_with(char::is_uppercase)).chain(["::redis::"]).collect()
}

/// What a user of the crate can see: signatures of public functions and types, and which traits are implemented for what.
fn signatures(text: &str) -> impl Iterator<Item = &str> {
    let begins = ["\npub ", "\n    pub fn ", "\n    pub async fn ", "\n    pub const fn ", "\nimpl"];
    let starts = begins.into_iter().flat_map(|begin| text.match_indices(begin));
    let items = starts.map(|(at, _)| &text[at..]).map(|rest| &rest[..rest.find(['{', ';']).unwrap_or(rest.len())]);
    let is_field = |line: &&str| line.starts_with("    pub ") && !line.contains("fn ");
    items.chain(text.lines().filter(is_field))
}

#[test]
fn no_public_signature_names_the_redis_library() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/redis");
    let mut paths = Vec::new();
    files(&src, &["rs"], &mut paths);
    let (mut names, mut looked_at) = (0, 0);
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        let foreign = foreign(&text);
        names += foreign.len() - 1;
        for signature in signatures(&text) {
            looked_at += 1;
            let words: Vec<&str> = signature.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let named = foreign.iter().find(|name| words.contains(name) || signature.contains("::redis::"));
            assert!(named.is_none(), "{}: {named:?} in {signature}", path.display());
        }
    }
    assert!(names > 5 && looked_at > 100, "{names} names of the library, {looked_at} signatures");
}
