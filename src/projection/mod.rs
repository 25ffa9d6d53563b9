//! From the log to the tables: many batches in one transaction, each applied exactly once (R5).
//!
//! Rows and position commit together. It never decides anything about stock, never reads a clock, and never goes on
//! behind a batch that it could not apply: that partition stops, loudly, and the others go on.

mod fold;
mod keeper;
mod sorter;

use std::collections::{BTreeMap, BTreeSet};

use crate::breaks::{self, Break};
use crate::checkpoint;
use crate::domain::{Epoch, PartitionId, Sequence, SystemId};
use crate::event::{Batch, Unwritable};
use crate::store::{self, Delta, Gap, Move, Store, StoreError, Tables, Transaction};
use fold::{Changes, Fold};
pub(crate) use keeper::keep as keep_checkpoints;
pub(crate) use sorter::{Missing, Sorter};

/// Where a batch stands in its partition's log: shown as `epoch/sequence`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The place in it.
    pub sequence: Sequence,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.epoch, self.sequence)
    }
}

/// What became of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows and its position are committed.
    Applied,
    /// It does not count: of an older epoch, or in the tables already.
    Skipped,
    /// Its partition stopped at it or before it; see [`Report::stops`].
    Stopped,
}

/// What became of the batches of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each batch, in the order they were given.
    pub outcomes: Vec<Outcome>,
    /// Why partitions stopped, at most one for each.
    pub stops: Vec<Stop>,
}

impl Report {
    /// How many batches had that outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|found| **found == outcome).count()
    }
}

/// Why the projection of one partition cannot go on. A person has to look: nothing of it heals by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A batch is missing: the log lost it, or the consumer acknowledged what it had not stored.
    #[error("partition {partition}: gap in the log: expected batch {expected}, found {found}")]
    Gap {
        /// The partition that stopped.
        partition: PartitionId,
        /// The batch that would have been next.
        expected: Position,
        /// The batch that came.
        found: Position,
    },
    /// A fence knows of batches that were confirmed and are not there: the log lost them.
    #[error("{}, in front of fence {found}", lost(*partition, *applied, *known))]
    Lost {
        /// The partition that stopped.
        partition: PartitionId,
        /// The last batch in the tables.
        applied: Position,
        /// The last batch that is known to be confirmed.
        known: Position,
        /// The fence.
        found: Position,
    },
    /// Another system writes to this log.
    #[error(
        "partition {partition}: batch {found} belongs to system {theirs}, and this is system {ours}: two of them share the names on the broker"
    )]
    Stranger {
        /// The partition that stopped.
        partition: PartitionId,
        /// The batch.
        found: Position,
        /// Whose it is.
        theirs: SystemId,
        /// Whose the tables are.
        ours: SystemId,
    },
    /// The schema was made with fewer partitions.
    #[error("partition {partition} is not in the schema")]
    Unknown {
        /// The partition.
        partition: PartitionId,
    },
    /// The batch contradicts itself or the tables.
    #[error("partition {partition}: batch {found} cannot be applied: {what}")]
    Broken {
        /// The partition that stopped.
        partition: PartitionId,
        /// The batch at fault, or the last one that was applied together with it.
        found: Position,
        /// What does not fit.
        what: String,
    },
}

impl Stop {
    /// The partition that stopped.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        match self {
            Self::Gap { partition, .. }
            | Self::Lost { partition, .. }
            | Self::Stranger { partition, .. }
            | Self::Unknown { partition }
            | Self::Broken { partition, .. } => *partition,
        }
    }

    /// What the tables lack to go on, if an operator can let them go on without it.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        let (partition, applied, missing, is_broken) = match self {
            Self::Gap { partition, expected, found } => (*partition, before(*expected), before(*found), false),
            Self::Lost { partition, applied, known, .. } => (*partition, *applied, *known, false),
            Self::Broken { partition, found, .. } => (*partition, before(*found), *found, true),
            Self::Stranger { .. } | Self::Unknown { .. } => return None,
        };
        let [applied, missing] = [applied, missing].map(|position| (position.epoch, position.sequence));
        Some(Gap { partition, applied, missing, is_broken })
    }
}

/// The batch in front of one that is no fence.
const fn before(position: Position) -> Position {
    Position { epoch: position.epoch, sequence: position.sequence.previous() }
}

fn lost(partition: PartitionId, applied: Position, known: Position) -> String {
    let one = applied.epoch == known.epoch && applied.sequence.next() == known.sequence;
    let verbs = if one { ("was", "is") } else { ("were", "are") };
    format!("{} of partition {partition} {} confirmed and {} not in the log", span(applied, known), verbs.0, verbs.1)
}

/// How what lies behind `applied`, up to `last`, is spoken of.
pub(crate) fn span(applied: Position, last: Position) -> String {
    let first = Position { sequence: applied.sequence.next(), ..applied };
    match applied.epoch == last.epoch {
        true if first == last => format!("batch {first}"),
        true => format!("batches {first} to {last}"),
        false => format!("batches behind {applied} up to {last}"),
    }
}

/// Applies batches of any partitions, those of one partition in the order of its log, in one transaction.
///
/// If some cannot be applied, each goes into a transaction of its own instead, so that only the partitions at fault stop.
/// Safe to repeat with the same batches after an error: what was committed is skipped.
///
/// # Errors
/// [`StoreError`] when the database did not do its part: whether the batches are in the tables is not known.
pub async fn apply(store: &Store, batches: &[Batch]) -> Result<Report, StoreError> {
    apply_to(store, batches).await
}

/// As [`apply`], to any tables.
pub(crate) async fn apply_to(tables: &impl Tables, batches: &[Batch]) -> Result<Report, StoreError> {
    match apply_together(tables, batches).await {
        Ok(report) => Ok(report),
        Err(Failure::Store(error)) => Err(error),
        Err(Failure::Broken(_)) => apply_apart(tables, batches).await,
    }
}

/// Why a transaction was rolled back.
enum Failure {
    /// The database is at fault.
    Store(StoreError),
    /// The batches are.
    Broken(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_refusal() { Self::Broken(error.to_string()) } else { Self::Store(error) }
    }
}

async fn apply_apart(tables: &impl Tables, batches: &[Batch]) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for batch in batches {
        if report.stops.iter().any(|stop| stop.partition() == batch.partition) {
            report.outcomes.push(Outcome::Stopped);
            continue;
        }
        match apply_together(tables, std::slice::from_ref(batch)).await {
            Ok(alone) => {
                report.outcomes.extend(alone.outcomes);
                report.stops.extend(alone.stops);
            }
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Broken(what)) => {
                report.outcomes.push(Outcome::Stopped);
                report.stops.push(Stop::Broken { partition: batch.partition, found: position_of(batch), what });
            }
        }
    }
    Ok(report)
}

async fn apply_together(tables: &impl Tables, batches: &[Batch]) -> Result<Report, Failure> {
    if breaks::is_broken(Break::NoticeWithRows) {
        write_notices_apart(tables, batches).await?;
    }
    let write = tables.begin().await?;
    match write_all(&write, batches).await {
        Ok(report) if report.count(Outcome::Applied) == 0 => {
            write.rollback().await?;
            Ok(report)
        }
        Ok(report) => {
            write.commit().await?;
            Ok(report)
        }
        Err(failure) => {
            // Awaited, so that the connection is free for the next transaction. If it fails too, the server rolls back.
            drop(write.rollback().await);
            Err(failure)
        }
    }
}

/// Never done: what is told then may never have been.
async fn write_notices_apart(tables: &impl Tables, batches: &[Batch]) -> Result<(), Failure> {
    let write = tables.begin().await?;
    let mut fold = Fold::new(write.is_outbox_wanted());
    for batch in batches {
        fold.batch(batch).map_err(Failure::Broken)?;
    }
    write.insert_notices(&fold.finish().map_err(Failure::Broken)?.notices).await?;
    write.commit().await?;
    Ok(())
}

async fn write_all(write: &impl Transaction, batches: &[Batch]) -> Result<Report, Failure> {
    let partitions: BTreeSet<PartitionId> = batches.iter().map(|batch| batch.partition).collect();
    let known = write.positions(&partitions.into_iter().collect::<Vec<_>>()).await?;
    let before = known.clone();
    let mut admission = Admission { system: write.system(), positions: known, moved: BTreeSet::new(), report: Report::default() };
    let mut fold = Fold::new(write.is_outbox_wanted());
    let mut applied: BTreeMap<PartitionId, Vec<&Batch>> = BTreeMap::new();
    for batch in batches {
        if admission.admit(batch) {
            fold.batch(batch).map_err(Failure::Broken)?;
            applied.entry(batch.partition).or_default().push(batch);
        }
    }
    let Admission { mut positions, moved, report, .. } = admission;
    positions.retain(|partition, _| moved.contains(partition));
    write_changes(write, &fold.finish().map_err(Failure::Broken)?).await?;
    write.set_positions(&positions).await?;
    write.append_deltas(deltas(&before, &positions, applied).map_err(|error| Failure::Broken(error.to_string()))?).await?;
    Ok(report)
}

/// What these batches add to what a claim loads.
fn deltas(
    before: &BTreeMap<PartitionId, store::Position>,
    after: &BTreeMap<PartitionId, store::Position>,
    applied: BTreeMap<PartitionId, Vec<&Batch>>,
) -> Result<Vec<Delta>, Unwritable> {
    let delta = |(partition, batches): (PartitionId, Vec<&Batch>)| {
        let body = checkpoint::delta_of(batches)?;
        Ok(Delta { partition, previous: before[&partition], position: after[&partition], body })
    };
    applied.into_iter().map(delta).collect()
}

/// Seals are broken before anything else: what archives orders holds their commodity, then their rows, and so does this. Forgotten keys
/// go before new rows: a buyer may use a key again as soon as it is forgotten.
async fn write_changes(write: &impl Transaction, changes: &Changes) -> Result<(), Failure> {
    write.unseal(&changes.unsealed).await?;
    write.forget_keys(&changes.forgotten).await?;
    for commodity in &changes.listed {
        write.insert_commodity(commodity).await?;
    }
    write.insert_orders(&changes.placed).await?;
    for orders in &changes.moves {
        let mut found = write.move_orders(orders).await?;
        // Hardly ever: an order of a commodity that is over may lie in the archive.
        if found < orders.orders.len() as u64 && is_brought_back(write, orders).await? {
            found += write.move_orders(orders).await?;
        }
        if found != orders.orders.len() as u64 {
            let (count, from) = (orders.orders.len(), orders.from.word());
            return Err(Failure::Broken(format!("{count} orders were to leave the status {from}, {found} of them are in it")));
        }
    }
    write_payments(write, changes).await?;
    write.insert_steps(&changes.steps).await?;
    for (commodity, update) in &changes.updates {
        if !write.update_commodity(*commodity, update).await? {
            return Err(Failure::Broken(format!("there is no commodity {commodity}")));
        }
    }
    write.insert_operations(&changes.operations).await?;
    write.insert_notices(&changes.notices).await?;
    Ok(())
}

async fn write_payments(write: &impl Transaction, changes: &Changes) -> Result<(), Failure> {
    write.insert_payments(&changes.payments).await?;
    if !changes.owing.is_empty() && !breaks::is_broken(Break::BringBack) {
        // Hardly ever: a claim looks for what is owed among the orders, and these may lie in the archive.
        write.bring_back(&changes.owing.iter().copied().collect::<Vec<_>>()).await?;
    }
    for change in &changes.payment_changes {
        let (count, found) = (change.orders.len() as u64, write.change_payments(change).await?);
        if found != count {
            return Err(Failure::Broken(format!("{count} payments were to be {}, {found} of them are there", change.status.word())));
        }
    }
    Ok(())
}

async fn is_brought_back(write: &impl Transaction, orders: &Move) -> Result<bool, StoreError> {
    Ok(!breaks::is_broken(Break::BringBack) && write.bring_back(&orders.orders).await? > 0)
}

pub(crate) fn position_of(batch: &Batch) -> Position {
    Position { epoch: batch.epoch, sequence: batch.sequence }
}

/// R5: which batches count.
struct Admission {
    system: SystemId,
    positions: BTreeMap<PartitionId, store::Position>,
    moved: BTreeSet<PartitionId>,
    report: Report,
}

impl Admission {
    /// Whether the batch is to be applied now; its outcome is noted either way.
    fn admit(&mut self, batch: &Batch) -> bool {
        let outcome = match self.check(batch) {
            Ok(outcome) => outcome,
            Err(stop) => {
                self.report.stops.push(stop);
                Outcome::Stopped
            }
        };
        if outcome == Outcome::Applied {
            self.positions.insert(batch.partition, (batch.epoch, batch.sequence));
            self.moved.insert(batch.partition);
        }
        self.report.outcomes.push(outcome);
        outcome == Outcome::Applied
    }

    fn check(&self, batch: &Batch) -> Result<Outcome, Stop> {
        let partition = batch.partition;
        if self.report.stops.iter().any(|stop| stop.partition() == partition) {
            return Ok(Outcome::Stopped);
        }
        if let Some(theirs) = batch.system.filter(|theirs| *theirs != self.system) {
            return Err(Stop::Stranger { partition, found: position_of(batch), theirs, ours: self.system });
        }
        let (epoch, sequence) = *self.positions.get(&partition).ok_or(Stop::Unknown { partition })?;
        verdict(Position { epoch, sequence }, batch)
    }
}

/// R5: what becomes of a batch when the projection is at that position, if nothing else is at fault.
pub(crate) fn verdict(position: Position, batch: &Batch) -> Result<Outcome, Stop> {
    let (expected, found) = (Position { sequence: position.sequence.next(), ..position }, position_of(batch));
    if batch.is_fence() {
        let known = batch.known.map(|(epoch, sequence)| Position { epoch, sequence });
        return match known {
            _ if batch.epoch <= position.epoch => Ok(Outcome::Skipped),
            Some(known) if known > position => Err(Stop::Lost { partition: batch.partition, applied: position, known, found }),
            _ => Ok(Outcome::Applied),
        };
    }
    match found.cmp(&expected) {
        std::cmp::Ordering::Less if breaks::is_broken(Break::OlderIsSkipped) => Ok(Outcome::Applied),
        std::cmp::Ordering::Less => Ok(Outcome::Skipped),
        std::cmp::Ordering::Equal => Ok(Outcome::Applied),
        std::cmp::Ordering::Greater => Err(Stop::Gap { partition: batch.partition, expected, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = match PartitionId::new(3) {
        Ok(partition) => partition,
        Err(_) => unreachable!(),
    };
    const SYSTEM: SystemId = SystemId::from_bytes([1; 16]);

    fn admission(positions: BTreeMap<PartitionId, store::Position>) -> Admission {
        Admission { system: SYSTEM, positions, moved: BTreeSet::new(), report: Report::default() }
    }

    fn at(epoch: u32, sequence: u64) -> (Epoch, Sequence) {
        (Epoch::new(epoch).unwrap(), Sequence(sequence))
    }

    fn batch(epoch: u32, sequence: u64) -> Batch {
        let (epoch, sequence) = at(epoch, sequence);
        Batch::new(PARTITION, epoch, sequence, Vec::new())
    }

    fn admit(position: (Epoch, Sequence), batches: &[Batch]) -> (Vec<Outcome>, Vec<Stop>, (Epoch, Sequence)) {
        let mut admission = admission(BTreeMap::from([(PARTITION, position)]));
        for batch in batches {
            admission.admit(batch);
        }
        (admission.report.outcomes, admission.report.stops, admission.positions[&PARTITION])
    }

    #[test]
    fn the_next_batch_of_the_epoch_counts_and_older_ones_do_not() {
        let (outcomes, stops, position) = admit(at(2, 5), &[batch(2, 5), batch(1, 9), batch(2, 6), batch(2, 7), batch(2, 6)]);
        assert_eq!(outcomes, [Outcome::Skipped, Outcome::Skipped, Outcome::Applied, Outcome::Applied, Outcome::Skipped]);
        assert_eq!((stops, position), (vec![], at(2, 7)));
    }

    #[test]
    fn a_fence_ends_the_epochs_before_it() {
        let (outcomes, _, position) = admit(at(2, 5), &[batch(4, 0), batch(2, 6), batch(3, 0), batch(4, 0), batch(4, 1)]);
        assert_eq!(outcomes, [Outcome::Applied, Outcome::Skipped, Outcome::Skipped, Outcome::Skipped, Outcome::Applied]);
        assert_eq!(position, at(4, 1));
    }

    #[test]
    fn a_gap_stops_the_partition_and_says_what_is_missing() {
        let (outcomes, stops, position) = admit(at(2, 5), &[batch(2, 6), batch(2, 8), batch(2, 7)]);
        assert_eq!(outcomes, [Outcome::Applied, Outcome::Stopped, Outcome::Stopped]);
        assert_eq!(stops[0].to_string(), "partition 3: gap in the log: expected batch 2/7, found 2/8");
        assert_eq!((stops.len(), position), (1, at(2, 6)));
    }

    #[test]
    fn a_batch_of_an_epoch_without_a_fence_is_a_gap() {
        let (outcomes, stops, _) = admit(at(2, 5), &[batch(3, 1)]);
        assert_eq!(outcomes, [Outcome::Stopped]);
        assert!(matches!(stops[0], Stop::Gap { .. }));
    }

    #[test]
    fn a_fence_that_knows_of_confirmed_batches_stops_where_they_are_not_in_the_tables() {
        let fence = |known| batch(5, 0).knowing(Some(known));
        for (position, known, words) in [
            (at(4, 0), at(4, 3), "batches 4/1 to 4/3 of partition 3 were confirmed and are not in the log, in front of fence 5/0"),
            (at(4, 2), at(4, 3), "batch 4/3 of partition 3 was confirmed and is not in the log, in front of fence 5/0"),
            (
                at(2, 9),
                at(4, 0),
                "batches behind 2/9 up to 4/0 of partition 3 were confirmed and are not in the log, in front of fence 5/0",
            ),
        ] {
            let (outcomes, stops, after) = admit(position, &[fence(known), batch(5, 1)]);
            assert_eq!((outcomes, after), (vec![Outcome::Stopped; 2], position));
            assert_eq!(stops[0].to_string(), words);
            assert_eq!(stops[0].gap(), Some(Gap { partition: PARTITION, applied: position, missing: known, is_broken: false }));
        }
        for position in [at(4, 3), at(4, 4)] {
            assert_eq!(admit(position, &[fence(at(4, 3))]).0, [Outcome::Applied], "{position:?}");
        }
        assert_eq!(admit(at(6, 0), &[fence(at(4, 3))]).0, [Outcome::Skipped], "a later fence has been there");
    }

    #[test]
    fn what_a_stop_lacks_lies_between_where_it_stands_and_what_it_found() {
        let gap = |position, found| admit(position, &[found]).1[0].gap().unwrap();
        let of = |applied, missing| Gap { partition: PARTITION, applied, missing, is_broken: false };
        assert_eq!(gap(at(2, 5), batch(2, 8)), of(at(2, 5), at(2, 7)));
        assert_eq!(gap(at(2, 5), batch(3, 1)), of(at(2, 5), at(3, 0)));
    }

    #[test]
    fn a_strangers_batch_stops_the_partition_whatever_its_number_and_our_own_does_not() {
        let theirs = SystemId::from_bytes([2; 16]);
        for number in [at(1, 0), at(2, 5), at(2, 6), at(9, 0)] {
            let (outcomes, stops, position) = admit(at(2, 5), &[batch(number.0.get(), number.1.0).of_system(theirs), batch(2, 6)]);
            assert_eq!((outcomes, position), (vec![Outcome::Stopped; 2], at(2, 5)));
            assert!(matches!(stops[0], Stop::Stranger { ours: SYSTEM, .. }) && stops[0].gap().is_none(), "{stops:?}");
        }
        assert_eq!(admit(at(2, 5), &[batch(2, 6).of_system(SYSTEM)]).0, [Outcome::Applied]);
    }

    #[test]
    fn a_partition_outside_the_schema_stops() {
        let mut admission = admission(BTreeMap::new());
        assert!(!admission.admit(&batch(1, 0)));
        assert_eq!(admission.report.stops, [Stop::Unknown { partition: PARTITION }]);
    }
}
