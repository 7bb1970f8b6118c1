//! The string forms of [`Quota`] and [`Policy`]: parsing, `Display`, and [`ParseError`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::policy::Policy;
use crate::quota::{Algorithm, PERIOD_MAX, Quota};

/// The longest string that is read, in bytes.
const INPUT_MAX: usize = 1024;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_DAY: u64 = 24 * 60 * 60 * NANOS_PER_SECOND;

/// Units: the canonical name first, then other spellings, all singular (a plural `s` is understood where the canonical
/// name is a word).
const UNITS: [(u64, &[&str]); 10] = [
    (365 * NANOS_PER_DAY, &["year"]),
    (30 * NANOS_PER_DAY, &["month"]),
    (7 * NANOS_PER_DAY, &["week", "w"]),
    (NANOS_PER_DAY, &["day", "d"]),
    (3600 * NANOS_PER_SECOND, &["hour", "hr", "h"]),
    (60 * NANOS_PER_SECOND, &["minute", "min", "m"]),
    (NANOS_PER_SECOND, &["second", "sec", "s"]),
    (1_000_000, &["ms", "millisecond", "milli"]),
    (1_000, &["us", "microsecond"]),
    (1, &["ns", "nanosecond"]),
];

const EXPECTED_UNIT: &str = "a unit: ms, second, minute, hour, day, week, month or year";

impl FromStr for Quota {
    type Err = ParseError;

    fn from_str(input: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::new(input)?;
        let quota = reader.quota()?;
        match reader.peek() {
            Token { kind: Kind::End, .. } => Ok(quota),
            token => Err(reader.error(token, "the end, 'burst', 'fixed' or 'sliding' (several quotas make a policy)")),
        }
    }
}

impl FromStr for Policy {
    type Err = ParseError;

    fn from_str(input: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::new(input)?;
        let mut policy = Policy::empty();
        loop {
            let start = reader.peek();
            let name = reader.name();
            let quota = reader.quota()?;
            policy.push(name, quota).map_err(|error| reader.error(start, error.to_string()))?;
            match reader.next() {
                Token { kind: Kind::End, .. } => return Ok(policy),
                Token { kind: Kind::Mark(b';' | b',' | b'|'), .. } => {}
                token => {
                    return Err(reader.error(token, "';' and another quota, 'burst', 'fixed', 'sliding' or the end"));
                }
            }
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.amount_and_period())?;
        if self.limit() != self.amount() {
            write!(f, " burst {}", self.limit())?;
        }
        f.write_str(match self.algorithm() {
            Algorithm::TokenBucket => "",
            Algorithm::FixedWindow => " fixed",
            Algorithm::AlignedWindow => " fixed aligned",
            Algorithm::SlidingWindow => " sliding",
        })
    }
}

impl Quota {
    /// The first half of the string form: `28/second`, `5/10 minutes`.
    pub(crate) fn amount_and_period(&self) -> String {
        let period = self.period_nanos();
        // Months and years are named only alone: two months would make a reader think of 61 days.
        let names = |(nanos, _): &&(u64, &[&str])| match period / nanos {
            1 => period == *nanos,
            _ => *nanos <= NANOS_PER_DAY && period % nanos == 0,
        };
        let (nanos, spellings) = UNITS.iter().find(names).expect("every period is a multiple of 1 ns");
        let unit = spellings[0];
        match period / nanos {
            1 => format!("{}/{unit}", self.amount()),
            multiple => format!("{}/{multiple} {unit}{}", self.amount(), if unit.len() > 2 { "s" } else { "" }),
        }
    }
}

/// The error of a string that is not a quota or a policy. It shows the string, the place, and what was expected there.
///
/// ```
/// let error = "5/fortnight".parse::<tollgate::Quota>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid limit \"5/fortnight\": at byte 2, near \"fortnight\": \
///      expected a unit: ms, second, minute, hour, day, week, month or year"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    input: String,
    at: usize,
    near: String,
    expected: String,
}

impl ParseError {
    /// Where in the string the error is, in bytes from its start.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, at, near, expected } = self;
        write!(f, "invalid limit {input:?}: at byte {at}, ")?;
        match near.as_str() {
            "" => write!(f, "at the end: expected {expected}"),
            near => write!(f, "near {near:?}: expected {expected}"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Splits a limit string into numbers, words and marks.
struct Reader<'a> {
    input: &'a str,
    at: usize,
}

#[derive(Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Word,
    Mark(u8),
    Other,
    End,
}

impl<'a> Reader<'a> {
    fn new(input: &'a str) -> Result<Self, ParseError> {
        let reader = Self { input, at: 0 };
        if input.len() > INPUT_MAX {
            let token = Token { kind: Kind::Other, text: "", at: INPUT_MAX };
            return Err(reader.error(token, format!("at most {INPUT_MAX} bytes")));
        }
        Ok(reader)
    }

    fn peek(&self) -> Token<'a> {
        let rest = self.input[self.at..].trim_start();
        let at = self.input.len() - rest.len();
        let run = |is: fn(&u8) -> bool| rest.len() - rest.bytes().skip_while(is).count();
        let (kind, len) = match rest.bytes().next() {
            None => (Kind::End, 0),
            Some(b'0'..=b'9') => (Kind::Number, run(u8::is_ascii_digit)),
            Some(byte) if byte.is_ascii_alphabetic() => (Kind::Word, run(u8::is_ascii_alphabetic)),
            Some(byte @ (b'/' | b':' | b';' | b',' | b'|')) => (Kind::Mark(byte), 1),
            Some(_) => (Kind::Other, rest.chars().next().map_or(0, char::len_utf8)),
        };
        Token { kind, text: &rest[..len], at }
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = token.at + token.text.len();
        token
    }

    /// Takes the next word if it is this one, in any case.
    fn word(&mut self, word: &str) -> bool {
        let found = self.peek().text.eq_ignore_ascii_case(word);
        if found {
            self.next();
        }
        found
    }

    /// `name:`, if there is one: anything that starts with a letter, up to a colon with no separator before it.
    fn name(&mut self) -> Option<&'a str> {
        let start = self.peek();
        if start.kind != Kind::Word {
            return None;
        }
        let rest = &self.input[start.at..];
        let end = rest.find([':', ';', ',', '|', '/'])?;
        if !rest[end..].starts_with(':') {
            return None;
        }
        self.at = start.at + end + 1;
        Some(rest[..end].trim_end())
    }

    /// `AMOUNT ("/" | "per") [MULTIPLE] UNIT [burst N] [fixed [aligned] | sliding]`
    fn quota(&mut self) -> Result<Quota, ParseError> {
        let start = self.peek();
        let amount = self.number("an amount (a whole number, as in \"28/second\")")?;
        if self.peek().kind == Kind::Mark(b'/') {
            self.next();
        } else if !self.word("per") {
            return Err(self.error(self.peek(), "'/' or 'per' and a period, as in \"28/second\""));
        }
        let period = self.period()?;
        let burst = if self.word("burst") { self.number("a burst (a whole number)")? } else { amount };
        let algorithm = if self.word("fixed") {
            if self.word("aligned") { Algorithm::AlignedWindow } else { Algorithm::FixedWindow }
        } else if self.word("sliding") {
            Algorithm::SlidingWindow
        } else {
            Algorithm::TokenBucket
        };
        Quota::build(amount, period, burst, algorithm)
            .map_err(|kind| self.error(start, format!("a limit that can be kept: {}", kind.text())))
    }

    fn period(&mut self) -> Result<Duration, ParseError> {
        let start = self.peek();
        let multiple = match start.kind {
            Kind::Number => self.number("a multiple of a unit")?,
            _ => 1,
        };
        let token = self.next();
        let nanos = unit(token.text).ok_or_else(|| self.error(token, EXPECTED_UNIT))?;
        let too_long = || {
            let years = PERIOD_MAX.as_secs() / (366 * 24 * 60 * 60);
            self.error(start, format!("a period of at most {years} years"))
        };
        multiple.checked_mul(nanos).map(Duration::from_nanos).ok_or_else(too_long)
    }

    fn number(&mut self, expected: &'static str) -> Result<u64, ParseError> {
        let token = self.next();
        if token.kind != Kind::Number {
            return Err(self.error(token, expected));
        }
        token.text.parse().map_err(|_| self.error(token, format!("a number of at most {}", u64::MAX)))
    }

    fn error(&self, token: Token<'_>, expected: impl Into<String>) -> ParseError {
        /// The most of a string that an error repeats, in characters.
        const SHOWN_MAX: usize = 80;
        let shown = |text: &str| match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        };
        let end = token.at.min(self.input.len());
        let near = match token.text {
            "" => self.input.get(end..).unwrap_or_default(),
            text => text,
        };
        ParseError { input: shown(self.input), at: token.at, near: shown(near), expected: expected.into() }
    }
}

/// The nanoseconds of a unit, in any case, singular or plural.
fn unit(text: &str) -> Option<u64> {
    let is = |spelling: &&str| {
        let plural = spelling.len() > 2 && text.len() == spelling.len() + 1 && text.ends_with(['s', 'S']);
        let singular = if plural { &text[..spelling.len()] } else { text };
        singular.eq_ignore_ascii_case(spelling)
    };
    UNITS.iter().find(|(_, spellings)| spellings.iter().any(is)).map(|(nanos, _)| *nanos)
}
