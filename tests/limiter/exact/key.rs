//! [`Key`]: what one key owes in each column, and [`Plans`]: which quota has which column.
//!
//! A limiter has as many columns as its widest policy has quotas, or as it was told. A key owes something in each, and a plan may have no
//! quota in some. There the account waits: it goes on by the last quota that there was, on the plan under which the key last had one.

use std::collections::HashMap;

use tollgate::{Policy, Quota};

use super::account::{Account, Terms};

type Named = (String, Quota);

pub(super) struct Plans {
    plans: Vec<Plan>,
    /// By column, the largest limit that there has been on any plan.
    most: Vec<u64>,
}

struct Plan {
    quotas: Vec<Named>,
    /// By quota.
    columns: Vec<usize>,
    /// By column, the last quota there has been.
    latest: Vec<Option<Named>>,
    /// By name, the column in which it was last.
    last_in: HashMap<String, usize>,
}

impl Plans {
    pub(super) fn new(policies: &[Policy], width: usize) -> Self {
        let mut this = Self { plans: Vec::new(), most: vec![0; width] };
        for (plan, policy) in policies.iter().enumerate() {
            let (latest, last_in) = (vec![None; width], HashMap::new());
            this.plans.push(Plan { quotas: Vec::new(), columns: Vec::new(), latest, last_in });
            this.replace(plan, policy);
        }
        this
    }

    pub(super) fn replace(&mut self, plan: usize, policy: &Policy) {
        let quotas: Vec<Named> = policy.quotas().map(|(name, quota)| (name.to_string(), *quota)).collect();
        let columns = self.columns_of(plan, &quotas);
        for (quota, &column) in quotas.iter().zip(&columns) {
            self.most[column] = self.most[column].max(quota.1.limit());
            self.plans[plan].latest[column] = Some(quota.clone());
            self.plans[plan].last_in.insert(quota.0.clone(), column);
        }
        (self.plans[plan].quotas, self.plans[plan].columns) = (quotas, columns);
    }

    /// Quotas keep their columns: first by name, then by period, then in order. A name is sought where it is the last, then where
    /// it was last, and then where other plans have it. Columns come in this order: those that the plan has a quota
    /// in now, those that nobody ever had one in, the others.
    fn columns_of(&self, plan: usize, quotas: &[Named]) -> Vec<usize> {
        let this = &self.plans[plan];
        let known = |column: usize| {
            this.latest[column].as_ref().or_else(|| self.plans.iter().find_map(|plan| plan.latest[column].as_ref()))
        };
        let mut free = this.columns.clone();
        let others = (0..self.most.len()).filter(|column| !this.columns.contains(column));
        let (new, old): (Vec<usize>, Vec<usize>) = others.partition(|&column| known(column).is_none());
        free.extend(new.into_iter().chain(old));

        let mut columns = vec![None; quotas.len()];
        for round in 0..5 {
            for (quota, column) in quotas.iter().zip(&mut columns).filter(|(_, column)| column.is_none()) {
                let is_its_own = |&free: &usize| match (round, known(free)) {
                    (0, _) => this.latest[free].as_ref().is_some_and(|(name, _)| *name == quota.0),
                    (1, _) => this.last_in.get(&quota.0) == Some(&free),
                    (2, Some((name, _))) => *name == quota.0,
                    (3, Some((_, known))) => known.period() == quota.1.period(),
                    (4, _) => true,
                    _ => false,
                };
                *column = free.iter().position(is_its_own).map(|at| free.remove(at));
            }
        }
        columns.into_iter().map(|column| column.expect("there is room")).collect()
    }

    /// How many bits of a word are left beside the number of a plan.
    fn waiting_bits(&self) -> u32 {
        u64::BITS - self.plans.len().next_power_of_two().trailing_zeros()
    }

    /// The terms in a column, if the plan has a quota there.
    fn in_force(&self, plan: usize, column: usize) -> Option<Terms> {
        let index = self.plans[plan].columns.iter().position(|&this| this == column)?;
        Some(Terms { quota: self.plans[plan].quotas[index].1, most: self.most[column], word_bits: u64::BITS })
    }

    /// The terms of an account that waits.
    fn waiting(&self, plan: usize, column: usize) -> Terms {
        let (_, quota) = self.plans[plan].latest[column].as_ref().expect("the account was made by it");
        Terms { quota: *quota, most: self.most[column], word_bits: self.waiting_bits() }
    }

    /// The quotas in force, by their place in the policy.
    pub(super) fn quotas(&self, plan: usize) -> &[Named] {
        &self.plans[plan].quotas
    }
}

/// One key.
pub(super) struct Key {
    /// The plan under which it stands.
    plan: usize,
    /// By column; nothing where nothing was ever charged.
    columns: Vec<Option<Owed>>,
}

struct Owed {
    account: Account,
    /// The last plan under which the account was in force.
    plan: usize,
}

impl Key {
    pub(super) fn new(width: usize) -> Self {
        Self { plan: 0, columns: (0..width).map(|_| None).collect() }
    }

    /// Comes under a plan.
    pub(super) fn come(&mut self, now: u64, plans: &Plans, plan: usize) {
        if self.plan != plan {
            self.plan = plan;
            self.carry(now, plans);
        }
    }

    /// Is carried over to the rules of the plan under which it stands.
    pub(super) fn carry(&mut self, now: u64, plans: &Plans) {
        for (column, owed) in self.columns.iter_mut().enumerate() {
            let Some(owed) = owed else { continue };
            let terms = match plans.in_force(self.plan, column) {
                Some(terms) => {
                    owed.plan = self.plan;
                    terms
                }
                None => plans.waiting(owed.plan, column),
            };
            let carried = owed.account.carried(now, terms);
            owed.account.assert_nothing_forgiven(now, &carried);
            owed.account = carried;
        }
    }

    /// The accounts of the plan under which it stands, by the place of their quotas in the policy.
    pub(super) fn accounts(&self, plans: &Plans) -> Vec<Account> {
        let new = |column: usize| Account::new(plans.in_force(self.plan, column).expect("a column of the plan"));
        let account = |&column: &usize| match &self.columns[column] {
            Some(owed) => owed.account.clone(),
            None => new(column),
        };
        plans.plans[self.plan].columns.iter().map(account).collect()
    }

    /// Puts accounts in their place that have changed.
    pub(super) fn put(&mut self, plans: &Plans, accounts: Vec<Account>) {
        for (&column, account) in plans.plans[self.plan].columns.iter().zip(accounts) {
            self.columns[column] = Some(Owed { account, plan: self.plan });
        }
    }

    pub(super) fn forget(&mut self) {
        self.columns.fill_with(|| None);
    }
}
