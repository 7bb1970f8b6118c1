//! [`Date`]: the date as HTTP writes it.

use std::cell::{Cell, RefCell};
use std::time::{SystemTime, UNIX_EPOCH};

/// The date as HTTP writes it (RFC 9110, 5.6.7), written anew once a second.
#[derive(Debug, Default)]
pub(super) struct Date {
    second: Cell<u64>,
    text: RefCell<String>,
}

impl Date {
    /// Appends the date of now.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut text = self.text.borrow_mut();
        if text.is_empty() || self.second.replace(second) != second {
            *text = httpdate::fmt_http_date(now.max(UNIX_EPOCH));
        }
        out.extend_from_slice(text.as_bytes());
    }
}
