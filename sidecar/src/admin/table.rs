//! Tables, which a window narrower than they are can scroll, also by keyboard.

use std::fmt::Write as _;

pub(super) use Column::{Number, Words};

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Words(&'static str),
    Number(&'static str),
}

/// Begins a table. `name` is plain text, and `caption` is HTML.
pub(super) fn open(name: &str, caption: &str, columns: &[Column]) -> String {
    let mut text = format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\"><table>\
         <caption>{caption}</caption><thead><tr>"
    );
    for column in columns {
        let _ = match column {
            Words(title) => write!(text, "<th scope=\"col\">{title}</th>"),
            Number(title) => write!(text, "<th scope=\"col\" class=\"n\">{title}</th>"),
        };
    }
    text + "</tr></thead><tbody>"
}

/// Ends it.
pub(super) const CLOSE: &str = "</tbody></table></div>";
