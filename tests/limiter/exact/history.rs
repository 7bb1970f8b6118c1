//! [`History`]: what happens to a limiter and to its model, in which nothing may differ.

use std::time::Duration;

use tollgate::{Algorithm, Clock, Denied, ManualClock, Plan, Policy, Quota, RateLimiter, Reservation, Status};

use super::account::{Account, PERIOD, TICK, TOKEN};
use super::key::{Key, Plans};
use crate::random::Random;

/// Where the clock stands at first, so that it can step back.
const START: u64 = 8 * PERIOD;

/// How many parts of a token a bucket may owe too much for each time that its key was carried over: what the fastest one refills in a
/// nanosecond, of which there are 256 in half a period.
const ROUNDED_UP: i64 = TOKEN * 512 / PERIOD as i64;

/// A limiter as it is built, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// Of buckets only, where the clock stands at any nanosecond, and not at multiples of `TICK`. The clock never steps back: that would
    /// tell a bucket that is full from one that is full but for what was rounded up. Nor is there a reset: a reservation from before could
    /// give back what was rounded up with it.
    fine: bool,
    width: usize,
    /// By plan.
    policies: Vec<Policy>,
    pub(super) acts: Vec<Act>,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Check(u64),
    Reserve(u64),
    /// Settles one of the reservations, of which it keeps so many percent, or wants more than it has.
    Settle(usize, u64),
    Refund(u64),
    Reset,
    Look,
    /// What follows is asked on this plan.
    On(usize),
    Replace(usize, Policy),
    /// So much passes on the unlimited plan.
    Unlimited(u64),
    /// Nanoseconds.
    Advance(u64),
    StepBack(u64),
    /// Waits as long as the last denial said, and to the next tick.
    Wait,
}

impl History {
    /// One of very many.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let width = 1 + random.below(3) as usize;
        let plans = 1 + random.below(3) as usize;
        let fine = random.below(8) == 0;
        let policies = (0..plans).map(|_| any_policy(&mut random, width, fine)).collect();
        let acts = (0..20 + random.below(200)).map(|_| any_act(&mut random, plans, width, fine)).collect();
        Self { fine, width, policies, acts }
    }

    /// The shortest history that still differs, as far as leaving out acts can tell.
    pub(super) fn shortened(mut self) -> Self {
        let mut part = self.acts.len();
        while part > 0 {
            let mut from = 0;
            while from < self.acts.len() {
                let mut shorter = self.clone();
                shorter.acts.drain(from..(from + part).min(self.acts.len()));
                if shorter.play().is_err() {
                    self = shorter;
                } else {
                    from += part;
                }
            }
            part /= 2;
        }
        self
    }

    /// Plays it to a limiter and to the model. What differs is the error.
    pub(super) fn play(&self) -> Result<(), String> {
        let mut stage = Stage::new(self);
        for (number, act) in self.acts.iter().enumerate() {
            stage.play(act).map_err(|error| format!("{error}, at {} after act {number}, {act:?}", stage.now))?;
        }
        stage.look().map_err(|error| format!("{error}, in the end"))
    }
}

fn any_policy(random: &mut Random, width: usize, fine: bool) -> Policy {
    let quotas = 1 + random.below(width as u64) as usize;
    let mut names = vec!["a", "b", "c", "d"];
    let each = (0..quotas).map(|_| {
        let name = names.swap_remove(random.below(names.len() as u64) as usize);
        (name, any_quota(random, fine))
    });
    Policy::new(each.collect::<Vec<_>>()).expect("one or more, and different names")
}

fn any_quota(random: &mut Random, fine: bool) -> Quota {
    let algorithms = [
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::AlignedWindow,
        Algorithm::SlidingWindow,
        Algorithm::StrictWindow,
    ];
    let algorithm = algorithms[if fine { 0 } else { random.below(5) as usize }];
    // Of more than 16 a strict window makes batches.
    let amount = if random.below(8) == 0 { 256 } else { 1 << random.below(6) };
    let period = if random.below(4) == 0 { PERIOD / 2 } else { PERIOD };
    let quota = Quota::new(amount, Duration::from_nanos(period)).expect("it can be kept");
    match algorithm {
        Algorithm::TokenBucket => quota.burst([amount, amount, 2 * amount, 1][random.below(4) as usize]),
        window => quota.try_algorithm(window).expect("it can be kept"),
    }
}

fn any_act(random: &mut Random, plans: usize, width: usize, fine: bool) -> Act {
    let pause = |random: &mut Random| {
        let ticks = if random.below(2) == 0 { random.below(300) } else { random.below(3 * PERIOD / TICK) };
        ticks * TICK + if fine { random.below(TICK) } else { 0 }
    };
    match random.below(32) {
        0..8 => Act::Check(random.below(12)),
        8 => Act::Check(random.below(40)),
        9 => Act::Check(random.below(300)),
        10..13 => Act::Reserve(random.below(12)),
        13..16 => Act::Settle(random.below(6) as usize, random.below(110)),
        16 if random.below(4) == 0 => Act::Refund(random.below(80)),
        16 => Act::Refund(random.below(12)),
        17 if random.below(2) == 0 && !fine => Act::Reset,
        17 => Act::Unlimited(random.below(9)),
        18..20 => Act::Look,
        20..23 => Act::On(random.below(plans as u64) as usize),
        23..25 => Act::Replace(random.below(plans as u64) as usize, any_policy(random, width, fine)),
        25..29 => Act::Advance(pause(random)),
        29..31 => Act::Wait,
        _ if fine => Act::Look,
        _ => Act::StepBack(pause(random)),
    }
}

/// A limiter and its model.
struct Stage {
    limiter: RateLimiter,
    /// By plan.
    handles: Vec<RateLimiter>,
    clock: ManualClock,
    now: u64,
    fine: bool,
    /// How many parts of a token buckets may owe too much.
    rounded_up: i64,
    on: usize,
    plans: Plans,
    /// How often a policy was replaced.
    version: u64,
    key: Key,
    open: Vec<Open>,
    /// Until when the last denial said to wait.
    until: u64,
}

/// A reservation that is not settled.
struct Open {
    reservation: Reservation,
    plan: usize,
    version: u64,
    charged: Vec<Account>,
}

impl Stage {
    fn new(history: &History) -> Self {
        let clock = Clock::manual();
        clock.advance(Duration::from_nanos(START));
        let policies = &history.policies;
        let mut builder = RateLimiter::builder(&policies[0]).capacity(16).quotas(history.width).clock(clock.clone());
        for (plan, policy) in policies.iter().enumerate().skip(1) {
            builder = builder.plan(format!("plan {plan}"), policy).expect("a new name");
        }
        let limiter = builder.build();
        let plan = |plan| match plan {
            0 => Plan::DEFAULT,
            _ => limiter.plan(&format!("plan {plan}")).expect("its name"),
        };
        let handles = (0..policies.len()).map(|number| limiter.on(plan(number)).expect("its own")).collect();
        let (plans, key) = (Plans::new(policies, history.width), Key::new(history.width));
        Self {
            limiter,
            handles,
            clock,
            now: START,
            fine: history.fine,
            rounded_up: 0,
            on: 0,
            plans,
            version: 0,
            key,
            open: Vec::new(),
            until: 0,
        }
    }

    fn play(&mut self, act: &Act) -> Result<(), String> {
        match *act {
            Act::Check(cost) => {
                let answer = self.handles[self.on].check_n("key", cost).map(|permit| *permit.status());
                self.compare(cost, answer)?;
            }
            Act::Reserve(cost) => {
                let answer = self.handles[self.on].reserve("key", cost);
                let status = answer.as_ref().map(|reservation| *reservation.permit().status());
                let charged = self.compare(cost, status.map_err(|denied| *denied))?;
                let (plan, version) = (self.on, self.version);
                self.open.extend(answer.ok().map(|reservation| Open { reservation, plan, version, charged }));
            }
            Act::Settle(which, percent) if !self.open.is_empty() => {
                let Open { reservation, plan, version, charged } = self.open.swap_remove(which % self.open.len());
                let cost = reservation.cost();
                let actual = cost * percent / 100;
                same("settled", reservation.settle(actual).is_ok(), actual <= cost)?;
                if actual < cost && version == self.version {
                    self.come(plan);
                    self.give_back(cost - actual, &charged);
                }
            }
            Act::Refund(cost) => {
                self.handles[self.on].refund("key", cost);
                let charged = self.accounts();
                self.give_back(cost, &charged);
            }
            Act::Reset => {
                self.handles[self.on].reset("key");
                self.key.forget();
            }
            Act::Settle(..) | Act::Look => self.look()?,
            Act::On(plan) => self.on = plan,
            Act::Replace(plan, ref policy) => {
                self.handles[plan].replace_policy(policy).expect("there is room");
                self.plans.replace(plan, policy);
                self.version += 1;
                self.key.carry(self.now, &self.plans);
                self.was_carried();
            }
            Act::Unlimited(cost) => {
                let unlimited = self.limiter.on(Plan::UNLIMITED).expect("every limiter has it");
                same("unlimited", unlimited.check_n("key", cost).is_ok(), true)?;
                unlimited.refund("key", cost);
            }
            Act::Advance(by) => self.advance(by),
            Act::Wait => {
                let wait = self.until.saturating_sub(self.now);
                self.advance(if self.fine { wait } else { wait.next_multiple_of(TICK) });
            }
            Act::StepBack(by) => {
                let by = by.min(self.now);
                self.clock.rewind(Duration::from_nanos(by));
                self.now -= by;
            }
        }
        Ok(())
    }

    fn advance(&mut self, by: u64) {
        self.clock.advance(Duration::from_nanos(by));
        self.now += by;
    }

    fn come(&mut self, plan: usize) {
        if self.key.come(self.now, &self.plans, plan) {
            self.was_carried();
        }
    }

    fn was_carried(&mut self) {
        self.rounded_up += if self.fine { ROUNDED_UP } else { 0 };
    }

    /// The key's accounts on the plan that is asked.
    fn accounts(&mut self) -> Vec<Account> {
        self.come(self.on);
        self.key.accounts(&self.plans)
    }

    fn give_back(&mut self, cost: u64, charged: &[Account]) {
        let mut accounts = self.key.accounts(&self.plans);
        for (account, charged) in accounts.iter_mut().zip(charged) {
            account.give_back(self.now, cost, charged);
        }
        self.key.put(&self.plans, accounts);
    }

    /// Compares an answer with what the model says, which follows it. Returns the accounts as they are then.
    fn compare(&mut self, cost: u64, answer: Result<Status, Denied>) -> Result<Vec<Account>, String> {
        let now = self.now;
        let mut accounts = self.accounts();
        let limits = self.plans.quotas(self.on).iter().map(|(_, quota)| quota.limit());
        let is_too_much = limits.min().expect("a policy has a quota") < cost;
        let passes = |accounts: &[Account], time| {
            cost == 0 || !is_too_much && accounts.iter().all(|account| account.passes(time, cost))
        };
        match answer {
            Ok(status) => {
                same("passes", true, passes(&accounts, now))?;
                if cost > 0 {
                    accounts.iter_mut().for_each(|account| account.charge(now, cost));
                    self.key.put(&self.plans, accounts.clone());
                }
                self.compare_status(&accounts, &status)?;
                self.compare_least(&accounts, &status)?;
            }
            Err(denied) => {
                let rounded_up: Vec<Account> = accounts.iter().map(|account| self.rounded_up(account)).collect();
                same("passes", false, passes(&rounded_up, now))?;
                same("for good", denied.is_permanent(), is_too_much)?;
                if let Some(wait) = denied.retry_after() {
                    self.until = now + wait.as_nanos() as u64;
                    same("passes after the wait", true, passes(&accounts, self.until))?;
                    let this = &rounded_up[denied.status().quota_index()];
                    same("passes a moment earlier", false, this.passes(self.until - 1, cost))?;
                }
                self.compare_status(&accounts, denied.status())?;
            }
        }
        Ok(accounts)
    }

    fn rounded_up(&self, account: &Account) -> Account {
        account.owing_more(self.now, self.rounded_up)
    }

    fn compare_status(&self, accounts: &[Account], status: &Status) -> Result<(), String> {
        let index = status.quota_index();
        let ((name, quota), account) = (&self.plans.quotas(self.on)[index], &accounts[index]);
        same("the name", status.quota(), name)?;
        same("the limit", status.limit(), quota.limit())?;
        self.compare_remaining(account, status.remaining())?;
        let full_at = self.now + status.reset_after().as_nanos() as u64;
        same("what is owed after the reset", 0, account.owes(full_at))?;
        let until_then = full_at == self.now || self.rounded_up(account).owes(full_at - 1) > 0;
        same("is owed until the reset", true, until_then)
    }

    fn compare_remaining(&self, account: &Account, remaining: u64) -> Result<(), String> {
        let least = self.rounded_up(account).remaining(self.now);
        same("what remains", remaining, account.remaining(self.now).min(remaining.max(least)))
    }

    /// Of all quotas, a status is that of the one with the least left.
    fn compare_least(&self, accounts: &[Account], status: &Status) -> Result<(), String> {
        let tightest = accounts.iter().min_by_key(|account| account.remaining(self.now));
        self.compare_remaining(tightest.expect("a policy has a quota"), status.remaining())
    }

    /// Compares where the key stands.
    fn look(&mut self) -> Result<(), String> {
        let accounts = self.accounts();
        let standing = self.handles[self.on].standing("key");
        same("how many quotas", standing.len(), accounts.len())?;
        standing.iter().try_for_each(|status| self.compare_status(&accounts, status))?;
        self.compare_least(&accounts, &self.handles[self.on].peek("key"))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, limiter: T, model: T) -> Result<(), String> {
    if limiter == model { Ok(()) } else { Err(format!("{what}: the limiter says {limiter:?}, the model {model:?}")) }
}
