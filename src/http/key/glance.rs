//! [`Glance`]: what a request's head says while the request is whole.

use http::request::Parts;
use http::{Extensions, HeaderMap, Request};

/// What a request's head says while the request is whole.
///
/// `http` shows a request's head in one piece only if the request is taken apart. To take it apart and put it together again
/// copies it twice, which takes longer than a check. So what most requests are counted by is found without.
#[derive(Clone, Copy, Debug)]
pub struct Glance<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a> Glance<'a> {
    #[inline]
    pub(in crate::http) fn of<B>(request: &'a Request<B>) -> Self {
        Self { headers: request.headers(), extensions: request.extensions() }
    }

    /// The same of a head that stands alone.
    #[inline]
    pub(super) fn at(head: &'a Parts) -> Self {
        Self { headers: &head.headers, extensions: &head.extensions }
    }
}
