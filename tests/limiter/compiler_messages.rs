//! What the compiler says where a program is nearly right.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The library that this test was linked with: the youngest of its name.
fn library(folder: &Path) -> PathBuf {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("libtollgate-") && name.ends_with(".rlib")
    };
    let paths = folder.read_dir().expect("the folder of this test").map(|entry| entry.expect("a file").path());
    paths
        .filter(named)
        .max_by_key(|path| path.metadata().and_then(|data| data.modified()).expect("a file has a time"))
        .expect("the library was built for this test")
}

/// Compiles the body of a function and gives what the compiler says against it.
fn refused(body: &str) -> String {
    let test = env::current_exe().expect("this test has a path");
    let folder = test.parent().expect("in a folder").to_owned();
    let mut compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=user", "--emit=metadata", "-"])
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("--extern")
        .arg(format!("tollgate={}", library(&folder).display()))
        .arg(format!("-Ldependency={}", folder.display()))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the compiler can be run");
    let code = format!("pub fn user() {{ {body} }}");
    compiler.stdin.take().expect("piped").write_all(code.as_bytes()).expect("the compiler reads");
    let output = compiler.wait_with_output().expect("the compiler ends");
    assert!(!output.status.success(), "it compiles: {body}");
    String::from_utf8(output.stderr).expect("messages are text")
}

#[track_caller]
fn check(body: &str, says: &[&str]) {
    let message = refused(body);
    for part in says {
        assert!(message.contains(part), "should say {part:?}:\n{message}");
    }
}

#[test]
fn a_limit_as_text_is_to_be_parsed() {
    let hint = "\"5/minute; 100/day\".parse::<Policy>()?";
    check(
        "tollgate::RateLimiter::new(\"5/minute\");",
        &["`&str` is neither a `Policy` nor a `Quota`", "expected a `Policy` or a `Quota`", hint],
    );
    check("tollgate::RateLimiter::builder(String::from(\"5/minute\"));", &["`String` is neither", hint]);
    check("tollgate::RateLimiter::new(28);", &["is neither a `Policy` nor a `Quota`", "Quota::per_second(28)"]);
    #[cfg(feature = "tower")]
    check("tollgate::RateLimitLayer::new(\"5/minute\");", &["`&str` is neither", hint]);
}

#[test]
#[cfg(feature = "tower")]
fn a_key_that_is_none_is_told_what_one_is() {
    let key = |given: &str| format!("tollgate::RateLimitLayer::per_second(28).key({given});");
    let is_key = ["not a `tollgate::Key`", "a string, an integer, an address", "tollgate::http::HeaderKey"];
    check(&key("|_| Some(1.5)"), &[&["requests cannot be counted by `{float}`"], &is_key[..]].concat());
    check(&key("|_| Some(Vec::<u64>::new())"), &[&["requests cannot be counted by `Vec<u64>`"], &is_key[..]].concat());

    let is_extractor = ["not a `KeyExtractor`", "ClientIp::peer()", "|head: &http::request::Parts| Some(7)"];
    let name = "\"x-api-key\"";
    check(&key(name), &[&["`&str` is not an extractor of keys"], &is_extractor[..]].concat());
    let unasked = format!("tollgate::http::HeaderKey::new({name})");
    check(&key(&unasked), &["is not an extractor of keys", "if this is a `Result`, add `?`"]);
    check(&key("&tollgate::http::GlobalKey"), &["`&GlobalKey` is not an extractor", "use an `Arc` or `AnyKey`"]);
}

#[test]
#[cfg(feature = "tower")]
fn a_body_that_cannot_hold_an_answer_is_told_how_to() {
    check(
        "fn stands_around<B: tollgate::http::AnswerBody>() {} stands_around::<String>();",
        &[
            "the limit cannot put its own answers into a response body of type `String`",
            "call `.any_body()` on the layer",
            "tollgate's feature `axum`",
        ],
    );
}

/// A layer that delays and one that does not are of two kinds, and a request is decided by one kind.
#[test]
#[cfg(all(feature = "tower", feature = "tokio"))]
fn a_layer_of_another_kind_is_not_taken_instead() {
    let limit = "tollgate::RateLimitLayer::per_second(28)";
    let slow = format!("{limit}.delay(std::time::Duration::from_secs(1))");
    check(&format!("{limit}.when(|_| true, {slow});"), &["E0308", "found", "Delayed"]);
    check(&format!("{slow}.when(|_| true, {limit});"), &["E0308", "expected", "Delayed"]);
}
