//! Log lines, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;

/// Writes log lines in this format from now on. Only the first call counts.
pub(super) fn start(format: LogFormat) {
    // Whoever reads them may go away. To complain about that on stderr would end the thread that logs.
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // An error is that there is a subscriber, which then stays.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
}
