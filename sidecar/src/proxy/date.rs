//! [`Date`]: the date as HTTP writes it.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The date as HTTP writes it (RFC 9110, 5.6.7), written anew once a second.
#[derive(Debug, Default)]
pub(super) struct Date {
    /// Until when the text is right.
    until: Cell<Option<Instant>>,
    text: RefCell<String>,
}

impl Date {
    /// Appends the date of now.
    pub(super) fn write(&self, now: Instant, out: &mut Vec<u8>) {
        let mut text = self.text.borrow_mut();
        if self.until.get().is_none_or(|until| now >= until) {
            let date = SystemTime::now().max(UNIX_EPOCH);
            let into_second = date.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            self.until.set(Some(now + Duration::from_secs(1) - Duration::from_nanos(into_second.into())));
            *text = httpdate::fmt_http_date(date);
        }
        out.extend_from_slice(text.as_bytes());
    }
}
