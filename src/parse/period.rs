//! Periods and rates as strings: the units, and how a period is said in them.

use crate::quota::Quota;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_DAY: u64 = 24 * 60 * 60 * NANOS_PER_SECOND;

/// Units: the canonical name first, then other spellings, all singular (a plural `s` is understood where the canonical
/// name is a word).
pub(super) const UNITS: [(u64, &[&str]); 10] = [
    (365 * NANOS_PER_DAY, &["year"]),
    (30 * NANOS_PER_DAY, &["month"]),
    (7 * NANOS_PER_DAY, &["week", "w"]),
    (NANOS_PER_DAY, &["day", "d"]),
    (3600 * NANOS_PER_SECOND, &["hour", "hr", "h"]),
    (60 * NANOS_PER_SECOND, &["minute", "min", "m"]),
    (NANOS_PER_SECOND, &["second", "sec", "s"]),
    (1_000_000, &["ms", "millisecond", "milli"]),
    (1_000, &["us", "microsecond"]),
    (1, &["ns", "nanosecond"]),
];

impl Quota {
    /// The first half of the string form: `28/second`, `5/10 minutes`.
    pub(crate) fn amount_and_period(&self) -> String {
        let (multiple, unit) = multiple_and_unit(self.period_nanos());
        match multiple {
            1 => format!("{}/{unit}", self.amount()),
            _ => format!("{}/{multiple} {unit}{}", self.amount(), plural(unit)),
        }
    }
}

/// A period as a person would say it: how many of the largest unit that divides it.
pub(super) fn multiple_and_unit(period: u64) -> (u64, &'static str) {
    // Months and years are named only alone: two months would make a reader think of 61 days.
    let names = |(nanos, _): &&(u64, &[&str])| match period / nanos {
        1 => period == *nanos,
        _ => *nanos <= NANOS_PER_DAY && period % nanos == 0,
    };
    let (nanos, spellings) = UNITS.iter().find(names).expect("every period is a multiple of 1 ns");
    (period / nanos, spellings[0])
}

pub(super) fn plural(unit: &str) -> &'static str {
    if unit.len() > 2 { "s" } else { "" }
}

/// The nanoseconds of a unit, in any case, singular or plural.
pub(super) fn unit(text: &str) -> Option<u64> {
    let is = |spelling: &&str| {
        let plural = spelling.len() > 2 && text.len() == spelling.len() + 1 && text.ends_with(['s', 'S']);
        let singular = if plural { &text[..spelling.len()] } else { text };
        singular.eq_ignore_ascii_case(spelling)
    };
    UNITS.iter().find(|(_, spellings)| spellings.iter().any(is)).map(|(nanos, _)| *nanos)
}
