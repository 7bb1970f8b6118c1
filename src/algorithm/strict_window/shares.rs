//! How much of its amount a strict window gives: what is promised, and what could be had at all.

use super::super::{HORIZON_NANOS, WORD_BITS};
use super::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What a client gets of the amount who asks steadily, at so many times the amount, or, at 0, again as soon as it was told to.
fn share(window: &StrictWindow, rate: f64, phase: u64) -> f64 {
    let StrictWindow { amount, period_nanos, .. } = *window;
    let (start, periods) = (7 * period_nanos + phase, 10_000_u64.div_ceil(amount).clamp(40, 200));
    let end = start + periods * period_nanos;
    // The first periods do not count: the window was empty.
    let from = start + 8 * period_nanos;
    let (mut word, mut now, mut passed, mut asked) = (0, start, 0, 0_u64);
    while now < end {
        let cost = if rate == 0.0 { window.remaining(word, now).max(1) } else { 1 };
        let verdict = window.decide(word, now, cost);
        if let Verdict::Allow(next) = verdict {
            (word, passed) = (next, passed + if now >= from { cost } else { 0 });
        }
        asked += 1;
        now = match verdict {
            Verdict::Wait(at) if rate == 0.0 => at,
            _ if rate == 0.0 => now,
            _ => start + (asked as f64 * period_nanos as f64 / (amount as f64 * rate)) as u64,
        };
    }
    passed as f64 / amount as f64 / ((end - from) as f64 / period_nanos as f64)
}

/// What a client gets who asks at this rate, or at 0 all the time, if only so many pass in a period so much longer as the
/// head of the algorithm says: a client that asks in steps has to wait for the next step.
fn promised(window: &StrictWindow, rate: f64) -> f64 {
    let (worth, nanos) = (window.worth() as f64, window.cost() as f64);
    let step = if rate == 0.0 { 1.0 } else { window.period_nanos as f64 / (window.amount as f64 * rate) };
    let waits = (nanos / step).ceil().max(worth) * step;
    worth / window.amount as f64 * window.period_nanos as f64 / waits
}

/// Law 6, as far as it holds for this window: at least 80 % of the amount under steady load for amounts up to 100.
#[test]
fn a_steady_client_gets_most_of_the_amount() {
    for period in [1_000_000, SECOND, HOUR] {
        for amount in [2, 3, 4, 5, 7, 10, 14, 20, 33, 50, 56, 64, 77, 99, 100, 1000] {
            let window = StrictWindow::new(amount, period, 64).unwrap();
            for rate in [0.0, 1.0, 1.01, 1.37, 5.0] {
                for phase in [window.sub_nanos - 1, period / 3] {
                    let (share, promised) = (share(&window, rate, phase), promised(&window, rate));
                    // The periods that are counted need not be a whole number of waits.
                    assert!(share >= promised * 0.98, "{amount} per {period} ns at {rate}: {share} of {promised}");
                    // One who asks four times in a period and comes a moment early has to wait for the fifth, and no word has
                    // room for four times to the nanosecond.
                    let often = amount as f64 * rate > 4.0 || rate == 0.0;
                    assert!(share >= 0.8 || !often || amount > 100, "{amount} per {period} ns at {rate}: {share}");
                }
            }
        }
    }
}

/// The part of the amount that a client gets who asks all the time, in percent, by amount and period.
fn percent(amount: u64, period: u64) -> u64 {
    (promised(&StrictWindow::new(amount, period, 64).unwrap(), 0.0) * 100.0) as u64
}

/// The table of [`Algorithm::StrictWindow`](crate::Algorithm::StrictWindow) says what is so, and so does the line below it.
#[test]
fn the_table_of_shares_is_true() {
    let periods = [1_000_000, SECOND, MINUTE, HOUR, DAY];
    let amounts = [2, 5, 10, 20, 50, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    let mut table = String::new();
    for (index, amount) in amounts.into_iter().enumerate() {
        let cells = periods.map(|period| match amount <= period {
            true => format!("{} %", percent(amount, period)),
            false => String::new(),
        });
        let name = if amount > 1000 { format!("10^{}", amount.ilog10()) } else { amount.to_string() };
        let line = format!("    /// | {name} | {} |\n", cells.join(" | "));
        table.push_str(&line);
        let Some(next) = amounts.get(index + 1) else { break };
        for period in periods.into_iter().filter(|period| next <= period) {
            let neighbors = percent(amount, period).min(percent(*next, period));
            for between in (0..200).map(|step| amount + (next - amount) * step / 200) {
                assert!(percent(between, period) + 4 >= neighbors, "{between} in {period} ns");
            }
        }
    }
    assert!(include_str!("../../quota.rs").contains(&table), "the table is\n{table}");
    // And what stands below it.
    let least = |period: u64| (2..=100).map(|amount| percent(amount, period)).min();
    for (period, expected) in [(1_000_000, 79), (100_000, 76), (10_000, 66), (1000, 59)] {
        assert_eq!(least(period), Some(expected), "per {period} ns");
    }
    for period in (0..72).map(|step| (7_000_000 << (step / 2)) + (step << 19)).filter(|period| *period < 10 * 365 * DAY)
    {
        assert!(least(period) >= Some(80), "per {period} ns");
    }
}

/// How many accounts there are of at most `amount`, in batches, in this sub-window and `lookback` before it, something being in this
/// one: so many states a word has to tell apart for each sub-window that there can be.
fn accounts(amount: u64, lookback: u64, batch: u64) -> u128 {
    // So many rows there are of one stroke more, in so many sub-windows.
    let next = |rows: u128, strokes: u64, subs: u64| rows * u128::from(strokes + subs) / u128::from(strokes + 1);
    let (mut rows, mut rows_before, mut accounts) = (1, 1, 0);
    for strokes in 0..=amount / batch {
        let rests = batch.min(amount - strokes * batch + 1);
        accounts += rows * u128::from(rests) - rows_before;
        if accounts > 1 << WORD_BITS {
            return accounts; // more than enough
        }
        rows = next(rows, strokes, lookback + 1);
        rows_before = next(rows_before, strokes, lookback);
    }
    accounts
}

/// The most that any account of sub-windows and batches could give of an amount in 64 bits, however densely it is written, in
/// percent: if a word told nothing apart but what has to be.
fn percent_at_best(amount: u64, period: u64) -> u64 {
    let batches = (1..=amount + 1).map(|more| amount / more + 1);
    let layouts = batches.flat_map(|batch| (1..=48).map(move |lookback| (batch, lookback)));
    let fits = |&(batch, lookback): &(u64, u64)| {
        let numbers = u128::from(HORIZON_NANOS / (period - 1).div_ceil(lookback));
        numbers.checked_mul(accounts(amount, lookback, batch)).is_some_and(|states| states <= 1 << WORD_BITS)
    };
    let gives = |(batch, lookback)| {
        let (worth, nanos) = (amount + 1 - batch, (lookback + 1) * (period - 1).div_ceil(lookback));
        worth * period * 100 / (amount * nanos)
    };
    layouts.filter(fits).map(gives).max().unwrap_or_default()
}

/// Why short periods get less than 80 %: there are so many of them in the horizon that a word has little room beside their number.
#[test]
fn in_short_periods_no_code_gives_much_more() {
    for (amount, lookback, batch, expected) in [(1, 1, 1, 1), (2, 1, 1, 3), (2, 1, 2, 2), (3, 2, 2, 5)] {
        assert_eq!(accounts(amount, lookback, batch), expected, "{amount} {lookback} {batch}");
    }
    let at_best = |period: u64| (2..=100).map(|amount| percent_at_best(amount, period)).min();
    for (period, expected) in [(1_000_000, 82), (100_000, 79), (10_000, 74), (1000, 66)] {
        assert_eq!(at_best(period), Some(expected), "per {period} ns");
    }
}
