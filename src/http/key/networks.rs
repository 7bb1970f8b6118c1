//! [`Networks`]: a set of addresses, as those of trusted proxies.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::setting_error::SettingError;

/// What an address range is to look like.
const EXPECTED: &str = "is not an address range: \
    write an address, as in \"192.0.2.7\", or a network, as in \"10.0.0.0/8\" or \"2001:db8::/32\"";

/// Prefix length of `::ffff:0:0/96`, the IPv4-mapped addresses (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A set of addresses, given as networks and single ones.
///
/// ```
/// use tollgate::http::Networks;
///
/// let ours = Networks::new(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])?;
/// assert!(ours.contains("10.1.2.3".parse()?));
/// assert!(!ours.contains("192.0.2.8".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// White space around a range is left out. Bits right of the prefix do not matter: `10.1.2.3/8` is `10.0.0.0/8`. IPv4-mapped
/// ranges are taken as IPv4. Other IPv6 ranges, even `::/0`, hold no IPv4 address.
// The networks of each family are sorted and disjoint, so that a look-up is a binary search, and a content network's hundreds
// of ranges cost what ten do.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Networks {
    /// The addresses of all these ranges together; of none, if there is none.
    ///
    /// # Errors
    ///
    /// If one of them is neither a network nor an address. The error shows which.
    pub fn new<I>(ranges: I) -> Result<Self, SettingError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            let range = range.as_ref();
            match network(range.trim()).ok_or_else(|| SettingError::about(range, EXPECTED))? {
                IpNet::V4(net) => v4.push(net),
                IpNet::V6(net) => v6.push(net),
            }
        }
        Ok(Self { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) })
    }

    /// Whether there is no address in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether every address of a family is in the set.
    pub fn is_everyone(&self) -> bool {
        self.v4.iter().any(|net| net.prefix_len() == 0) || self.v6.iter().any(|net| net.prefix_len() == 0)
    }

    /// Whether the set holds this address. An IPv4-mapped address (`::ffff:192.0.2.7`) is the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|net| net.network() <= address);
                after.checked_sub(1).is_some_and(|at| self.v4[at].contains(&address))
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|net| net.network() <= address);
                after.checked_sub(1).is_some_and(|at| self.v6[at].contains(&address))
            }
        }
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.v4).entries(&self.v6).finish()
    }
}

/// A network, or an address as the network of itself alone; IPv4 in its own form, since addresses are compared in it.
///
/// The parts are left to the standard library: `ipnet` by itself also takes `010.0.0.0/8`, which is 8.0.0.0/8 to those who
/// read a leading zero as octal.
fn network(text: &str) -> Option<IpNet> {
    let net = match text.split_once('/') {
        None => IpNet::from(text.parse::<IpAddr>().ok()?),
        Some((address, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
            IpNet::new(address.parse().ok()?, bits.parse().ok()?).ok()?
        }
        Some(_) => return None,
    };
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_PREFIX => match Ipv6Addr::to_ipv4_mapped(&v6.network()) {
            Some(v4) => {
                let prefix = v6.prefix_len() - MAPPED_PREFIX;
                Some(Ipv4Net::new(v4, prefix).expect("at most 128 - 96").into())
            }
            None => Some(net),
        },
        net => Some(net),
    }
}
