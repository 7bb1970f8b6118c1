//! [`Lines`]: log lines on their way out, which nobody waits for.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Lines on their way to stdout or stderr. A thread of their own writes them, so whoever has a line to say never waits for who
/// reads it. Where too many wait, the next ones are dropped and counted.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<SharedLines>,
}

#[derive(Debug)]
struct SharedLines {
    to: Output,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
    started: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// Whether some are being written.
    writing: bool,
}

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Lines {
    /// How many bytes may wait. A reader that is slow for a moment loses nothing.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Lines to this output. The thread is started with the first one.
    pub fn to(to: Output) -> Self {
        let shared = SharedLines {
            to,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            started: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a line, which ends with its line feed.
    pub fn push(&self, line: &[u8]) {
        let shared = &self.shared;
        if !shared.started.swap(true, Relaxed) {
            let writer = shared.clone();
            let thread = std::thread::Builder::new().name("lines".to_owned()).stack_size(256 * 1024);
            if thread.spawn(move || writer.write()).is_err() {
                shared.started.store(false, Relaxed);
            }
        }
        let mut waiting = shared.waiting.lock().expect("nothing panics under it");
        if waiting.bytes.len() + line.len() > Self::BYTES_MAX {
            shared.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        if waiting.lines == 1 {
            shared.changed.notify_all();
        }
    }

    /// How many lines nobody will read.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Until all lines are written, but no longer than this.
    pub fn flush(&self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut waiting = self.shared.waiting.lock().expect("nothing panics under it");
        while (waiting.lines > 0 || waiting.writing) && self.shared.started.load(Relaxed) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self.shared.changed.wait_timeout(waiting, left).expect("nothing panics under it").0;
        }
    }
}

impl SharedLines {
    /// Writes what waits, as long as the program runs.
    fn write(&self) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.waiting.lock().expect("nothing panics under it");
            waiting.writing = false;
            self.changed.notify_all();
            while waiting.lines == 0 {
                waiting = self.changed.wait(waiting).expect("nothing panics under it");
            }
            std::mem::swap(&mut batch, &mut waiting.bytes);
            let lines = std::mem::take(&mut waiting.lines);
            waiting.writing = true;
            drop(waiting);
            let written = match self.to {
                Output::Stdout => write_all(io::stdout().lock(), &batch),
                Output::Stderr => write_all(io::stderr().lock(), &batch),
            };
            // Whoever read them has gone.
            if written.is_err() {
                self.dropped.fetch_add(lines, Relaxed);
            }
            batch.clear();
        }
    }
}

fn write_all(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Each write is some lines.
impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
