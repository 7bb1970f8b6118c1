//! [`NoKey`]: why a request has no key.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Why a request has no key.
///
/// | | answered by default | logged | [`first_of`](super::first_of) |
/// |---|---|---|---|
/// | `Absent` | 403 | no | goes on to the next |
/// | `NotInserted` | 403 | once a second | goes on to the next |
/// | `Misconfigured` | 500 | once a second | stops |
///
/// What is answered is up to [`WhenNoKey`](crate::http::WhenNoKey).
///
/// Its text derefs to a `str`, and is made of a `&'static str` or a `String`. An extractor of yours makes a `NoKey` once and
/// clones it, which costs nothing:
///
/// ```
/// use tollgate::http::NoKey;
///
/// let no_key = NoKey::Absent("the tenant".into());
/// assert_eq!(no_key.clone().to_string(), "the request lacks the tenant");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoKey {
    /// The client left it out. Says what, as in `the header x-api-key`. The client is told.
    Absent(Reason),
    /// Nothing outside of the limit has put it into the request. That is usual for a client who is not logged in, and a
    /// mistake where layers stand in the wrong order. Says what to do in that case, for the log; the client is not
    /// told.
    NotInserted(Reason),
    /// The server is not set up to know it. Says what to add to the program, to whoever reads the answer or the log.
    Misconfigured(Reason),
}

/// What a client lacks that the server does not know.
const NOT_KNOWN: &str = "a client that the server knows";

impl NoKey {
    /// What the answer to the client says.
    pub(in crate::http) fn told(&self) -> &str {
        match self {
            Self::Absent(what) | Self::Misconfigured(what) => what,
            Self::NotInserted(_) => NOT_KNOWN,
        }
    }

    /// What is worth a line in the log: that for which the program may have to be changed.
    pub(in crate::http) fn advice(&self) -> Option<&str> {
        match self {
            Self::Absent(_) => None,
            Self::NotInserted(what) | Self::Misconfigured(what) => Some(what),
        }
    }

    /// Whether other requests may well have a key, so that this one may be counted by something else.
    pub(super) fn is_usual(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::NotInserted(_))
    }
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(what) => write!(f, "the request lacks {what}"),
            Self::NotInserted(what) | Self::Misconfigured(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for NoKey {}

/// The text of a [`NoKey`]. It is only named here: whoever keeps one, keeps the `NoKey`.
#[derive(Clone)]
pub struct Reason(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self(Text::Static(text))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self(Text::Shared(text.into()))
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Reason {}
