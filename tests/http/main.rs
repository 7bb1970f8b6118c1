//! The Tower door in process: no socket, and services that answer at once.

#[cfg(feature = "axum")]
mod answers;
mod client_ip;
#[cfg(feature = "axum")]
mod documented;
#[cfg(feature = "axum")]
mod every_answer;
mod found_again;
mod future_size;
mod fuzz_corpus;
mod host_keys;
#[cfg(feature = "axum")]
mod joint;
mod key_disguises;
mod key_spellings;
mod keys;
mod layer_plans;
mod log;
mod logged;
mod outcome;
#[cfg(feature = "axum")]
mod readme;
mod rollout;
#[cfg(feature = "axum")]
mod route_keys;
#[cfg(feature = "axum")]
mod scope;
#[cfg(feature = "axum")]
mod shortcuts;
mod tower;
mod watching;
