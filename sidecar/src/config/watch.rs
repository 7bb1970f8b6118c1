//! [`Watch`]: notices when the file of a configuration changes, or the certificate that it names.

use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::{Config, Origin, OriginError, Tls};

/// Notices when the file of a configuration changes, or the certificate that it names: by their contents, since a ConfigMap and a
/// renewed certificate are links that are exchanged, and neither watching a file nor its time tells.
#[derive(Debug)]
pub struct Watch {
    origin: Origin,
    /// What was in the file when it was looked at last; `None` if it could not be read.
    seen: Option<Vec<u8>>,
    /// The files of the certificate by the last good configuration, and what was in them, as hashes: one is a secret.
    tls: Option<Tls>,
    certificate: Certificate,
}

/// Hashes of a certificate and its key, where they could be read.
type Certificate = Option<[Option<Vec<u8>>; 2]>;

impl Watch {
    /// How often to [look](Self::look).
    pub const EVERY: Duration = Duration::from_secs(2);

    /// Begins with the configuration that there is.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn new(origin: Origin) -> Result<(Self, Config), OriginError> {
        let mut watch = Self { origin, seen: None, tls: None, certificate: None };
        let config = watch.read_again()?;
        Ok((watch, config))
    }

    /// The configuration, if the file or the certificate has changed since they were looked at last, or what is wrong with it. What is
    /// wrong is said once, and not again until something changes again.
    pub fn look(&mut self) -> Option<Result<Config, OriginError>> {
        self.origin.file()?;
        let contents = self.origin.contents();
        let is_same =
            contents.as_ref().ok() == self.seen.as_ref() && certificate(self.tls.as_ref()) == self.certificate;
        (!is_same).then(|| self.take(contents))
    }

    /// The configuration of now, whether or not something has changed: what SIGHUP asks for.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn read_again(&mut self) -> Result<Config, OriginError> {
        let contents = self.origin.contents();
        self.take(contents)
    }

    fn take(&mut self, contents: Result<Vec<u8>, OriginError>) -> Result<Config, OriginError> {
        self.seen = contents.as_ref().ok().cloned();
        let config = contents.and_then(|contents| self.origin.config(&contents));
        if let Ok(config) = &config {
            self.tls.clone_from(&config.tls);
        }
        // Before whoever takes up the configuration reads them: what changes in between is seen the next time.
        self.certificate = certificate(self.tls.as_ref());
        config
    }
}

fn certificate(tls: Option<&Tls>) -> Certificate {
    let hash = |path| Some(digest(&SHA256, &std::fs::read(path).ok()?).as_ref().to_vec());
    tls.map(|tls| [hash(&tls.cert), hash(&tls.key)])
}
