//! [`Force`]: the configuration in force, which a reload exchanges as a whole.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ring::digest::{SHA256, digest};
use tokio::sync::watch;

use super::tls::Acceptor;
use crate::config::{Changes, Config};
use crate::rules::{CountsByLimit, Enforcer};

/// The configuration in force, for all threads.
#[derive(Debug)]
pub(super) struct Force {
    now: watch::Sender<Arc<InForce>>,
    pub(super) counts: CountsByLimit,
    /// Whether an upstream of this configuration has accepted a connection.
    pub(super) ready: Arc<AtomicBool>,
    /// Held by whoever changes it.
    last: Mutex<LastReload>,
}

/// A configuration, and what was made of it.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) enforcer: Enforcer,
    pub(super) tls: Option<Acceptor>,
}

/// What became of the last attempt to reload; of the start, if there was none.
#[derive(Clone, Debug)]
pub(super) struct LastReload {
    /// When the configuration in force was taken up.
    pub(super) success: SystemTime,
    /// When a newer one was refused, and why, a line each.
    pub(super) refused: Option<(SystemTime, Vec<String>)>,
}

impl Force {
    /// # Errors
    ///
    /// If a certificate cannot be read, or the configuration has what none that was read has.
    pub(super) fn new(config: Config) -> io::Result<Self> {
        let counts = CountsByLimit::default();
        let enforcer = Enforcer::new(&config, &counts).map_err(io::Error::other)?;
        let tls = config.tls.as_ref().map(Acceptor::new).transpose()?;
        let now = watch::Sender::new(Arc::new(InForce { config, enforcer, tls }));
        let last = Mutex::new(LastReload { success: SystemTime::now(), refused: None });
        Ok(Self { now, counts, ready: Arc::default(), last })
    }

    pub(super) fn now(&self) -> Arc<InForce> {
        self.now.borrow().clone()
    }

    /// Tells a thread that there is another.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<InForce>> {
        self.now.subscribe()
    }

    /// Takes up another configuration, but for what waits for a restart. Requests that begin after this returns meet it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new). Then nothing has changed.
    pub(super) fn reload(&self, new: &Config) -> io::Result<Changes> {
        let mut last = self.last.lock().expect("nothing panics under it");
        let old = self.now();
        let until_restart = Changes::between(&old.config, new).until_restart;
        let config = new.clone().taken_up_after(&old.config);
        // First what can fail. The certificate may be another one under the same name.
        let tls = config.tls.as_ref().map(Acceptor::new).transpose()?;
        let (enforcer, mut changes) = old.enforcer.reloaded(&config, &self.counts).map_err(io::Error::other)?;
        changes.until_restart = until_restart;
        if let (Some(before), Some(now)) = (&old.tls, &tls)
            && !now.shows_as(before)
        {
            changes.told.push("tls: there is another certificate".to_owned());
        }
        if old.config.upstreams != config.upstreams {
            self.ready.store(false, Relaxed);
        }
        self.now.send_replace(Arc::new(InForce { config, enforcer, tls }));
        *last = LastReload { success: SystemTime::now(), refused: None };
        Ok(changes)
    }

    /// Lets go of the limits: nobody asks any more. A limiter that goes says in the log what it denied and had not said yet.
    pub(super) fn end(&self) {
        let _last = self.last.lock().expect("nothing panics under it");
        let old = self.now();
        let config = Config { limits: Vec::new(), ..old.config.clone() };
        if let Ok(enforcer) = Enforcer::new(&config, &CountsByLimit::default()) {
            self.now.send_replace(Arc::new(InForce { config, enforcer, tls: None }));
        }
    }

    /// A new configuration is not taken up, for these reasons.
    pub(super) fn refuse(&self, why: Vec<String>) {
        self.last.lock().expect("nothing panics under it").refused = Some((SystemTime::now(), why));
    }

    pub(super) fn last_reload(&self) -> LastReload {
        self.last.lock().expect("nothing panics under it").clone()
    }
}

impl InForce {
    /// A number that two proxies share if they do the same: 48 bits of a hash, since a metric has no more than 53.
    pub(super) fn hash(&self) -> u64 {
        let hash = digest(&SHA256, self.config.without_password().to_toml().as_bytes());
        hash.as_ref()[..6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
