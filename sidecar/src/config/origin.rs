//! [`Origin`]: where a configuration comes from, so that it can be read again.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::file::{NO_FILE, TEXT_MAX, read};
use super::{Config, FileError, Overrides};

/// Where a configuration comes from: perhaps a file, and what flags and the environment say. A reload reads it again.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    file: Option<PathBuf>,
    overrides: Overrides,
}

/// A configuration that cannot be had.
#[derive(Debug)]
pub enum OriginError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It says what cannot be meant.
    Bad(FileError),
    /// There is no file, and flags do not say enough, or what cannot be meant.
    Flags(Vec<String>),
}

impl Origin {
    /// A file, if there is one, and what beats it.
    pub fn new(file: Option<PathBuf>, overrides: Overrides) -> Self {
        Self { file, overrides }
    }

    /// The file. Its contents, not its time, tell whether it has changed: a ConfigMap is a link that is exchanged.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The contents of the file; nothing, if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn contents(&self) -> Result<Vec<u8>, OriginError> {
        match &self.file {
            None => Ok(Vec::new()),
            Some(file) => read_to(file).map_err(|error| OriginError::Unreadable(file.clone(), error)),
        }
    }

    /// The configuration that these contents of the file make, with what beats them.
    ///
    /// # Errors
    ///
    /// If that cannot be meant. The error has all that is wrong.
    pub fn config(&self, contents: &[u8]) -> Result<Config, OriginError> {
        match &self.file {
            Some(file) => read(&file.to_string_lossy(), contents, &self.overrides).map_err(OriginError::Bad),
            None => read(NO_FILE, b"", &self.overrides).map_err(|error| {
                OriginError::Flags(error.problems().iter().map(|problem| problem.what.clone()).collect())
            }),
        }
    }

    /// Reads the file and makes the configuration.
    ///
    /// # Errors
    ///
    /// If either fails.
    pub fn load(&self) -> Result<Config, OriginError> {
        self.config(&self.contents()?)
    }
}

/// That a file cannot be read, and what to do.
pub(crate) fn unreadable(file: &Path, error: &io::Error) -> String {
    let what_to_do = match error.kind() {
        io::ErrorKind::NotFound => "; give the file that there is",
        io::ErrorKind::IsADirectory => "; give the file in it",
        io::ErrorKind::PermissionDenied => "; let the user read it whose program this is",
        _ => "",
    };
    format!("cannot read {}: {error}{what_to_do}", file.display())
}

/// What is in a file, but of one that is too long, or has no end, no more than tells that.
fn read_to(file: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(file)?.take(TEXT_MAX as u64 + 1).read_to_end(&mut contents)?;
    Ok(contents)
}

/// All that is wrong, and how much it is: `3 errors.`
impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, error) => f.write_str(&unreadable(file, error)),
            Self::Bad(error) => write!(f, "{error}{}.", error.count()),
            Self::Flags(problems) => f.write_str(&problems.join("\n")),
        }
    }
}

impl std::error::Error for OriginError {}
