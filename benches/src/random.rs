//! Random numbers and distinct keys, the same in every run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// SplitMix64 (Steele, Lea and Flood 2014): every number once before any comes twice.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 on, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(limit)) >> 64) as u64
    }
}

/// A bijection, so that different numbers give different keys.
pub fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The n-th IPv4 address, all different, as a server's `SocketAddr::ip` gives them.
pub fn v4(n: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from((n as u32).wrapping_mul(0x9e37_79b1)))
}

/// The n-th IPv6 address, all different.
pub fn v6(n: u64) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from((u128::from(mix(n)) << 64) | u128::from(mix(!n))))
}

/// The k-th key comes in proportion to 1/k: few clients make most of the requests.
#[derive(Debug)]
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Of so many keys.
    pub fn new(count: u64) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=count).map(|k| {
            sum += 1.0 / k as f64;
            sum
        });
        Self { cumulative: cumulative.collect() }
    }

    /// One of them, from 0 on.
    pub fn draw(&self, random: &mut Random) -> u64 {
        let total = self.cumulative.last().expect("there are keys");
        let point = random.draw() as f64 / u64::MAX as f64 * total;
        self.cumulative.partition_point(|&sum| sum < point).min(self.cumulative.len() - 1) as u64
    }
}
