//! `doorbuster simulate`: runs worlds of the simulator. Says the seed first, and in every panic; never touches a server.

use std::ops::Range;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::simulation::{self, Failure, Report};

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The seeds, the last one excluded.
    pub seeds: Range<u64>,
    /// Steps of each run before the world heals.
    pub steps: u32,
}

/// Reads `A..B`: A included, B not.
///
/// # Errors
/// One sentence, if it is not two numbers of which the second is higher.
pub fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let numbers = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    numbers.filter(|seeds: &Range<u64>| !seeds.is_empty()).ok_or_else(|| "seeds are FROM..TO, two whole numbers, TO the higher one".into())
}

/// The seed that runs now, for whoever reads of a panic.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Runs the seeds one after the other up to the first bad one; whether all were clean.
#[must_use]
pub fn run(request: &Request) -> bool {
    let Request { seeds, steps } = request;
    let alone = seeds.end - seeds.start == 1;
    if alone {
        println!("seed {}, {steps} steps", seeds.start);
    } else {
        println!("seeds {}..{}, {steps} steps each", seeds.start, seeds.end);
    }
    panic::set_hook(Box::new(|panic| eprintln!("seed {}: {panic}", SEED.load(Ordering::Relaxed))));
    let outcome = run_all(seeds.clone(), *steps);
    drop(panic::take_hook());
    match outcome {
        Ok(report) => {
            println!("clean: {}", sentence(&report));
            true
        }
        Err(failure) => {
            // Once more, with everything that led to it: the same seed fails the same way.
            let failure = simulation::run(failure.seed, *steps, true).err().unwrap_or(failure);
            print_failure(&failure, *steps);
            false
        }
    }
}

fn run_all(seeds: Range<u64>, steps: u32) -> Result<Report, Failure> {
    let style = ProgressStyle::with_template("{bar:40} seed {human_pos} of {human_len}, {per_sec}, {eta} left");
    let progress = ProgressBar::new(seeds.end - seeds.start).with_style(style.expect("the template is well formed"));
    let began = Instant::now();
    let mut sum = Report::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        SEED.store(seed, Ordering::Relaxed);
        sum = sum.plus(simulation::run(seed, steps, false)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    println!("{count} seeds in {:.1} s", began.elapsed().as_secs_f64());
    Ok(sum)
}

fn sentence(report: &Report) -> String {
    let Report { accepted, refused, uncertain, stale, epochs, batches, archived, losses, taken, returned } = report;
    format!(
        "{accepted} orders accepted, {refused} calls refused, {uncertain} left open at first, {epochs} epochs, {batches} batches, {stale} late \
         answers, {archived} orders archived, {losses} losses accepted, money taken {taken} times and given back {returned} times"
    )
}

fn print_failure(failure: &Failure, steps: u32) {
    for line in &failure.trail {
        println!("{line}");
    }
    println!("BROKEN: {failure}");
    println!("again: doorbuster simulate --seed {} --steps {steps}", failure.seed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_seeds_leaves_its_end_out() {
        assert_eq!(parse_seeds("3..5"), Ok(3..5));
        for wrong in ["5..3", "3..3", "3", "a..b", "3..=5", ""] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn clean_seeds_are_said_to_be_clean() {
        assert!(run(&Request { seeds: 0..2, steps: 200 }));
    }
}
