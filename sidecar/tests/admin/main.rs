//! The admin listener over real sockets, and its page in a real browser.

mod bounds;
mod browser;
mod chromium;
mod desk;
mod keys;
mod listening;
mod page;
#[path = "../proxy/redis.rs"]
#[allow(dead_code, reason = "the proxy's tests use the rest")]
mod redis;
mod store;
#[path = "../proxy/world.rs"]
#[allow(dead_code, reason = "the proxy's tests use the rest")]
mod world;
