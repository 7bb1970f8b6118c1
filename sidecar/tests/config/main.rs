//! The configuration: the file, the command line, and what they say will happen.

mod cli;
mod examples;
mod file;
mod survives;
mod written;
