//! Log lines, on stderr.

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;
use crate::lines::{Lines, Output};

/// How long the last lines are waited for.
pub(super) const FLUSH: Duration = Duration::from_millis(500);

/// Writes log lines in this format from now on, and nobody who logs waits for whoever reads them. Only the first call counts.
pub(super) fn start(format: LogFormat) -> Lines {
    let to = Lines::to(Output::Stderr);
    let writer = to.clone();
    // To complain on stderr that nobody reads it would end the thread that logs.
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .log_internal_errors(false);
    // An error is that there is a subscriber, which then stays.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    to
}
