//! `doorbuster dead put-back` killed in the middle, at one step after the other: what it leaves is a log with everything in it, and the next
//! one mends it.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rand::RngExt;

use super::log::RawLog;
use super::{BOUND, Done, Victims, until};
use crate::cluster::Cluster;

/// Messages that must wait in the log.
const MESSAGES_MIN: u32 = 12;
/// Messages that somebody has taken out.
const LETTERS: usize = 3;
/// Before the one that is not, so many are killed.
const KILLS: u64 = 2;
const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// Where a put-back is killed, as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has taken the log, and written nothing.
    Taken,
    /// It has begun to write it again.
    Begun,
    /// It has written half of it.
    Half,
    /// It has written all of it.
    Written,
}

impl Step {
    /// Four seeds in a row begin at all four.
    const fn of(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::Taken,
            1 => Self::Begun,
            2 => Self::Half,
            _ => Self::Written,
        }
    }

    /// Messages that nobody holds then, at least, of so many.
    const fn written(self, all: u32) -> u32 {
        match self {
            Self::Taken => 0,
            Self::Begun => 1,
            Self::Half => all / 2,
            Self::Written => all,
        }
    }
}

/// Consumer and owner are killed, somebody takes messages out and shuffles the rest, and they are put back: by processes that are killed, and
/// by one that is not.
pub(super) async fn killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let log = RawLog::of(victims).await?;
    let at = Instant::now();
    victims.cluster.consumers[0].kill().await?;
    log.until_deep(MESSAGES_MIN).await?;
    victims.progress.hold_back();
    until("what was asked is answered", async || Ok(victims.progress.is_quiet())).await?;
    victims.cluster.spikes[victims.owner].kill().await?;
    let gone = Instant::now();
    let all = log.until_deep(MESSAGES_MIN).await?;
    let names = log.bury(all / 2, LETTERS).await?;
    let dead = format!("{}.dead", victims.cluster.prefix());
    until("the letters are there", async || Ok(log.depth_of(&dead).await? as usize >= names.len())).await?;
    log.read(victims.random.random_range(1..all - LETTERS as u16)).await?;
    let mut kills = 0;
    for number in 0..KILLS {
        kills += u64::from(put_back_until(Step::of(victims.seed + number), &log, victims.cluster, (&names, all.into())).await?);
    }
    put_back(&log, &dead, victims.cluster, &names).await?;
    log.close().await?;
    let began = Instant::now();
    victims.cluster.consumers[0].start(&launcher).await?;
    victims.cluster.spikes[victims.owner].start(&launcher).await?;
    Ok(Done::now(at, gone, began).with("letters put back", names.len() as u64).with("put-backs killed in the middle", kills))
}

/// Begins to put them back, and kills that when it has come to the step. Whether it was killed: it may be done before.
async fn put_back_until(step: Step, log: &RawLog, cluster: &Cluster, (names, all): (&[String], u32)) -> anyhow::Result<bool> {
    let mut child = cluster.put_back(names)?;
    let (mut is_taken, began) = (false, Instant::now());
    loop {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        let depth = log.depth().await?;
        is_taken |= depth == 0;
        if is_taken && depth >= step.written(all) {
            child.kill().await?;
            return Ok(true);
        }
        ensure!(began.elapsed() < BOUND, "a put-back did not come to its end within {} s", BOUND.as_secs());
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Puts them back to the end, as often as it takes: whoever was killed may seem to hold the log, its lock or the letters for a moment.
async fn put_back(log: &RawLog, dead: &str, cluster: &Cluster, names: &[String]) -> anyhow::Result<()> {
    let (mut names, began) = (names.to_vec(), Instant::now());
    while !names.is_empty() {
        let output = cluster.put_back(&names)?.wait_with_output().await?;
        if output.status.success() {
            break;
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        // One that was killed while it took letters out had written all of them before.
        if (log.depth_of(dead).await? as usize) < names.len() {
            names.retain(|name| !complaint.contains(&format!("there is no dead letter {name}:")));
        }
        let is_busy = ["a node owns partition", "a consumer is busy", "somebody else is reading", "there is no dead letter"];
        if began.elapsed() > BOUND || !is_busy.iter().any(|busy| complaint.contains(busy)) {
            bail!("put-back: {complaint}");
        }
    }
    until("no letter is left", async || Ok(log.depth_of(dead).await? == 0)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_what_is_in_the_log() {
        assert_eq!((0..4).map(|seed| Step::of(seed).written(40)).collect::<Vec<_>>(), [0, 1, 20, 40]);
    }
}
