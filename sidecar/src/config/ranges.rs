//! [`Ranges`]: addresses, as they were written.

use std::fmt;
use std::net::IpAddr;

use tollgate::SettingError;
use tollgate::http::Networks;

/// Networks and addresses, as they were written, and as the set that they are.
#[derive(Clone, Default)]
pub struct Ranges {
    written: Vec<String>,
    networks: Networks,
}

impl Ranges {
    /// All of these together.
    ///
    /// # Errors
    ///
    /// If one of them is neither a network nor an address.
    pub fn new<I>(ranges: I) -> Result<Self, SettingError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let written: Vec<_> = ranges.into_iter().map(|range| range.as_ref().trim().to_owned()).collect();
        Ok(Self { networks: Networks::new(&written)?, written })
    }

    /// As they were written.
    pub fn written(&self) -> &[String] {
        &self.written
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether one of them holds this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.contains(address)
    }

    /// Whether they hold every address of a family.
    pub fn is_everyone(&self) -> bool {
        self.networks.is_everyone()
    }

    /// The first that holds this address, as it was written.
    pub fn holding(&self, address: IpAddr) -> Option<&str> {
        let holds = |range: &&String| Networks::new([range]).is_ok_and(|networks| networks.contains(address));
        self.written.iter().find(holds).map(String::as_str)
    }
}

/// Two are equal if they hold the same addresses.
impl PartialEq for Ranges {
    fn eq(&self, other: &Self) -> bool {
        self.networks == other.networks
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written.join(", "))
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.written).finish()
    }
}
