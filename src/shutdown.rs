//! When to stop: on SIGTERM, SIGINT or SIGHUP (a terminal that closes). Never stops anything itself, except everything on the second
//! signal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that was told twice: what a shell shows for SIGINT.
const IMPATIENT_EXIT_CODE: i32 = 130;

/// The signals that ask a process to stop. Caught from the moment this exists, whether or not anybody waits.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// None under `nohup`, which asks for just that.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Catches the signals from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch() -> std::io::Result<Self> {
        let hangup = if hangups_are_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// Resolves with the first signal. From then on, a second signal ends the process at once with code 130.
    pub async fn told(mut self) {
        let name = self.next().await;
        tracing::info!(signal = name, "told to stop");
        tokio::spawn(async move {
            // A terminal that closes may say so twice: its kernel and its shell.
            self.hangup = None;
            let name = self.next().await;
            tracing::warn!(signal = name, "told to stop a second time, leaving at once");
            std::process::exit(IMPATIENT_EXIT_CODE);
        });
    }

    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether whoever started this process had it ignore SIGHUP. Where the system does not tell, it is taken for no.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The lowest bit is signal 1.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill_me(signal: &str) {
        let told = std::process::Command::new("kill").args([signal, &std::process::id().to_string()]).status();
        assert!(told.expect("there is a kill command").success());
    }

    /// One test for both: what the other would send is the second signal of this one.
    #[tokio::test]
    async fn a_signal_that_came_before_anybody_waited_is_not_lost_and_a_terminal_may_close_at_any_time() {
        let signals = StopSignals::catch().expect("handlers are allowed");
        kill_me("-TERM");
        signals.told().await;
        let signals = StopSignals::catch().expect("handlers are allowed");
        kill_me("-HUP");
        if !hangups_are_ignored() {
            signals.told().await;
        }
    }
}
