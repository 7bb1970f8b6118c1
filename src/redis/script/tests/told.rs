//! What the script is told of a quota.

use super::super::*;

#[test]
fn a_rate_that_is_no_exact_fraction_is_kept_from_below() {
    let exact = |text: &str| ScriptQuota::new(&text.parse().unwrap()).map(|told| told.numbers);
    // 28 a second are 7 in 250,000 microseconds.
    assert_eq!(exact("28/second"), Ok([250_000, 7, 7_000_000]));
    assert_eq!(exact("1000000000/second"), Ok([1, 1000, 1_000_000_000]));
    assert_eq!(exact("0/second"), Ok([1, 0, 0]));
    for text in ["5368709120/day", "1234567/day", "999999999999/30 days", "333333333/second", "98765432109/365 days"] {
        let quota: Quota = text.parse().unwrap();
        let [parts, gain, size] = ScriptQuota::new(&quota).unwrap_or_else(|why| panic!("{text}: {why:?}")).numbers;
        let (gain, parts) = (u128::from(gain), u128::from(parts));
        let (wanted, period) = (u128::from(quota.amount()) * 1000, u128::from(quota.period_nanos()));
        assert!(gain * period <= wanted * parts, "{text}: never faster");
        let lost = wanted * parts - gain * period;
        assert!(lost * loss(&quota) <= wanted * parts, "{text}: hardly slower");
        assert_eq!(u128::from(size), parts * u128::from(quota.limit()));
        assert!(size <= EXACT_MAX);
    }
}

#[test]
fn the_nearest_fraction_below_is_found() {
    for (gain, parts, most) in
        [(22, 7, 6), (355, 113, 112), (1, 3, 2), (9999, 10_000, 500), (7, 3, 3), (5, 1, 1), (2, 9, 4)]
    {
        let best = (1..=most).map(|bottom| (gain * bottom / parts, bottom));
        let nearer = |a: (u128, u128), b: (u128, u128)| if b.0 * a.1 > a.0 * b.1 { b } else { a };
        let best = best.reduce(nearer).unwrap();
        let found = below(gain, parts, most).unwrap();
        assert_eq!(found.0 * best.1, best.0 * found.1, "{gain}/{parts} up to {most}: {found:?}, {best:?}");
    }
    assert_eq!(below(1, 2, 0), None);
}

#[test]
fn what_cannot_be_kept_exactly_is_refused() {
    let told = |text: &str| ScriptQuota::new(&text.parse().unwrap()).map(|_| ());
    assert_eq!(told("1000000000/second burst 10000000000000000"), Err(Unkept::TooLarge));
    assert_eq!(told("1/1500 ns fixed"), Err(Unkept::TooShort));
    assert_eq!(told("1/100 ns"), Err(Unkept::TooShort));
    assert_eq!(told("1099511627776/3660 days sliding"), Err(Unkept::TooLarge));
    assert_eq!(told("1099511627776/day fixed"), Ok(()));
}
