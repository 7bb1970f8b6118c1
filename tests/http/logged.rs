//! What is logged while a test runs.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::mem;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// What this thread has logged since somebody listens.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Listens to the thread that made it: each line is its level and its fields, as `INFO message=text name="value"`.
///
/// One subscriber stays for the whole process, because whether anybody listens to a place that logs is remembered per
/// process: what another test's thread found out there would make this thread's lines vanish.
pub(crate) struct Lines(());

impl Lines {
    pub(crate) fn listen() -> Self {
        static LISTENER: Once = Once::new();
        LISTENER.call_once(|| tracing::subscriber::set_global_default(Listener).expect("nobody else listens"));
        // Places that were reached by other threads just before are asked again.
        tracing::callsite::rebuild_interest_cache();
        LINES.set(Some(Vec::new()));
        Self(())
    }

    /// Those that this code logs.
    pub(crate) fn of(code: impl FnOnce()) -> Vec<String> {
        let lines = Self::listen();
        code();
        lines.take()
    }

    /// Those since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        LINES.with_borrow_mut(|lines| mem::take(lines.as_mut().expect("this thread listens")))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tollgate")
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, " {field}={value:?}").expect("text can be written");
            }
        }
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                let mut text = Text(event.metadata().level().to_string());
                event.record(&mut text);
                lines.push(text.0);
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
