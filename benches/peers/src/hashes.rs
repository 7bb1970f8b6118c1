//! Hashes that could make a key's fingerprint: keyed, 64 bits, a whole key at once.

use std::hash::{BuildHasher, Hash};
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};

use crate::measure::{alternate, time, title};

const COUNT: usize = 20_000;
const ROUNDS: usize = 301;

pub fn run() {
    of("u64", &42_u64);
    of("IpAddr, IPv4", &IpAddr::from([192, 0, 2, 7]));
    of("IpAddr, IPv6", &IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6)));
    of("str of 21 bytes", "user:8413-0f2c-71aa-3");
}

fn of<K: Hash + ?Sized>(what: &str, key: &K) {
    title(&format!("hash of a {what}; each waits for the one before ({ROUNDS} rounds of {COUNT})"));
    let ahash = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let foldhash_fast = foldhash::fast::RandomState::default();
    let foldhash_quality = foldhash::quality::RandomState::default();
    let rapidhash = rapidhash::fast::RandomState::default();
    let rapidhash_quality = rapidhash::quality::RandomState::default();
    let std = std::hash::RandomState::new();
    let siphash = Sip13(1, 2);
    alternate(
        ROUNDS,
        vec![
            ("ahash (current)", Box::new(|| chain(&ahash, key))),
            ("foldhash, fast", Box::new(|| chain(&foldhash_fast, key))),
            ("foldhash, quality", Box::new(|| chain(&foldhash_quality, key))),
            ("rapidhash, fast", Box::new(|| chain(&rapidhash, key))),
            ("rapidhash, quality", Box::new(|| chain(&rapidhash_quality, key))),
            ("SipHash-1-3, siphasher", Box::new(|| chain(&siphash, key))),
            ("SipHash-1-3, std", Box::new(|| chain(&std, key))),
        ],
    );
}

struct Sip13(u64, u64);

impl BuildHasher for Sip13 {
    type Hasher = siphasher::sip::SipHasher13;

    fn build_hasher(&self) -> Self::Hasher {
        siphasher::sip::SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// What a hash takes from its key to its value, as a table's lookup has to wait for it: which key is read depends on
/// the hash before.
#[inline(always)]
fn chain<K: Hash + ?Sized, B: BuildHasher>(hash: &B, key: &K) -> f64 {
    let keys = [key; 2];
    let mut last = 0_u64;
    time(COUNT, || {
        let key: &K = black_box(keys[(last >> 63) as usize]);
        last = black_box(hash.hash_one(key));
    })
}
