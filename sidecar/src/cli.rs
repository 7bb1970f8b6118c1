//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::config::{Config, Key, Limit};
use crate::proxy;

/// Does what the words say, and returns the exit code of the program: 0 done, 1 could not, 2 a bad flag or file.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let option = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let (Some(listen), Some(upstream), Some(limit)) = (option("--listen"), option("--upstream"), option("--limit"))
    else {
        eprintln!("usage: tollgate serve --listen ADDRESS --upstream URL --limit LIMIT [--key global]");
        return ExitCode::from(2);
    };
    let (Ok(listen), Ok(upstream), Ok(policy)) = (listen.parse(), upstream.parse(), limit.parse()) else {
        eprintln!("an option cannot be read");
        return ExitCode::from(2);
    };
    let mut config = Config::new(listen, upstream);
    let mut limit = Limit::new("all", policy);
    if option("--key").map(String::as_str) == Some("global") {
        limit.key = Key::global();
    }
    config.limits.push(limit);
    if let Some((name, value)) = option("--denial-header").and_then(|header| header.split_once(':'))
        && let (Ok(name), Ok(value)) = (name.trim().parse(), value.trim().parse())
    {
        config.denied.headers.push((name, value));
    }
    match proxy::serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}
