//! Keys by host.

use http::request::Parts;
use tollgate::http::HostKey;

use crate::keys::{head, text_of};

/// The head of a request with this target and these `Host` lines.
fn head_for(target: &str, hosts: &[&str]) -> Parts {
    let lines: Vec<_> = hosts.iter().map(|host| ("host", host)).collect();
    let mut head = head(&lines);
    head.uri = target.parse().unwrap();
    head
}

#[test]
fn a_host_counts_if_it_is_listed() {
    let key =
        HostKey::among(["Example.com", "api.example.com.", "xn--bcher-kva.example", "[2001:DB8::1]", "192.0.2.7"])
            .unwrap();
    let check = |target: &str, hosts: &[&str], expected: &str| {
        assert_eq!(text_of(&key, &head_for(target, hosts)), expected, "{target} {hosts:?}");
    };
    let none = "absent: one host that this server knows";
    for host in [
        "example.com",
        "EXAMPLE.com",
        "example.com:80",
        "example.com:",
        "example.com.",
        "Example.COM.:8443",
        "example.com:65535",
    ] {
        check("/", &[host], "example.com");
        check(&format!("http://{host}/"), &[], "example.com");
        check(&format!("https://{host}/"), &["example.com"], "example.com");
        check("/", &[host, "example.com"], "example.com");
    }
    check("/", &["api.example.com"], "api.example.com");
    check("/", &["xn--bcher-kva.example"], "xn--bcher-kva.example");
    check("/", &["[2001:db8::1]:80"], "%5B2001%3Adb8%3A%3A1%5D");
    check("/", &["192.0.2.7:80"], "192.0.2.7");
    // What a client makes up is no key.
    for host in [
        "",
        ".",
        ":80",
        "other.example",
        "sub.example.com",
        "example.co",
        "example.com.evil.example",
        "example.com..",
        "example.com:http",
        "example.com:80:80",
        "example.com:123456",
        "user@example.com",
        "example.com,other.example",
        "example.com other.example",
        "example.com/",
        "%65xample.com",
        "http://example.com",
        "[example.com]",
        "[2001:db8::1",
        "[2001:db8:0::1]",
        "[2001:db8::1]x",
        "b\u{fc}cher.example",
    ] {
        check("/", &[host], none);
        check("/", &["example.com", host], none);
        check("/", &[host, "example.com"], none);
        check("http://example.com/", &[host], none);
    }
    check("/", &[], none);
    check("http://user@example.com/", &[], none);
    // One site on the account of another.
    check("http://example.com/", &["api.example.com"], none);
    check("http://api.example.com/", &["example.com"], none);
    check("/", &["example.com", "api.example.com"], none);
    check("http://example.com/", &["example.com", "api.example.com"], none);
}

#[test]
fn hosts_that_are_none_are_refused_when_built() {
    for host in [
        "",
        ".",
        "a b",
        "example.com:80",
        "http://example.com",
        "example.com/",
        "*.example.com",
        "b\u{fc}cher.example",
        "a..",
        "::1",
        "u@a",
    ] {
        let error = HostKey::among(["example.com", host]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{host:?} is not a host")), "{error}");
    }
    assert!(HostKey::among::<[&str; 0]>([]).unwrap_err().to_string().contains("no host is given"));
}
