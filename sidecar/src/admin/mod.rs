//! The admin listener: one page, `/stats`, and the reset and peek of one key, for a person on this machine.
//!
//! It has a thread of its own, and takes little of everything, so that whoever asks too much of it harms nobody's requests.

mod chart;
mod desk;
mod detail;
mod form;
mod guard;
mod history;
mod html;
mod keys;
mod page;
mod server;
mod stats;
mod store;
mod table;
mod view;

use std::fmt;
use std::time::SystemTime;

pub(crate) use self::history::Totals;
pub(crate) use self::server::{Bound, Running};
use crate::rules::{CountsByLimit, Enforcer};

/// Whose state is shown, asked for anew each time.
pub(crate) struct Source {
    /// The limits that are in force now.
    pub(crate) enforcer: Box<dyn Fn() -> Enforcer + Send>,
    pub(crate) counts: CountsByLimit,
    pub(crate) totals: Box<dyn Fn() -> Totals + Send>,
    pub(crate) config: Box<dyn Fn() -> ConfigState + Send>,
}

/// Which configuration is in force.
#[derive(Clone, Debug)]
pub(crate) struct ConfigState {
    /// When it was taken up.
    pub(crate) since: SystemTime,
    /// A newer one that was not.
    pub(crate) refused: Option<Refused>,
}

/// A configuration that was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) at: SystemTime,
    /// Why, a line each.
    pub(crate) problems: Vec<String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}
