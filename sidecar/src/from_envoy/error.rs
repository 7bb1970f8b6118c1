//! [`FromEnvoyError`].

use std::fmt;

/// A file that no Envoy configuration can be found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromEnvoyError(pub(super) String);

impl fmt::Display for FromEnvoyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FromEnvoyError {}
