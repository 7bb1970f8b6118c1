//! Limits that programs and machines share, through Redis or Valkey. (Needs the feature `redis`.)
//!
//! ```no_run
//! use tollgate::Quota;
//! use tollgate::redis::{RedisLimiter, RedisStore, WhenUnreachable};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::new("redis://127.0.0.1:6379")?;
//! // Four programs share the limit: without the server each has a quarter.
//! let limiter = RedisLimiter::builder(&store, "api", Quota::per_second(28))
//!     .when_unreachable(WhenUnreachable::local(4))
//!     .try_build()?;
//! limiter.check("alice").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`RedisStore`] is the server, and a [`RedisLimiter`] is a policy with a name on it. It is called as a
//! [`RateLimiter`](crate::RateLimiter) is, with `.await`, and a [`RateLimitLayer`](crate::RateLimitLayer) takes it where it takes
//! one. Each check is one round trip: a script decides about all quotas of the policy, and charges all of them or none. Checks that
//! are asked at the same time go over one connection without waiting for each other, and need no tasks of their own.
//!
//! It needs Redis 7.0 or newer, or Valkey, and tokio. It needs Rust 1.88, because the client library does. (The rest of this crate
//! does not.)
//!
//! # What goes wrong, and what happens
//!
//! A program sees no error that it did not ask for: a check is answered in any case, within the store's
//! [deadline](RedisStoreBuilder::deadline). How, is set by [`WhenUnreachable`]. Both [`RedisStore::stats`] and
//! [`RedisLimiter::stats`] count what happened, and the log tells it, in a line or a few a second.
//!
//! | the server | happens |
//! |---|---|
//! | is not there, was killed, or was stopped | Checks are answered here. After three in a row have failed, one each 200 ms tries it. |
//! | is slow, or the network is | The same. A check that was not answered in time may have been charged. It is not sent again. |
//! | comes back empty | It starts anew, with full buckets. |
//! | is full (`maxmemory` with `noeviction`), or a read-only replica | Checks that would pass are answered here, as it refuses to write. |
//! | evicts keys | Who is evicted starts anew. Use `noeviction`, or `volatile-ttl`, which takes those first that matter least. |
//! | forgets its scripts | It is told the script again, in one more round trip. |
//! | has something else under a key | That is left alone. The key is limited here. Others are not concerned. |
//! | sends garbage | The connection is made anew. |
//! | fails over to a replica | See [below](#fail-over). |
//! | has a clock that steps back | Each key waits until the time has caught up with what it was charged at. |
//!
//! | a program | happens |
//! |---|---|
//! | has another time | Nothing. The server's clock decides. |
//! | crashes | What it had charged stays charged, until time gives it back. |
//! | has another policy under the same name | See [`RedisLimiter`](RedisLimiter#two-limiters-with-one-name). |
//!
//! # Fail-over
//!
//! The URL's host is resolved for each connection, and a connection is made anew when it is lost, when a try after an outage is not
//! answered, and when the server says that it is a read-only replica. So a name that leads to the new master, as a managed server
//! has it, is followed within a second of leading there, whether the old one is gone or goes on as a replica. Meanwhile checks
//! are answered here. What the new one had not yet heard of is forgotten, and granted once more.
//!
//! A Sentinel is not asked. Give a name or an address that follows the master: a DNS name, a virtual address, or a proxy that your
//! Sentinel's `client-reconfig-script` points to it. With the address of one server, checks are answered here from when it
//! goes until it is master again.
//!
//! # Looking at keys
//!
//! Each key is one string on the server. [`RedisLimiter::redis_key`] tells its name, `tollgate:NAME:{KEY}`, in which all that is not
//! plain is escaped as in [`KeyText`](crate::KeyText). Of a text longer than 200 bytes there are the first 64, `~` and the SHA-1.
//! Where services share a server, a [prefix](RedisStoreBuilder::prefix) tells theirs apart: `shop:tollgate:NAME:{KEY}`.
//!
//! ```text
//! $ redis-cli GET 'tollgate:login:{192.0.2.7}'
//! "1764014345123456 5/minute:b,12000000,1,36000000
//!     100/day:b,864000000,1,2592000000"
//! $ redis-cli PTTL 'tollgate:login:{192.0.2.7}'
//! (integer) 2593000
//! ```
//!
//! The first word is when it was last charged, in microseconds since 1970. Then there is a word for each quota, which begins with its
//! name and period, as in `login/minute`, or, where it was given no name, with its rate. This key had `5/minute; 100/day`, and was
//! charged 3: a request is 12,000,000 units, of which 1 goes each microsecond, and 36,000,000 were owed.
//!
//! | word | of | and then |
//! |---|---|---|
//! | `b` | a token bucket | units a request, units that go each microsecond, units owed |
//! | `f`, `a` | a fixed window, an aligned one | its length, its end, what was spent in it |
//! | `s` | a sliding window | its length, its number, what was spent in the one before it, and in it |
//! | `w` | a strict window | the length of a part, the number of the newest part, how many more count, what was spent in each from the newest on |
//!
//! While some of a key is [leased](RedisLimiterBuilder::leases), the first word goes on, after commas: the length of a slot in
//! microseconds, what was leased in this slot and in the one before, and `m` if that was under another policy. Where [policies
//! differ](RedisLimiter#two-limiters-with-one-name), it ends with `@` and when another one last charged the key.
//!
//! Keys go by themselves when there is nothing left to remember. To clear one, delete it, or, where there are leases, call
//! [`RedisLimiter::reset`], which knows what is leased. To clear all of a limiter, delete what begins with its name:
//!
//! ```text
//! $ redis-cli DEL 'tollgate:login:{192.0.2.7}'
//! $ redis-cli --scan --pattern 'tollgate:login:*' | xargs -r -d '\n' redis-cli DEL
//! ```
//!
//! Programs that [remember](RedisLimiterBuilder::remember_denied) that a key was denied notice within a second.
//!
//! # What the server must allow
//!
//! A user of its own needs no more than this (and `+select`, if the database is not 0):
//!
//! ```text
//! $ redis-cli ACL SETUSER tollgate on '>PASSWORD' '~tollgate:*' \
//!     +evalsha +eval +get +set +del +pttl +time
//! ```
//!
//! With a [prefix](RedisStoreBuilder::prefix) the keys are `~shop:tollgate:*`. And `+info`, if there are
//! [leases](RedisLimiterBuilder::leases), and `+asking` in a [cluster](RedisStore#cluster), for keys that are on the move.
//!
//! # What this does not do
//!
//! - It does not keep limits across the loss of the server's data.
//! - It does not encrypt, unless by the feature `redis-tls` and a URL that begins with `rediss`. That takes the system's
//!   authorities, or those that are [given](RedisStoreBuilder). Cryptography is `ring`'s. If a program has other parts that bring
//!   another provider for `rustls`, it has to choose one for the process, as `rustls` says.
//! - It does not ask replicas.

mod asking;
#[cfg(feature = "tower")]
mod backend;
mod breaker;
mod builder;
mod call;
#[cfg(feature = "tower")]
mod delayed;
mod demand;
mod error;
mod inquiry;
mod lease;
mod limiter;
mod lots;
mod node;
mod outage;
mod remembered;
mod reservation;
mod script;
mod stats;
mod store;
mod subject;
mod terms;
mod together;
mod turn;
mod wire;

pub use store::{RedisStore, RedisStoreBuilder, RedisStoreStats};

pub use limiter::RedisLimiter;

pub use builder::RedisLimiterBuilder;

pub use outage::WhenUnreachable;

pub use reservation::RedisReservation;

pub use demand::{RedisDemand, check_all, reserve_all};

pub use stats::RedisStats;

pub use asking::Asking;
#[cfg(feature = "tower")]
pub use delayed::RedisDelayed;
pub use turn::RedisTurn;

pub use error::{SetupError, Unanswered, UnansweredKind, Unleasable};
