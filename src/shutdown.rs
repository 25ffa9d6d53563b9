//! When to stop: on SIGTERM or SIGINT. Never stops anything itself, except everything on the second signal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that was told twice: what a shell shows for SIGINT.
const IMPATIENT_EXIT_CODE: i32 = 130;

/// The signals that ask a process to stop. Caught from the moment this exists, whether or not anybody waits.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Catches SIGTERM and SIGINT from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves with the first signal. From then on, a second signal ends the process at once with code 130.
    pub async fn told(mut self) {
        let name = self.next().await;
        tracing::info!(signal = name, "told to stop");
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::warn!(signal = name, "told to stop a second time, leaving at once");
            std::process::exit(IMPATIENT_EXIT_CODE);
        });
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_that_came_before_anybody_waited_is_not_lost() {
        let signals = StopSignals::catch().expect("handlers are allowed");
        let told = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(told.expect("there is a kill command").success());
        signals.told().await;
    }
}
