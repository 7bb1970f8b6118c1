//! What becomes of a file that changes while the proxy runs.

use std::io;

use tokio::runtime::Builder;

use crate::config::{Changes, Config, OriginError, Watch};

/// Looks at the file every 2 s and on SIGHUP, on a thread of its own, until the program ends. Says in the log what has changed, or what
/// is wrong with it.
///
/// This version goes on with the configuration that it was started with, and says so.
pub(super) fn start(watch: Watch, running: Config) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("reload".to_owned());
    thread.spawn(move || runtime.block_on(run(watch, running)))?;
    Ok(())
}

async fn run(mut watch: Watch, running: Config) {
    #[cfg(unix)]
    let mut hangup = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!("cannot listen for SIGHUP: {error}"),
    };
    loop {
        #[cfg(unix)]
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(Watch::EVERY) => false,
        };
        #[cfg(not(unix))]
        let asked = {
            tokio::time::sleep(Watch::EVERY).await;
            false
        };
        let read = if asked { Some(watch.read_again()) } else { watch.look() };
        match read {
            None => {}
            Some(Ok(config)) => tell(&Changes::between(&running, &config)),
            Some(Err(error)) => refuse(&error),
        }
    }
}

fn tell(changes: &Changes) {
    if changes.is_empty() {
        tracing::info!("the configuration has not changed");
        return;
    }
    for line in changes.told.iter().chain(&changes.until_restart) {
        tracing::info!("{line}");
    }
    tracing::warn!("the configuration has changed; restart to take it up, since this version does not while it runs");
}

/// A bad file changes nothing. A line for each thing that is wrong, for those who collect lines.
fn refuse(error: &OriginError) {
    match error {
        OriginError::Bad(bad) => {
            for problem in bad.problems() {
                let (line, column) = bad.line_and_column(problem);
                tracing::error!(line, column, "{}", problem.what);
            }
        }
        OriginError::Unreadable(..) | OriginError::Flags(_) => tracing::error!("{error}"),
    }
    tracing::error!("the new configuration is refused, and the old one stays");
}
