//! Recipes: what to write for what is often needed. Each is compiled and run with the tests.
//!
//! | you want to | recipe |
//! |---|---|
//! | count clients behind nginx, a load balancer or a content network | [`behind_a_proxy`] |
//! | count users, and give some of them more | [`users_and_plans`] |
//! | stop people from guessing passwords | [`failed_logins`] |
//! | read limits from a configuration file, and change them while the program runs | [`limits_from_a_file`] |
//! | charge one account from the layer and from the program | [`layer_and_direct_calls`] |
#![cfg_attr(feature = "redis", doc = "| enforce one limit on several machines | [`many_machines`] |")]
//! | serve browsers on other origins | [`cors`] |
//! | let requests wait instead of denying them | [`delaying`] |
//! | test limits without waiting | [`testing`] |
//! | choose how many keys to remember | [`sizing`] |
//! | see what a limit does, before and after it bites | [`watching`] |
//! | come from `tower_governor` | [`from_tower_governor`] |
//! | come from Flask-Limiter | [`from_flask_limiter`] |

#[doc = include_str!("guide/behind_a_proxy.md")]
pub mod behind_a_proxy {}

#[doc = include_str!("guide/users_and_plans.md")]
pub mod users_and_plans {}

#[doc = include_str!("guide/failed_logins.md")]
pub mod failed_logins {}

#[doc = include_str!("guide/limits_from_a_file.md")]
pub mod limits_from_a_file {}

#[doc = include_str!("guide/layer_and_direct_calls.md")]
pub mod layer_and_direct_calls {}

#[cfg(feature = "redis")]
#[doc = include_str!("guide/many_machines.md")]
pub mod many_machines {}

#[doc = include_str!("guide/cors.md")]
pub mod cors {}

#[doc = include_str!("guide/delaying.md")]
pub mod delaying {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/sizing.md")]
pub mod sizing {}

#[doc = include_str!("guide/watching.md")]
pub mod watching {}

#[doc = include_str!("guide/from_tower_governor.md")]
pub mod from_tower_governor {}

#[doc = include_str!("guide/from_flask_limiter.md")]
pub mod from_flask_limiter {}
