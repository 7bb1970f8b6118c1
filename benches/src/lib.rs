//! What the benches share, here and in `peers/`: the work that is measured, and how several threads are measured at once.

pub mod random;
pub mod service;
pub mod threads;
