//! How a layer is made: of a limit, on a limiter, by a key.

use std::sync::Arc;

use super::RateLimitLayer;
use crate::backend::{Backend, Resize};
use crate::http::gate::Gate;
use crate::http::key::{ClientIp, KeyExtractor};
use crate::http::observers::log_last_words;
use crate::http::scope::Scope;
use crate::http::settings::Settings;
use crate::limiter::RateLimiter;
use crate::policy::IntoPolicy;
use crate::quota::Quota;

impl RateLimitLayer {
    /// `amount` per second for each client address. It reserves 18 MiB of address space; see [`capacity`](Self::capacity).
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// If `amount` is above 10⁹, as [`Quota::per_second`].
    #[track_caller]
    pub fn per_second(amount: u64) -> Self {
        Self::new(Quota::per_second(amount))
    }

    /// `amount` per minute for each client address. It reserves 18 MiB of address space; see [`capacity`](Self::capacity).
    ///
    /// # Panics
    ///
    /// As [`Quota::per_minute`].
    #[track_caller]
    pub fn per_minute(amount: u64) -> Self {
        Self::new(Quota::per_minute(amount))
    }

    /// `amount` per hour for each client address. It reserves 18 MiB of address space; see [`capacity`](Self::capacity).
    ///
    /// # Panics
    ///
    /// As [`Quota::per_hour`].
    #[track_caller]
    pub fn per_hour(amount: u64) -> Self {
        Self::new(Quota::per_hour(amount))
    }

    /// `amount` per day for each client address. It reserves 18 MiB of address space; see [`capacity`](Self::capacity).
    ///
    /// # Panics
    ///
    /// As [`Quota::per_day`].
    #[track_caller]
    pub fn per_day(amount: u64) -> Self {
        Self::new(Quota::per_day(amount))
    }

    /// A quota or policy for each client address, with a limiter of its own.
    ///
    /// ```
    /// use tollgate::{Policy, Quota, RateLimitLayer};
    ///
    /// let search = RateLimitLayer::new(Quota::per_second(10).burst(30));
    /// // Text can be wrong, so it is parsed first.
    /// let logins = RateLimitLayer::new("5/minute; 100/day".parse::<Policy>()?);
    /// # let _ = (search, logins);
    /// # Ok::<(), tollgate::ParseError>(())
    /// ```
    ///
    /// The limiter remembers 2^20 clients. For them it reserves 18 MiB of address space with one quota, and 9 MiB more with each
    /// further one. That becomes memory as it is used. [`capacity`](Self::capacity) makes it less.
    pub fn new(policy: impl IntoPolicy) -> Self {
        Self::over(RateLimiter::new(policy), true)
    }
}

impl<L: Backend> RateLimitLayer<ClientIp, L> {
    /// A layer that charges this limiter, which other layers and direct calls may charge too.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimitLayer, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(28))
    ///     .name("api")
    ///     .capacity(10_000)
    ///     .build();
    /// let layer = RateLimitLayer::sharing(&limiter);
    /// # let _ = layer;
    /// ```
    pub fn sharing(limiter: &L) -> Self {
        Self::over(limiter.clone(), false)
    }

    fn over(limiter: L, owns_limiter: bool) -> Self {
        leave_last_words(limiter.limiter());
        let settings = Arc::new(Settings::new(limiter, owns_limiter));
        Self { gate: Arc::new(Gate::new(Arc::new(ClientIp::default()), Scope::default(), settings)) }
    }
}

/// Who logs what is left to say of a limiter when it is dropped.
fn leave_last_words(limiter: &RateLimiter) {
    limiter.reports().last_words(|| {
        let name = limiter.name().map(str::to_owned);
        move |unreported| log_last_words(name.as_deref(), unreported)
    });
}

impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Counts by this key instead of the peer's address: an extractor of [`http`](crate::http), a pair or triple of
    /// them, or a closure.
    ///
    /// ```
    /// use tollgate::http::{ClientIp, RouteKey};
    /// use tollgate::RateLimitLayer;
    ///
    /// // Each client has a limit of its own for each route.
    /// let layer = RateLimitLayer::per_minute(600)
    ///     .key((ClientIp::peer(), RouteKey));
    /// # let _ = layer;
    /// ```
    ///
    /// A client that can choose its key can escape the limit. Each extractor says what its client can choose. A closure
    /// must not return what the client wrote, such as the host or a header, unless something checked it before.
    #[must_use]
    pub fn key<K2: KeyExtractor>(self, key: K2) -> RateLimitLayer<K2, L> {
        let Gate { scope, settings, .. } = (*self.gate).clone();
        RateLimitLayer { gate: Arc::new(Gate::new(Arc::new(key), scope, settings)) }
    }

    /// The limiter that this layer charges.
    pub fn limiter(&self) -> &L {
        &self.gate.settings.limiter
    }
}

impl<K, L: Backend> RateLimitLayer<K, L> {
    /// How many keys the layer's limiter remembers, from 1 to 2^32, instead of 2^20. Each layer that is not
    /// [sharing](Self::sharing) reserves room for them: 18 bytes of address space a key with one quota, and 9 more with each
    /// further one. They become memory as they are used. This gives the layer a limiter of its own: clones that were made before keep
    /// theirs.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::GlobalKey;
    ///
    /// // Before or after the key, as all else.
    /// let layer = RateLimitLayer::per_minute(5).key(GlobalKey).capacity(10_000);
    /// assert!(layer.limiter().stats().capacity < 12_000);
    /// ```
    ///
    /// A layer over a limiter on a server has no such method, and the compiler says so.
    ///
    /// # Panics
    ///
    /// If the layer is [sharing](Self::sharing) a limiter, whose capacity is set where it is
    /// [built](crate::RateLimiterBuilder::capacity); and if the capacity is 0 or above 2^32.
    #[must_use]
    #[track_caller]
    pub fn capacity(self, keys: usize) -> Self
    where
        L: Resize,
    {
        assert!(
            self.gate.settings.owns_limiter,
            "the capacity of a limiter that is shared is set where it is built: RateLimiter::builder(..).capacity({keys})"
        );
        let limiter = RateLimiter::builder(self.limiter().limiter().policy()).capacity(keys).build();
        leave_last_words(&limiter);
        self.setting(|settings| settings.limiter = settings.limiter.over(limiter))
    }
}
