//! [`History`]: what happens to a limiter and to its model, in which nothing may differ.

use std::time::Duration;

use tollgate::{Algorithm, Clock, Denied, ManualClock, Plan, Policy, Quota, RateLimiter, Reservation, Status};

use super::account::{Account, PERIOD, TICK};
use super::key::{Key, Plans};
use crate::random::Random;

/// Where the clock stands at first, so that it can step back.
const START: u64 = 24 * PERIOD;

/// Keys that all find room, in whatever two of the table's three buckets of eight.
const KEYS: [&str; 5] = ["key", "alice", "bob", "carol", "dave"];

/// A limiter as it is built, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// Of buckets only, by powers of two, where the clock stands at any nanosecond, and not at multiples of `TICK`.
    pub(super) fine: bool,
    /// How many keys there are. If several, the clock never steps back: one that owes nothing any more gives up its place to another, and
    /// would owe again.
    pub(super) keys: usize,
    pub(super) width: usize,
    /// By plan.
    pub(super) policies: Vec<Policy>,
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
    /// What follows is asked by this key.
    By(usize),
    Replace(usize, Policy),
    /// Another policy of the plan, or another plan, is met with so small a cost, and the old one again at the same moment.
    ThereAndBack(usize, Option<Policy>, u64),
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
        let keys = if random.below(4) == 0 { KEYS.len() } else { 1 };
        let policies: Vec<Policy> = (0..plans).map(|_| any_policy(&mut random, width, fine)).collect();
        let mut had: Vec<Vec<Policy>> = policies.iter().map(|policy| vec![policy.clone()]).collect();
        let acts = (0..20 + random.below(200)).map(|_| any_act(&mut random, &mut had, width, keys, fine)).collect();
        Self { fine, keys, width, policies, acts }
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
    let amount = match random.below(16) {
        0 => 0,
        1 | 2 => 256,
        3..8 if !fine => 1 + random.below(300),
        _ => 1 << random.below(6),
    };
    let period = match random.below(8) {
        0 | 1 => PERIOD / 2,
        2 | 3 if !fine => PERIOD / 4 * 3,
        _ => PERIOD,
    };
    let quota = Quota::new(amount, Duration::from_nanos(period)).expect("it can be kept");
    match algorithm {
        Algorithm::TokenBucket if amount == 0 => quota,
        Algorithm::TokenBucket => quota.burst([amount, amount, 2 * amount, 1][random.below(4) as usize]),
        window => quota.try_algorithm(window).expect("it can be kept"),
    }
}

/// The plans' policies until now are kept in `had`, by plan: half of those that replace them are old ones that come back.
fn any_act(random: &mut Random, had: &mut [Vec<Policy>], width: usize, keys: usize, fine: bool) -> Act {
    let plans = had.len();
    let pause = |random: &mut Random| {
        let ticks = if random.below(2) == 0 { random.below(300) } else { random.below(3 * PERIOD / TICK) };
        ticks * TICK + if fine { random.below(TICK) } else { 0 }
    };
    if keys > 1 && random.below(5) == 0 {
        return Act::By(random.below(keys as u64) as usize);
    }
    match random.below(32) {
        0..8 => Act::Check(random.below(12)),
        8 => Act::Check(random.below(40)),
        9 => Act::Check(random.below(300)),
        10..13 => Act::Reserve(random.below(12)),
        13..16 => Act::Settle(random.below(6) as usize, random.below(110)),
        16 if random.below(4) == 0 => Act::Refund(random.below(80)),
        16 => Act::Refund(random.below(12)),
        17 if random.below(2) == 0 => Act::Reset,
        17 => Act::Unlimited(random.below(9)),
        18..20 => Act::Look,
        20..23 => Act::On(random.below(plans as u64) as usize),
        23 => {
            let plan = random.below(plans as u64) as usize;
            let of_plan = &mut had[plan];
            if random.below(2) == 0 {
                of_plan.push(any_policy(random, width, fine));
            } else {
                let old = random.below(of_plan.len() as u64) as usize;
                of_plan[old..].rotate_left(1);
            }
            Act::Replace(plan, of_plan[of_plan.len() - 1].clone())
        }
        24 => {
            let plan = random.below(plans as u64) as usize;
            let policy = (random.below(2) == 0).then(|| any_policy(random, width, fine));
            Act::ThereAndBack(plan, policy, random.below(3))
        }
        25..29 => Act::Advance(pause(random)),
        29..31 => Act::Wait,
        _ if keys > 1 => Act::Look,
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
    /// How far time has ever come.
    latest: u64,
    fine: bool,
    on: usize,
    by: usize,
    plans: Plans,
    /// How often a policy was replaced.
    version: u64,
    keys: Vec<Key>,
    open: Vec<Open>,
    /// Until when the last denial said to wait.
    until: u64,
}

/// A reservation that is not settled.
struct Open {
    reservation: Reservation,
    key: usize,
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
        let plans = Plans::new(policies, history.width);
        let keys = (0..history.keys).map(|_| Key::new(history.width)).collect();
        Self {
            limiter,
            handles,
            clock,
            now: START,
            latest: START,
            fine: history.fine,
            on: 0,
            by: 0,
            plans,
            version: 0,
            keys,
            open: Vec::new(),
            until: 0,
        }
    }

    fn play(&mut self, act: &Act) -> Result<(), String> {
        let key = KEYS[self.by];
        match *act {
            Act::Check(cost) => {
                let answer = self.handles[self.on].check_n(key, cost).map(|permit| *permit.status());
                self.compare(cost, answer)?;
            }
            Act::Reserve(cost) => {
                let answer = self.handles[self.on].reserve(key, cost);
                let status = answer.as_ref().map(|reservation| *reservation.permit().status());
                let charged = self.compare(cost, status.map_err(|denied| *denied))?;
                let (key, plan, version) = (self.by, self.on, self.version);
                self.open.extend(answer.ok().map(|reservation| Open { reservation, key, plan, version, charged }));
            }
            Act::Settle(which, percent) if !self.open.is_empty() => {
                let Open { reservation, key, plan, version, charged } = self.open.swap_remove(which % self.open.len());
                let cost = reservation.cost();
                let actual = cost * percent / 100;
                same("settled", reservation.settle(actual).is_ok(), actual <= cost)?;
                if actual < cost && version == self.version {
                    self.keys[key].come(self.now, &self.plans, plan);
                    self.give_back(key, cost - actual, &charged);
                }
            }
            Act::Refund(cost) => {
                self.handles[self.on].refund(key, cost);
                let charged = self.accounts();
                self.give_back(self.by, cost, &charged);
            }
            Act::Reset => {
                self.handles[self.on].reset(key);
                self.keys[self.by].forget();
            }
            Act::Settle(..) | Act::Look => self.look()?,
            Act::On(plan) => self.on = plan,
            Act::By(key) => self.by = key,
            Act::Replace(plan, ref policy) => self.replace(plan, policy),
            Act::ThereAndBack(plan, ref policy, cost) => {
                self.look()?;
                let (before, on) = (self.accounts(), self.on);
                let of_plan = self.handles[plan].policy();
                self.on = plan;
                if let Some(policy) = policy {
                    self.replace(plan, policy);
                }
                self.play(&Act::Check(cost))?;
                self.look()?;
                if policy.is_some() {
                    self.replace(plan, &of_plan);
                }
                self.on = on;
                self.look()?;
                for (before, after) in before.iter().zip(self.accounts()) {
                    // What is owed only because the clock stepped back may be forgotten.
                    let is_spent = self.now >= self.latest && !before.is_more_than_granted(self.now);
                    let is_kept = !is_spent || before.owes_no_more_than(&after, self.now);
                    same("keeps what is owed", is_kept, true)
                        .map_err(|error| format!("{error}: {before:?} {after:?}"))?;
                }
            }
            Act::Unlimited(cost) => {
                let unlimited = self.limiter.on(Plan::UNLIMITED).expect("every limiter has it");
                same("unlimited", unlimited.check_n(key, cost).is_ok(), true)?;
                unlimited.refund(key, cost);
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

    fn replace(&mut self, plan: usize, policy: &Policy) {
        self.handles[plan].replace_policy(policy).expect("there is room");
        self.plans.replace(plan, policy);
        self.version += 1;
        self.keys.iter_mut().for_each(|key| key.carry(self.now, &self.plans));
    }

    fn advance(&mut self, by: u64) {
        self.clock.advance(Duration::from_nanos(by));
        self.now += by;
        self.latest = self.latest.max(self.now);
    }

    /// The key's accounts on the plan that is asked.
    fn accounts(&mut self) -> Vec<Account> {
        self.keys[self.by].come(self.now, &self.plans, self.on);
        self.keys[self.by].accounts(&self.plans)
    }

    fn give_back(&mut self, key: usize, cost: u64, charged: &[Account]) {
        let mut accounts = self.keys[key].accounts(&self.plans);
        for (account, charged) in accounts.iter_mut().zip(charged) {
            account.give_back(self.now, cost, charged);
        }
        self.keys[key].put(&self.plans, accounts);
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
                    self.keys[self.by].put(&self.plans, accounts.clone());
                }
                self.compare_status(&accounts, &status)?;
                self.compare_least(&accounts, &status)?;
            }
            Err(denied) => {
                same("passes", false, passes(&accounts, now))?;
                same("for good", denied.is_permanent(), is_too_much)?;
                if let Some(wait) = denied.retry_after() {
                    self.until = now + wait.as_nanos() as u64;
                    let then: Vec<Account> = accounts.iter().map(Account::between_ticks).collect();
                    same("passes after the wait", true, passes(&then, self.until))?;
                    let this = &then[denied.status().quota_index()];
                    same("passes a moment earlier", false, this.passes(self.until - 1, cost))?;
                }
                self.compare_status(&accounts, denied.status())?;
            }
        }
        Ok(accounts)
    }

    fn compare_status(&self, accounts: &[Account], status: &Status) -> Result<(), String> {
        let index = status.quota_index();
        let ((name, quota), account) = (&self.plans.quotas(self.on)[index], &accounts[index]);
        same("the name", status.quota(), name)?;
        same("the limit", status.limit(), quota.limit())?;
        same("what remains", status.remaining(), account.remaining(self.now))?;
        if account.never_refills() {
            return same("the reset", status.reset_after(), Duration::ZERO);
        }
        let then = account.between_ticks();
        let full_at = self.now + status.reset_after().as_nanos() as u64;
        same("what is owed after the reset", 0, then.owes(full_at))?;
        let until_then = full_at == self.now || then.owes(full_at - 1) > 0;
        same("is owed until the reset", true, until_then)
    }

    /// Of all quotas, a status is that of the one with the least left.
    fn compare_least(&self, accounts: &[Account], status: &Status) -> Result<(), String> {
        let least = accounts.iter().map(|account| account.remaining(self.now)).min();
        same("the least that remains", status.remaining(), least.expect("a policy has a quota"))
    }

    /// Compares where the key stands.
    fn look(&mut self) -> Result<(), String> {
        let accounts = self.accounts();
        let standing = self.handles[self.on].standing(KEYS[self.by]);
        same("how many quotas", standing.len(), accounts.len())?;
        standing.iter().try_for_each(|status| self.compare_status(&accounts, status))?;
        self.compare_least(&accounts, &self.handles[self.on].peek(KEYS[self.by]))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, limiter: T, model: T) -> Result<(), String> {
    if limiter == model { Ok(()) } else { Err(format!("{what}: the limiter says {limiter:?}, the model {model:?}")) }
}
