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
    run("x_forwarded_for", targets::x_forwarded_for);
}

#[test]
fn forwarded() {
    run("forwarded", targets::forwarded);
}

#[test]
fn cidr() {
    run("cidr", targets::cidr);
}

#[test]
fn address_header() {
    run("address_header", targets::address_header);
}

#[test]
fn authorization() {
    run("authorization", targets::authorization);
}

#[test]
fn cookie() {
    run("cookie", targets::cookie);
}

#[test]
fn host() {
    run("host", targets::host);
}

#[test]
fn decoded() {
    run("decoded", targets::decoded);
}

#[test]
fn limit_string() {
    run("limit_string", targets::limit_string);
}

#[cfg(feature = "serde")]
#[test]
fn limit_table() {
    run("limit_table", targets::limit_table);
}

fn run(name: &str, target: fn(&[u8])) {
    let (seeds, words) = (corpus(name), words(name));
    for seed in &seeds {
        attempt(name, target, seed);
    }
    let runs = env::var("TOLLGATE_FUZZ_RUNS")
        .map_or(RUNS_DEFAULT, |runs| runs.parse().expect("TOLLGATE_FUZZ_RUNS is a number"));
    let mut random = Random(0x5eed);
    for _ in 0..runs {
        attempt(name, target, &random.mutation(&seeds, &words));
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("every target has a corpus")
        .map(|entry| entry.expect("the corpus can be listed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    paths.iter().map(|path| fs::read(path).expect("the corpus can be read")).collect()
}

/// The words of a target, in libFuzzer's form: one a line, quoted, of printable characters and `\xNN`.
fn words(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/words").join(name);
    let word = |line: &str| {
        let quoted = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).expect("a quoted word");
        let mut pieces = quoted.split("\\x");
        let mut word = pieces.next().unwrap_or_default().as_bytes().to_vec();
        for piece in pieces {
            word.push(u8::from_str_radix(&piece[..2], 16).expect("two hex digits"));
            word.extend(piece[2..].bytes());
        }
        word
    };
    fs::read_to_string(path).expect("every target has words").lines().map(word).collect()
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

    fn mutation(&mut self, seeds: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            let end = at + self.below(input.len() + 1 - at);
            match self.below(7) {
                0 if at < input.len() => input[at] = self.below(256) as u8,
                1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 => drop(input.drain(at..end)),
                3 => drop(input.splice(at..at, words[self.below(words.len())].iter().copied())),
                4 => drop(input.splice(at..end, words[self.below(words.len())].iter().copied())),
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
