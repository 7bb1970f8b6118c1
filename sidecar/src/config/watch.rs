//! [`Watch`]: notices when the file of a configuration changes.

use std::time::Duration;

use super::{Config, Origin, OriginError};

/// Notices when the file of a configuration changes: by its contents, since a ConfigMap is a link that is exchanged, and neither
/// watching the file nor its time tells.
#[derive(Debug)]
pub struct Watch {
    origin: Origin,
    seen: Seen,
}

/// What was there when it was looked at last.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Contents(Vec<u8>),
    /// It could not be read.
    Nothing,
}

impl Watch {
    /// How often to [look](Self::look).
    pub const EVERY: Duration = Duration::from_secs(2);

    /// Begins with the configuration that there is.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn new(origin: Origin) -> Result<(Self, Config), OriginError> {
        let contents = origin.contents()?;
        let config = origin.config(&contents)?;
        Ok((Self { origin, seen: Seen::Contents(contents) }, config))
    }

    /// The configuration, if the file has changed since it was looked at last, or what is wrong with it. What is wrong is said once, and
    /// not again until the file changes again.
    pub fn look(&mut self) -> Option<Result<Config, OriginError>> {
        self.origin.file()?;
        let contents = self.origin.contents();
        let seen = match &contents {
            Ok(contents) if matches!(&self.seen, Seen::Contents(seen) if seen == contents) => return None,
            Err(_) if self.seen == Seen::Nothing => return None,
            Ok(contents) => Seen::Contents(contents.clone()),
            Err(_) => Seen::Nothing,
        };
        self.seen = seen;
        Some(contents.and_then(|contents| self.origin.config(&contents)))
    }

    /// The configuration of now, whether or not the file has changed: what SIGHUP asks for.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn read_again(&mut self) -> Result<Config, OriginError> {
        let contents = self.origin.contents();
        self.seen = contents.as_ref().map_or(Seen::Nothing, |contents| Seen::Contents(contents.clone()));
        self.origin.config(&contents?)
    }
}
