//! The fuzz targets over their corpus and over mutations of it, with the stable toolchain and without a fuzzer.
//!
//! `TOLLGATE_FUZZ_RUNS` sets how many mutations each target gets; a failure prints the input that makes it fail.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::{env, fs};

const RUNS_DEFAULT: u64 = 5_000;

/// The longest input, in bytes: some longer than the longest that parsers read.
const INPUT_MAX: usize = 20_000;

#[test]
fn x_forwarded_for() {
    let words =
        ["203.0.113.9", "10.0.0.2", "[::1]:80", "::ffff:10.0.0.2", "\"", ", ", ",", "%", ":", "unknown", "_x", "\n"];
    run("x_forwarded_for", targets::x_forwarded_for, &words);
}

#[test]
fn forwarded() {
    let words =
        ["for=203.0.113.9", "for=10.0.0.2", "for=\"[::1]:80\"", "\"", "\\", "\\\"", ";", ",", "=", "proto=http", "\n"];
    run("forwarded", targets::forwarded, &words);
}

#[test]
fn cidr() {
    let words = ["10.0.0.0/8", "::/0", "::ffff:0:0", "/", ":", ".", "255", "128", "0", "f", " ", "\n"];
    run("cidr", targets::cidr, &words);
}

#[test]
fn address_header() {
    let words = ["203.0.113.9", "[::1]:80", "::ffff:10.0.0.2", "\"", ",", "%", ":", "unknown", "_x", "\n", " "];
    run("address_header", targets::address_header, &words);
}

#[test]
fn authorization() {
    let words = ["Bearer ", "bearer", "Basic", "abc", "zzz", " ", "\t", ",", ";", "\"", "=", "\n"];
    run("authorization", targets::authorization, &words);
}

#[test]
fn cookie() {
    let words = ["s=", "s=real", "%73", "%", "%65", "=", ";", "; ", "\"", " ", "\t", "\n", "a"];
    run("cookie", targets::cookie, &words);
}

#[test]
fn host() {
    let words = ["a.b", "A.B", "[::1]", "[", "]", ":", "80", "65536", ".", "@", "\n", " "];
    run("host", targets::host, &words);
}

#[test]
fn decoded() {
    let words = ["%", "%41", "%e9", "%C3%A9", "a", ":", " ", "\u{e9}", "%25"];
    run("decoded", targets::decoded, &words);
}

#[test]
fn limit_string() {
    let words = [
        "5/minute",
        "per",
        "second",
        "burst",
        "fixed",
        "aligned",
        "sliding",
        "strict",
        ";",
        "|",
        ",",
        "name:",
        "18446744073709551615",
        "days",
        "minuts",
        "then",
        "1_000",
        "1,000",
        "0.5",
        ".",
        ":",
        "0",
        "1",
        " ",
    ];
    run("limit_string", targets::limit_string, &words);
}

#[cfg(feature = "serde")]
#[test]
fn limit_table() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"amount\"",
        "\"per\"",
        "\"burst\"",
        "\"algorithm\"",
        "\"name\"",
        "\"minute\"",
        "\"5/s\"",
        "\"sliding\"",
        "5",
        "-1",
        "0.5",
        "1e9",
        "null",
        "true",
        "\"a\"",
        "\\u0000",
        " ",
    ];
    run("limit_table", targets::limit_table, &words);
}

fn run(name: &str, target: fn(&[u8]), words: &[&str]) {
    let seeds = corpus(name, words);
    for seed in &seeds {
        attempt(name, target, seed);
    }
    let runs = env::var("TOLLGATE_FUZZ_RUNS")
        .map_or(RUNS_DEFAULT, |runs| runs.parse().expect("TOLLGATE_FUZZ_RUNS is a number"));
    let mut random = Random(0x5eed);
    for _ in 0..runs {
        attempt(name, target, &random.mutation(&seeds, words));
    }
}

/// The corpus of a target. The package on crates.io comes without; there the words alone have to do.
fn corpus(name: &str, words: &[&str]) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        return words.iter().map(|word| word.as_bytes().to_vec()).collect();
    }
    let mut paths: Vec<_> = fs::read_dir(fuzz.join("corpus").join(name))
        .expect("every target has a corpus")
        .map(|entry| entry.expect("the corpus can be listed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    paths.iter().map(|path| fs::read(path).expect("the corpus can be read")).collect()
}

fn attempt(name: &str, target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("{name} failed on b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

/// xorshift64 (Marsaglia 2003): the same mutations on every run and machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    fn mutation(&mut self, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            let end = at + self.below(input.len() + 1 - at);
            match self.below(7) {
                0 if at < input.len() => input[at] = self.below(256) as u8,
                1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 => drop(input.drain(at..end)),
                3 => drop(input.splice(at..at, words[self.below(words.len())].bytes())),
                4 => drop(input.splice(at..end, words[self.below(words.len())].bytes())),
                5 => {
                    let piece = input[at..end].repeat(self.below(8));
                    input.splice(at..at, piece);
                }
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    input.splice(at..end, other[self.below(other.len() + 1)..].iter().copied());
                }
            }
            input.truncate(INPUT_MAX);
        }
        input
    }
}
