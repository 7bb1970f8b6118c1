//! [`Problem`]: what is wrong with a file, and where. [`FileError`]: all of it at once, as a person reads it.

use std::fmt;
use std::ops::Range;

/// What is wrong, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The bytes that it is about.
    pub at: Range<usize>,
    /// What is wrong there, and what would be right.
    pub what: String,
}

/// A file that cannot be used. Its text shows every problem with its line, and points at the place.
#[derive(Clone, Debug)]
pub struct FileError {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

/// The most problems that are shown: more would scroll the first ones away.
const SHOWN_MAX: usize = 50;

/// The most characters of a line that are shown.
const LINE_MAX: usize = 160;

/// How much of a long line is shown before the place.
const BEFORE_MAX: usize = 60;

impl FileError {
    /// At least one problem.
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.at.start, problem.at.end));
        problems.dedup();
        Self { name: name.to_owned(), text: text.to_owned(), problems }
    }

    /// What is wrong, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The line and column of a problem, both from 1. Columns count characters.
    pub fn line_and_column(&self, problem: &Problem) -> (usize, usize) {
        let (line, start) = self.line_of(problem.at.start);
        (line, self.text[start..problem.at.start.min(self.text.len())].chars().count() + 1)
    }

    /// `1 error`, `3 errors`.
    pub fn count(&self) -> String {
        match self.problems.len() {
            1 => "1 error".to_owned(),
            many => format!("{many} errors"),
        }
    }

    /// The number of the line that this place is in, and where it starts.
    fn line_of(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |end| end + 1))
    }

    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column(problem);
        writeln!(f, "{}:{line}:{column}: {}", self.name, problem.what)?;
        let (_, start) = self.line_of(problem.at.start);
        let shown: Vec<char> = self.text[start..].lines().next().unwrap_or_default().chars().collect();
        // A long line is cut on both sides of the place.
        let first = if shown.len() > LINE_MAX { (column - 1).saturating_sub(BEFORE_MAX).min(shown.len()) } else { 0 };
        let last = shown.len().min(first + LINE_MAX);
        let (dots_before, dots_after) =
            (if first > 0 { "..." } else { "" }, if last < shown.len() { "..." } else { "" });
        let printable = |c: &char| if c.is_control() && *c != '\t' { '\u{FFFD}' } else { *c };
        let text: String = shown[first..last].iter().map(printable).collect();
        writeln!(f, "{line:4} | {dots_before}{text}{dots_after}")?;
        // Tabs stay tabs, so that the caret stands where the place does.
        let blank = |c: &char| if *c == '\t' { '\t' } else { ' ' };
        let place = (column - 1).clamp(first, last);
        let before: String = shown[first..place].iter().map(blank).collect();
        let end = problem.at.end.clamp(problem.at.start, self.text.len());
        let about = self.text[problem.at.start.min(end)..end].lines().next().unwrap_or_default().chars().count();
        let carets = about.clamp(1, (last - place).max(1));
        writeln!(f, "     | {}{before}{}", " ".repeat(dots_before.len()), "^".repeat(carets))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN_MAX) {
            self.show(problem, f)?;
        }
        match self.problems.len().checked_sub(SHOWN_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "and {more} more"),
        }
    }
}

impl std::error::Error for FileError {}

/// The one of these words that is close to what was written.
pub(crate) fn nearest<'a>(given: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// No word here is longer than this and a slip or two.
    const LEN_MAX: usize = 80;
    if given.len() > LEN_MAX {
        return None;
    }
    let lower = given.to_lowercase();
    let (slips, word) =
        words.into_iter().map(|word| (strsim::osa_distance(&lower, &word.to_lowercase()), word)).min()?;
    (slips <= (word.chars().count() / 3).max(1)).then_some(word)
}

/// ` Did you mean "limit"?`, if one of these words is close to what was written.
pub(crate) fn did_you_mean<'a>(given: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, words).map_or(String::new(), |word| format!(" Did you mean {word:?}?"))
}
