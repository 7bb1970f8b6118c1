//! Strings of the file and of the command line, read one by one: addresses, durations, keys, costs. Each says what is wrong
//! with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use tollgate::http::Headers;

use super::problem::did_you_mean;
use super::{Admin, Cost, DeniedBody, Exemption, KeyPart, LogFormat, Missing, Pattern, Ranges, Scope, Upstream};

/// Where to listen, and whether clients are to speak TLS: `0.0.0.0:5002`, `https://0.0.0.0:8443`.
pub(crate) fn listen(text: &str) -> Result<(SocketAddr, bool), String> {
    let (rest, tls) = match text.split_once("://") {
        None => (text, false),
        Some(("http", rest)) => (rest, false),
        Some(("https", rest)) => (rest, true),
        Some((scheme, _)) => {
            return Err(format!("{scheme:?} is not listened to: write http:// or https://, or neither"));
        }
    };
    Ok((address(rest.strip_suffix('/').unwrap_or(rest))?, tls))
}

/// An address and a port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let example = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("0.0.0.0:{port}"),
        Err(_) => "0.0.0.0:5002\" or \"[::]:5002".to_owned(),
    };
    Err(format!("{text:?} is not an address to listen on: write address and port, as in \"{example}\""))
}

/// Where requests go.
pub(crate) fn upstream(text: &str) -> Result<Upstream, String> {
    text.parse().map_err(|_| {
        let advice = match text.split_once("://") {
            None if !text.is_empty() => format!("write \"http://{text}\""),
            Some(("https", _)) => "TLS is not spoken to an upstream: it is beside the proxy".to_owned(),
            Some(("http" | "h2c", rest)) if rest.contains('/') => {
                "leave out the path: requests are forwarded unchanged".to_owned()
            }
            _ => "write http://HOST:PORT, or h2c://HOST:PORT for HTTP/2 without TLS".to_owned(),
        };
        format!("{text:?} is not an upstream: {advice}")
    })
}

/// A loopback address, a Unix socket, or `off`.
pub(crate) fn admin(text: &str) -> Result<Option<Admin>, String> {
    if text == "off" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err("a Unix socket needs a path, as in \"unix:/run/tollgate.sock\"".to_owned());
        }
        return Ok(Some(Admin::Unix(PathBuf::from(path))));
    }
    let address = address(text)?;
    if !address.ip().to_canonical().is_loopback() {
        return Err(format!(
            "{text:?} is open to others, and the admin page shows and resets clients: \
             use a loopback address, as in \"127.0.0.1:5003\", a Unix socket, as in \"unix:/run/tollgate.sock\", or \"off\""
        ));
    }
    Ok(Some(Admin::Tcp(address)))
}

/// A time: `250ms`, `10s`, `1m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a time: write it as in \"250ms\", \"10s\" or \"1m\"");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
    let number: f64 = text[..end].parse().map_err(|_| expected())?;
    let seconds = match text[end..].trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())?;
    let most = Duration::from_secs(24 * 3600);
    if duration.is_zero() || duration > most {
        return Err(format!("{text:?} is not between 1 ms and a day"));
    }
    Ok(duration)
}

/// A time, as it is written.
pub(crate) fn written_duration(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        nanos if nanos.is_multiple_of(1_000_000) => format!("{}ms", duration.as_millis()),
        _ => format!("{}s", duration.as_secs_f64()),
    }
}

/// A part of a key: `address`, `header:x-api-key`.
pub(crate) fn key_part(text: &str) -> Result<KeyPart, String> {
    if let Some(name) = text.strip_prefix("header:") {
        return Ok(KeyPart::Header(header_name(name)?));
    }
    if let Some(name) = text.strip_prefix("cookie:") {
        tollgate::http::CookieKey::new(name).map_err(|error| error.to_string())?;
        return Ok(KeyPart::Cookie(name.to_owned()));
    }
    match text {
        "address" => Ok(KeyPart::Address),
        "global" => Ok(KeyPart::Global),
        "host" => Ok(KeyPart::Host),
        "bearer" => Ok(KeyPart::Bearer),
        _ => {
            let words = ["address", "global", "host", "bearer", "header:NAME", "cookie:NAME"];
            Err(format!("{text:?} is not a key: it is one of {}.{}", words.join(", "), did_you_mean(text, words)))
        }
    }
}

/// What a request costs, if that is a string.
pub(crate) fn cost(text: &str) -> Result<Cost, String> {
    if let Some(name) = text.strip_prefix("response-header:") {
        return Ok(Cost::ResponseHeader(header_name(name)?));
    }
    if let Some(name) = text.strip_prefix("header:") {
        return Ok(Cost::RequestHeader(header_name(name)?));
    }
    match text {
        "response-bytes" => Ok(Cost::ResponseBytes),
        _ => {
            let words = ["response-bytes", "response-header:NAME", "header:NAME"];
            let near = did_you_mean(text, words);
            Err(format!("{text:?} is not a cost: it is a number, or one of {}.{near}", words.join(", ")))
        }
    }
}

/// `header:x-plan`.
pub(crate) fn plan(text: &str) -> Result<HeaderName, String> {
    match text.strip_prefix("header:") {
        Some(name) => header_name(name),
        None => Err(format!("a plan is told in a header, as in \"header:x-plan\", and not by {text:?}")),
    }
}

pub(crate) fn header_name(text: &str) -> Result<HeaderName, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not the name of a header"))
}

pub(crate) fn method(text: &str) -> Result<Method, String> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    if !KNOWN.contains(&text) && KNOWN.contains(&text.to_ascii_uppercase().as_str()) {
        return Err(format!("a method is in capital letters. Did you mean {:?}?", text.to_ascii_uppercase()));
    }
    text.parse().map_err(|_| format!("{text:?} is not a method: write it as in \"POST\""))
}

/// A host, without scheme and port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    tollgate::http::HostKey::among([text]).map_err(|error| error.to_string())?;
    Ok(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
}

pub(crate) fn missing(text: &str) -> Result<Missing, String> {
    one_of(text, [("refuse", Missing::Refuse), ("address", Missing::Address), ("skip", Missing::Skip)])
}

pub(crate) fn log(text: &str) -> Result<LogFormat, String> {
    one_of(text, [("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// The names of the dialects of headers, and what they are.
pub(crate) const RATE_HEADERS: [(&str, Headers); 4] = [
    ("none", Headers::None),
    ("draft", Headers::Draft),
    ("x-ratelimit", Headers::XRateLimitDelta),
    ("x-ratelimit-epoch", Headers::XRateLimitEpoch),
];

/// The kinds of a denial's body.
pub(crate) fn body(text: &str) -> Result<DeniedBody, String> {
    one_of(text, [("text", DeniedBody::default()), ("problem", DeniedBody::Problem)])
}

/// One of these words.
pub(crate) fn one_of<T>(text: &str, words: impl IntoIterator<Item = (&'static str, T)>) -> Result<T, String> {
    let mut known = Vec::new();
    for (word, value) in words {
        if word == text {
            return Ok(value);
        }
        known.push(word);
    }
    let near = did_you_mean(text, known.iter().copied());
    let end = if near.is_empty() { String::new() } else { format!(".{near}") };
    Err(format!("{text:?} is not known here: it is \"{}\"{end}", known.join("\" or \"")))
}

/// A header to add: name and value.
pub(crate) fn denial_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    /// What the answer's own framing and meaning need.
    const KEPT: [&str; 11] = [
        "cache-control",
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "retry-after",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = header_name(name)?;
    if KEPT.contains(&name.as_str()) {
        return Err(format!("\"{name}\" is set by the proxy itself on every denial, and cannot be given"));
    }
    let value = value.parse().map_err(|_| format!("{value:?} cannot be the value of a header"))?;
    Ok((name, value))
}

/// An exemption in one string: `/healthz`, `/healthz from 10.0.0.0/8`.
pub(crate) fn exemption(text: &str) -> Result<Exemption, String> {
    let (path, from) = match text.split_once(" from ") {
        Some((path, from)) => (path.trim(), from.split(',').map(str::trim).collect()),
        None => (text.trim(), Vec::new()),
    };
    let path: Pattern = path.parse().map_err(|error| format!("{path:?} is not a path: {error}"))?;
    let from = Ranges::new(from).map_err(|error| error.to_string())?;
    Ok(Exemption::new(Scope { paths: vec![path], ..Scope::default() }, from))
}

/// Where Redis is.
pub(crate) fn redis(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
    let is_host = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
    match rest {
        Some(rest) if is_host(rest) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not the address of a Redis: write it as in \"redis://redis:6379\"")),
    }
}

/// The name of a limit.
pub(crate) fn is_limit_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
