//! The configuration: the file, the command line, and what they say will happen.

mod changes;
mod check;
mod cli;
mod deploy;
mod enforcer;
mod examples;
mod file;
mod from_envoy;
mod schema;
mod spellings;
mod survives;
mod watch;
mod written;
