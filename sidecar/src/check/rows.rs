//! [`Rows`]: text in columns.

use std::fmt;

/// Names and lines of exemptions and limits in columns, and beside each what is said of it.
pub(super) struct Rows {
    rows: Vec<(String, Option<usize>, String)>,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, line: Option<usize>, text: String) {
        self.rows.push((name.to_owned(), line, text));
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |line: &Option<usize>| line.map_or("flag".to_owned(), |line| format!("line {line}"));
        let names = self.rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or_default();
        let places = self.rows.iter().map(|(_, line, _)| place(line).len()).max().unwrap_or_default().max(7);
        for (name, line, text) in &self.rows {
            writeln!(f, "  {name:names$}  {:places$}  {text}", place(line))?;
        }
        Ok(())
    }
}
