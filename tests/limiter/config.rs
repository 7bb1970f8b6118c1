//! Limits in configuration files. TOML is read in the package of what needs more to compile.

use ::serde::de::value::Error as ValueError;
use ::serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use proptest::prelude::*;
use tollgate::{Policy, Quota};

/// What a policy's JSON means.
#[track_caller]
fn check(json: &str, expected: &str) {
    let policy: Policy = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(policy.to_string(), expected, "{json}");
    // And out of order, as from a library that keeps a tree of its own.
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let policy: Policy = serde_json::from_value(value).unwrap();
    let sorted = |text: &str| {
        let mut quotas: Vec<_> = text.split("; ").map(str::to_owned).collect();
        quotas.sort();
        quotas
    };
    assert_eq!(sorted(&policy.to_string()), sorted(expected), "{json}");
}

/// What a policy's JSON is refused with, but for the place in the file.
#[track_caller]
fn check_error(json: &str, says: &str) {
    let error = serde_json::from_str::<Policy>(json).expect_err(json).to_string();
    let (message, _place) = error.rsplit_once(" at line ").expect(&error);
    assert_eq!(message, says, "{json}");
}

#[track_caller]
fn check_quota_error(json: &str, says: &str) {
    let error = serde_json::from_str::<Quota>(json).expect_err(json).to_string();
    let (message, _place) = error.rsplit_once(" at line ").expect(&error);
    assert_eq!(message, says, "{json}");
}

#[test]
fn limits_are_written_as_their_text() {
    let policy: Policy = "login: 5/m sliding, 100/d".parse().unwrap();
    assert_eq!(serde_json::to_string(&policy).unwrap(), r#""login: 5/minute sliding; 100/day""#);
    let quota: Quota = "5/m burst 7".parse().unwrap();
    assert_eq!(serde_json::to_string(&quota).unwrap(), r#""5/minute burst 7""#);
}

#[test]
fn limits_are_read_from_text() {
    check(r#""5/minute; 100/day""#, "5/minute; 100/day");
    check(r#""5\/minute""#, "5/minute");
    check(r#"["5/minute", "daily: 100/day"]"#, "5/minute; daily: 100/day");
    check(r#"["1/s; 2/s", "3/s"]"#, "1/second; 2/second; 3/second");
    check(r#"{"login": "5/minute", "daily": "100/day fixed"}"#, "login: 5/minute; daily: 100/day fixed");
    assert_eq!(serde_json::from_str::<Quota>(r#""5/m""#).unwrap(), Quota::per_minute(5));
}

#[test]
fn limits_are_read_from_tables() {
    check(r#"{"amount": 5, "per": "minute"}"#, "5/minute");
    check(r#"{"per": "10 minutes", "amount": 5, "burst": 7}"#, "5/10 minutes burst 7");
    check(r#"{"amount": 0, "per": "s", "name": "closed"}"#, "closed: 0/second");
    check(r#"{"amount": 5, "per": "day", "burst": null, "name": null}"#, "5/day");
    for (algorithm, text) in [
        ("token bucket", "5/day"),
        ("token_bucket", "5/day"),
        ("fixed", "5/day fixed"),
        ("Fixed-Aligned", "5/day fixed aligned"),
        ("sliding", "5/day sliding"),
    ] {
        check(&format!(r#"{{"amount": 5, "per": "day", "algorithm": "{algorithm}"}}"#), text);
    }
    check(
        r#"[{"name": "login", "amount": 5, "per": "minute"}, "9/hour", {"amount": 100, "per": "day"}]"#,
        "login: 5/minute; 9/hour; 100/day",
    );
    check(r#"{"login": {"amount": 5, "per": "minute"}, "daily": "100/day"}"#, "login: 5/minute; daily: 100/day");
    let table = r#"{"amount": 5, "per": "minute", "algorithm": "sliding"}"#;
    assert_eq!(serde_json::from_str::<Quota>(table).unwrap(), Quota::per_minute(5).sliding_window());
}

/// Quotas may be called as the fields of a table are.
#[test]
fn names_and_fields_do_not_run_into_each_other() {
    check(r#"{"burst": "5/second", "name": "9/hour"}"#, "burst: 5/second; name: 9/hour");
    check(r#"{"per": "5/second", "amount": "9/hour"}"#, "per: 5/second; amount: 9/hour");
    check(r#"{"amount": {"amount": 5, "per": "hour"}}"#, "amount: 5/hour");
    check(r#"{"name": "burst", "amount": 5, "per": "hour"}"#, "burst: 5/hour");
}

#[test]
fn what_an_error_says_of_a_table() {
    let fields = "but amount, per, burst, algorithm and name";
    for (field, meant) in [
        ("brust", "burst"),
        ("Amount", "amount"),
        ("ammount", "amount"),
        ("names", "name"),
        ("algoritm", "algorithm"),
        ("period", "per"),
        ("interval", "per"),
        ("limit", "amount"),
        ("requests", "amount"),
    ] {
        check_error(
            &format!(r#"{{"amount": 5, "per": "day", "{field}": 1}}"#),
            &format!("a quota has no field {field:?}, {fields}; perhaps {meant:?}"),
        );
    }
    check_error(r#"{"amount": 5, "per": "day", "x": 1}"#, &format!(r#"a quota has no field "x", {fields}"#));
    check_error(r#"[{"amount": 5, "pre": "day"}]"#, &format!(r#"a quota has no field "pre", {fields}; perhaps "per""#));

    check_error(r#"{"amount": 5}"#, r#"a quota needs `per`, as in "minute" or "10 minutes""#);
    check_error(r#"{"per": "day"}"#, "a quota needs an `amount`, a whole number");
    check_error(r#"{"amount": "5", "per": "day"}"#, "`amount` of a quota is a whole number");
    check_error(r#"{"amount": 5, "per": 60}"#, r#"`per` of a quota is text, as in "10 minutes""#);
    check_error(r#"{"amount": 5, "per": "day", "burst": "7"}"#, "`burst` of a quota is a whole number");
    check_error(r#"{"amount": 5, "amount": 6, "per": "day"}"#, "duplicate field `amount`");
    check_error(r#"{"amount": -5, "per": "day"}"#, "invalid value: integer `-5`, expected a whole number of 0 or more");
    check_error(
        r#"{"amount": 0.5, "per": "second"}"#,
        r#"invalid type: floating point `0.5`, expected a whole number; half a request per second is an amount of 1 per "2 seconds""#,
    );
    check_error(
        r#"{"amount": 5, "per": "minuts"}"#,
        r#"`per` of a quota: invalid period "minuts": at byte 0, near "minuts": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "minute""#,
    );
    check_error(
        r#"{"amount": 5, "per": "1.5 hours"}"#,
        r#"`per` of a quota: invalid period "1.5 hours": at byte 0, near "1.5": a period is a whole number of units; write "90 minutes""#,
    );
    check_error(
        r#"{"amount": 5, "per": "day fixed"}"#,
        r#"`per` of a quota: invalid period "day fixed": at byte 4, near "fixed": expected the end, as in "minute" or "10 minutes""#,
    );
    check_error(r#"{"amount": 5, "per": "0 s"}"#, "`per` of a quota: a period must be longer than zero");
    check_error(
        r#"{"amount": 5, "per": "day", "algorithm": "slidng"}"#,
        r#"`algorithm` of a quota: it is one of "token bucket", "fixed aligned", "fixed", "sliding", "strict"; perhaps "sliding""#,
    );
    check_error(
        r#"{"amount": 5, "per": "day", "algorithm": "fixed", "burst": 7}"#,
        "`burst` of a quota: a window admits its amount and has no burst; leave out the burst, or use a token bucket",
    );
    check_error(
        r#"{"amount": 18446744073709551615, "per": "second"}"#,
        "`amount` of a quota: a rate is at most 1000000000 per second",
    );
    check_error(
        r#"{"amount": 5, "per": "day", "name": "a b"}"#,
        r#""a b" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
    );
    check_quota_error(
        r#"{"amount": 5, "per": "day", "name": "a"}"#,
        "one quota alone has no `name`; a policy's quotas have",
    );
    check_quota_error(
        r#"{"amount": 5, "per": {"minutes": 10}}"#,
        "invalid type: map, expected a field of a quota: text or a whole number of 0 or more",
    );
}

#[test]
fn what_an_error_says_of_several() {
    check_error(
        r#""5/fortnight""#,
        r#"invalid limit "5/fortnight": at byte 2, near "fortnight": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
    );
    let twice = r#"two quotas are called "a"; give each a name of its own, as in "burst: 5/second; daily: 100/day""#;
    check_error(r#"{"a": "5/s", "a": "6/s"}"#, twice);
    check_error(r#"["a: 5/s", {"name": "a", "amount": 6, "per": "s"}]"#, twice);
    check_error(r#"{"a": {"amount": 5, "per": "s"}, "a": "6/s"}"#, twice);
    check_error(
        r#"["5/s", {"amount": 5, "per": "second"}]"#,
        r#"two quotas without a name go by "5/second"; give each a name of its own, as in "burst: 5/second; daily: 100/day""#,
    );
    check_error(
        r#"{"a": "5/s", "b": "6"}"#,
        r#"quota "b": invalid limit "6": at the end (byte 1): expected '/' or 'per' and then a period, as in "28/second""#,
    );
    check_error(r#"{"a": {"amount": 5}}"#, r#"quota "a": a quota needs `per`, as in "minute" or "10 minutes""#);
    check_error(
        r#"{"a": {"amount": 5, "per": "s", "name": "b"}}"#,
        r#"quota "a": leave out `name`, as it has this one"#,
    );
    check_error("[]", "a policy needs at least one quota");
    check_error("{}", "a policy needs at least one quota");
    let nine: Vec<_> = (1..=9).map(|n| format!("{n}/s")).collect();
    check_error(&serde_json::to_string(&nine).unwrap(), "a policy has at most 8 quotas");
    let many: String = (1..=1000).map(|n| format!(r#""a{n}": "{n}/s","#)).collect();
    check_error(&format!("{{{many}}}"), "a policy has at most 8 quotas");
    let quota = r#"a quota: text such as "5/minute", or a table with `amount` and `per`"#;
    check_error(r#"[5]"#, &format!("invalid type: integer `5`, expected {quota}"));
    check_error(r#"{"a": null}"#, &format!("invalid type: null, expected {quota}"));
    check_error(
        "5",
        r#"invalid type: integer `5`, expected limits: text such as "5/minute; 100/day", a list of quotas, or a table"#,
    );
    let long = "x".repeat(100_000);
    let error = serde_json::from_str::<Policy>(&format!(r#"{{"{long}": 1}}"#)).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

/// A format that says nothing of itself, as those in bytes.
struct Bytes<'a>(&'a str);

impl<'de> Deserializer<'de> for Bytes<'de> {
    type Error = ValueError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: ::serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(::serde::de::Error::custom("says nothing of itself"))
    }

    fn deserialize_str<V: ::serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_borrowed_str(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[test]
fn limits_are_read_from_bytes_too() {
    assert_eq!(Quota::deserialize(Bytes("5/m")), Ok(Quota::per_minute(5)));
    assert_eq!(Policy::deserialize(Bytes("5/m; 9/h")), Ok("5/m; 9/h".parse().unwrap()));
}

proptest! {
    #[test]
    fn no_json_that_is_nearly_a_policy_panics(
        json in r#"[\[{]("(amount|per|name|burst|a)" ?[:,] ?("(5/s|minute|fixed|a: 6/m)"|[0-9]{1,20}|-1|0\.5|null|\{\}),? ?){0,4}[\]}]"#,
    ) {
        if let Ok(policy) = serde_json::from_str::<Policy>(&json) {
            let again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
            prop_assert_eq!(policy, again);
        }
    }
}
