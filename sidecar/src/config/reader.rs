//! [`Section`] and [`Value`]: a TOML table while it is read, with the place of everything in it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::{Problem, nearest};

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Sink {
    problems: Vec<Problem>,
    /// Where lines begin and end that are no TOML. What else is said of them follows from that.
    broken: BTreeMap<usize, usize>,
}

impl Sink {
    /// Notes a problem, unless it is in a line that could not be read anyway.
    pub(super) fn say(&mut self, at: Range<usize>, what: impl Into<String>) {
        if !self.is_broken(at.start) {
            self.problems.push(Problem { at, what: what.into() });
        }
    }

    /// Notes that something is missing, unless it may be in a line that could not be read.
    pub(super) fn lacks(&mut self, at: Range<usize>, what: impl Into<String>) {
        if self.broken.is_empty() {
            self.say(at, what);
        }
    }

    /// Notes that a line is no TOML. What is said of it first is said alone.
    pub(super) fn broken(&mut self, text: &str, at: Range<usize>, what: impl Into<String>) {
        if self.is_broken(at.start) {
            return;
        }
        let start = text[..at.start].rfind('\n').map_or(0, |end| end + 1);
        let end = text[at.start..].find('\n').map_or(text.len(), |len| at.start + len);
        self.say(at, what);
        self.broken.insert(start, end);
    }

    fn is_broken(&self, at: usize) -> bool {
        self.broken.range(..=at).next_back().is_some_and(|(_, end)| at <= *end)
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// A table, and which of its keys have been asked for. Those that are left are unknown.
#[derive(Debug)]
pub(super) struct Section<'t, 'i> {
    /// As it is called in messages: `[limits.login]`; empty for the whole file.
    name: String,
    at: Range<usize>,
    table: Option<&'t DeTable<'i>>,
    known: Vec<&'static str>,
    /// The keys that must be there and are not, and what to say then.
    lacking: Vec<(&'static str, String)>,
}

/// A value, and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'t, 'i> {
    pub(super) key: &'t str,
    spanned: &'t Spanned<DeValue<'i>>,
}

impl<'t, 'i> Section<'t, 'i> {
    /// The whole file.
    pub(super) fn root(table: &'t DeTable<'i>) -> Self {
        Self { name: String::new(), at: 0..1, table: Some(table), known: Vec::new(), lacking: Vec::new() }
    }

    /// A table, whose header is at this place.
    pub(super) fn new(name: impl Into<String>, at: Range<usize>, table: &'t DeTable<'i>) -> Self {
        Self { name: name.into(), at, table: Some(table), known: Vec::new(), lacking: Vec::new() }
    }

    /// A table that is not there.
    pub(super) fn absent() -> Self {
        Self { name: String::new(), at: 0..1, table: None, known: Vec::new(), lacking: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// The value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'t, 'i>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let table = self.table?;
        table.iter().find(|(name, _)| *name.get_ref() == key).map(|(_, spanned)| Value { key, spanned })
    }

    /// The table of a key, which is absent if there is none.
    pub(super) fn section(&mut self, key: &'static str, sink: &mut Sink) -> Section<'t, 'i> {
        let Some(table) = self.table else {
            self.known.push(key);
            return Section::absent();
        };
        let at = table.iter().find(|(name, _)| *name.get_ref() == key).map(|(name, _)| name.span());
        match (self.take(key), at) {
            (Some(value), Some(at)) => match value.table(sink) {
                Some(table) => Section::new(format!("[{key}]"), at, table),
                None => Section::absent(),
            },
            _ => Section::absent(),
        }
    }

    /// All keys and values, in the order of the file: the section's keys are names that the user chose.
    pub(super) fn entries(&self) -> Vec<(&'t Spanned<DeString<'i>>, Value<'t, 'i>)> {
        let entries = self.table.into_iter().flatten();
        let mut entries: Vec<_> = entries.map(|(key, spanned)| (key, Value { key: key.get_ref(), spanned })).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Notes that this key is missing, and what to say of it.
    pub(super) fn lacks(&mut self, key: &'static str, what: impl Into<String>) {
        self.lacking.push((key, what.into()));
    }

    /// Says which keys nobody asked for, and which are missing. One that was misspelt is not missing as well.
    pub(super) fn finish(self, sink: &mut Sink) {
        let mut meant = Vec::new();
        for (key, _) in self.entries() {
            if self.known.contains(&&**key.get_ref()) {
                continue;
            }
            let place = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            let end = match nearest(key.get_ref(), self.known.iter().copied()) {
                None => format!("; known are {}", self.known.join(", ")),
                Some(near) => {
                    meant.push(near);
                    format!(". Did you mean {near:?}?")
                }
            };
            sink.say(key.span(), format!("unknown key {:?}{place}{end}", key.get_ref()));
        }
        for (key, what) in self.lacking {
            if !meant.contains(&key) {
                sink.lacks(self.at.clone(), what);
            }
        }
    }
}

impl<'t, 'i> Value<'t, 'i> {
    pub(super) fn at(&self) -> Range<usize> {
        self.spanned.span()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.spanned.get_ref(), DeValue::Table(_))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.spanned.get_ref(), DeValue::Integer(_))
    }

    /// Says what is wrong with it.
    pub(super) fn is_wrong(&self, sink: &mut Sink, what: impl Into<String>) {
        sink.say(self.at(), what);
    }

    fn expected(&self, sink: &mut Sink, what: &str, example: &str) {
        let given = match self.spanned.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.is_wrong(sink, format!("{:?} is {what}, as in {example}, and not {given}", self.key));
    }

    /// A string.
    pub(super) fn text(&self, sink: &mut Sink, example: &str) -> Option<&'t str> {
        match self.spanned.get_ref() {
            DeValue::String(text) => Some(text),
            _ => {
                self.expected(sink, "a string", example);
                None
            }
        }
    }

    /// A string that is read further. The error of that is shown with the string in front.
    pub(super) fn parsed<T>(
        &self,
        sink: &mut Sink,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(sink, example)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.is_wrong(sink, what);
                None
            }
        }
    }

    pub(super) fn boolean(&self, sink: &mut Sink, example: &str) -> Option<bool> {
        match self.spanned.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => {
                self.expected(sink, "true or false", example);
                None
            }
        }
    }

    /// A whole number in this range.
    pub(super) fn number(&self, sink: &mut Sink, range: std::ops::RangeInclusive<u64>, example: &str) -> Option<u64> {
        let DeValue::Integer(number) = self.spanned.get_ref() else {
            self.expected(sink, "a whole number", example);
            return None;
        };
        let value = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|value| range.contains(value));
        if value.is_none() {
            let (least, most) = range.into_inner();
            self.is_wrong(sink, format!("{:?} is a whole number from {least} to {most}", self.key));
        }
        value
    }

    pub(super) fn table(&self, sink: &mut Sink) -> Option<&'t DeTable<'i>> {
        match self.spanned.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.is_wrong(sink, format!("{:?} is a table, as in [{}]", self.key, self.key));
                None
            }
        }
    }

    /// One value, or a list of them.
    pub(super) fn one_or_more(&self) -> Vec<Value<'t, 'i>> {
        match self.spanned.get_ref() {
            DeValue::Array(array) => array.iter().map(|spanned| Value { key: self.key, spanned }).collect(),
            _ => vec![*self],
        }
    }

    /// A list.
    pub(super) fn list(&self, sink: &mut Sink, example: &str) -> Vec<Value<'t, 'i>> {
        match self.spanned.get_ref() {
            DeValue::Array(_) => self.one_or_more(),
            _ => {
                self.expected(sink, "a list", example);
                Vec::new()
            }
        }
    }

    /// The place of some bytes inside a string, where its text is written as it is.
    pub(super) fn inside(&self, source: &str, bytes: Range<usize>) -> Range<usize> {
        let at = self.at();
        let DeValue::String(text) = self.spanned.get_ref() else { return at };
        let written = &source[at.clone()];
        match written.find(&**text) {
            // Only quotes stand before it.
            Some(before) if written[..before].bytes().all(|byte| b"'\"\r\n".contains(&byte)) => {
                let start = at.start + before;
                start + bytes.start..(start + bytes.end).max(start + bytes.start)
            }
            _ => at,
        }
    }
}
