//! [`Written`]: numbers as people write them, and what they are to write instead.

use std::time::Duration;

use super::period::{multiple_and_unit, plural};
use crate::quota::Quota;

/// A number as people write it, but not one that is read here: with a fraction, or with marks between its digits.
pub(super) struct Written<'a> {
    pub(super) text: &'a str,
    /// Without what stands between digits, if that separates thousands.
    plain: Option<String>,
    /// Numerator and denominator, if it is a fraction.
    fraction: Option<(u64, u64)>,
    mark: char,
}

impl<'a> Written<'a> {
    /// What is written at this place, if it is more than digits.
    pub(super) fn at(input: &'a str, at: usize, marks: &[char]) -> Option<Self> {
        let rest = &input[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && !marks.contains(&c)).unwrap_or(rest.len());
        let text = rest[..end].trim_end_matches(marks);
        if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let mark = text.chars().find(|c| !c.is_ascii_digit())?;
        let groups: Vec<&str> = text.split(mark).collect();
        let (first, others) = groups.split_first().expect("a split has at least one part");
        let is_grouped = !first.is_empty()
            && others.iter().all(|group| match mark {
                '.' | ',' => group.len() == 3 && first.len() <= 3 && !first.starts_with('0'),
                _ => !group.is_empty(),
            })
            && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
        let fraction = match others {
            [part] if mark == '.' || mark == ',' && !is_grouped => fraction(first, part),
            _ => None,
        };
        Some(Self { text, plain: is_grouped.then(|| groups.concat()), fraction, mark })
    }

    /// What to write instead, where an amount is expected and this may be its period.
    pub(super) fn instead_of_amount(&self, period: Option<Duration>) -> String {
        let quota = |amount: u64, times: u64| {
            let quota = Quota::new(amount, period?.checked_mul(times.try_into().ok()?)?).ok()?;
            Some(format!("\"{}\"", quota.amount_and_period()))
        };
        let plain = self.plain.as_ref().map(|plain| {
            plain.parse().ok().and_then(|amount| quota(amount, 1)).unwrap_or_else(|| format!("\"{plain}\""))
        });
        let fraction = self.fraction.and_then(|(amount, times)| quota(amount, times));
        match (plain, fraction) {
            (Some(plain), Some(fraction)) => {
                format!(
                    "an amount is a whole number; write {fraction}, or {plain} if the '{}' separates thousands",
                    self.mark
                )
            }
            (Some(plain), None) => format!("an amount is written without '{}'; write {plain}", self.mark),
            (None, Some(fraction)) => format!("an amount is a whole number; write {fraction}"),
            (None, None) => "an amount is a whole number; half a request per second is \"1/2 seconds\"".to_owned(),
        }
    }

    /// What to write instead, where a multiple of a unit is expected and this may be the unit.
    pub(super) fn instead_of_multiple(&self, unit: Option<u64>) -> String {
        let shorter = || {
            let (parts, of) = self.fraction?;
            let nanos = u128::from(parts) * u128::from(unit?);
            let whole = u64::try_from(nanos / u128::from(of)).ok().filter(|_| nanos % u128::from(of) == 0)?;
            let (multiple, unit) = multiple_and_unit(whole);
            (whole > 0)
                .then(|| format!("a period is a whole number of units; write \"{multiple} {unit}{}\"", plural(unit)))
        };
        shorter().unwrap_or_else(|| self.instead_of("a multiple of a unit"))
    }

    pub(super) fn instead_of(&self, what: &str) -> String {
        match &self.plain {
            Some(plain) if self.fraction.is_none() => {
                format!("{what} is written without '{}'; write \"{plain}\"", self.mark)
            }
            _ => format!("{what} is a whole number"),
        }
    }
}

/// `whole.part`, in lowest terms.
fn fraction(whole: &str, part: &str) -> Option<(u64, u64)> {
    let part = part.trim_end_matches('0');
    let denominator = 10_u64.checked_pow(part.len().try_into().ok()?)?;
    let numerator: u64 = format!("0{whole}{part}").parse().ok()?;
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some((numerator / a, denominator / a))
}
