//! [`SettingError`]: something that cannot be set.

use std::fmt;

/// Something cannot be set on a layer: an address range, a prefix, a number of proxies, a name or a percentage. Its text names what was given, and says what would do.
///
/// ```
/// use tollgate::http::ClientIp;
///
/// let error = ClientIp::behind(["10.0.0.0/33"]).unwrap_err();
/// let text = error.to_string();
/// assert!(text.starts_with("\"10.0.0.0/33\" is not an address range"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    text: String,
}

impl SettingError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// An error that shows the string it is about, cut where it gets long, and then what is wrong with it.
    pub(super) fn about(given: &str, what: &str) -> Self {
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
