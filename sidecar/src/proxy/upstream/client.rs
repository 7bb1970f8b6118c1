//! [`Client`]: on whose behalf a request goes out.

use std::rc::Rc;

use crate::proxy::fields::Hop;
use crate::proxy::line::Line;

/// On whose behalf a request goes out.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Client {
    pub(in crate::proxy) hop: Rc<Hop>,
    /// The line the request came on, and its number there, if it may become a tunnel or its body can be found broken.
    pub(in crate::proxy) line: Rc<Line>,
    pub(in crate::proxy) number: u64,
    /// How much the body of a request may have.
    pub(in crate::proxy) body_max: u64,
}
