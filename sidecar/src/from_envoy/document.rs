//! Where in a file the Envoy configuration is.

use saphyr::{LoadableYamlNode as _, MarkedYaml};
use saphyr_parser::{Event, Parser};

use super::error::FromEnvoyError;
use super::fields::{Report, entries, text_of};

/// How deep tables and lists may stand in each other. Envoy's own are some twenty deep.
const DEPTH_MAX: usize = 100;

/// The longest file that is read, in bytes.
const TEXT_MAX: usize = 1 << 20;

/// The text of an Envoy configuration, and how many lines of the file stand before it.
pub(super) struct Document {
    pub(super) text: String,
    pub(super) lines_before: usize,
}

/// The documents of a file.
pub(super) fn load(text: &str) -> Result<Vec<MarkedYaml<'_>>, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("has {} bytes; at most {TEXT_MAX} are read", text.len()));
    }
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("is not YAML: {error}"))?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!("is more than {DEPTH_MAX} levels deep in line {}", span.start.line()));
        }
    }
    MarkedYaml::load_from_str(text).map_err(|error| format!("is not YAML: {error}"))
}

/// The Envoy configuration of a file: the document that is one, or the first in a ConfigMap.
pub(super) fn envoy(text: &str, report: &mut Report) -> Result<Document, FromEnvoyError> {
    let documents = load(text).map_err(FromEnvoyError)?;
    let mut found: Option<Document> = None;
    for document in &documents {
        let fields = entries(document);
        let get = |name: &str| fields.iter().find(|entry| entry.name == name).map(|entry| entry.node);
        let kind = get("kind").and_then(text_of).unwrap_or_default();
        let configurations = match (get("static_resources"), kind.as_str(), get("data")) {
            // The whole file, so that lines are those of the file.
            (Some(_), ..) => vec![("", document, Document { text: text.to_owned(), lines_before: 0 })],
            (None, "ConfigMap", Some(data)) => {
                let inside = entries(data).into_iter().filter_map(|entry| Some((entry.node, text_of(entry.node)?)));
                let is_envoy = |text: &str| {
                    let nodes = load(text).unwrap_or_default();
                    nodes.first().is_some_and(|node| entries(node).iter().any(|entry| entry.name == "static_resources"))
                };
                let inside = inside.filter(|(_, text)| is_envoy(text));
                let found = inside.map(|(node, inner)| {
                    let lines_before = lines_before(text, node.span.start.line(), &inner);
                    ("data", node, Document { text: inner, lines_before })
                });
                found.collect()
            }
            _ => Vec::new(),
        };
        for (path, node, configuration) in configurations {
            if found.is_some() {
                report.add(
                    node,
                    path,
                    "one proxy has one configuration, and the first was taken: translate this one by itself",
                );
            } else {
                found = Some(configuration);
            }
        }
    }
    found.ok_or_else(|| {
        FromEnvoyError("holds no Envoy configuration: neither static_resources nor a ConfigMap with them".to_owned())
    })
}

/// How many lines of a file stand before the first line of this text, which begins in this line or the next.
fn lines_before(file: &str, line: usize, inner: &str) -> usize {
    let first = inner.lines().next().unwrap_or_default().trim();
    let from = line.saturating_sub(1);
    let at = file.lines().skip(from).position(|line| line.trim() == first);
    from + at.unwrap_or_default()
}
