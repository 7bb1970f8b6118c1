//! Looking after one client.

use http::request::Parts;

use super::RateLimitLayer;
use crate::decision::Standing;
use crate::http::key::{KeyExtractor, NoKey};
use crate::limiter::RateLimiter;

/// # Administration
///
/// These find the client by the layer's own key, so they find what the layer counted. To do the same without a request, give
/// the key to the limiter's [`peek`](RateLimiter::peek) and [`reset`](RateLimiter::reset). Each extractor says what its
/// key is.
impl<K: KeyExtractor> RateLimitLayer<K, RateLimiter> {
    /// Where a request's client stands, without charging it, with all quotas of the policy that this layer's limiter is on.
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
    /// When the request has no key.
    pub fn peek(&self, head: &Parts) -> Result<Standing, NoKey> {
        Ok(self.limiter().standing(&self.gate.key.extract(head)?))
    }

    /// Forgets what a request's client has spent.
    ///
    /// # Errors
    ///
    /// When the request has no key.
    pub fn reset(&self, head: &Parts) -> Result<(), NoKey> {
        self.limiter().reset(&self.gate.key.extract(head)?);
        Ok(())
    }
}
