//! [`Pattern`]: which paths are meant. [`Path`]: what the path of a request is, however it is spelled.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Which paths are meant.
///
/// A pattern begins with `/`. A `*` stands for one whole segment, and at the end for all that is there and below: `/login` is
/// that path, `/users/*/posts` is those of each user, `/shop.Cart/*` is `/shop.Cart` and everything under it. Escapes
/// (`%20`) are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    written: String,
    segments: Vec<Segment>,
    /// Whether it ends with `*`.
    and_below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Is(Vec<u8>),
    Any,
}

impl Pattern {
    /// Whether a path is meant, in any spelling: whether any program might take it for one that is. Capitals are as good as small letters,
    /// since they are to some.
    pub fn matches(&self, path: &Path<'_>) -> bool {
        path.readings().any(|reading| self.fits(reading, <[u8]>::eq_ignore_ascii_case)) || path.is_obscure
    }

    /// Whether a path is meant, in its plain spelling.
    pub fn matches_plainly(&self, path: &Path<'_>) -> bool {
        path.is_plain() && self.fits(&path.normal, |expected, given| expected == given)
    }

    fn fits(&self, reading: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        // Before the first `/` there is nothing, and for the root that is all.
        let mut given = reading.split(|&byte| byte == b'/').skip(1);
        for segment in &self.segments {
            match (segment, given.next()) {
                (_, None) => return false,
                (Segment::Is(expected), Some(given)) if !same(expected, given) => return false,
                _ => {}
            }
        }
        self.and_below || given.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |what| Err(PatternError(what));
        let Some(inner) = text.strip_prefix('/') else { return wrong("a path begins with '/', as in \"/login\"") };
        if text.contains(['?', '#']) {
            return wrong("a path ends before '?' and '#': queries are not looked at");
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || "\\;".contains(c)) {
            return wrong("a path has no white space, '\\' or ';'; write %20 for a space");
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let mut written: Vec<&str> = if inner.is_empty() { Vec::new() } else { inner.split('/').collect() };
        let and_below = written.last() == Some(&"*");
        if and_below {
            written.pop();
        }
        let mut segments = Vec::new();
        for segment in written {
            segments.push(match segment {
                "*" => Segment::Any,
                "" | "." | ".." => return wrong("requests are matched without empty segments, \".\" and \"..\""),
                segment if segment.contains('*') => {
                    return wrong("'*' stands for a whole segment, as in \"/shop.Cart/*\"");
                }
                segment => {
                    let decoded = decoded(segment.as_bytes());
                    if decoded.iter().any(|byte| b"/\\;".contains(byte)) || [&b"."[..], b".."].contains(&&*decoded) {
                        return wrong("requests are matched after decoding, and this would be no segment then");
                    }
                    Segment::Is(decoded)
                }
            });
        }
        Ok(Self { written: text.to_owned(), segments, and_below })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(&'static str);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for PatternError {}

/// The path of a request as limits see it, however it was spelled.
///
/// Programs differ in how they read odd spellings, and the request is forwarded as it came. Some decode escapes before they look for
/// segments (RFC 3986, section 2.1) and some behind it; some take a `\` for a `/`, leave out empty segments or what follows a `;`, remove dot
/// segments (section 5.2.4), and some do not. So a limit looks at all that a program might read. What takes a limit *away*, an
/// exemption or a replacement, holds for the [plain](Self::is_plain) spelling alone.
#[derive(Clone, Debug)]
pub struct Path<'a> {
    /// Decoded, in its simplest form: without a `/` at the end, so the root is empty.
    normal: Cow<'a, [u8]>,
    /// What else programs might read in an odd spelling, in the same form.
    others: Vec<Vec<u8>>,
    plain: bool,
    /// The target of `OPTIONS *` is none.
    is_path: bool,
    /// An odd spelling too long to be read in all these ways: it may be anything.
    is_obscure: bool,
}

/// The longest odd spelling that is read. There are 48 ways to read it, and whoever sends it must not cost many times what others do.
const ODD_MAX: usize = 1024;

impl<'a> Path<'a> {
    /// The path of a request's target, as it was sent.
    pub fn of(sent: &'a str) -> Self {
        let bytes = sent.as_bytes();
        let path = |normal, plain| Self { normal, others: Vec::new(), plain, is_path: true, is_obscure: false };
        if !bytes.starts_with(b"/") {
            return Self { is_path: false, ..path(Cow::Borrowed(bytes), false) };
        }
        if is_surely_plain(bytes) {
            return path(Cow::Borrowed(bytes.strip_suffix(b"/").unwrap_or(bytes)), true);
        }
        let normal = read(bytes, Program::ALL);
        if encoded(&normal) == bytes.strip_suffix(b"/").unwrap_or(bytes) {
            return path(Cow::Owned(normal), true);
        }
        if bytes.len() > ODD_MAX {
            return Self { is_obscure: true, ..path(Cow::Owned(normal), false) };
        }
        let mut others: Vec<Vec<u8>> = Vec::new();
        for program in Program::all() {
            let reading = read(bytes, program);
            if reading != normal && !others.contains(&reading) {
                others.push(reading);
            }
        }
        Self { others, ..path(Cow::Owned(normal), false) }
    }

    /// Whether it was spelled as everybody spells it, so that no program reads it differently, but for capitals.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    fn readings(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.others.iter().map(Vec::as_slice);
        std::iter::once(&*self.normal).chain(others).filter(|_| self.is_path)
    }
}

/// Decoded, in its simplest form.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.normal {
            [] => f.write_str("/"),
            normal => f.write_str(&String::from_utf8_lossy(normal)),
        }
    }
}

/// Whether nothing has to be looked at closely: most requests.
fn is_surely_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let odd = match byte {
            b'/' | b'.' => before == b'/',
            byte => !is_written_as_itself(byte),
        };
        if odd {
            return false;
        }
        before = byte;
    }
    true
}

/// What a path holds without an escape (RFC 3986, section 3.3), but `;`.
fn is_written_as_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte)
}

/// How a program reads a path.
#[derive(Clone, Copy)]
struct Program {
    /// Escapes may hold a `/`, and whatever else is special.
    decodes_first: bool,
    takes_backslashes: bool,
    parameters: Parameters,
    drops_empty: bool,
    resolves_dots: bool,
}

/// What becomes of a `;` in a segment, and what follows it there.
#[derive(Clone, Copy, PartialEq)]
enum Parameters {
    Stay,
    CutAsSent,
    CutDecoded,
}

impl Program {
    /// It does all of this, and leaves the simplest form.
    const ALL: Self = Self::number(15, Parameters::CutDecoded);

    const fn number(bits: u8, parameters: Parameters) -> Self {
        Self {
            decodes_first: bits & 1 != 0,
            takes_backslashes: bits & 2 != 0,
            parameters,
            drops_empty: bits & 4 != 0,
            resolves_dots: bits & 8 != 0,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let parameters = [Parameters::Stay, Parameters::CutAsSent, Parameters::CutDecoded];
        parameters.into_iter().flat_map(|parameters| (0..16).map(move |bits| Self::number(bits, parameters)))
    }
}

/// What a program reads in a path: its segments, decoded, each behind a `/`.
fn read(path: &[u8], program: Program) -> Vec<u8> {
    let mut first = Cow::Borrowed(path);
    if program.parameters == Parameters::CutAsSent {
        let bare: Vec<&[u8]> = path.split(|&byte| byte == b'/').map(without_parameters).collect();
        first = Cow::Owned(bare.join(&b'/'));
    }
    if program.decodes_first {
        first = Cow::Owned(decoded(&first));
    }
    let mut read = Vec::with_capacity(first.len());
    let is_slash = |byte: &u8| *byte == b'/' || *byte == b'\\' && program.takes_backslashes;
    let first = first.strip_suffix(b"/").unwrap_or(&first);
    for segment in first.split(is_slash).skip(1) {
        let decoded = if program.decodes_first { Cow::Borrowed(segment) } else { Cow::Owned(decoded(segment)) };
        let cut = program.parameters == Parameters::CutDecoded;
        let segment = if cut { without_parameters(&decoded) } else { &decoded };
        match segment {
            b"" if program.drops_empty => {}
            b"." if program.resolves_dots => {}
            b".." if program.resolves_dots => {
                let parent = read.iter().rposition(|&byte| byte == b'/').unwrap_or_default();
                read.truncate(parent);
            }
            segment => {
                read.push(b'/');
                // A `/` in a segment divides nothing. No pattern has a NUL.
                read.extend(segment.iter().map(|&byte| if byte == b'/' { 0 } else { byte }));
            }
        }
    }
    // What dots leave behind may end with an empty segment.
    if read.last() == Some(&b'/') {
        read.pop();
    }
    read
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|&byte| byte == b';').next().unwrap_or_default()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8); // below 16
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &rest[3..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

/// The usual spelling of a path in its normal form.
fn encoded(normal: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(normal.len());
    for &byte in normal {
        if is_written_as_itself(byte) {
            encoded.push(byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern: Pattern = pattern.parse().unwrap();
        for path in matching {
            assert!(pattern.matches(&Path::of(path)), "{pattern} is {path}");
        }
        for path in others {
            assert!(!pattern.matches(&Path::of(path)), "{pattern} is not {path}");
        }
    }

    #[test]
    fn a_path_is_itself_in_every_spelling() {
        check(
            "/login",
            &[
                "/login",
                "/login/",
                "//login",
                "/./login",
                "/a/../login",
                "/%6cogin",
                "/%6Cogin",
                "/login%2f",
                "/a/%2e%2e/login",
                "/a%2f..%2flogin",
                "/login;jsessionid=1",
                "/a/..;/login",
                "/a\\..\\login",
                "/../login",
                "/login/.",
                "/login/x/..",
                "/%2flogin",
                // Capitals, and what only some programs take for it: as URLs are read in JavaScript, and without dots.
                "/Login",
                "/LOG%49N",
                "/login//..",
                "/x/..;/../login",
            ],
            &["/", "/log", "/login2", "/login/x", "/x/login", "/%256cogin", "/login%", "login", "*", ""],
        );
        check("/login/", &["/login", "/login/"], &["/"]);
        check("/", &["/", "//", "/.", "/x/.."], &["/x", "*"]);
        check("/a%20b/%c3%bc", &["/a%20b/%c3%bc", "/a%20b/%C3%BC"], &["/a b"]);
    }

    #[test]
    fn a_star_is_a_segment_and_at_the_end_all_below() {
        check(
            "/shop.Cart/*",
            &["/shop.Cart/Add", "/shop.Cart/a/b", "/shop.Cart/", "/shop.Cart"],
            &["/shop.Cart2/Add", "/"],
        );
        // Some take these for what they seem to be.
        check("/api/*", &["/api/../x", "/api/%2e%2e/x", "/api/..;/x", "/api/a%2f..%2f..%2fx", "/api/..\\x"], &["/x"]);
        check(
            "/users/*/posts",
            &["/users/7/posts", "/users/%2e7/posts", "/users/7%2f8/posts", "/users/..%2f/posts"],
            &["/users/posts", "/users/7/8/posts", "/users/7"],
        );
        check("/*", &["/", "/a", "/a/b"], &[]);
        check("/*/x/*", &["/a/x/b", "/a/x"], &["/a/y", "/x"]);
    }

    #[test]
    fn the_plain_spelling_is_the_one_that_needs_no_reading() {
        for plain in ["/", "/login", "/login/", "/a%20b", "/.well-known/x", "/a..b", "/a.b", "/%C3%BC", "/a:b@c"] {
            assert!(Path::of(plain).is_plain(), "{plain}");
        }
        for odd in
            ["//", "//login", "/./a", "/a/..", "/%6cogin", "/%c3%bc", "/a%2Fb", "/a;b", "/a\\b", "/a//", "", "*", "/a%"]
        {
            assert!(!Path::of(odd).is_plain(), "{odd}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, expected) in [
            ("login", "begins with '/'"),
            ("", "begins with '/'"),
            ("/a?b", "queries are not looked at"),
            ("/a b", "no white space"),
            ("/a;b", "';'"),
            ("/a/../b", "empty segments"),
            ("/a//b", "empty segments"),
            ("/img*.png", "whole segment"),
            ("/%2e%2e/a", "after decoding"),
            ("/a%2fb", "after decoding"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        /// The quick look is only a short cut.
        #[test]
        fn what_is_surely_plain_is_plain(path in "/[/a.%2;\\\\eE]{0,12}") {
            let slow = read(path.as_bytes(), Program::ALL);
            let quick = Path::of(&path);
            prop_assert_eq!(&*quick.normal, &*slow, "{}", path);
            prop_assert_eq!(quick.readings().next(), Some(&*slow));
            let plain = encoded(&slow) == path.as_bytes().strip_suffix(b"/").unwrap_or(path.as_bytes());
            prop_assert_eq!(quick.plain, plain, "{}", path);
        }

        /// A plain path is its own normal form, so a program that decodes and one that does not read the same.
        #[test]
        fn a_plain_path_reads_the_same_twice(path in "(/[a-z.%0-9;]{0,4}){0,4}") {
            let once = Path::of(&path);
            if once.is_plain() {
                let again = encoded(&once.normal);
                let again = String::from_utf8(again).unwrap();
                prop_assert_eq!(path.strip_suffix('/').unwrap_or(&path), again);
            }
        }
    }
}
