//! Examples in the documentation fit a page: docs.rs shows some 80 columns beside its side bar, and GitHub's narrow.

use std::fs;
use std::path::Path;

/// The most columns that a line of an example has.
const COLUMNS_MAX: usize = 80;

/// The lines of code blocks in a text whose every line begins with one of these marks, or with none.
fn too_wide<'a>(text: &'a str, marks: &[&str]) -> Vec<(usize, &'a str)> {
    let mut inside = false;
    let mut wide = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let documented = marks.iter().find_map(|mark| line.strip_prefix(mark));
        let Some(line) = documented.or(marks.is_empty().then_some(line)) else {
            inside = false;
            continue;
        };
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside && !line.starts_with("# ") && line.chars().count() > COLUMNS_MAX {
            wide.push((number + 1, line));
        }
    }
    wide
}

#[test]
fn examples_fit_80_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    super::files(&root.join("src"), &["rs", "md"], &mut paths);
    paths.push(root.join("README.md"));
    assert!(paths.iter().any(|path| path.ends_with("guide/cors.md")), "the recipes were found");
    let mut wide = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source file is text");
        let marks: &[&str] = if path.extension().is_some_and(|ending| ending == "rs") { &["///", "//!"] } else { &[] };
        let lines = too_wide(&text, marks);
        wide.extend(lines.into_iter().map(|(line, text)| format!("{}:{line}: {text}", path.display())));
    }
    assert!(wide.is_empty(), "wider than {COLUMNS_MAX} columns:\n{}", wide.join("\n"));
}

#[test]
fn what_is_too_wide_is_found() {
    let wide = "x".repeat(COLUMNS_MAX + 1);
    let code =
        format!("    /// ```\n    /// {wide}\n    /// # {wide}\n    /// ```\n    /// {wide}\n    fn {wide}() {{}}");
    assert_eq!(too_wide(&code, &["///"]), [(2, &*wide)]);
    assert_eq!(too_wide(&format!("```text\n{wide}\n```\n{wide}"), &[]), [(2, &*wide)]);
}
