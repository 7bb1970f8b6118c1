//! Looking after one client.

use http::request::Parts;

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::decision::Standing;
use crate::http::denials::WhenNoKey;
use crate::http::key::{KeyExtractor, NoKey};
use crate::key::SharedKey;

/// # Administration
///
/// These find the client by the layer's own key, so they find what the layer counted. To do the same without a request, give
/// the key to the limiter's [`peek`](crate::RateLimiter::peek) and [`reset`](crate::RateLimiter::reset). Each extractor says what its
/// key is.
///
/// Requests that [`when`](Self::when) leaves to another layer are that layer's to find. A layer that
/// [delays](#method.delay) is asked in the same way. Nobody who waits is woken by a reset: whoever is first asks when its
/// time comes.
///
/// In process, what they tell is there at once. Over a server, it is to be awaited, and is an error if the server does not
/// answer: `layer.peek(&head)?.await?`.
impl<K: KeyExtractor, L: Backend> RateLimitLayer<K, L> {
    /// Where a request's client stands, without charging it, with all quotas of the policy that judges it.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use http::Request;
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::PeerAddr;
    ///
    /// let layer = RateLimitLayer::per_minute(60);
    /// let client: SocketAddr = "192.0.2.7:50000".parse()?;
    /// let request = Request::builder().extension(PeerAddr(client)).body(())?;
    /// let (head, ()) = request.into_parts();
    /// assert_eq!(layer.peek(&head)?.tightest().remaining(), 60);
    /// layer.reset(&head)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the request has no key, unless such requests are counted [together](WhenNoKey::Share).
    pub fn peek(&self, head: &Parts) -> Result<L::Told<Standing>, NoKey> {
        let (limiter, plan) = (self.limiter(), self.gate.settings.plan_of(head));
        match self.gate.key.extract(head) {
            Ok(key) => Ok(limiter.standing_on(plan, &key)),
            Err(_) if self.shares_without_key() => Ok(limiter.standing_on(plan, &SharedKey)),
            Err(no_key) => Err(no_key),
        }
    }

    /// Forgets what a request's client has spent, on whatever plan.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn reset(&self, head: &Parts) -> Result<L::Told<()>, NoKey> {
        match self.gate.key.extract(head) {
            Ok(key) => Ok(self.limiter().forget(&key)),
            Err(_) if self.shares_without_key() => Ok(self.limiter().forget(&SharedKey)),
            Err(no_key) => Err(no_key),
        }
    }

    /// Whether requests without a key are counted together.
    fn shares_without_key(&self) -> bool {
        self.gate.settings.when_no_key == WhenNoKey::Share
    }
}
