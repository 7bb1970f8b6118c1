//! How many files this program may have open. A connection is one.

use crate::config::Caps;

/// What is open beside connections: listeners, the log, what the runtimes need.
const OTHERS: u64 = 128;

/// Raises the limit as far as the system allows, and says so if that is less than there may be connections: a request that is
/// forwarded has two.
#[cfg(unix)]
pub(super) fn raise_limit(caps: &Caps) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Some systems refuse what they say is allowed. Then it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let needed = (caps.connections as u64).saturating_mul(2).saturating_add(OTHERS);
    if limit < needed {
        tracing::info!(
            "the system lets this program open {limit} files, which is enough for {} clients at once, not for the {} of \
             caps.connections: raise it by `ulimit -Hn`, or LimitNOFILE in a systemd unit",
            limit.saturating_sub(OTHERS) / 2,
            caps.connections
        );
    }
}

#[cfg(not(unix))]
pub(super) fn raise_limit(_: &Caps) {
    let _ = OTHERS;
}
