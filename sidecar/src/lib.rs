//! tollgate in front of any program: a small proxy that limits rates.
//!
//! The program is `tollgate`. This library is what it is made of, so that tests can run it in process. It promises
//! nothing to other users.

mod admin;
pub mod check;
pub mod cli;
pub mod config;
mod durations;
pub mod from_envoy;
pub mod lines;
pub mod proxy;
pub mod rules;
