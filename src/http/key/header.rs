//! [`HeaderKey`]: a header's value.

use http::HeaderName;
use http::request::Parts;

use super::{KeyExtractor, NoKey};

/// Counts by the value of a header, as for API keys. A client that can choose the value can choose its limit.
#[derive(Clone, Debug)]
pub struct HeaderKey {
    name: HeaderName,
}

impl HeaderKey {
    /// Counts by this header.
    pub fn new(name: HeaderName) -> Self {
        Self { name }
    }
}

impl KeyExtractor for HeaderKey {
    type Key<'a> = &'a [u8];

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<&'a [u8], NoKey> {
        parts.headers.get(&self.name).map(|value| value.as_bytes()).ok_or(NoKey::Absent("a header"))
    }
}
