//! [`Fields`]: a YAML table while it is read. What nobody took is [reported](Report).

use std::fmt;
use std::time::Duration;

use saphyr::{MarkedYaml, Scalar, YamlData};

/// A field that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhonoured {
    /// Where it stands in the file.
    pub line: usize,
    /// Its path: `static_resources.listeners[0].name`.
    pub field: String,
    /// What is not done, and what to do instead.
    pub why: String,
}

/// What cannot be honoured.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) unhonoured: Vec<Unhonoured>,
    /// The lines of the file that stand before the configuration.
    pub(super) lines_before: usize,
    /// Whether somebody can change a runtime key.
    pub(super) runtime_can_change: bool,
}

/// A field's path and line.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) field: String,
    line: usize,
}

/// A table, and which of its fields have been taken.
#[derive(Debug)]
pub(super) struct Fields<'y, 'i> {
    at: Place,
    lines_before: usize,
    entries: Vec<Entry<'y, 'i>>,
    taken: Vec<String>,
}

/// A field: its name, the line of that, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'y, 'i> {
    pub(super) name: String,
    line: usize,
    pub(super) node: &'y MarkedYaml<'i>,
}

/// A value, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Item<'y, 'i> {
    pub(super) at: Place,
    pub(super) node: &'y MarkedYaml<'i>,
}

impl fmt::Display for Unhonoured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, self.field, self.why)
    }
}

impl Report {
    pub(super) fn say(&mut self, at: Place, why: impl Into<String>) {
        let unhonoured = Unhonoured { line: at.line, field: at.field, why: why.into() };
        if !self.unhonoured.contains(&unhonoured) {
            self.unhonoured.push(unhonoured);
        }
    }

    /// The same, of a node at this path.
    pub(super) fn add(&mut self, node: &MarkedYaml<'_>, field: &str, why: &str) {
        let line = self.lines_before + node.span.start.line();
        self.say(Place { field: field.to_owned(), line }, why);
    }
}

impl<'y, 'i> Fields<'y, 'i> {
    /// A table at this path. None, and it is reported, if it is none.
    pub(super) fn of(node: &'y MarkedYaml<'i>, path: &str, report: &mut Report) -> Option<Self> {
        let at = Place { field: path.to_owned(), line: report.lines_before + node.span.start.line() };
        Self::at_place(node, at, report)
    }

    fn at_place(node: &'y MarkedYaml<'i>, at: Place, report: &mut Report) -> Option<Self> {
        let lines_before = report.lines_before;
        match plain(node).data {
            YamlData::Mapping(_) => Some(Self { at, lines_before, entries: entries(node), taken: Vec::new() }),
            _ => {
                report.say(at, "is not a table");
                None
            }
        }
    }

    pub(super) fn at(&self) -> Place {
        self.at.clone()
    }

    fn path(&self, name: &str) -> String {
        if self.at.field.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at.field) }
    }

    fn entry(&self, name: &str) -> Option<&Entry<'y, 'i>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Where a field is, if it is there.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        let line = self.lines_before + self.entry(name)?.line;
        Some(Place { field: self.path(name), line })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'y MarkedYaml<'i>> {
        self.taken.push(name.to_owned());
        self.entry(name).map(|entry| entry.node)
    }

    /// Takes what has no effect here, as its name says.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.taken.extend(names.iter().map(|name| (*name).to_owned()));
    }

    pub(super) fn value(&mut self, name: &str) -> Option<Item<'y, 'i>> {
        let node = self.take(name)?;
        Some(Item { at: self.place(name)?, node })
    }

    pub(super) fn fields(&mut self, name: &str, report: &mut Report) -> Option<Fields<'y, 'i>> {
        let node = self.take(name)?;
        Fields::at_place(node, self.place(name)?, report)
    }

    /// The items of a list.
    pub(super) fn list(&mut self, name: &str, report: &mut Report) -> Vec<Item<'y, 'i>> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let path = self.path(name);
        let YamlData::Sequence(items) = &plain(node).data else {
            report.add(node, &path, "is not a list");
            return Vec::new();
        };
        let item = |(at, node): (usize, &'y MarkedYaml<'i>)| {
            let line = report.lines_before + node.span.start.line();
            Item { at: Place { field: format!("{path}[{at}]"), line }, node }
        };
        items.iter().enumerate().map(item).collect()
    }

    /// A string or number, as text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).and_then(text_of)
    }

    pub(super) fn number(&mut self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Names what nobody took.
    pub(super) fn finish(self, report: &mut Report) {
        for Entry { name, line, .. } in &self.entries {
            if !self.taken.contains(name) {
                let place = Place { field: self.path(name), line: self.lines_before + line };
                report.say(place, "not done here");
            }
        }
    }
}

impl<'y, 'i> Item<'y, 'i> {
    pub(super) fn text(&self) -> Option<String> {
        text_of(self.node)
    }

    pub(super) fn fields(&self, report: &mut Report) -> Option<Fields<'y, 'i>> {
        Fields::of(self.node, &self.at.field, report)
    }
}

/// Without a tag.
fn plain<'y, 'i>(node: &'y MarkedYaml<'i>) -> &'y MarkedYaml<'i> {
    match &node.data {
        YamlData::Tagged(_, inner) => plain(inner),
        _ => node,
    }
}

/// The fields of a table; none, if it is no table.
pub(super) fn entries<'y, 'i>(node: &'y MarkedYaml<'i>) -> Vec<Entry<'y, 'i>> {
    let YamlData::Mapping(mapping) = &plain(node).data else { return Vec::new() };
    let entry = |(key, node): (&MarkedYaml<'i>, &'y MarkedYaml<'i>)| {
        Some(Entry { name: text_of(key)?, line: key.span.start.line(), node })
    };
    mapping.iter().filter_map(entry).collect()
}

/// A scalar, as text.
pub(super) fn text_of(node: &MarkedYaml<'_>) -> Option<String> {
    match &plain(node).data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(value)) => Some(value.to_string()),
        _ => None,
    }
}

/// A duration as Envoy writes it: `0.25s`, `1s`. None for what is no such text, or longer than a year.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let duration = Duration::try_from_secs_f64(number.parse().ok()?).ok()?;
    (duration <= Duration::from_secs(366 * 24 * 3600)).then_some(duration)
}
