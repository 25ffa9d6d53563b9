//! `doorbuster archive`: moves the orders of what is over and sealed out of the way of those that are sold, while everybody sells. Asks no
//! node and needs none: it works on the database, beside whoever else does.
//!
//! It may be killed at any time and run several times at once: each slice is one transaction, and the next run goes on where this one
//! stopped. After each slice it rests for several times as long as that took, so a database that is busy is left alone for longer.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use super::upgrade;
use crate::clock;
use crate::config::Config;
use crate::domain::{CommodityId, Timestamp};
use crate::embedded::{self, StartError};
use crate::event::LogVersion;
use crate::store::{Archivable, Slice, Store, StoreError};

/// Orders of a slice: as many as take [`SLICE_TIME`].
const ROWS_FIRST: u64 = 500;
const ROWS_MIN: u64 = 100;
const ROWS_MAX: u64 = 4_000;
/// How long a slice should take. In the embedded mode whoever sells waits for it.
const SLICE_TIME: Duration = Duration::from_millis(50);
/// The shortest rest: who waits for SQLite's writer looks again every 100 ms, and must meet a time when it is free.
const REST_MIN: Duration = Duration::from_millis(100);
/// The longest rest, however long a slice took.
const REST_MAX: Duration = Duration::from_secs(10);
/// How often in a row a slice is tried that the database does not take, and the first rest before the next try.
const TRIES_MAX: u32 = 20;
const TRY_REST: Duration = Duration::from_millis(100);
/// Commodities that are looked up at a time.
const COMMODITIES_STEP: u64 = 64;
/// How often is looked whether a process of an older release has come, and how often is said how far it is where nobody sees a bar.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Commodities a dry run names.
const NAMED_MAX: usize = 10;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What to archive, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Since when a commodity must have been over.
    pub closed_before: ClosedBefore,
    /// How much of the time it may work, in a hundred.
    pub share_percent: u32,
    /// Only say what there is.
    pub dry_run: bool,
}

/// Since when a commodity must have been over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBefore {
    /// For so many days.
    Days(u32),
    /// Since before that time.
    Time(Timestamp),
}

impl ClosedBefore {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Days(days) => now.minus_millis(u64::from(days) * DAY_MS),
            Self::Time(at) => at,
        }
    }
}

/// Reads `90d`, `90`, `2026-10-01` (its beginning in UTC) or a time.
///
/// # Errors
/// One sentence, if it is none of these.
pub fn parse_closed_before(text: &str) -> Result<ClosedBefore, String> {
    if let Ok(days) = text.strip_suffix('d').unwrap_or(text).parse() {
        return Ok(ClosedBefore::Days(days));
    }
    let time = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    time.map(ClosedBefore::Time).map_err(|_| "it is a number of days, like 90d, or a date, like 2026-10-01".into())
}

/// Why nothing more is archived: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no database, or its schema is of another release.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Processes of the release before may still run.
    #[error(
        "not archived: processes of an older release may still run, which look for orders in one table; run `doorbuster migrate --finish` first"
    )]
    Unfinished,
    /// Nodes of the release before live.
    #[error("not archived: nodes still run an older release, which looks for orders in one table: {0}; upgrade them first")]
    OlderNodes(String),
}

/// Archives what the request says, or says what it would.
///
/// # Errors
/// [`ArchiveError`]; what was moved until then stays moved.
pub async fn run(config: &Config, data: &Path, request: &Request) -> Result<(), ArchiveError> {
    let store = embedded::open_existing(config, data).await?;
    let guard = Guard { store: &store, interval: Duration::from_millis(config.node.heartbeat_interval_ms) };
    let over_before = request.closed_before.at(clock::system());
    if request.dry_run {
        println!("{}", would_do(&store, over_before).await?);
    } else {
        guard.check().await?;
        let mut work = Work::new(&guard, request.share_percent);
        let outcome = work.all(over_before).await;
        println!("{}", work.done());
        outcome?;
    }
    let unsealed = store.over_and_unsealed(over_before).await?;
    if unsealed > 0 {
        println!("not sealed and so left alone: {}; run `doorbuster audit`, then this again", commodities(unsealed));
    }
    Ok(())
}

/// Who must not run any more.
struct Guard<'a> {
    store: &'a Store,
    interval: Duration,
}

impl Guard<'_> {
    async fn check(&self) -> Result<(), ArchiveError> {
        if self.store.log_version().await? < LogVersion::V2 {
            return Err(ArchiveError::Unfinished);
        }
        let older = upgrade::living(self.store, self.interval).await?;
        if older.is_empty() { Ok(()) } else { Err(ArchiveError::OlderNodes(older.join(", "))) }
    }
}

/// A run of the command.
struct Work<'a> {
    guard: &'a Guard<'a>,
    share_percent: u32,
    rows: u64,
    orders: u64,
    commodities: u64,
    bar: ProgressBar,
    looked: Instant,
}

impl<'a> Work<'a> {
    fn new(guard: &'a Guard<'a>, share_percent: u32) -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {pos} commodities done, {msg} ({elapsed})").expect("the template is well formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        let share_percent = share_percent.clamp(1, 100);
        Self { guard, share_percent, rows: ROWS_FIRST, orders: 0, commodities: 0, bar, looked: Instant::now() }
    }

    async fn all(&mut self, over_before: Timestamp) -> Result<(), ArchiveError> {
        let mut after = None;
        loop {
            let found = self.guard.store.archivable(over_before, after, COMMODITIES_STEP).await?;
            for commodity in &found {
                self.commodities += u64::from(self.commodity(commodity.id).await?);
                self.bar.inc(1);
            }
            after = found.last().map(|commodity| commodity.id);
            if after.is_none() {
                self.bar.finish_and_clear();
                return Ok(());
            }
        }
    }

    /// Moves what may be moved of it. Whether that was all; if not, its seal was broken meanwhile.
    async fn commodity(&mut self, id: CommodityId) -> Result<bool, ArchiveError> {
        loop {
            let began = Instant::now();
            let slice = self.slice(id).await?;
            let took = began.elapsed();
            if let Slice::Moved(moved) | Slice::Last(moved) = slice {
                self.orders += moved;
            }
            self.bar.set_message(format!("{} orders moved", HumanCount(self.orders)));
            self.rows = next_size(self.rows, took);
            tokio::time::sleep(rest_after(took, self.share_percent)).await;
            if self.looked.elapsed() >= LOOK_EVERY {
                self.guard.check().await?;
                self.looked = Instant::now();
                if self.bar.is_hidden() {
                    println!("{}", self.done());
                }
            }
            match slice {
                Slice::Moved(_) => {}
                Slice::Last(_) => return Ok(true),
                Slice::NotSealed => return Ok(false),
            }
        }
    }

    /// A slice, tried again while the database is busy or away.
    async fn slice(&self, id: CommodityId) -> Result<Slice, StoreError> {
        let (mut tries, mut rest) = (1, TRY_REST);
        loop {
            match self.guard.store.archive_slice(id, self.rows).await {
                Err(error) if tries < TRIES_MAX && may_pass(&error) => {
                    tracing::warn!(%error, "a slice of commodity {id} is tried again: {error}");
                    tokio::time::sleep(rest).await;
                    (tries, rest) = (tries + 1, (2 * rest).min(REST_MAX));
                }
                outcome => return outcome,
            }
        }
    }

    fn done(&self) -> String {
        format!("{} orders of {} moved", HumanCount(self.orders), commodities(self.commodities))
    }
}

/// Whether the same may go well later: the database was busy, or was away.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(_) | StoreError::Connect(_)) && !error.is_refusal()
}

/// As many rows as should take the time of a slice, if these took so long.
fn next_size(rows: u64, took: Duration) -> u64 {
    let next = if took > SLICE_TIME { rows / 2 } else { rows + rows / 4 };
    next.clamp(ROWS_MIN, ROWS_MAX)
}

fn rest_after(took: Duration, share_percent: u32) -> Duration {
    (took * (100 - share_percent) / share_percent).clamp(REST_MIN, REST_MAX)
}

async fn would_do(store: &Store, over_before: Timestamp) -> Result<String, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let step = store.archivable(over_before, after, COMMODITIES_STEP).await?;
        after = step.last().map(|commodity| commodity.id);
        for commodity in step {
            let orders = store.orders_to_archive(commodity.id).await?;
            found.push((orders, commodity));
        }
        if after.is_none() {
            break;
        }
    }
    let bytes = store.order_bytes().await?;
    Ok(plan(found, bytes, over_before))
}

fn plan(mut found: Vec<(u64, Archivable)>, order_bytes: u64, over_before: Timestamp) -> String {
    use std::fmt::Write;
    found.retain(|(orders, _)| *orders > 0);
    let orders: u64 = found.iter().map(|(orders, _)| orders).sum();
    let mut text = format!(
        "{} orders of {} that were over before {over_before} would be moved, about {}",
        HumanCount(orders),
        commodities(found.len() as u64),
        HumanBytes(orders * order_bytes)
    );
    found.sort_by_key(|(orders, commodity)| (std::cmp::Reverse(*orders), commodity.id));
    for (orders, commodity) in found.iter().take(NAMED_MAX) {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n  {} of commodity {} ({})", HumanCount(*orders), commodity.id, commodity.name);
    }
    if found.len() > NAMED_MAX {
        let _ = write!(text, "\n  and of {} more", found.len() - NAMED_MAX);
    }
    text
}

fn commodities(count: u64) -> String {
    if count == 1 { "1 commodity".into() } else { format!("{} commodities", HumanCount(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_in_days_and_a_date_is_its_beginning() {
        for text in ["90", "90d"] {
            assert_eq!(parse_closed_before(text), Ok(ClosedBefore::Days(90)));
        }
        let time = |text: &str| Ok(ClosedBefore::Time(text.parse().unwrap()));
        assert_eq!(parse_closed_before("2026-10-01"), time("2026-10-01T00:00:00Z"));
        assert_eq!(parse_closed_before("2026-10-01T12:00:00+02:00"), time("2026-10-01T10:00:00Z"));
        for wrong in ["", "-1", "90h", "yesterday", "2026-13-01"] {
            assert!(parse_closed_before(wrong).is_err(), "{wrong}");
        }
        let now: Timestamp = "2026-11-30T00:00:00Z".parse().unwrap();
        assert_eq!(ClosedBefore::Days(60).at(now).to_string(), "2026-10-01T00:00:00.000Z");
    }

    #[test]
    fn slices_come_to_take_their_time_and_rests_are_as_long_as_was_asked_for() {
        let after = |rows, millis, steps| (0..steps).fold(rows, |rows, _| next_size(rows, Duration::from_millis(millis)));
        assert_eq!((after(500, 10, 20), after(500, 500, 20)), (ROWS_MAX, ROWS_MIN));
        assert_eq!(rest_after(Duration::from_millis(50), 20), Duration::from_millis(200));
        assert_eq!(rest_after(Duration::from_millis(50), 100), REST_MIN);
        assert_eq!(rest_after(Duration::from_secs(60), 1), REST_MAX);
    }

    #[test]
    fn a_plan_names_the_largest_and_leaves_out_what_has_nothing_left() {
        let commodity = |id: u64| Archivable { id: CommodityId::new(id as i64).unwrap(), name: format!("lamp {id}") };
        let found = (1..=13).map(|id| (100 * (id - 1), commodity(id))).collect();
        let plan = plan(found, 250, Timestamp::ZERO);
        assert!(plan.starts_with("7,800 orders of 12 commodities that were over before 1970-01-01T00:00:00.000Z"), "{plan}");
        assert!(plan.contains("1.86 MiB\n  1,200 of commodity 13 (lamp 13)\n") && plan.ends_with("\n  and of 2 more"), "{plan}");
    }
}
