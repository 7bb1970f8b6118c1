//! [`JointLayer`]: several limits, judged as one.

use std::fmt;
use std::sync::Arc;

use super::RateLimitLayer;
use crate::backend::{Backend, Joint};
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
    /// Their limiters are all in process, or all on servers: see [`JointLayer`](JointLayer#on-a-server).
    ///
    /// A request that one of them refuses because it has no key is charged to none. Where such requests can come in masses, put
    /// the limit by address around the others as a layer of its own.
    ///
    /// A denial is that of the layer with the longest wait. After that wait, the request passes all, if nobody else charges its
    /// keys. A layer in [`shadow`](Self::shadow), and one that does not [act](Self::rollout) on a denial, is left out then, and the
    /// others are asked without it. So it keeps no other from being charged, and it counts only what the others let pass. If several
    /// tell the client where it stands, in headers of one name, or the handler, then the one with least left is heard.
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
    /// Nor can a limiter in process with one on a server: until the server has answered, the one in process would have to be charged for
    /// a request that may not pass. Put one layer around the other. If the outer one [settles](Self::settle) with 0 where the response has
    /// a [`Denied`](crate::Denied) in its extensions, then in the end it has not charged what the inner one denies.
    ///
    /// Nor can joined layers stand in for another, as by [`when`](Self::when). Give [`when`](Self::when) to those that are joined.
    #[must_use]
    pub fn and(self, other: impl Join<L>) -> JointLayer<L>
    where
        Self: Join<L>,
    {
        self.joint().and(other)
    }
}

/// A limit that can be judged as one with those of an `L`: a [`RateLimitLayer`] over one, or several of them.
///
/// This trait is sealed: it cannot be implemented for other types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be judged as one with limits of `{L}`",
    label = "not a limit of `{L}` that answers without delay",
    note = "while a request waited for one limit, the others could promise it nothing: join layers that do not delay",
    note = "no one place decides about limits in process and on a server: join layers whose limiters are all `RateLimiter`, or all \
            `tollgate::redis::RedisLimiter`"
)]
pub trait Join<L>: sealed::Sealed {
    #[doc(hidden)]
    fn joint(self) -> JointLayer<L>;
}

mod sealed {
    pub trait Sealed {}
}

impl<K, L> sealed::Sealed for RateLimitLayer<K, L> {}

impl<K: KeyExtractor + Send + Sync + 'static, L: Joint> Join<L> for RateLimitLayer<K, L> {
    fn joint(self) -> JointLayer<L> {
        JointLayer::from(self)
    }
}

impl<L> sealed::Sealed for JointLayer<L> {}

impl<L: Joint> Join<L> for JointLayer<L> {
    fn joint(self) -> Self {
        self
    }
}

/// Several limits, judged as one: a request passes all and is charged to all, or to none. Made by
/// [`RateLimitLayer::and`].
///
/// Clones share their limits, as clones of a [`RateLimitLayer`] do. To look at a client or to reset one, keep clones of the layers
/// that were joined, and ask those.
///
/// # On a server
///
/// Limits of `tollgate::redis::RedisLimiter`s are joined in the same way, by [`RateLimitLayer::and`]. They are asked as direct calls are by
/// `tollgate::redis::check_all`, whose page says where they are judged in one round trip, and what is promised where they cannot
/// be: on one server whatever the keys, and in a cluster where the keys of a request have one hash tag. What is leased is not spent
/// by layers that are joined.
///
/// A layer that is left out after it has denied, being in shadow or by its rollout, costs another round trip, unless the denial was
/// [remembered](crate::redis::RedisLimiterBuilder::remember_denied). Where one script decides, all of it is within one deadline.
pub struct JointLayer<L = RateLimiter> {
    pub(in crate::http) members: Arc<[Arc<dyn Decide<L>>]>,
}

impl<L: Backend> JointLayer<L> {
    /// Joins one more [`RateLimitLayer`], or several more.
    #[must_use]
    pub fn and(self, other: impl Join<L>) -> Self {
        Self { members: self.members.iter().chain(&*other.joint().members).cloned().collect() }
    }

    /// Lets it stand around services with any response body, as [`RateLimitLayer::any_body`] does. Call this last.
    #[must_use]
    pub fn any_body(self) -> AnyBody<Self> {
        AnyBody::new(self)
    }
}

/// A limit by itself, to which others can be joined.
impl<K: KeyExtractor + Send + Sync + 'static, L: Joint> From<RateLimitLayer<K, L>> for JointLayer<L> {
    fn from(only: RateLimitLayer<K, L>) -> Self {
        Self { members: Arc::new([only.gate]) }
    }
}

impl<L> Clone for JointLayer<L> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone() }
    }
}

impl<L> fmt::Debug for JointLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JointLayer").field("limits", &self.members.len()).finish()
    }
}
