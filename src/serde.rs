//! [`Quota`] and [`Policy`] in configuration files: serde's traits, by hand, because a limit has several forms.

use std::fmt;

use ::serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use ::serde::ser::{Serialize, Serializer};

use crate::error::PolicyError;
use crate::parse::{algorithm_called, duration, perhaps};
use crate::policy::Policy;
use crate::quota::{Algorithm, Quota};

/// As the string form, `5/minute`.
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As the string form, `login: 5/minute; 100/day`.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From the string form, or from a table with the fields that [`Policy`]'s `Deserialize` lists, but without a `name`.
///
/// ```
/// use tollgate::Quota;
///
/// let quota: Quota = serde_json::from_str(r#""5/minute""#)?;
/// let table = r#"{ "amount": 5, "per": "minute" }"#;
/// assert_eq!(serde_json::from_str::<Quota>(table)?, quota);
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(QuotaVisitor)
        } else {
            deserializer.deserialize_str(QuotaVisitor) // as it was written
        }
    }
}

/// From the string form, or in one of these. Shown as JSON; TOML, YAML and others do the same.
///
/// - A table with the fields of one quota:
///   - `amount`: a whole number.
///   - `per`: the period as text, `"minute"` or `"10 minutes"`.
///   - `burst`: a whole number. May be left out, and then is the amount.
///   - `algorithm`: `"token bucket"`, `"fixed"`, `"fixed aligned"`, `"sliding"` or `"strict"`. May be left out, and then is
///     the token bucket.
///   - `name`: what the quota is called. May be left out. 1 to 31 ASCII letters, digits, `-`, `_` or `.`,
///     starting with a letter.
/// - A list of such tables and of strings.
/// - A table of names, and under each name a string or a table. Quotas stand in the order in which the format
///   gives them.
///
/// A field that is none of these is an error, and so are two quotas of one name.
///
/// ```
/// use tollgate::Policy;
///
/// let policy: Policy = "login: 5/minute sliding; daily: 100/day".parse().unwrap();
/// for json in [
///     r#""login: 5/minute sliding; daily: 100/day""#,
///     r#"["login: 5/minute sliding", "daily: 100/day"]"#,
///     r#"{ "login": "5/minute sliding", "daily": "100/day" }"#,
///     r#"[
///         {
///             "name": "login", "amount": 5, "per": "minute",
///             "algorithm": "sliding"
///         },
///         { "name": "daily", "amount": 100, "per": "day" }
///     ]"#,
/// ] {
///     assert_eq!(serde_json::from_str::<Policy>(json)?, policy);
/// }
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(PolicyVisitor)
        } else {
            deserializer.deserialize_str(PolicyVisitor) // as it was written
        }
    }
}

struct QuotaVisitor;

impl<'de> Visitor<'de> for QuotaVisitor {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quota: text such as \"5/minute\", or a table with `amount` and `per`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Quota, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            let Scalar(value) = map.next_value()?;
            fields.set(&key, value)?;
        }
        fields.quota_without_name("one quota alone has no `name`; a policy's quotas have")
    }
}

struct PolicyVisitor;

impl<'de> Visitor<'de> for PolicyVisitor {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("limits: text such as \"5/minute; 100/day\", a list of quotas, or a table")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Policy, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Policy, A::Error> {
        let mut policy = Policy::empty();
        while let Some(value) = list.next_element()? {
            match value {
                Value::Text(text) => {
                    let more: Policy = text.parse().map_err(de::Error::custom)?;
                    policy.append(&more).map_err(de::Error::custom)?;
                }
                Value::Table(fields) => fields.push_to(&mut policy)?,
                other => return Err(other.is_no_quota()),
            }
        }
        not_empty(policy)
    }

    /// The fields of one quota, or quotas by name. A number or an `amount` tells: no quota is a number, and no field a
    /// table.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        /// Enough to tell who writes too many quotas so.
        const ENTRIES_MAX: usize = 16;
        let mut entries: Vec<(String, Value)> = Vec::new();
        while let Some(key) = map.next_key()? {
            if entries.len() == ENTRIES_MAX {
                return Err(de::Error::custom(PolicyError::TooManyQuotas.text()));
            }
            entries.push((key, map.next_value()?));
        }
        let is_one_quota = entries.iter().any(|(key, value)| match value {
            Value::Number(_) => true,
            Value::Text(text) => key == "per" && duration(text).is_ok(),
            _ => false,
        });
        let mut policy = Policy::empty();
        if is_one_quota {
            let mut fields = Fields::default();
            for (key, value) in entries {
                fields.set(&key, value)?;
            }
            fields.push_to(&mut policy)?;
            return Ok(policy);
        }
        for (name, value) in entries {
            let quota = match value {
                Value::Text(text) => text.parse().map_err(|error| of(&name, error))?,
                Value::Table(fields) => fields
                    .quota_without_name("leave out `name`, as it has this one")
                    .map_err(|error: A::Error| of(&name, error))?,
                other => return Err(other.is_no_quota()),
            };
            policy.push(Some(&name), quota).map_err(de::Error::custom)?;
        }
        not_empty(policy)
    }
}

fn not_empty<E: de::Error>(policy: Policy) -> Result<Policy, E> {
    if policy.names().len() == 0 {
        return Err(E::custom(PolicyError::NoQuota.text()));
    }
    Ok(policy)
}

fn of<E: de::Error>(name: &str, error: impl fmt::Display) -> E {
    E::custom(format_args!("quota {}: {error}", shown(name)))
}

/// A name for an error, cut where it gets long.
fn shown(name: &str) -> String {
    const SHOWN_MAX: usize = 40;
    match name.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}...", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// What can stand in a table or a list.
enum Value {
    Nothing,
    Number(u64),
    Text(String),
    Table(Fields),
}

impl Value {
    fn is_no_quota<E: de::Error>(&self) -> E {
        let found = match self {
            Self::Nothing => de::Unexpected::Unit,
            Self::Number(number) => de::Unexpected::Unsigned(*number),
            Self::Text(text) => de::Unexpected::Str(text),
            Self::Table(_) => de::Unexpected::Map,
        };
        E::invalid_type(found, &QuotaVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor { may_be_table: true })
    }
}

/// A [`Value`] that is no table, so that nothing is nested deeper than a quota in a policy.
struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor { may_be_table: false }).map(Self)
    }
}

struct ValueVisitor {
    may_be_table: bool,
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.may_be_table {
            true => "a quota, or a field of one: text or a whole number of 0 or more",
            false => "a field of a quota: text or a whole number of 0 or more",
        })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        let negative = |_| E::invalid_value(de::Unexpected::Signed(number), &"a whole number of 0 or more");
        number.try_into().map(Value::Number).map_err(negative)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        let expected = "a whole number; half a request per second is an amount of 1 per \"2 seconds\"";
        Err(E::invalid_type(de::Unexpected::Float(number), &expected))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        if !self.may_be_table {
            return Err(de::Error::invalid_type(de::Unexpected::Map, &self));
        }
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            let Scalar(value) = map.next_value()?;
            fields.set(&key, value)?;
        }
        Ok(Value::Table(fields))
    }
}

/// The table of one quota.
#[derive(Default)]
struct Fields {
    amount: Option<u64>,
    per: Option<String>,
    burst: Option<u64>,
    algorithm: Option<String>,
    name: Option<String>,
}

const FIELDS: [&str; 5] = ["amount", "per", "burst", "algorithm", "name"];

/// What other libraries call these fields.
const OTHERWISE: [(&str, &str); 8] = [
    ("period", "per"),
    ("interval", "per"),
    ("window", "per"),
    ("unit", "per"),
    ("limit", "amount"),
    ("rate", "amount"),
    ("requests", "amount"),
    ("strategy", "algorithm"),
];

impl Fields {
    fn set<E: de::Error>(&mut self, key: &str, value: Value) -> Result<(), E> {
        let number = |of: &'static str, place: &mut Option<u64>, value| match value {
            Value::Number(number) => once(of, place, number),
            Value::Nothing => Ok(()),
            _ => Err(E::custom(format_args!("`{of}` of a quota is a whole number"))),
        };
        let text = |of: &'static str, place: &mut Option<String>, what: &str, value| match value {
            Value::Text(text) => once(of, place, text),
            Value::Nothing => Ok(()),
            _ => Err(E::custom(format_args!("`{of}` of a quota is text, as in {what}"))),
        };
        match key {
            "amount" => number("amount", &mut self.amount, value),
            "per" => text("per", &mut self.per, "\"10 minutes\"", value),
            "burst" => number("burst", &mut self.burst, value),
            "algorithm" => text("algorithm", &mut self.algorithm, "\"sliding\"", value),
            "name" => text("name", &mut self.name, "\"login\"", value),
            unknown => {
                let otherwise = OTHERWISE.iter().find(|(other, _)| unknown.eq_ignore_ascii_case(other));
                let hint = match otherwise {
                    Some((_, field)) => format!("; perhaps \"{field}\""),
                    None => perhaps(unknown, FIELDS),
                };
                let unknown = shown(unknown);
                Err(E::custom(format_args!(
                    "a quota has no field {unknown}, but amount, per, burst, algorithm and name{hint}"
                )))
            }
        }
    }

    fn quota<E: de::Error>(&self) -> Result<Quota, E> {
        let amount = self.amount.ok_or_else(|| E::custom("a quota needs an `amount`, a whole number"))?;
        let per =
            self.per.as_deref().ok_or_else(|| E::custom("a quota needs `per`, as in \"minute\" or \"10 minutes\""))?;
        let period = duration(per).map_err(|error| E::custom(format_args!("`per` of a quota: {error}")))?;
        let algorithm = match &self.algorithm {
            Some(text) => {
                algorithm_called(text).map_err(|error| E::custom(format_args!("`algorithm` of a quota: {error}")))?
            }
            None => Algorithm::TokenBucket,
        };
        Quota::build(amount, period, self.burst.unwrap_or(amount), algorithm).map_err(|error| {
            let field = match error {
                PolicyError::ZeroPeriod | PolicyError::PeriodTooLong => "per",
                PolicyError::ZeroBurst | PolicyError::BurstTooLarge | PolicyError::WindowBurst => "burst",
                _ => "amount",
            };
            E::custom(format_args!("`{field}` of a quota: {}", error.text()))
        })
    }

    fn quota_without_name<E: de::Error>(&self, instead: &str) -> Result<Quota, E> {
        match self.name {
            Some(_) => Err(E::custom(instead)),
            None => self.quota(),
        }
    }

    fn push_to<E: de::Error>(&self, policy: &mut Policy) -> Result<(), E> {
        policy.push(self.name.as_deref(), self.quota()?).map_err(E::custom)
    }
}

fn once<T, E: de::Error>(field: &'static str, place: &mut Option<T>, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(field)),
    }
}
