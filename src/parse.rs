//! The string forms of [`Quota`] and [`Policy`]: parsing, `Display`, and [`ParseError`].

mod perhaps;
mod period;
mod written;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use self::perhaps::perhaps;
use self::period::{UNITS, unit};
use self::written::Written;
use crate::error::PolicyError;
use crate::policy::Policy;
use crate::quota::{Algorithm, Quota};

/// The longest string that is read, in bytes.
const INPUT_MAX: usize = 1024;

/// What the algorithms other than the default are called, the longer of two that start alike first.
const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("fixed aligned", Algorithm::AlignedWindow),
    ("fixed", Algorithm::FixedWindow),
    ("sliding", Algorithm::SlidingWindow),
    ("strict", Algorithm::StrictWindow),
];

/// Words that are kept for what may come.
const RESERVED: [&str; 2] = ["then", "concurrency"];

const EXPECTED_AMOUNT: &str = "expected an amount, a whole number, as in \"28/second\"";
const EXPECTED_PERIOD: &str = "expected '/' or 'per' and then a period, as in \"28/second\"";
/// Those that people write. Smaller ones are understood too.
const EXPECTED_UNIT: &str = "expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)";
const MAY_FOLLOW: &str = "'burst', 'fixed', 'sliding', 'strict' or the end";

impl FromStr for Quota {
    type Err = ParseError;

    fn from_str(input: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::new(input)?;
        let start = reader.peek();
        if let Some(name) = reader.name()? {
            let named = Token { text: name, kind: Kind::Word, ..start };
            return Err(reader.error(named, "one quota alone has no name; a policy's quotas have"));
        }
        let quota = reader.quota()?;
        match reader.next() {
            Token { kind: Kind::End, .. } => Ok(quota),
            token if token.is_separator() => {
                Err(reader.error(token, "expected the end: this is one quota; several make a policy"))
            }
            token => Err(reader.error(token, reader.after_quota(token, &quota, &format!("expected {MAY_FOLLOW}")))),
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
            let name = reader.name()?;
            let quota = reader.quota()?;
            let named = Token { text: name.unwrap_or(start.text), kind: Kind::Word, ..start };
            policy.push(name, quota).map_err(|error| reader.error(named, error.to_string()))?;
            match reader.next() {
                Token { kind: Kind::End, .. } => return Ok(policy),
                token if token.is_separator() => reader.quota_follows(token)?,
                token => {
                    let expected = format!("expected ';' and another quota, {MAY_FOLLOW}");
                    return Err(reader.error(token, reader.after_quota(token, &quota, &expected)));
                }
            }
        }
    }
}

/// A period alone: `minute`, `10 minutes`.
#[cfg(feature = "serde")]
pub(crate) fn duration(input: &str) -> Result<Duration, ParseError> {
    let mut reader = Reader::of("period", input)?;
    let period = reader.period()?;
    match reader.next() {
        Token { kind: Kind::End, .. } => Ok(period),
        token => Err(reader.error(token, "expected the end, as in \"minute\" or \"10 minutes\"")),
    }
}

/// The algorithm that is called so, in any case and with any mark between its words. The error says which there are.
#[cfg(feature = "serde")]
pub(crate) fn algorithm_called(text: &str) -> Result<Algorithm, String> {
    const DEFAULT: (&str, Algorithm) = ("token bucket", Algorithm::TokenBucket);
    let called = text.replace(['_', '-'], " ");
    let known = || [DEFAULT].into_iter().chain(ALGORITHMS);
    let found = known().find(|(words, _)| called.eq_ignore_ascii_case(words));
    found.map(|(_, algorithm)| algorithm).ok_or_else(|| {
        let words: Vec<_> = known().map(|(words, _)| words).collect();
        format!("it is one of \"{}\"{}", words.join("\", \""), perhaps(&called, words.iter().copied()))
    })
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.amount_and_period())?;
        if self.limit() != self.amount() {
            write!(f, " burst {}", self.limit())?;
        }
        match ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == self.algorithm()) {
            Some((words, _)) => write!(f, " {words}"),
            None => Ok(()), // the default
        }
    }
}

/// The error of a string that is not a quota or a policy. It shows the string and the place, and says what is wrong there
/// or what would be right.
///
/// ```
/// let error = "5/fortnight".parse::<tollgate::Quota>().unwrap_err();
/// assert_eq!(error.position(), 2);
/// assert_eq!(
///     error.to_string(),
///     "invalid limit \"5/fortnight\": at byte 2, near \"fortnight\": \
///      expected a unit: ms, second, minute, hour, day, week, month or year \
///      (or ns, us)"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    what: &'static str,
    input: String,
    at: usize,
    near: String,
    problem: String,
}

impl ParseError {
    /// Where in the string the error is, in bytes from its start.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What stands at that place: a number, a word, a mark and what follows it, or nothing at the end. A long one is cut
    /// after 80 characters, and `...` follows.
    pub fn near(&self) -> &str {
        &self.near
    }

    /// What is wrong there, or what would be right: the last part of the error's text. For a program that shows the
    /// string and points at the place itself.
    ///
    /// ```
    /// let error = "5/minut".parse::<tollgate::Quota>().unwrap_err();
    /// let place = " ".repeat(error.position()) + &"^".repeat(error.near().len());
    /// println!("5/minut\n{place} {}", error.problem());
    /// assert_eq!(place, "  ^^^^^");
    /// ```
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, input, at, near, problem } = self;
        write!(f, "invalid {what} {input:?}: ")?;
        match near.as_str() {
            "" => write!(f, "at the end (byte {at}): {problem}"),
            near => write!(f, "at byte {at}, near {near:?}: {problem}"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Splits a limit string into numbers, words and marks.
#[derive(Clone, Copy)]
struct Reader<'a> {
    input: &'a str,
    at: usize,
    /// What it is to be.
    what: &'static str,
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

impl Token<'_> {
    fn is_separator(&self) -> bool {
        matches!(self.kind, Kind::Mark(b';' | b',' | b'|'))
    }
}

impl<'a> Reader<'a> {
    fn new(input: &'a str) -> Result<Self, ParseError> {
        Self::of("limit", input)
    }

    fn of(what: &'static str, input: &'a str) -> Result<Self, ParseError> {
        let reader = Self { input, at: 0, what };
        if input.len() > INPUT_MAX {
            let at = (0..=INPUT_MAX).rev().find(|&at| input.is_char_boundary(at)).unwrap_or_default();
            let token = Token { kind: Kind::Other, text: &input[at..], at };
            return Err(reader.error(token, format!("a {what} has at most {INPUT_MAX} bytes")));
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

    /// Takes these words if they are what comes next.
    fn words(&mut self, words: &str) -> bool {
        let mut ahead = *self;
        let found = words.split(' ').all(|word| ahead.word(word));
        if found {
            *self = ahead;
        }
        found
    }

    /// `name:`, if there is one. Whether it is a good name is not looked at.
    fn name(&mut self) -> Result<Option<&'a str>, ParseError> {
        let start = self.peek();
        let Some(name) = self.name_ahead() else { return Ok(None) };
        if name.is_empty() {
            return Err(self.error(start, "expected a name before ':', as in \"login: 5/minute\""));
        }
        self.at = start.at + name.len();
        self.next(); // the colon
        if self.name_ahead().is_some() {
            return Err(self.error(self.peek(), "a quota has one name and one ':', as in \"login: 5/minute\""));
        }
        Ok(Some(name))
    }

    /// What stands before the next colon, if that can only be meant as a name.
    fn name_ahead(&self) -> Option<&'a str> {
        let start = self.peek();
        let (name, _) = self.input[start.at..].split_once(':')?;
        let name = name.trim_end();
        // What starts with a number can be a quota, with a stray colon behind it.
        let is_quota = |c: char| c == '/' || c.is_whitespace();
        let is_other = name.contains([';', ',', '|']) || start.kind == Kind::Number && name.contains(is_quota);
        (!is_other).then_some(name)
    }

    /// `AMOUNT ("/" | "per") [MULTIPLE] UNIT [burst N] [ALGORITHM]`
    fn quota(&mut self) -> Result<Quota, ParseError> {
        let amount_token = self.peek();
        let amount = self.amount()?;
        let token = self.next();
        if token.kind != Kind::Mark(b'/') && !token.text.eq_ignore_ascii_case("per") {
            return Err(self.error(token, self.after_amount(token)));
        }
        let period_token = self.peek();
        let period = self.period()?;
        let (burst_token, burst) =
            if self.word("burst") { (self.peek(), self.burst()?) } else { (amount_token, amount) };
        let named = ALGORITHMS.iter().find(|(words, _)| self.words(words));
        let algorithm = named.map_or(Algorithm::TokenBucket, |(_, algorithm)| *algorithm);
        Quota::build(amount, period, burst, algorithm).map_err(|error| {
            let token = match error {
                PolicyError::ZeroPeriod | PolicyError::PeriodTooLong => period_token,
                PolicyError::ZeroBurst | PolicyError::BurstTooLarge | PolicyError::WindowBurst => burst_token,
                _ => amount_token,
            };
            self.error(token, error.text())
        })
    }

    fn amount(&mut self) -> Result<u64, ParseError> {
        let token = self.peek();
        let written = Written::at(self.input, token.at, &['.', ',', '_', '\'']);
        if let Some(written) = written {
            // What the rest of the quota says, if it can be read.
            let mut rest = Self { at: token.at + written.text.len(), ..*self };
            let slash = rest.next();
            let is_quota = slash.kind == Kind::Mark(b'/') || slash.text.eq_ignore_ascii_case("per");
            let period = if is_quota { rest.period().ok() } else { None };
            return Err(self.error(Token { text: written.text, ..token }, written.instead_of_amount(period)));
        }
        // "5/second burst 1,000" is not a burst of 1 and then a limit of 0, though it could be read so.
        let before = &self.input.as_bytes()[..token.at];
        let is_thousand = token.text.len() == 3 && token.text.starts_with('0');
        if is_thousand && matches!(before, [.., b'0'..=b'9', b',']) {
            return Err(self.error(token, "a number is written without ',' between its digits"));
        }
        match token.kind {
            Kind::Number => self.number(),
            Kind::End if self.input.trim().is_empty() => {
                Err(self.error(token, "expected a limit, as in \"28/second\""))
            }
            _ if token.is_separator() => {
                Err(self.error(token, format!("expected a quota before '{}', as in \"28/second\"", token.text)))
            }
            Kind::Word if is_one_of(token.text, &RESERVED) => Err(self.error(token, reserved(token.text))),
            Kind::Word => {
                let mut ahead = *self;
                ahead.next();
                let problem = match ahead.peek().kind {
                    Kind::Number => format!("a name ends with ':', as in \"{}: 5/minute\"", token.text),
                    _ => EXPECTED_AMOUNT.to_owned(),
                };
                Err(self.error(token, problem))
            }
            _ => Err(self.error(token, EXPECTED_AMOUNT)),
        }
    }

    fn burst(&mut self) -> Result<u64, ParseError> {
        let token = self.peek();
        if let Some(written) = Written::at(self.input, token.at, &['.', '_', '\'']) {
            return Err(self.error(Token { text: written.text, ..token }, written.instead_of("a burst")));
        }
        match token.kind {
            Kind::Number => self.number(),
            _ => Err(self.error(token, "expected a burst, a whole number, as in \"28/second burst 50\"")),
        }
    }

    fn period(&mut self) -> Result<Duration, ParseError> {
        let start = self.peek();
        if let Some(written) = Written::at(self.input, start.at, &['.', ',', '_', '\'']) {
            let mut rest = Self { at: start.at + written.text.len(), ..*self };
            return Err(
                self.error(Token { text: written.text, ..start }, written.instead_of_multiple(unit(rest.next().text)))
            );
        }
        let multiple = if start.kind == Kind::Number { self.number()? } else { 1 };
        let token = self.next();
        let Some(nanos) = unit(token.text) else {
            let names = UNITS.iter().flat_map(|(_, spellings)| *spellings).copied();
            return Err(self.error(token, format!("{EXPECTED_UNIT}{}", perhaps(token.text, names))));
        };
        let period = multiple.checked_mul(nanos).map(Duration::from_nanos);
        period.ok_or_else(|| self.error(start, PolicyError::PeriodTooLong.text()))
    }

    fn number(&mut self) -> Result<u64, ParseError> {
        let token = self.next();
        token.text.parse().map_err(|_| self.error(token, format!("a number is at most {}", u64::MAX)))
    }

    /// Whether a separator is followed by a quota.
    fn quota_follows(&self, separator: Token<'_>) -> Result<(), ParseError> {
        let token = self.peek();
        match token.kind {
            Kind::End => {
                Err(self.error(separator, format!("expected a quota after '{}', or no '{0}'", separator.text)))
            }
            _ if token.is_separator() => {
                Err(self.error(token, format!("expected a quota between '{}' and '{}'", separator.text, token.text)))
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with what stands between an amount and its period.
    fn after_amount(&self, token: Token<'_>) -> String {
        let next = self.peek();
        let is_period = next.kind == Kind::Mark(b'/') || next.text.eq_ignore_ascii_case("per");
        match token.kind {
            Kind::Number => "an amount is written without spaces, as in \"1000/hour\"".to_owned(),
            Kind::Word if is_one_of(token.text, &["k", "m"]) => {
                "an amount is written out, as in \"10000/second\"".to_owned()
            }
            Kind::Word if is_period => format!("leave out \"{}\"; {EXPECTED_PERIOD}", token.text),
            _ => EXPECTED_PERIOD.to_owned(),
        }
    }

    /// What is wrong with what follows a quota, where none of what is `expected` does.
    fn after_quota(&self, token: Token<'_>, quota: &Quota, expected: &str) -> String {
        let text = token.text.to_ascii_lowercase();
        let is_window = quota.algorithm() != Algorithm::TokenBucket;
        match &*text {
            "burst" if is_window => PolicyError::WindowBurst.text().to_owned(),
            "burst" => "a quota has one burst".to_owned(),
            "aligned" => "only a fixed window is aligned, as in \"100/day fixed aligned\"".to_owned(),
            _ if is_window && ALGORITHMS.iter().any(|(words, _)| *words == text) => {
                "a quota has one algorithm".to_owned()
            }
            _ if is_one_of(&text, &RESERVED) => reserved(&text),
            _ if token.kind == Kind::Word => {
                let words = ALGORITHMS.iter().flat_map(|(words, _)| words.split(' '));
                format!("{expected}{}", perhaps(&text, words.chain(["burst"])))
            }
            _ => expected.to_owned(),
        }
    }

    fn error(&self, token: Token<'_>, problem: impl Into<String>) -> ParseError {
        /// The most of a string that an error repeats, in characters.
        const SHOWN_MAX: usize = 80;
        let shown = |text: &str| match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        };
        // A mark alone shows little: what follows it, to the next space, tells more.
        let near = match token.kind {
            Kind::Mark(_) | Kind::Other => {
                let rest = &self.input[token.at..];
                &rest[..rest[token.text.len()..]
                    .find(char::is_whitespace)
                    .map_or(rest.len(), |len| token.text.len() + len)]
            }
            _ => token.text,
        };
        ParseError {
            what: self.what,
            input: shown(self.input),
            at: token.at,
            near: shown(near),
            problem: problem.into(),
        }
    }
}

fn reserved(word: &str) -> String {
    format!("'{}' is not supported yet", word.to_ascii_lowercase())
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}
