//! [`Record`]: what becomes of a request, as a line of the access log.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{Method, StatusCode, Version};
use humantime::{Rfc3339Timestamp, format_rfc3339_millis};

use super::metrics::Outcome;
use super::thread::Current;
use crate::config::LogFormat;
use crate::lines::Lines;
use crate::rules::{DeniedBy, host_of};

/// What becomes of a request. Dropped, it is a line of the log.
#[derive(Debug)]
pub(super) struct Record {
    to: Lines,
    /// What was in force.
    current: Rc<Current>,
    time: SystemTime,
    begun: Instant,
    client: IpAddr,
    /// What was asked for; nothing, if it was no request.
    asked: Option<RequestSeen>,
    pub(super) denied_by: DeniedBy,
    /// The answer, if the client stayed for it.
    pub(super) answer: Option<(StatusCode, Outcome)>,
    /// Bytes of its body.
    pub(super) bytes: u64,
    /// Whether its body was taken to the end.
    pub(super) saw_end: bool,
    /// Why it is as it is, if that is not what everybody hopes for.
    pub(super) reason: Option<&'static str>,
}

#[derive(Debug)]
struct RequestSeen {
    method: Method,
    path: String,
    host: Option<String>,
    version: Version,
}

/// How much of a path and of a host is written. Clients choose them.
const PATH_MAX: usize = 1024;
const HOST_MAX: usize = 256;

impl Record {
    /// Begins with a request.
    pub(super) fn new(to: Lines, current: Rc<Current>, client: IpAddr) -> Self {
        Self {
            to,
            current,
            time: SystemTime::now(),
            begun: Instant::now(),
            client,
            asked: None,
            denied_by: DeniedBy::default(),
            answer: None,
            bytes: 0,
            saw_end: false,
            reason: None,
        }
    }

    /// Notes what it asks for. The query stays out: tokens and passwords stand there.
    pub(super) fn asks(&mut self, head: &Parts) {
        let host = host_of(head).map(|host| cut(&host, HOST_MAX));
        let path = cut(head.uri.path(), PATH_MAX);
        self.asked = Some(RequestSeen { method: head.method.clone(), path, host, version: head.version });
    }

    /// The response is over, whole or not.
    pub(super) fn ended(&mut self, is_whole: bool) {
        let is_head = self.asked.as_ref().is_some_and(|asked| asked.method == Method::HEAD);
        if !is_whole && !is_head && !self.saw_end {
            self.reason = self.reason.or(Some("the client left"));
        }
    }

    fn line(&self) -> String {
        let mut line = String::with_capacity(256);
        // A String takes all that is written.
        let _ = match self.current.config().log {
            LogFormat::Text => self.write_text(&mut line),
            LogFormat::Json => self.write_json(&mut line),
        };
        line.push('\n');
        line
    }

    fn millis(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() * 1000.0
    }

    fn outcome(&self) -> &'static str {
        self.answer.map_or("left", |(_, outcome)| outcome.name())
    }

    fn limiter(&self) -> Option<&str> {
        let denied = self.answer.is_some_and(|(_, outcome)| outcome == Outcome::Denied);
        let limit = self.denied_by.limit().filter(|_| denied)?;
        self.current.config().limits.get(limit).map(|limit| limit.name.as_str())
    }

    fn write_text(&self, line: &mut String) -> std::fmt::Result {
        write!(line, "{} {} ", utc(self.time), self.client)?;
        match &self.asked {
            Some(RequestSeen { method, path, version, .. }) => {
                write!(line, "\"{} {} {version:?}\" ", Escaped(method.as_str()), Escaped(path))?;
            }
            None => line.push_str("- "),
        }
        match self.answer {
            Some((status, _)) => write!(line, "{} ", status.as_str())?,
            None => line.push_str("- "),
        }
        write!(line, "{} bytes={} ms={:.3}", self.outcome(), self.bytes, self.millis())?;
        if let Some(host) = self.asked.as_ref().and_then(|asked| asked.host.as_ref()) {
            write!(line, " host=\"{}\"", Escaped(host))?;
        }
        if let Some(limiter) = self.limiter() {
            write!(line, " limiter={limiter}")?;
        }
        if let Some(reason) = self.reason {
            write!(line, " reason=\"{}\"", Escaped(reason))?;
        }
        Ok(())
    }

    fn write_json(&self, line: &mut String) -> std::fmt::Result {
        write!(line, "{{\"timestamp\":\"{}\",\"target\":\"access\",\"client\":\"{}\"", utc(self.time), self.client)?;
        if let Some(RequestSeen { method, path, host, version }) = &self.asked {
            write!(line, ",\"method\":\"{}\",\"path\":\"{}\"", Escaped(method.as_str()), Escaped(path))?;
            if let Some(host) = host {
                write!(line, ",\"host\":\"{}\"", Escaped(host))?;
            }
            write!(line, ",\"version\":\"{version:?}\"")?;
        }
        if let Some((status, _)) = self.answer {
            write!(line, ",\"status\":{}", status.as_str())?;
        }
        write!(line, ",\"outcome\":\"{}\",\"bytes\":{},\"ms\":{:.3}", self.outcome(), self.bytes, self.millis())?;
        if let Some(limiter) = self.limiter() {
            write!(line, ",\"limiter\":\"{}\"", Escaped(limiter))?;
        }
        if let Some(reason) = self.reason {
            write!(line, ",\"reason\":\"{}\"", Escaped(reason))?;
        }
        line.push('}');
        Ok(())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.to.push(self.line().as_bytes());
    }
}

fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    let dots = if end < text.len() { "..." } else { "" };
    format!("{}{dots}", &text[..end])
}

/// Text between quotation marks, in either format: what is not plain ASCII is `\u` and four digits, as in JSON.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' '..='~' => f.write_char(c)?,
                c => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(f, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

/// A time, as RFC 3339 writes it: `2026-11-30T20:10:27.123Z`. A clock that stands before 1970 is taken for 1970.
fn utc(time: SystemTime) -> Rfc3339Timestamp {
    format_rfc3339_millis(time.max(UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_a_date() {
        for (second, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_796_069_427, "2026-11-30T20:10:27.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(second)).to_string(), date);
        }
    }

    #[test]
    fn nothing_in_a_text_ends_it() {
        let text = "a\"b\\c\n\u{1b}[31m\u{202e}é😀";
        assert_eq!(Escaped(text).to_string(), "a\\\"b\\\\c\\u000a\\u001b[31m\\u202e\\u00e9\\ud83d\\ude00");
        assert_eq!(cut("häh", 2), "h...");
        assert_eq!(cut("häh", 9), "häh");
    }
}
