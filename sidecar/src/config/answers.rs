//! [`Denied`]: what a denied client is told.

use std::fmt;

use http::{HeaderName, HeaderValue};

/// What a denied client is told, beside the status and `Retry-After`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied {
    /// Headers that the answer carries besides.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: DeniedBody,
}

/// The body of a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeniedBody {
    /// This text, as `text/plain`.
    Text(String),
    /// A problem document (RFC 9457) that names the quota.
    Problem,
}

impl DeniedBody {
    /// What Envoy answers.
    pub const TEXT: &str = "local_rate_limited";
}

impl Default for DeniedBody {
    fn default() -> Self {
        Self::Text(Self::TEXT.to_owned())
    }
}

/// As an explanation names it: `text/plain "local_rate_limited"`.
impl fmt::Display for DeniedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text/plain {text:?}"),
            Self::Problem => f.write_str("application/problem+json"),
        }
    }
}
