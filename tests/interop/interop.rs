//! tollgate beside others: real servers on real sockets, clients, Prometheus, parsers that somebody else wrote.
//!
//! A package of its own, so that what this needs is compiled for these tests only.

mod axum_server;
mod client;
mod config;
mod dead_connections;
mod examples;
mod metrics;
mod redis;
mod stacks;
mod structured_fields;
