//! What the compiler says where a program is nearly right.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A library that this test was linked with: the youngest of its name.
fn library(name: &str, folder: &Path) -> PathBuf {
    let named = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
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
    let mut compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let mut may_name = |name: &str| {
        compiler.arg("--extern").arg(format!("{name}={}", library(name, &folder).display()));
    };
    may_name("tollgate");
    #[cfg(feature = "tower")]
    may_name("http");
    let mut compiler = compiler
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=user", "--emit=metadata", "-"])
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
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

    let header = |given: &str| key(&format!("|head: &http::request::Parts| head.headers.get(\"x-api-key\"){given}"));
    check(&header(""), &[&["requests cannot be counted by `HeaderValue`"], &is_key[..]].concat());
    check(&header(".cloned()"), &[&["requests cannot be counted by `HeaderValue`"], &is_key[..]].concat());

    let is_extractor = ["not a `KeyExtractor`", "ClientIp::peer()", "|head: &http::request::Parts| Some(7)"];
    let name = "\"x-api-key\"";
    check(&key(name), &[&["`&str` is not an extractor of keys"], &is_extractor[..]].concat());
    let unasked = format!("tollgate::http::HeaderKey::new({name})");
    check(&key(&unasked), &["is not an extractor of keys", "if this is a `Result`, add `?`"]);
    check(&key("&tollgate::http::GlobalKey"), &["`&GlobalKey` is not an extractor", "use an `Arc` or `AnyKey`"]);
}

/// Here the compiler speaks for itself. These are the words by which the documentation of closures as extractors is found.
#[test]
#[cfg(feature = "tower")]
fn a_closure_names_its_argument_and_owns_its_key() {
    let key = |given: &str| format!("tollgate::RateLimitLayer::per_second(28).key({given});");
    check(&key("|head| Some(7)"), &["implementation of `FnOnce` is not general enough"]);
    check(&key("|head| head.headers.get(\"x-api-key\").cloned()"), &["type annotations needed"]);
    check(&key("|head: &http::request::Parts| head.uri.host()"), &["lifetime may not live long enough"]);
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
    let not_as_one =
        ["cannot be judged as one with limits of `", "join layers that do not delay", "whose limiters are all"];
    check(&format!("{limit}.and({slow});"), &not_as_one);
    check(&format!("{slow}.and({limit});"), &not_as_one);
    #[cfg(feature = "redis")]
    for joined in ["there.and(here)", "here.and(there)", "here.clone().and(here).and(there)"] {
        let there = "fn join(here: tollgate::RateLimitLayer, there: tollgate::RateLimitLayer<tollgate::http::ClientIp, tollgate::RedisLimiter>)";
        check(&format!("{there} {{ {joined}; }}"), &not_as_one);
    }
    // Joined layers are of no kind that could stand in for one.
    check(&format!("{limit}.when(|_| true, {limit}.and({limit}));"), &["E0308", "found `JointLayer`"]);
}

#[test]
#[cfg(all(feature = "tower", feature = "tokio"))]
fn a_layer_delays_once() {
    let second = "std::time::Duration::from_secs(1)";
    check(
        &format!("tollgate::RateLimitLayer::per_second(28).delay({second}).delay({second});"),
        &["`Delayed` cannot delay", "it delays already, or it cannot", "call `.delay(..)` once"],
    );
}

/// The keys of one on a server are not in a table of the program's.
#[test]
#[cfg(all(feature = "tower", feature = "redis"))]
fn a_limiter_on_a_server_has_no_capacity() {
    for (limiter, name) in [("RedisLimiter", "RedisLimiter"), ("redis::RedisDelayed", "RedisDelayed")] {
        let layer = format!("tollgate::RateLimitLayer<tollgate::http::ClientIp, tollgate::{limiter}>");
        check(
            &format!("fn size(layer: {layer}) {{ layer.capacity(10_000); }}"),
            &[
                &format!("`{name}` has no capacity for a layer to set"),
                "its keys are on a server",
                "is set by `RedisLimiterBuilder::capacity`",
            ],
        );
    }
}

/// What is set before the body is wrapped is not found afterwards, and the compiler says where it is.
#[test]
#[cfg(feature = "tower")]
fn all_else_is_set_before_any_body() {
    let layer = "tollgate::RateLimitLayer::per_second(28).any_body().shadow();";
    check(layer, &["no method named `shadow`", "method `shadow` is available on `RateLimitLayer`"]);
}

/// An item says so. For a method, Rust has no such message, so its documentation names the feature.
#[test]
#[cfg(not(feature = "tower"))]
fn an_item_behind_a_feature_names_it() {
    let gated = |feature: &str| format!("the item is gated behind the `{feature}` feature");
    check("use tollgate::RateLimitLayer;", &[&gated("tower")]);
    check("use tollgate::http;", &[&gated("tower")]);
    #[cfg(not(feature = "tokio"))]
    check("use tollgate::NotReady;", &[&gated("tokio")]);
    #[cfg(not(feature = "redis"))]
    check("use tollgate::RedisLimiter;", &[&gated("redis")]);
}
