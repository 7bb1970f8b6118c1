//! The limiter by itself: what it promises, with time set by hand. Runs without any feature.

mod columns;
mod compiler_messages;
#[cfg(feature = "serde")]
mod config;
mod exact;
mod horizon;
mod key_text;
mod laws;
mod live_change;
mod model;
mod offenders;
mod plans;
#[path = "../wait/random.rs"]
mod random;
mod reservation;
mod strict;
mod strings;
mod table;
mod together;
