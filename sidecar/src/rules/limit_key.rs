//! [`LimitKey`]: the key of a request by one limit, as the request was marked when it was judged.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use tollgate::http::{KeyExtractor, NoKey};

use super::key::RequestKey;
use super::{Matcher, Shares};

/// What decides about requests, without their counts.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) matcher: Matcher,
    pub(super) shares: Vec<Shares>,
    /// Whether every limit counts every request, so that there is nothing to judge.
    pub(super) plain: bool,
}

/// Which limits count a request, in its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// The limits that count it, as bits.
    pub(super) limits: u64,
    /// Of those, the ones that deny nothing.
    pub(super) shadow: u64,
    pub(super) client: IpAddr,
    pub(super) by_proxy: bool,
}

/// The key of a request by one limit, as the request is marked.
#[derive(Clone, Debug)]
pub struct LimitKey {
    pub(super) rules: Arc<Rules>,
    pub(super) limit: usize,
}

impl KeyExtractor for LimitKey {
    type Key<'a> = RequestKey<'a>;

    fn extract<'a>(&'a self, head: &'a Parts) -> Result<RequestKey<'a>, NoKey> {
        let Rules { matcher, plain, .. } = &*self.rules;
        let client = match head.extensions.get() {
            Some(Mark { client, .. }) => *client,
            None if *plain => matcher.counted.extract(head)?,
            None => return Err(NoKey::Misconfigured("the request has not been judged".into())),
        };
        let rule = &matcher.rules[self.limit];
        rule.key.of(head, client, rule.missing).map_err(|what| NoKey::Absent(what.into()))
    }
}
