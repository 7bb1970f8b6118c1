//! [`JointLayer`]: several limits, judged as one.

use std::fmt;
use std::sync::Arc;

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::http::any_body::AnyBody;
use crate::http::decide::Decide;
use crate::http::key::KeyExtractor;
use crate::limiter::RateLimiter;

/// # Several limits as one
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Joins this layer with another, or with [several](JointLayer): a request must pass all, and is charged to all or to none.
    ///
    /// Two layers, one around the other, do otherwise: the outer one has charged a request before the inner one denies it.
    /// And it may let a client come back too early.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::{ClientIp, ExtensionKey};
    ///
    /// // Inserted by the layer that checks the credentials.
    /// #[derive(Clone)]
    /// struct User {
    ///     id: u64,
    /// }
    ///
    /// let per_address = RateLimitLayer::per_second(28);
    /// let per_user = RateLimitLayer::per_minute(600)
    ///     .key(ExtensionKey::<User>::new(|user: &User| user.id));
    /// let limit = per_address.and(per_user);
    /// # let _ = limit;
    /// ```
    ///
    /// Each keeps what is set on it: which requests it counts, by what, on which plan, at what cost, how it answers, and who is told.
    /// A request that one of them does not count is the others' alone. Set all of it before.
    ///
    /// A request that one of them refuses because it has no key is charged to none. Where such requests can come in masses, put
    /// the limit by address around the others as a layer of its own.
    ///
    /// A denial is that of the layer with the longest wait. After that wait, the request passes all, if nobody else charges its
    /// keys. A layer in [`shadow`](Self::shadow), or that does not [act](Self::rollout) this time, is asked after the
    /// others let the request pass, so that it never charges them. If several tell the client where it stands, in headers of one
    /// name, or the handler, then the one with least left is heard.
    ///
    /// A layer that delays cannot be joined: while a request waits for one limit, the others could not promise it anything.
    ///
    /// ```compile_fail
    /// # use tollgate::RateLimitLayer;
    /// let delaying = RateLimitLayer::per_second(28)
    ///     .delay(std::time::Duration::from_secs(1));
    /// let limit = RateLimitLayer::per_minute(600).and(delaying);
    /// ```
    ///
    /// Nor can one whose limiter is on a server. Direct calls can be judged as one there, by `tollgate::redis::check_all`.
    ///
    /// Nor can joined layers stand in for another, as by [`when`](Self::when). Give [`when`](Self::when) to those that are joined.
    #[must_use]
    pub fn and(self, other: impl Join) -> JointLayer
    where
        Self: Join,
    {
        self.joint().and(other)
    }
}

/// A limit that can be judged with others as one: a [`RateLimitLayer`] whose limiter answers at once, or several of them.
///
/// This trait is sealed: it cannot be implemented for other types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be judged with other limits as one",
    label = "its limiter does not answer at once",
    note = "while a request waited for one limit, the others could promise it nothing: join layers that do not delay",
    note = "limits on a server are judged as one by `tollgate::redis::check_all`"
)]
pub trait Join: sealed::Sealed {
    #[doc(hidden)]
    fn joint(self) -> JointLayer;
}

mod sealed {
    pub trait Sealed {}
}

impl<K, L> sealed::Sealed for RateLimitLayer<K, L> {}

impl<K: KeyExtractor + Send + Sync + 'static> Join for RateLimitLayer<K> {
    fn joint(self) -> JointLayer {
        JointLayer::from(self)
    }
}

impl sealed::Sealed for JointLayer {}

impl Join for JointLayer {
    fn joint(self) -> JointLayer {
        self
    }
}

/// Several limits, judged as one: a request passes all and is charged to all, or to none. Made by
/// [`RateLimitLayer::and`].
///
/// Clones share their limits, as clones of a [`RateLimitLayer`] do. To look at a client or to reset one, keep clones of the layers
/// that were joined, and ask those.
#[derive(Clone)]
pub struct JointLayer {
    pub(in crate::http) members: Arc<[Arc<dyn Decide<RateLimiter>>]>,
}

impl JointLayer {
    /// Joins one more [`RateLimitLayer`], or several more.
    #[must_use]
    pub fn and(self, other: impl Join) -> Self {
        Self { members: self.members.iter().chain(&*other.joint().members).cloned().collect() }
    }

    /// Lets it stand around services with any response body, as [`RateLimitLayer::any_body`] does. Call this last.
    #[must_use]
    pub fn any_body(self) -> AnyBody<Self> {
        AnyBody::new(self)
    }
}

/// A limit by itself, to which others can be joined.
impl<K: KeyExtractor + Send + Sync + 'static> From<RateLimitLayer<K>> for JointLayer {
    fn from(only: RateLimitLayer<K>) -> Self {
        Self { members: Arc::new([only.gate]) }
    }
}

impl fmt::Debug for JointLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JointLayer").field("limits", &self.members.len()).finish()
    }
}
