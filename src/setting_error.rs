//! [`SettingError`]: something that cannot be set.

use std::fmt;

/// Something cannot be set on a limiter or a layer: a plan, a capacity, an address range, a percentage and so on. Its text
/// names what was given, and says what would do.
///
/// ```
/// use tollgate::{Quota, RateLimiter};
///
/// let builder = RateLimiter::builder(Quota::per_second(28)).capacity(0);
/// let error = builder.try_build().unwrap_err();
/// assert_eq!(error.to_string(), "a capacity is between 1 and 2^32 keys, not 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    text: String,
}

impl SettingError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// An error that shows the string it is about, cut where it gets long, and then what is wrong with it.
    #[cfg(feature = "tower")]
    pub(crate) fn about(given: &str, what: &str) -> Self {
        /// The most of a string that an error repeats, in characters.
        const SHOWN_MAX: usize = 80;
        match given.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => Self::new(format!("{:?}... {what}", &given[..end])),
            None => Self::new(format!("{given:?} {what}")),
        }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SettingError {}
