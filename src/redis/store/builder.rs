//! [`RedisStoreBuilder`]: what is set of a [`RedisStore`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::redis::{Client, ConnectionInfo, IntoConnectionInfo};
use parking_lot::RwLock;
use tokio::runtime::Handle;

use super::{OnCall, RedisStore, Store, StoreCounts};
use crate::clock::Clock;
use crate::redis::error::SetupError;
use crate::redis::node::{Node, Site};
use crate::redis::script::SCRIPT;
use crate::redis::subject::{is_prefix, sha1};

/// How long a call may take unless told otherwise.
const DEADLINE: Duration = Duration::from_millis(25);

/// Sets up a [`RedisStore`].
#[derive(Clone)]
#[must_use]
pub struct RedisStoreBuilder {
    url: Result<ConnectionInfo, SetupError>,
    deadline: Duration,
    prefix: String,
    runtime: Option<Handle>,
    on_call: Option<OnCall>,
    #[cfg(feature = "redis-tls")]
    root_certificates: Option<Vec<u8>>,
}

impl RedisStore {
    /// A server, by its URL: `redis://host:port`, `redis://user:password@host:port/database`, or `unix:///path`; or with
    /// `rediss`, if it speaks TLS and the feature `redis-tls` is there.
    ///
    /// Nothing is sent yet, and the server need not be there.
    ///
    /// # Errors
    ///
    /// When it is not such a URL. The error does not show it.
    pub fn new(url: &str) -> Result<Self, SetupError> {
        Self::builder(url).try_build()
    }

    /// Starts setting up a server with a deadline of its own.
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder {
            url: parse(url),
            deadline: DEADLINE,
            prefix: String::new(),
            runtime: None,
            on_call: None,
            #[cfg(feature = "redis-tls")]
            root_certificates: None,
        }
    }
}

impl RedisStoreBuilder {
    /// How long a call may take, connecting included. The default is 25 ms. A check that gets no answer by then is answered here.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What the names of all keys begin with, for services that share a server: `shop:` makes `shop:tollgate:NAME:{KEY}` of
    /// `tollgate:NAME:{KEY}`. Stores with different prefixes share nothing. It is at most 64 bytes of ASCII letters, digits and
    /// `-_.:/`. The default is none.
    ///
    /// ```
    /// use tollgate::Quota;
    /// use tollgate::redis::{RedisLimiter, RedisStore};
    ///
    /// let store = RedisStore::builder("redis://127.0.0.1:6379")
    ///     .prefix("shop:")
    ///     .try_build()?;
    /// let limiter = RedisLimiter::new(&store, "api", Quota::per_second(28))?;
    /// assert_eq!(limiter.redis_key("alice"), "shop:tollgate:api:{alice}");
    /// # Ok::<(), tollgate::redis::SetupError>(())
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The runtime on which the connection lives. By default that is the one on which somebody first asks: it is known to run, which
    /// one that merely exists is not.
    ///
    /// Give one where programs have several runtimes, such as one for each thread, or short-lived ones, as in tests. The task that
    /// drives the connection then neither ends with one that happened to be the first nor waits for what else keeps that busy.
    /// If the runtime that was given is shut down, it is as if none had been given.
    ///
    /// ```no_run
    /// use tollgate::redis::RedisStore;
    ///
    /// # async fn example() -> Result<(), tollgate::redis::SetupError> {
    /// let store = RedisStore::builder("redis://127.0.0.1:6379")
    ///     .runtime(tokio::runtime::Handle::current())
    ///     .try_build()?;
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Calls this with the time that each call took: until its answer, its failure, or its deadline. For a histogram, say. Calls that were
    /// [not sent](super::RedisStoreStats::not_sent), and those for whose answer nobody waits, are not told. It is called in the task
    /// that waits, so it should be quick, and not block.
    pub fn on_call(mut self, told: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.on_call = Some(Arc::new(told));
        self
    }

    /// Which authorities to trust, as certificates in PEM, instead of those that the system trusts. For a URL that begins with
    /// `rediss`. (Needs the feature `redis-tls`.)
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// The store. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// As [`RedisStore::new`]; when the [prefix](Self::prefix) is none; and when root certificates are given that are none, or for
    /// a URL without TLS.
    pub fn try_build(self) -> Result<RedisStore, SetupError> {
        let information = self.url?;
        if !is_prefix(&self.prefix) {
            return Err(SetupError::Prefix);
        }
        #[cfg(not(feature = "redis-tls"))]
        let client = Client::open(information).map_err(|_| SetupError::Url)?;
        #[cfg(feature = "redis-tls")]
        let client = match self.root_certificates {
            None => Client::open(information).map_err(|_| SetupError::Url)?,
            // Of what is no certificate nothing would be trusted.
            Some(pem)
                if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----")
                    || !matches!(information.addr(), ::redis::ConnectionAddr::TcpTls { .. }) =>
            {
                return Err(SetupError::Tls);
            }
            Some(root_cert) => {
                let certificates = ::redis::TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
                Client::build_with_tls(information, certificates).map_err(|_| SetupError::Tls)?
            }
        };
        let information = client.get_connection_info().clone();
        let site = Site { deadline: self.deadline, clock: Clock::system(), runtime: self.runtime };
        let store = Store {
            seed: Arc::new(Node::new(client, site.clone())),
            information,
            site,
            sha: sha1(SCRIPT),
            prefix: self.prefix,
            is_cluster: AtomicBool::new(false),
            cluster: RwLock::default(),
            counts: StoreCounts::default(),
            on_call: self.on_call,
        };
        Ok(RedisStore { store: Arc::new(store) })
    }
}

fn parse(url: &str) -> Result<ConnectionInfo, SetupError> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if matches!(scheme, "rediss" | "valkeys") && !cfg!(feature = "redis-tls") {
        return Err(SetupError::Tls);
    }
    url.into_connection_info().map_err(|_| SetupError::Url)
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password.
        f.debug_struct("RedisStoreBuilder")
            .field("deadline", &self.deadline)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
