//! `tollgate check`: in plain words, what a configuration will do to which request.
//!
//! Requests go through the same [`Matcher`](crate::rules::Matcher) as in the proxy, and waits come from the limiter itself. So what is
//! explained here is what happens there.

mod notes;
mod overview;
mod pace;
mod request;
mod rows;
mod told;

use std::fmt::Write as _;

pub use self::notes::notes;
pub use self::request::{Asked, AskedError};

use crate::config::Config;

/// `b.toml is valid: 2 limits, 1 exemption.`
pub fn valid(name: &str, config: &Config) -> String {
    let mut text = format!("{name} is valid: {}", count(config.limits.len(), "limit"));
    if !config.exempt.is_empty() {
        write!(text, ", {}", count(config.exempt.len(), "exemption")).expect("a String takes any text");
    }
    text + ".\n"
}

/// What happens to all requests.
pub fn overview(config: &Config) -> String {
    overview::overview(config)
}

/// What happens to this request.
///
/// # Errors
///
/// If the configuration needs to know more about the request, as its host.
pub fn request(config: &Config, asked: &Asked) -> Result<String, AskedError> {
    told::request(config, asked)
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}
