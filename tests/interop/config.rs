//! Limits in TOML. What an error says is tested beside the limiter, with JSON; here, that TOML shows the place.

use std::collections::BTreeMap;

use tollgate::Policy;

const FILE: &str = r#"
login = "5/minute; 100/day"
search = ["burst: 10/second", { name = "daily", amount = 1000, per = "day", algorithm = "fixed aligned" }]

[upload]
amount = 20
per = "10 minutes"
burst = 30

[api]
burst = "10/second"
daily = { amount = 1000, per = "day" }
"#;

#[test]
fn every_form_is_read_from_toml() {
    let limits: BTreeMap<String, Policy> = toml::from_str(FILE).unwrap_or_else(|error| panic!("{error}"));
    let expected = [
        ("api", "burst: 10/second; daily: 1000/day"),
        ("login", "5/minute; 100/day"),
        ("search", "burst: 10/second; daily: 1000/day fixed aligned"),
        ("upload", "20/10 minutes burst 30"),
    ];
    assert_eq!(limits, expected.map(|(route, text)| (route.to_owned(), text.parse().unwrap())).into());

    // And from a tree that was read before.
    let tree: toml::Table = toml::from_str(FILE).unwrap();
    let policy: Policy = tree["upload"].clone().try_into().unwrap();
    assert_eq!(policy.to_string(), "20/10 minutes burst 30");
}

#[track_caller]
fn check_error(file: &str, says: &str) {
    let error = toml::from_str::<BTreeMap<String, Policy>>(file).unwrap_err().to_string();
    assert_eq!(error.trim(), says.trim());
}

#[test]
fn an_error_shows_the_place_in_the_file() {
    check_error(
        "login = \"5/minute\"\nsearch = \"10/secnd\"\n",
        r#"
TOML parse error at line 2, column 10
  |
2 | search = "10/secnd"
  |          ^^^^^^^^^^
invalid limit "10/secnd": at byte 3, near "secnd": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "second"
"#,
    );
    check_error(
        "[upload]\namount = 20\nper = \"minute\"\nbrust = 30\n",
        "
TOML parse error at line 1, column 1
  |
1 | [upload]
  | ^^^^^^^^
a quota has no field \"brust\", but amount, per, burst, algorithm and name; perhaps \"burst\"
",
    );
    check_error(
        "[upload]\namount = -20\nper = \"minute\"\n",
        "
TOML parse error at line 2, column 10
  |
2 | amount = -20
  |          ^^^
invalid value: integer `-20`, expected a whole number of 0 or more
",
    );
}
