//! Waiting, in tokio's time, which stands still until everybody waits: all waits are exact and take no time.

#[cfg(feature = "tower")]
mod cancellation;
#[cfg(feature = "tower")]
mod delay;
#[cfg(feature = "tower")]
mod delay_settings;
#[cfg(feature = "tower")]
mod dropped;
#[cfg(feature = "tower")]
mod hostile;
mod random;
#[cfg(feature = "tower")]
mod readiness;
mod until_ready;
