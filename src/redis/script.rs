//! The script that decides on the server, what it is asked, and what it answers.

use crate::quota::{Algorithm, Quota};

/// The script. It reads the time in one line.
pub(super) const SCRIPT: &str = include_str!("script.lua");

/// Doubles hold every whole number up to twice this.
const EXACT_MAX: u64 = 1 << 52;

/// A strict window's sub-windows. More would make what is kept of each client longer. A client that keeps asking gets 32 of 33
/// parts of the amount.
const DIVISIONS: u64 = 32;

/// By which a quota is found again in what is kept of a subject: its name and its period. One without a name of its own goes by its
/// amount. So no two of a policy are called the same.
pub(super) fn called(name: &str, quota: &Quota) -> String {
    let rate = quota.amount_and_period().replace(' ', "");
    // Only a name that was given begins with a letter.
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return rate;
    }
    let (_, period) = rate.split_once('/').expect("an amount and a period");
    format!("{name}/{period}")
}

/// What is asked about a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Check,
    /// A check that also says by what to settle.
    Reserve,
    /// The same, and more may be lent, for this program to spend by itself.
    Lease,
    Peek,
    Refund,
    Settle,
    Reset,
}

impl Op {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Reserve => "reserve",
            Self::Lease => "lease",
            Self::Peek => "peek",
            Self::Refund => "refund",
            Self::Settle => "settle",
            Self::Reset => "reset",
        }
    }
}

/// A quota as the script is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptQuota {
    kind: &'static str,
    numbers: [u64; 3],
}

/// Why a quota cannot be kept on the server, where it is kept in whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unkept {
    /// The burst, or the amount of a window, is too large to be counted exactly at this rate.
    TooLarge,
    /// The period, or the time in which the burst is full again, is too short.
    TooShort,
}

impl ScriptQuota {
    pub(super) fn new(quota: &Quota) -> Result<Self, Unkept> {
        match quota.algorithm() {
            Algorithm::TokenBucket => Self::bucket(quota),
            // One in any window is one and then none for a period.
            Algorithm::StrictWindow if quota.amount() == 1 => Self::bucket(quota),
            Algorithm::FixedWindow => Self::window("f", quota),
            Algorithm::AlignedWindow => Self::window("a", quota),
            Algorithm::SlidingWindow => Self::sliding(quota),
            Algorithm::StrictWindow => Self::strict(quota),
        }
    }

    fn bucket(quota: &Quota) -> Result<Self, Unkept> {
        let (amount, period, burst) = (quota.amount(), quota.period_nanos(), quota.limit());
        if amount == 0 {
            return Ok(Self { kind: "b", numbers: [1, 0, 0] });
        }
        // `gain` tokens in `parts` microseconds, which are as many units as a token has.
        let (gain, parts) = (u128::from(amount) * 1000, u128::from(period));
        let (gain, parts) = below(gain, parts, u128::from(EXACT_MAX / burst.min(EXACT_MAX))).ok_or(Unkept::TooLarge)?;
        // What the rate loses: amount·1000/period - gain/parts, as a part of it.
        let lost = u128::from(amount) * 1000 * parts - gain * u128::from(period);
        if lost > u128::from(amount) * 1000 * parts / loss(quota) || gain > u128::from(EXACT_MAX) {
            return Err(Unkept::TooLarge);
        }
        let size = parts * u128::from(burst);
        if size > u128::from(EXACT_MAX) {
            return Err(Unkept::TooLarge);
        }
        if size < gain {
            return Err(Unkept::TooShort);
        }
        Ok(Self { kind: "b", numbers: [parts as u64, gain as u64, size as u64] }) // all at most EXACT_MAX
    }

    fn window(kind: &'static str, quota: &Quota) -> Result<Self, Unkept> {
        Ok(Self { kind, numbers: [micros(quota)?, quota.amount(), 0] })
    }

    fn sliding(quota: &Quota) -> Result<Self, Unkept> {
        let (micros, amount) = (micros(quota)?, quota.amount());
        let steps_max = EXACT_MAX / amount.max(1);
        let step = micros.div_ceil(steps_max.max(1));
        // The previous window's share is rounded up by a step.
        if step > 1 && u128::from(micros.div_ceil(step)) < loss(quota) {
            return Err(Unkept::TooLarge);
        }
        Ok(Self { kind: "s", numbers: [micros, amount, step] })
    }

    fn strict(quota: &Quota) -> Result<Self, Unkept> {
        let micros = micros(quota)?;
        let sub_window = (micros - 1).div_ceil(DIVISIONS).max(1);
        let lookback = (micros - 1).div_ceil(sub_window);
        Ok(Self { kind: "w", numbers: [sub_window, quota.amount(), lookback] })
    }

    /// What the script's arguments say of it.
    pub(super) fn arguments(&self) -> (&'static str, [u64; 3]) {
        (self.kind, self.numbers)
    }
}

/// A window's length in microseconds, rounded up, if the rate does not lose too much by that.
fn micros(quota: &Quota) -> Result<u64, Unkept> {
    let nanos = quota.period_nanos();
    let micros = nanos.div_ceil(1000);
    let lost = u128::from(micros * 1000 - nanos); // a period is below 2^59 ns
    if lost * loss(quota) > u128::from(nanos) { Err(Unkept::TooShort) } else { Ok(micros) }
}

/// How much of its rate a quota may lose by rounding: one part in so many (law 6 of the design).
fn loss(quota: &Quota) -> u128 {
    match u128::from(quota.amount()) * 1_000_000_000 / u128::from(quota.period_nanos()) {
        0..=10_000 => 1_000_000,
        10_001..=1_000_000 => 10_000,
        _ => 50,
    }
}

/// The largest fraction that is not above `gain / parts` and whose denominator is at most `most`.
fn below(gain: u128, parts: u128, most: u128) -> Option<(u128, u128)> {
    // Farey neighbours close in on the fraction (Stern and Brocot's tree, in strides): it stays in [low, high).
    let whole = gain / parts;
    let (mut low, mut high) = ((whole, 1), (whole + 1, 1));
    if most == 0 {
        return None;
    }
    loop {
        // By how much each is off, as numerators over the same denominator.
        let under = gain * low.1 - low.0 * parts;
        let over = high.0 * parts - gain * high.1;
        if under == 0 {
            return Some(low);
        }
        // Steps of `low` towards `high` while it stays at or below, then of `high` towards `low` while it stays above.
        let stride = (under / over).min((most - low.1) / high.1);
        if stride > 0 {
            low = (low.0 + stride * high.0, low.1 + stride * high.1);
            continue;
        }
        if low.1 + high.1 > most {
            return Some(low);
        }
        let stride = ((over - 1) / under).min((most - high.1) / low.1).max(1);
        high = (high.0 + stride * low.0, high.1 + stride * low.1);
        if high.1 > most {
            return Some(low);
        }
    }
}

/// What the script answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) passed: bool,
    /// The subject's time, in microseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) quotas: Vec<Judged>,
    /// By what a charge is settled, quota by quota; only of [`Op::Reserve`] and [`Op::Lease`].
    pub(super) marks: Vec<u64>,
    /// How much is lent beside the cost, and for how many microseconds from the time; only of [`Op::Lease`].
    pub(super) lent: (u64, u64),
}

/// Where a subject stands with one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) left: u64,
    /// Until the whole limit is back.
    pub(super) reset_micros: u64,
    /// Until the cost passes; `None` if it never will.
    pub(super) wait_micros: Option<u64>,
}

impl Reply {
    /// Reads the script's numbers; `None` if they are not an answer about so many quotas.
    pub(super) fn read(numbers: &[i64], quotas: usize) -> Option<Self> {
        let number = |n: i64| u64::try_from(n).ok();
        let (head, rest) = numbers.split_at_checked(2)?;
        let (judged, rest) = rest.split_at_checked(3 * quotas)?;
        let (marks, lent) = if rest.is_empty() { (rest, rest) } else { rest.split_at_checked(quotas)? };
        let lent = match *lent {
            [] => (0, 0),
            [lent, life] => (number(lent)?, number(life)?),
            _ => return None,
        };
        let judged = judged.chunks_exact(3).map(|three| {
            Some(Judged {
                left: number(three[0])?,
                reset_micros: number(three[1])?,
                wait_micros: if three[2] == -1 { None } else { Some(number(three[2])?) },
            })
        });
        Some(Self {
            passed: head[0] == 1,
            time: number(head[1])?,
            quotas: judged.collect::<Option<_>>()?,
            marks: marks.iter().map(|&mark| number(mark)).collect::<Option<_>>()?,
            lent,
        })
    }
}

#[cfg(test)]
mod tests;
