//! An account's exact reference model: random histories of checks, reservations, refunds, resets, changes of policy and of
//! plan on the limiter and on the model, in which nothing may differ.
//!
//! The rates are such that no algorithm rounds: a token, or a window, every power of two of nanoseconds.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Clock, Plan, Policy, Quota, RateLimiter, Reservation};

/// In the model's ticks.
pub(super) const PERIOD: u64 = 1 << 12;

/// A tick is this power of two of nanoseconds: coarse enough for a window to tell it beside any count here.
pub(super) const SCALE: u32 = 24;

/// One key's state under one quota, in tokens or in windows of `PERIOD`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) algorithm: Algorithm,
    pub(super) amount: u64,
    /// What a bucket has to refill, in tokens times the period, as of a time.
    owed: u64,
    as_of: u64,
    /// When the window ends; or the sliding window's number, from 1.
    window: u64,
    used: u64,
    previous: u64,
}

impl Account {
    pub(super) fn new(algorithm: Algorithm, amount: u64) -> Self {
        Self { algorithm, amount, owed: 0, as_of: 0, window: 0, used: 0, previous: 0 }
    }

    pub(super) fn quota(&self) -> Quota {
        let quota = Quota::new(self.amount, Duration::from_nanos(PERIOD << SCALE)).unwrap();
        quota.try_algorithm(self.algorithm).unwrap()
    }

    /// Brings it to a time.
    pub(super) fn at(mut self, now: u64) -> Self {
        match self.algorithm {
            Algorithm::TokenBucket => {
                self.owed = self.owed.saturating_sub(self.amount * (now - self.as_of));
                self.as_of = now;
            }
            Algorithm::FixedWindow => {
                if self.window <= now {
                    (self.window, self.used) = (now + PERIOD, 0);
                }
            }
            _ => {
                let number = now / PERIOD + 1;
                match number - self.window {
                    0 => {}
                    1 => (self.previous, self.used) = (self.used, 0),
                    _ => (self.previous, self.used) = (0, 0),
                }
                self.window = number;
            }
        }
        self
    }

    pub(super) fn owes(&self, now: u64) -> u64 {
        let this = self.at(now);
        match self.algorithm {
            Algorithm::TokenBucket => this.owed.div_ceil(PERIOD),
            Algorithm::FixedWindow => this.used,
            _ => (this.previous * (PERIOD - now % PERIOD)).div_ceil(PERIOD) + this.used,
        }
    }

    pub(super) fn charge(&mut self, now: u64, cost: u64) -> bool {
        let this = self.at(now);
        if cost == 0 {
            return true;
        }
        // A bucket's fractions count.
        let passes = match self.algorithm {
            Algorithm::TokenBucket => this.owed + cost * PERIOD <= self.amount * PERIOD,
            _ => this.owes(now) + cost <= self.amount,
        };
        if passes {
            *self = this;
            self.owed += cost * PERIOD;
            self.used += cost;
        }
        passes
    }

    /// Gives back of a charge that had left the account as `charged`.
    pub(super) fn give_back(&mut self, now: u64, cost: u64, charged: &Self) {
        let this = self.at(now);
        match self.algorithm {
            Algorithm::TokenBucket => {
                let back = charged.at(now).owed.min(cost * PERIOD);
                *self = this;
                self.owed -= back.min(self.owed);
            }
            Algorithm::FixedWindow if self.window == charged.window && self.window > now => {
                self.used -= cost.min(self.used);
            }
            Algorithm::FixedWindow => {}
            _ if charged.window == this.window => {
                *self = this;
                self.used -= cost.min(self.used);
            }
            _ if charged.window + 1 == this.window => {
                *self = this;
                self.previous -= cost.min(self.previous);
            }
            _ => {}
        }
    }

    /// The account under another quota.
    pub(super) fn carried(&self, now: u64, algorithm: Algorithm, amount: u64) -> Self {
        let (this, owes) = (self.at(now), self.owes(now));
        let mut new = Self::new(algorithm, amount).at(now);
        match (self.algorithm, algorithm) {
            (Algorithm::FixedWindow, Algorithm::FixedWindow) if self.window > now => new.window = self.window,
            (Algorithm::SlidingWindow, Algorithm::SlidingWindow) => {
                (new.previous, new.used) = (this.previous, this.used);
                return new;
            }
            (Algorithm::FixedWindow, _) if self.window <= now => return Self::new(algorithm, amount),
            _ if owes == 0 => return Self::new(algorithm, amount),
            _ => {}
        }
        new.used = owes;
        new.owed = if self.algorithm == Algorithm::TokenBucket { this.owed } else { owes * PERIOD };
        new.as_of = now;
        new
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Check(u64),
    Reserve(u64),
    Settle(usize, u64),
    Refund(u64),
    Reset,
    Change(Algorithm, u32),
    On(usize),
    Unlimited(u64),
    Advance(u64),
}

pub(super) fn any_quota() -> impl Strategy<Value = (Algorithm, u32)> {
    let algorithms = &[Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];
    (prop::sample::select(&algorithms[..]), 0..6_u32)
}

fn any_history() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..12_u64).prop_map(Act::Check),
        4 => (0..12_u64).prop_map(Act::Reserve),
        4 => (0..6_usize, 0..110_u64).prop_map(|(which, percent)| Act::Settle(which, percent)),
        1 => (0..6_u64).prop_map(Act::Refund),
        1 => Just(Act::Reset),
        1 => any_quota().prop_map(|(algorithm, bits)| Act::Change(algorithm, bits)),
        2 => (0..3_usize).prop_map(Act::On),
        1 => (0..9_u64).prop_map(Act::Unlimited),
        5 => prop_oneof![0..300_u64, 0..3 * PERIOD].prop_map(Act::Advance),
    ];
    prop::collection::vec(act, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_history_of_an_account_agrees_with_its_model(
        quotas in prop::collection::vec(any_quota(), 3),
        history in any_history(),
    ) {
        let mut quotas: Vec<(Algorithm, u64)> = quotas.into_iter().map(|(algorithm, bits)| (algorithm, 1 << bits)).collect();
        let policy = |(algorithm, amount): (Algorithm, u64)| Policy::from(Account::new(algorithm, amount).quota());
        let clock = Clock::manual();
        let limiter = RateLimiter::builder(policy(quotas[0])).capacity(100).clock(clock.clone());
        let limiter = limiter.plan("b", policy(quotas[1])).unwrap().plan("c", policy(quotas[2])).unwrap().build();
        let plans = [Plan::DEFAULT, limiter.plan("b").unwrap(), limiter.plan("c").unwrap()];
        let (mut on, mut now, mut version) = (0, 1, 0);
        clock.advance(Duration::from_nanos(now << SCALE));
        // The account, and the plan by which it is kept.
        let (mut account, mut kept) = (None::<Account>, 0);
        let mut open: Vec<(Reservation, usize, u64, Account)> = Vec::new();
        for act in history {
            let this = limiter.on(plans[on]).unwrap();
            let (algorithm, amount) = quotas[on];
            if !matches!(act, Act::On(_) | Act::Unlimited(_) | Act::Advance(_) | Act::Change(..) | Act::Settle(..)) && kept != on {
                (account, kept) = (account.map(|account| account.carried(now, algorithm, amount)), on);
            }
            let charge = |account: &mut Option<Account>, cost| {
                let mut after = account.unwrap_or(Account::new(algorithm, amount));
                let passes = cost <= amount && after.charge(now, cost) || cost == 0;
                if passes && cost > 0 {
                    *account = Some(after);
                }
                passes
            };
            match act {
                Act::Check(cost) => {
                    prop_assert_eq!(this.check_n("key", cost).is_ok(), charge(&mut account, cost), "{} at {}", cost, now);
                }
                Act::Reserve(cost) => {
                    let reservation = this.reserve("key", cost);
                    prop_assert_eq!(reservation.is_ok(), charge(&mut account, cost), "{} at {}", cost, now);
                    let charged = account.unwrap_or(Account::new(algorithm, amount));
                    open.extend(reservation.ok().map(|reservation| (reservation, on, version, charged)));
                }
                Act::Settle(which, percent) if open.iter().any(|(_, plan, ..)| *plan == on) && kept == on => {
                    let fits: Vec<usize> = (0..open.len()).filter(|&n| open[n].1 == on).collect();
                    let which = fits[which % fits.len()];
                    let (reservation, plan, charged_in, charged) = open.swap_remove(which);
                    let cost = reservation.cost();
                    let actual = cost * percent / 100;
                    prop_assert_eq!(reservation.settle(actual).is_ok(), actual <= cost);
                    if actual < cost && charged_in == version {
                        let (algorithm, amount) = quotas[plan];
                        if kept != plan {
                            (account, kept) = (account.map(|account| account.carried(now, algorithm, amount)), plan);
                        }
                        if let Some(account) = &mut account {
                            account.give_back(now, cost - actual, &charged);
                        }
                    }
                }
                Act::Settle(..) => {}
                Act::Refund(cost) => {
                    this.refund("key", cost);
                    if let Some(account) = &mut account {
                        let charged = *account;
                        account.give_back(now, cost, &charged);
                    }
                }
                Act::Reset => {
                    this.reset("key");
                    account = account.map(|_| Account::new(algorithm, amount));
                }
                Act::Change(algorithm, bits) => {
                    quotas[on] = (algorithm, 1 << bits);
                    this.replace_policy(policy(quotas[on])).unwrap();
                    version += 1;
                    // The other plans' accounts are carried over to what they are.
                    let (algorithm, amount) = quotas[kept];
                    account = account.map(|account| account.carried(now, algorithm, amount));
                }
                Act::On(plan) => on = plan,
                Act::Unlimited(cost) => {
                    let unlimited = limiter.on(Plan::UNLIMITED).unwrap();
                    prop_assert!(unlimited.check_n("key", cost).is_ok());
                    unlimited.refund("key", cost);
                }
                Act::Advance(by) => {
                    clock.advance(Duration::from_nanos(by << SCALE));
                    now += by;
                }
            }
            let (algorithm, amount) = quotas[on];
            let this = limiter.on(plans[on]).unwrap();
            if kept != on {
                (account, kept) = (account.map(|account| account.carried(now, algorithm, amount)), on);
            }
            let owes = account.map_or(0, |account| account.owes(now));
            prop_assert_eq!(this.peek("key").remaining(), amount.saturating_sub(owes), "at {}: {:?}", now, account);
        }
    }
}
