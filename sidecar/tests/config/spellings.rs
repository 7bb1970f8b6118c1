//! Paths as other programs read them. Each reader here is written after the one that it is named for, and knows nothing of `Path`.

use proptest::prelude::*;
use tollgate_sidecar::config::{Path, Pattern};

type Segments = Vec<Vec<u8>>;

fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match escape.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *byte == b'%') {
            Some(escaped) => {
                out.push(escaped);
                rest = &after[2..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

fn split(path: &[u8]) -> Segments {
    path[1..].split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

/// Without a slash at the end, which routers pass by.
fn trimmed(mut segments: Segments) -> Segments {
    if segments.last().is_some_and(Vec::is_empty) {
        segments.pop();
    }
    segments
}

fn resolved(segments: Segments) -> Segments {
    segments.into_iter().fold(Vec::new(), |mut stack, segment| {
        match &*segment {
            b"." => {}
            b".." => drop(stack.pop()),
            _ => stack.push(segment),
        }
        stack
    })
}

/// `path.Clean` of what `URL.Path` holds.
fn go(path: &str) -> Segments {
    resolved(split(&decoded(path)).into_iter().filter(|segment| !segment.is_empty()).collect())
}

/// `new URL(path).pathname`, whose segments are decoded by the router.
fn javascript(path: &str) -> Segments {
    let mut stack: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path[1..].split(['/', '\\']).collect();
    for (at, part) in parts.iter().enumerate() {
        let dots = part.to_ascii_lowercase().replace("%2e", ".");
        match &*dots {
            ".." => drop(stack.pop()),
            "." => {}
            _ => stack.push(part),
        }
        if at + 1 == parts.len() && (dots == "." || dots == "..") {
            stack.push("");
        }
    }
    trimmed(stack.into_iter().map(decoded).collect())
}

/// Tomcat: parameters off, decoded, and then normalised.
fn tomcat(path: &str) -> Segments {
    let bare: Vec<&str> = path.split('/').map(|part| part.split(';').next().unwrap_or_default()).collect();
    go(&bare.join("/"))
}

/// Express: as it came, each segment decoded, and whether in capitals or not.
fn express(path: &str) -> Segments {
    let segments = path[1..].split('/').map(|part| decoded(part).to_ascii_lowercase()).collect();
    trimmed(segments)
}

fn routes(pattern: &str, segments: &Segments) -> bool {
    let mut written: Vec<&str> = pattern[1..].split('/').filter(|part| !part.is_empty()).collect();
    let is_open = written.last() == Some(&"*") && written.pop().is_some();
    let fits = written.iter().zip(segments).all(|(part, segment)| *part == "*" || part.as_bytes() == segment);
    fits && segments.len() >= written.len() && (is_open || segments.len() == written.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a program takes for a path that a limit is about, the limit counts.
    #[test]
    fn no_program_is_reached_past_a_limit(path in r"(/|a|b|A|\.|\.\.|;|x|%2e|%2F|%5c|%61|%3b|%41|\\|//){1,10}") {
        let path = format!("/{path}");
        for pattern in ["/a", "/a/*", "/*/b", "/a/b", "/*/a/*", "/", "/b/*"] {
            let limit: Pattern = pattern.parse().unwrap();
            for (program, read) in
                [("Go", go(&path)), ("JavaScript", javascript(&path)), ("Tomcat", tomcat(&path)), ("Express", express(&path))]
            {
                if routes(pattern, &read) {
                    prop_assert!(limit.matches(&Path::of(&path)), "{program} takes {path} for {pattern}");
                }
            }
        }
    }

    /// And what takes a limit away holds for no path that a program may read in another way, but for capitals.
    #[test]
    fn no_limit_is_lost_by_a_spelling(path in r"(/|a|b|\.|\.\.|;|%2e|%2F|%61|\\|//){1,8}") {
        let path = format!("/{path}");
        for pattern in ["/a", "/a/*", "/*/b", "/a/b"] {
            let exemption: Pattern = pattern.parse().unwrap();
            if exemption.matches_plainly(&Path::of(&path)) {
                for read in [go(&path), javascript(&path), tomcat(&path), express(&path)] {
                    prop_assert!(routes(pattern, &read), "{path} is not {pattern} to all");
                }
            }
        }
    }
}
