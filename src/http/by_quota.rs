//! [`ByQuota`]: something for each quota of a limiter, by its name.

use parking_lot::RwLock;

/// Something for each quota of a limiter, by its name. Quotas can come later, when a policy is replaced.
#[derive(Debug)]
pub(super) struct ByQuota<T> {
    /// In the order in which they came. There are as many as the program's policies have names.
    rows: RwLock<Vec<(String, T)>>,
}

impl<T> ByQuota<T> {
    pub(super) fn new<'a>(quotas: impl Iterator<Item = &'a str>, make: impl Fn(&str) -> T) -> Self {
        Self { rows: RwLock::new(quotas.map(|name| (name.to_owned(), make(name))).collect()) }
    }

    /// Acts on a quota's, which is made if it is new.
    pub(super) fn with(&self, quota: &str, make: impl FnOnce(&str) -> T, act: impl FnOnce(&T)) {
        let of_quota = |(name, _): &&(String, T)| name == quota;
        if let Some((_, row)) = self.rows.read().iter().find(of_quota) {
            return act(row);
        }
        // Before the lock is taken: what makes one may be the code of somebody else, as a recorder's is.
        let made = make(quota);
        let mut rows = self.rows.write();
        if !rows.iter().any(|(name, _)| name == quota) {
            rows.push((quota.to_owned(), made));
        }
        if let Some((_, row)) = rows.iter().find(of_quota) {
            act(row);
        }
    }

    /// What becomes of each, with its quota's name.
    pub(super) fn map<R>(&self, of: impl Fn(&str, &T) -> R) -> Vec<R> {
        self.rows.read().iter().map(|(name, row)| of(name, row)).collect()
    }

    /// Whether these are the quotas, in this order.
    pub(super) fn are<'a>(&self, quotas: impl Iterator<Item = &'a str>) -> bool {
        self.rows.read().iter().map(|(name, _)| name.as_str()).eq(quotas)
    }
}
