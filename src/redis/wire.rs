//! [`Wire`]: a policy as the server is told of it, and its answers read back.

use std::num::NonZeroU32;

use super::error::SetupError;
use super::lease::{LeaseTerms, took_the_last};
use super::script::{Judged, Reply, ScriptQuota, called};
use super::terms::{is_bucket, terms};
use crate::decision::{Denied, Permit, Standing, Status};
use crate::name::Name;
use crate::policy::Policy;
use crate::quota::{Algorithm, Quota};

/// How long a denial asks a client to wait that nothing is known about, because the server does not answer.
pub(super) const WAIT_UNKNOWN_NANOS: u64 = 1_000_000_000;

/// A policy as the server is told of it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// The script's arguments: the number of quotas, and five words for each.
    pub(super) words: Vec<String>,
    quotas: Vec<(Name, u64)>,
    /// If its keys are leased: under which terms, and which quotas are buckets.
    leased: Option<(LeaseTerms, Vec<bool>)>,
    /// How often this plan's policy had been replaced.
    pub(super) version: u64,
}

impl Wire {
    /// A policy whose keys are leased, if so many programs lease them.
    pub(super) fn new(policy: &Policy, version: u64, leases: Option<NonZeroU32>) -> Result<Self, SetupError> {
        let mut words = vec![policy.quotas().len().to_string()];
        for (name, quota) in policy.quotas() {
            let told = ScriptQuota::new(quota).map_err(|why| SetupError::quota(name, why))?;
            let (kind, numbers) = told.arguments();
            words.extend([called(name, quota), kind.to_owned()]);
            words.extend(numbers.map(|number| number.to_string()));
        }
        let quotas = policy.names().zip(policy.quotas()).map(|(name, (_, quota))| (name, quota.limit())).collect();
        let leased = leases.map(|programs| terms(policy, programs)).transpose()?;
        let leased = leased.map(|terms| (terms, policy.quotas().map(|(_, quota)| is_bucket(quota)).collect()));
        Ok(Self { words, quotas, leased, version })
    }

    pub(super) fn terms(&self) -> Option<&LeaseTerms> {
        self.leased.as_ref().map(|(terms, _)| terms)
    }

    /// Whether it was a bucket that denied, of a policy whose keys are leased.
    pub(super) fn ran_dry(&self, denied: &Denied) -> bool {
        self.leased.as_ref().is_some_and(|(_, buckets)| buckets[denied.status.index])
    }

    /// Of a call that passed and asked for so much more: where the bucket stands of which it took the last, if it did.
    pub(super) fn dry(&self, reply: &Reply, want: u64) -> Option<Status> {
        let (_, buckets) = self.leased.as_ref()?;
        let took =
            |(index, judged): &(usize, &Judged)| buckets[*index] && took_the_last(want, reply.lent.0, judged.left);
        reply.quotas.iter().enumerate().find(took).map(|(index, judged)| self.status(index, judged))
    }

    /// Of a check that passed.
    pub(super) fn permit(&self, reply: &Reply) -> Permit {
        let left = |(_, judged): &(usize, &Judged)| judged.left;
        let (index, judged) =
            reply.quotas.iter().enumerate().min_by_key(left).expect("a policy has at least one quota");
        Permit { status: self.status(index, judged) }
    }

    /// Of one that did not: about the quota that has to be waited for longest.
    pub(super) fn denied(&self, reply: &Reply) -> Denied {
        // Of equals the first.
        let wait = |judged: &Judged| judged.wait_micros.map_or(u64::MAX, |micros| micros);
        let mut worst = (0, &reply.quotas[0]);
        for (index, judged) in reply.quotas.iter().enumerate() {
            if wait(judged) > wait(worst.1) {
                worst = (index, judged);
            }
        }
        let retry_after_nanos = worst.1.wait_micros.map(nanos);
        Denied { status: self.status(worst.0, worst.1), retry_after_nanos }
    }

    pub(super) fn standing(&self, reply: &Reply) -> Standing {
        Standing::of(reply.quotas.iter().enumerate().map(|(index, judged)| self.status(index, judged)))
    }

    fn status(&self, index: usize, judged: &Judged) -> Status {
        let (quota, limit) = self.quotas[index];
        Status { quota, index, limit, remaining: judged.left, reset_after_nanos: nanos(judged.reset_micros) }
    }

    /// Where a key stands that has spent nothing.
    pub(super) fn full(&self) -> Standing {
        let full = |(index, &(quota, limit))| Status { quota, index, limit, remaining: limit, reset_after_nanos: 0 };
        Standing::of(self.quotas.iter().enumerate().map(full))
    }

    /// The same, of the first quota, as if it had spent all.
    pub(super) fn spent(&self) -> Status {
        let (quota, limit) = self.quotas[0];
        Status { quota, index: 0, limit, remaining: 0, reset_after_nanos: 0 }
    }

    /// What a share has denied: what is too much for it may pass when the server is back.
    pub(super) fn denied_by_a_share(&self, denied: Denied, cost: u64) -> Denied {
        match denied.retry_after_nanos {
            None if self.can_pass(cost) => Denied { retry_after_nanos: Some(WAIT_UNKNOWN_NANOS), ..denied },
            _ => denied,
        }
    }

    /// Of a check that did not pass, and never will, since so much is asked in all: about the first quota that says so.
    pub(super) fn denied_for_ever(&self, reply: &Reply, cost: u64) -> Option<Denied> {
        let index = self.quotas.iter().position(|&(_, limit)| cost > limit)?;
        Some(Denied { status: self.status(index, &reply.quotas[index]), retry_after_nanos: None })
    }

    /// Whether a cost could ever pass.
    pub(super) fn can_pass(&self, cost: u64) -> bool {
        self.quotas.iter().all(|&(_, limit)| cost <= limit)
    }
}

fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1000)
}

/// What one of so many programs enforces alone, by the names that the quotas have.
pub(super) fn share(policy: &Policy, nodes: NonZeroU32) -> Policy {
    policy.map(|quota| share_of(quota, nodes))
}

fn share_of(quota: &Quota, nodes: NonZeroU32) -> Quota {
    let (amount, burst) = (quota.amount(), quota.limit());
    let part = |whole: u64| (whole / u64::from(nodes.get())).max(1);
    if nodes.get() == 1 || amount == 0 {
        return *quota;
    }
    if quota.algorithm() == Algorithm::TokenBucket {
        // The exact share of the rate, if it is not slower than any can be.
        let slower = quota.period().checked_mul(nodes.get()).and_then(|period| Quota::new(amount, period).ok());
        let slower = slower.and_then(|slower| slower.try_burst(part(burst)).ok());
        let least = || Quota::new(part(amount), quota.period()).and_then(|least| least.try_burst(part(burst)));
        return slower.or_else(|| least().ok()).unwrap_or(*quota);
    }
    // One in so many periods, where the share is less than one in each.
    let slower = || {
        let periods = nodes.get().div_ceil(u32::try_from(amount).ok()?);
        Quota::new(1, quota.period().checked_mul(periods)?).ok()
    };
    let shared = if amount >= u64::from(nodes.get()) { None } else { slower() };
    let shared = shared.map_or_else(|| Quota::new(part(amount), quota.period()), Ok);
    shared.and_then(|shared| shared.try_algorithm(quota.algorithm())).unwrap_or(*quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_more_than_its_part() {
        for (whole, nodes, part) in [
            ("28/second", 1, "28/second"),
            ("28/second", 4, "28/second: 28/4 seconds burst 7"),
            ("28/second burst 3", 4, "28/second: 28/4 seconds burst 1"),
            ("0/second", 4, "0/second"),
            ("100/minute fixed", 3, "100/minute: 33/minute fixed"),
            ("5/minute sliding", 10, "5/minute: 1/2 minutes sliding"),
            ("a: 5/minute strict; b: 9/hour", 3, "a: 1/minute strict; b: 9/3 hours burst 3"),
        ] {
            let shared = share(&whole.parse().unwrap(), NonZeroU32::new(nodes).unwrap());
            assert_eq!(shared.to_string(), part, "{whole} for {nodes}: each by its own name");
        }
        // Where no exact share can be had, the least that there is.
        let shared = share(&"7/3660 days".parse().unwrap(), NonZeroU32::new(1000).unwrap());
        assert_eq!(shared.to_string(), "7/3660 days: 1/3660 days");
    }
}
