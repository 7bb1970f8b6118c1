//! Runs a proxy until a signal ends it, and takes up a file that changes meanwhile.

use std::io;

use tokio::runtime::Builder;

use super::{files, log};
use crate::config::{Config, OriginError, Watch};
use crate::proxy::Proxy;

/// Forwards what the limits let pass, until SIGTERM or SIGINT has drained it. A second signal ends it at once. The file is looked at
/// every 2 s, and on SIGHUP.
///
/// # Errors
///
/// If the address cannot be listened on, or a certificate cannot be read. Then nothing was started.
pub(super) fn run(config: Config, watch: Option<Watch>, greet: impl FnOnce()) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anybody can know that it runs.
        let mut signals = Signals::new(watch.is_some())?;
        let hangup = signals.hangup.take();
        let caps = config.caps.clone();
        let proxy = Proxy::start(config)?;
        // Not before: what cannot start says one thing alone.
        greet();
        files::raise_limit(&caps);
        tracing::info!("listening on {}", proxy.address());
        if let Some(admin) = proxy.admin() {
            tracing::info!("the admin page is on {admin}");
        }
        tokio::select! {
            () = signals.end() => {}
            never = reload(&proxy, watch, hangup) => match never {},
        }
        tracing::info!("draining");
        proxy.drain();
        tokio::select! {
            () = proxy.ended() => {}
            () = signals.end() => {}
        }
        proxy.flush(log::FLUSH);
        Ok(())
    })
}

/// Takes up each new configuration. A bad one changes nothing.
async fn reload(proxy: &Proxy, watch: Option<Watch>, mut hangup: Option<Hangup>) -> std::convert::Infallible {
    let Some(mut watch) = watch else { return std::future::pending().await };
    loop {
        let read = tokio::select! {
            () = next(&mut hangup) => Some(watch.read_again()),
            () = tokio::time::sleep(Watch::EVERY) => watch.look(),
        };
        match read {
            None => {}
            Some(Ok(config)) => take_up(proxy, &config),
            Some(Err(error)) => refuse(proxy, &error),
        }
    }
}

fn take_up(proxy: &Proxy, config: &Config) {
    match proxy.reload(config) {
        Ok(changes) if changes.is_empty() => tracing::info!("the configuration has not changed"),
        Ok(changes) => {
            changes.told.iter().for_each(|line| tracing::info!("{line}"));
            changes.until_restart.iter().for_each(|line| tracing::warn!("{line}"));
            tracing::info!("the new configuration is in force: {}", changes.summary(config));
        }
        Err(error) => {
            tracing::error!("{error}");
            tracing::error!("the new configuration is refused, and the old one stays");
        }
    }
}

/// Says what is wrong, a line for each thing, for those who collect lines.
fn refuse(proxy: &Proxy, error: &OriginError) {
    let lines = match error {
        OriginError::Bad(bad) => bad
            .problems()
            .iter()
            .map(|problem| {
                let (line, column) = bad.line_and_column(problem);
                tracing::error!(line, column, "{}", problem.what);
                format!("{line}:{column}: {}", problem.what)
            })
            .collect(),
        OriginError::Unreadable(..) | OriginError::Flags(_) => {
            tracing::error!("{error}");
            vec![error.to_string()]
        }
    };
    tracing::error!("the new configuration is refused, and the old one stays");
    proxy.refuse_reload(lines);
}

#[cfg(unix)]
type Hangup = tokio::signal::unix::Signal;
#[cfg(not(unix))]
type Hangup = std::convert::Infallible;

async fn next(hangup: &mut Option<Hangup>) {
    match hangup {
        #[cfg(unix)]
        Some(hangup) => drop(hangup.recv().await),
        _ => std::future::pending().await,
    }
}

/// The signals that it listens to.
struct Signals {
    hangup: Option<Hangup>,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on these signals do not end the program by themselves. A terminal's SIGHUP still does, where there is nothing to
    /// reload.
    #[cfg(unix)]
    fn new(reloads: bool) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: reloads.then(|| signal(SignalKind::hangup())).transpose()?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// One that tells it to end.
    #[cfg(unix)]
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new(_: bool) -> io::Result<Self> {
        Ok(Self { hangup: None })
    }

    #[cfg(not(unix))]
    async fn end(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
