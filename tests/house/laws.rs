//! The table of laws, `tests/LAWS.md`, names tests that exist, and a law without a test has no row to hide in.

use std::fs;
use std::path::Path;

#[test]
fn every_law_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The package on crates.io comes without.
    let Ok(table) = fs::read_to_string(root.join("tests/LAWS.md")) else { return };
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 16, "a row for each law");
    for (number, row) in (1..).zip(&rows) {
        let [law, tests, caught] = row[..] else { panic!("a row has three cells: {row:?}") };
        assert!(law.starts_with(&format!("{number}. ")), "in order: {law}");
        assert!(!caught.is_empty(), "law {number} does not say what its tests were seen to catch");
        let named: Vec<&str> = tests.split_whitespace().map(|test| test.trim_matches('`')).collect();
        assert!(!named.is_empty() || number == 16, "law {number} names no test");
        for test in named {
            let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} is not a path::name"));
            let source = fs::read_to_string(root.join(path)).unwrap_or_else(|_| panic!("{path} is not there"));
            let found = source.match_indices(&format!("fn {name}(")).next().is_some();
            assert!(found, "law {number} names {test}, which is not there");
        }
    }
}
