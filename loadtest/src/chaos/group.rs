//! A process that leads a group of its own: what it starts ends with it, and no signal of a terminal comes to any of them. Never
//! sends a signal once its leader is gone: the number may be another's by then.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// How long what was killed may take to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often is looked whether it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A group that runs, or did. Dropped, all of it is killed, and gone.
#[derive(Debug)]
pub(super) struct Group(Child);

impl Group {
    /// Starts its leader.
    pub(super) fn lead_by(command: &mut Command) -> std::io::Result<Self> {
        command.process_group(0).kill_on_drop(true).spawn().map(Self)
    }

    /// What the leader ended with, if it has.
    pub(super) fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits for the leader's end.
    pub(super) async fn end(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        Ok(tokio::time::timeout(bound, self.0.wait()).await.with_context(|| format!("it did not end within {} s", bound.as_secs()))??)
    }

    /// Kills all of it, or asks its leader to end it all in order, and waits until nothing of it is left.
    pub(super) async fn end_by(&mut self, signal: Signal, bound: Duration) -> anyhow::Result<()> {
        let leader = self.leader().context("it ended by itself")?;
        if signal == Signal::SIGKILL {
            killpg(leader, signal)?
        } else {
            kill(leader, signal)?
        }
        self.end(bound).await?;
        let (mut pause, began) = (tokio::time::interval(LOOK_INTERVAL), Instant::now());
        // No signal: whether there is anybody. What nobody has buried is dead all the same, so this is not waited for without a bound.
        while killpg(leader, None).is_ok() && began.elapsed() < GONE_TIMEOUT {
            pause.tick().await;
        }
        Ok(())
    }

    /// Has all of it stand still, or go on.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(killpg(self.leader().context("it ended by itself")?, signal)?)
    }

    fn leader(&self) -> Option<Pid> {
        self.0.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.leader() else { return };
        // What is gone already is what is wanted.
        let _ = killpg(leader, Signal::SIGKILL);
        let began = Instant::now();
        // Nobody polls any more who is dropped; and whoever has files open is not to find their folder gone.
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < GONE_TIMEOUT {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// A group whose leader has started another process, and the number of that one.
    async fn two() -> (Group, Pid) {
        let mut command = Command::new("sh");
        let mut group = Group::lead_by(command.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped())).unwrap();
        let line = BufReader::new(group.0.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
        (group, Pid::from_raw(line.parse().unwrap()))
    }

    /// Whether it runs: one that is dead and not buried does not.
    fn runs(process: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    async fn is_gone(process: Pid) {
        let mut pause = tokio::time::interval(LOOK_INTERVAL);
        while runs(process) {
            pause.tick().await;
        }
    }

    #[tokio::test]
    async fn what_was_started_by_a_leader_ends_with_it() {
        let (mut group, other) = two().await;
        assert!(runs(other));
        group.end_by(Signal::SIGKILL, GONE_TIMEOUT).await.unwrap();
        is_gone(other).await;
        let (group, other) = two().await;
        drop(group);
        is_gone(other).await;
    }
}
