//! The JSON Schema, which editors check files by: it knows the keys that the reader knows, and no others.

use std::collections::BTreeSet;

use serde_json::Value;
use tollgate_sidecar::config::{Overrides, SCHEMA, read};

use crate::cli::{stdout, tollgate};
use crate::examples::{ALL, example};
use crate::written::EVERYTHING;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The sections of a file: a line that opens each, and where its keys are in the schema.
const SECTIONS: [(&str, &str); 8] = [
    ("", "/properties"),
    ("[tls]\n", "/properties/tls/properties"),
    ("[[exempt]]\n", "/properties/exempt/items/properties"),
    ("[denied]\n", "/properties/denied/properties"),
    ("[store]\n", "/properties/store/properties"),
    ("[deadlines]\n", "/properties/deadlines/properties"),
    ("[caps]\n", "/properties/caps/properties"),
    ("[limits.a]\n", "/definitions/limit/properties"),
];

#[test]
fn the_schema_knows_the_keys_that_the_reader_knows() {
    for (open, place) in SECTIONS {
        let file = format!("{open}qqqqqqqqqqqqqqqqqqqq = 1\n");
        let error = read("file.toml", file.as_bytes(), &Overrides::default()).unwrap_err().to_string();
        let known = error.split_once("; known are ").unwrap_or_else(|| panic!("{file}: {error}")).1;
        let known: BTreeSet<&str> = known.lines().next().unwrap().split(", ").collect();
        let schema = schema();
        let properties = schema.pointer(place).unwrap().as_object().unwrap();
        assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{open}");
    }
}

#[test]
fn every_key_of_the_schema_is_explained() {
    let schema = schema();
    for (_, place) in SECTIONS {
        for (key, property) in schema.pointer(place).unwrap().as_object().unwrap() {
            let referred = property["$ref"].as_str().map(|to| &schema["definitions"][to.rsplit('/').next().unwrap()]);
            let explained =
                property["description"].is_string() || referred.is_some_and(|to| to["description"].is_string());
            assert!(explained || key == "host", "{place}/{key}");
        }
    }
}

/// What is wrong with a value by a schema: the part of JSON Schema (draft 7) that ours uses. Anything else in it is an error.
fn wrong(value: &Value, schema: &Value, root: &Value, at: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut say = |what: String| problems.push(format!("{at}: {what}"));
    let length = |value: &Value| {
        value.as_array().map(Vec::len).or(value.as_object().map(serde_json::Map::len)).unwrap_or_default() as u64
    };
    let mut inner = Vec::new();
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "title" | "description" | "definitions" | "properties" => {}
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/definitions/").unwrap();
                inner.extend(wrong(value, &root["definitions"][name], root, at));
            }
            "type" => {
                let is = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    other => panic!("{other}"),
                };
                if !is {
                    say(format!("is not a {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => say(format!("is none of {rule}")),
            "enum" => {}
            "minimum" if value.as_u64().is_some_and(|value| value < rule.as_u64().unwrap()) => {
                say("is too small".into())
            }
            "maximum" if value.as_u64().is_some_and(|value| value > rule.as_u64().unwrap()) => {
                say("is too large".into())
            }
            "minItems" | "minProperties" if length(value) < rule.as_u64().unwrap() => say("has too few".into()),
            "maxItems" | "maxProperties" if length(value) > rule.as_u64().unwrap() => say("has too many".into()),
            "minimum" | "maximum" | "minItems" | "minProperties" | "maxItems" | "maxProperties" => {}
            "minLength" if value.as_str().is_some_and(str::is_empty) => say("is empty".into()),
            "minLength" => {}
            "pattern" => {
                let pattern = regex_lite::Regex::new(rule.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    say(format!("does not match {rule}"));
                }
            }
            "required" => {
                for key in rule.as_array().unwrap() {
                    if value.get(key.as_str().unwrap()).is_none() {
                        say(format!("lacks {key}"));
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    inner.extend(wrong(item, rule, root, &format!("{at}[{index}]")));
                }
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flat_map(|object| object.keys()) {
                    inner.extend(wrong(&Value::from(key.as_str()), rule, root, at));
                }
            }
            "additionalProperties" => {
                for (key, item) in value.as_object().into_iter().flatten() {
                    let known = schema.get("properties").and_then(|properties| properties.get(key));
                    match (known, rule) {
                        (Some(known), _) => inner.extend(wrong(item, known, root, &format!("{at}.{key}"))),
                        (None, Value::Bool(false)) => inner.push(format!("{at}: unknown key {key}")),
                        (None, rule) => inner.extend(wrong(item, rule, root, &format!("{at}.{key}"))),
                    }
                }
            }
            "allOf" => rule.as_array().unwrap().iter().for_each(|rule| inner.extend(wrong(value, rule, root, at))),
            "oneOf" => {
                let fit =
                    rule.as_array().unwrap().iter().filter(|rule| wrong(value, rule, root, at).is_empty()).count();
                if fit != 1 {
                    say(format!("fits {fit} of {rule}"));
                }
            }
            other => panic!("the schema uses {other}"),
        }
    }
    problems.extend(inner);
    problems
}

/// A file, as an editor sees it.
fn as_json(text: &str) -> Value {
    fn value(toml: &toml::de::DeValue<'_>) -> Value {
        use toml::de::DeValue;
        match toml {
            DeValue::String(text) => Value::from(&**text),
            DeValue::Integer(number) => Value::from(number.as_str().parse::<i64>().unwrap()),
            DeValue::Boolean(value) => Value::from(*value),
            DeValue::Array(items) => items.iter().map(|item| value(item.get_ref())).collect(),
            DeValue::Table(table) => {
                let entries = table.iter().map(|(key, item)| (key.get_ref().to_string(), value(item.get_ref())));
                Value::Object(entries.collect())
            }
            other => panic!("{other:?}"),
        }
    }
    let table = toml::de::DeTable::parse(text).unwrap_or_else(|error| panic!("{error}"));
    value(&toml::de::DeValue::Table(table.into_inner()))
}

fn problems(text: &str) -> Vec<String> {
    let schema = schema();
    wrong(&as_json(text), &schema, &schema, "file")
}

#[test]
fn what_can_be_read_is_right_by_the_schema() {
    let examples = ALL.map(example);
    for text in examples.iter().map(String::as_str).chain([EVERYTHING]) {
        assert_eq!(problems(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_wrong_by_the_schema() {
    let article = example("article");
    for (from, to) in [
        ("listen ", "lissen "),
        ("upstream ", "upstreem "),
        ("http://localhost:5000", "https://localhost:5000"),
        ("http://localhost:5000", "localhost:5000"),
        ("limit = ", "limt = "),
        ("limit = \"29/second\"", "limit = 29"),
        ("\"global\"", "\"globl\""),
        ("\"global\"", "[]"),
        ("[limits.all]", "[limits.\"a b\"]"),
        ("[limits.all]", "[limits.all]\nshadow = \"yes\""),
        ("[limits.all]", "[limits.all]\nenabled = 10"),
        ("[limits.all]", "[limits.all]\ncost = 0"),
        ("[limits.all]", "[limits.all]\nmethod = 7"),
        ("[limits.all]", "[limits.all]\npath = \"login\""),
        ("[denied]", "[denied]\nbody = \"problm\""),
        ("[denied]", "[caps]\nfields = 1\n[denied]"),
        ("[denied]", "[deadlines]\nidle = \"5\"\n[denied]"),
        ("[denied]", "[[exempt]]\n[denied]"),
        ("[denied]", "[tls]\ncert = \"a\"\n[denied]"),
    ] {
        assert!(article.contains(from), "{from}");
        let bad = article.replace(from, to);
        assert!(!problems(&bad).is_empty(), "{bad}");
        assert!(read("file.toml", bad.as_bytes(), &Overrides::default()).is_err(), "{bad}");
    }
}

#[test]
fn the_program_prints_the_schema() {
    let output = tollgate(&["schema"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), SCHEMA.to_owned()));
}
