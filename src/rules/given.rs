//! [`Given`]: what rules are made from, and which column of the table each quota has.
//!
//! A key has a word for each *column*, as many as the limiter was built with, and a policy may have fewer quotas. A quota keeps its
//! column when its policy is replaced, and quotas of several plans that belong together have the same, so that what was spent under
//! one counts under the other.
//!
//! A new policy's quotas find their columns so: first by name, then by period, then the rest in order. A column knows the quota that
//! the plan had there last, in force or not, or else the one of the first plan that had one. A name that no column knows any more is
//! looked for where the plan had it last: so who goes back to a policy finds every quota where it was, whatever took its place meanwhile.
//! Columns in which the plan has a quota come first, then those in which nobody ever had one.

use crate::algorithm::Counter;
use crate::name::Name;
use crate::policy::{Policy, QUOTAS_MAX};
use crate::quota::Quota;

/// The most that is remembered to have been spent in a column. More would not fit the windows' sums.
const LARGEST_MAX: u64 = 1 << 60;

/// Of how many names a plan remembers the columns. A program that makes up new names for ever must not fill the memory.
const NAMES_MAX: usize = 64;

/// What rules are made from.
pub(super) struct Given {
    /// By plan.
    plans: Vec<GivenPlan>,
    /// By column, the largest limit that any plan has ever had there, and so the most that a key can have spent.
    largest: Vec<u64>,
    /// The wall clock when the limiter's clock stood at zero, for aligned windows.
    unix_nanos_at_zero: u64,
}

type Named = (Name, Quota);

struct GivenPlan {
    policy: Policy,
    /// By quota.
    columns: Vec<usize>,
    /// By column, the quota that the plan had there last.
    latest: Vec<Option<Named>>,
    /// Where each name was last, the latest at the end.
    names: Vec<(Name, usize)>,
}

/// A quota in force.
pub(super) struct InForce {
    pub(super) counter: Counter,
    pub(super) column: usize,
    pub(super) limit: u64,
    pub(super) name: Name,
}

impl Given {
    /// Of these plans, each with at most `width` quotas.
    pub(super) fn new(policies: Vec<Policy>, width: usize, unix_nanos_at_zero: u64) -> Self {
        let mut given = Self { plans: Vec::new(), largest: vec![0; width], unix_nanos_at_zero };
        for (plan, policy) in policies.into_iter().enumerate() {
            let (latest, names) = (vec![None; width], Vec::new());
            given.plans.push(GivenPlan { policy: Policy::empty(), columns: Vec::new(), latest, names });
            given.replace(plan, policy);
        }
        given
    }

    pub(super) fn plans(&self) -> usize {
        self.plans.len()
    }

    pub(super) fn policy(&self, plan: usize) -> &Policy {
        &self.plans[plan].policy
    }

    pub(super) fn replace(&mut self, plan: usize, policy: Policy) {
        let columns = self.columns(plan, &policy);
        let this = &mut self.plans[plan];
        for (((_, quota), name), &column) in policy.quotas().zip(policy.names()).zip(&columns) {
            this.latest[column] = Some((name, *quota));
            this.names.retain(|(other, _)| *other != name);
            this.names.push((name, column));
            self.largest[column] = self.largest[column].max(quota.limit().min(LARGEST_MAX));
        }
        this.names.drain(..this.names.len().saturating_sub(NAMES_MAX));
        (this.policy, this.columns) = (policy, columns);
    }

    /// The columns of a policy's quotas, if it became a plan's.
    fn columns(&self, plan: usize, policy: &Policy) -> Vec<usize> {
        let width = self.largest.len();
        let this = &self.plans[plan];
        let known = |column: usize| {
            let of = |plan: &GivenPlan| plan.latest[column];
            of(this).or_else(|| self.plans.iter().find_map(of))
        };
        // First those in force, then those that nobody knows, then the others.
        let mut order: Vec<usize> = (0..width).collect();
        let place = |column: usize| this.columns.iter().position(|&this| this == column).unwrap_or(QUOTAS_MAX);
        order.sort_by_key(|&column| (place(column), known(column).is_some()));

        let mut found = vec![None; policy.quotas().len()];
        let quotas: Vec<Named> = policy.names().zip(policy.quotas().map(|(_, quota)| *quota)).collect();
        let fits = |round, (name, quota): &Named, column: usize| match round {
            0 => this.latest[column].is_some_and(|(known, _)| known == *name),
            1 => this.names.contains(&(*name, column)),
            2 => known(column).is_some_and(|(known, _)| known == *name),
            3 => known(column).is_some_and(|(_, known)| known.period() == quota.period()),
            _ => true,
        };
        for round in 0..=4 {
            for (quota, found) in quotas.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                *found = order.iter().position(|&column| fits(round, quota, column)).map(|at| order.remove(at));
            }
        }
        found.into_iter().map(|column| column.expect("there are as many columns as quotas, or more")).collect()
    }

    /// Whether some plan leaves a column without a quota.
    pub(super) fn parks(&self) -> bool {
        self.plans.iter().any(|plan| plan.columns.len() < self.largest.len())
    }

    /// A plan's quotas.
    pub(super) fn in_force(&self, plan: usize) -> impl Iterator<Item = InForce> {
        let GivenPlan { policy, columns, .. } = &self.plans[plan];
        policy.quotas().zip(policy.names()).zip(columns).map(|(((_, quota), name), &column)| InForce {
            counter: quota.counter(self.unix_nanos_at_zero, self.largest[column]),
            column,
            limit: quota.limit(),
            name,
        })
    }

    /// The quota that a plan had last in a column, if it had one, and the most that can be owed there.
    pub(super) fn latest(&self, plan: usize, column: usize) -> Option<(&Quota, u64)> {
        let (_, quota) = self.plans[plan].latest[column].as_ref()?;
        Some((quota, self.largest[column]))
    }

    pub(super) fn unix_nanos_at_zero(&self) -> u64 {
        self.unix_nanos_at_zero
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        text.parse().expect("a policy")
    }

    /// The columns that a plan's quotas have after one policy came after the other.
    #[track_caller]
    fn check(width: usize, policies: &[&str], columns: &[usize]) {
        let mut given = Given::new(vec![policy(policies[0])], width, 0);
        for text in &policies[1..] {
            given.replace(0, policy(text));
        }
        assert_eq!(given.plans[0].columns, columns, "{policies:?}");
    }

    #[test]
    fn a_quota_keeps_its_column_by_its_name_then_by_its_period_then_in_order() {
        check(2, &["5/minute; 100/day"], &[0, 1]);
        check(2, &["5/minute; 100/day", "100/day; 5/minute"], &[1, 0]);
        check(2, &["a: 5/minute; b: 100/day", "b: 7/hour"], &[1]);
        check(2, &["a: 5/minute; b: 100/day", "7/day"], &[1]);
        check(2, &["a: 5/minute; b: 100/day", "7/hour"], &[0]);
        check(2, &["a: 5/minute; b: 100/day", "7/hour; 8/week"], &[0, 1]);
        // A name goes before a period.
        check(2, &["a: 5/minute; b: 100/day", "b: 5/minute; a: 9/day"], &[1, 0]);
        check(2, &["a: 5/minute; b: 100/day", "b: 5/minute; c: 9/day"], &[1, 0]);
    }

    #[test]
    fn a_quota_that_comes_back_finds_its_column() {
        check(2, &["a: 5/minute; b: 100/day", "b: 100/day", "a: 7/hour; b: 100/day"], &[0, 1]);
        check(2, &["5/minute; 100/day", "100/day", "9/minute; 100/day"], &[0, 1]);
        // One that nobody knows takes a column that nobody had.
        check(3, &["a: 5/minute; b: 100/day", "b: 100/day", "b: 100/day; c: 7/week"], &[1, 2]);
        check(3, &["a: 5/minute; b: 100/day", "b: 100/day; c: 7/week; a: 1/hour"], &[1, 2, 0]);
        check(2, &["a: 5/minute; b: 100/day", "b: 100/day", "b: 100/day; c: 7/week"], &[1, 0]);
    }

    /// What took its place has another name and period, and a column that is not in use knew one of that period: that was taken for it.
    #[test]
    fn a_quota_that_was_replaced_comes_back_to_its_column() {
        let undone = ["c: 20/day", "d: 8/day; c: 9/hour", "c: 20/day", "b: 7/hour", "c: 20/day"];
        for (steps, columns) in [(1, &[0][..]), (2, &[1, 0]), (3, &[0]), (4, &[0]), (5, &[0])] {
            check(2, &undone[..steps], columns);
        }
        // The same where it had gone by its period, in between by other names.
        check(2, &["5/minute; 100/day", "a: 7/hour; b: 8/week", "100/day; 5/minute"], &[1, 0]);
    }

    /// A program that makes up names does not fill the memory with them.
    #[test]
    fn so_many_names_are_remembered() {
        let mut given = Given::new(vec![policy("a: 5/minute; b: 100/day")], 2, 0);
        for number in 0..1000 {
            given.replace(0, policy(&format!("a{number}: 5/minute; b{number}: 100/day")));
        }
        assert_eq!(given.plans[0].names.len(), NAMES_MAX);
    }

    #[test]
    fn plans_have_one_column_for_what_belongs_together() {
        let given =
            Given::new(vec![policy("5/minute; 100/day"), policy("1000/day"), policy("7/week; 50/minute")], 3, 0);
        let columns: Vec<&[usize]> = given.plans.iter().map(|plan| &plan.columns[..]).collect();
        assert_eq!(columns, [&[0, 1][..], &[1], &[2, 0]]);
    }
}
