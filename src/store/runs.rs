//! Runs of orders: what leads the index of buyers' lists, so that inserts into it stay close together.
//!
//! A run is a number that stands still for some 131,072 rows and then grows by one, the same for all who write. Buyers are
//! anybody, so an insert goes anywhere in the part of the index that belongs to the run; that part is a few megabytes, and
//! stays in memory however large the table is. Never counts rows: a row in so many moves a counter of steps on, whoever
//! writes it and however often a transaction is repeated.

use crate::domain::OrderId;
use crate::ring::stable_hash;

/// One row in so many is a step. A run is several steps, because their distances vary as those of dice do: of single steps one
/// run in twenty would be three times too long.
const ROWS_A_STEP: u64 = 16_384;
const STEPS_A_RUN: i64 = 8;

/// The run rows are written under after so many steps. What consumers of the release before write is of run 0.
pub(super) fn run_after(steps: i64) -> i32 {
    i32::try_from(1 + steps / STEPS_A_RUN).unwrap_or(i32::MAX)
}

/// How many steps these rows are.
pub(super) fn steps_of(orders: impl Iterator<Item = OrderId>) -> i64 {
    let steps = orders.filter(|order| stable_hash(order.uuid().as_bytes()).is_multiple_of(ROWS_A_STEP));
    steps.count() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, PartitionId, Timestamp};

    fn placed(number: u64) -> OrderId {
        let at = Timestamp::from_millis(1_795_600_000_000 + number as i64 / 100).unwrap();
        OrderId::new(at, PartitionId::new((number % 16) as u16).unwrap(), Epoch::new(1).unwrap(), number / 16)
    }

    #[test]
    fn a_run_is_about_as_long_as_it_is_said_to_be_however_rows_come() {
        let rows: Vec<OrderId> = (0..2_000_000).map(placed).collect();
        let together = steps_of(rows.iter().copied());
        let apart: i64 = rows.chunks(7).map(|rows| steps_of(rows.iter().copied())).sum();
        assert_eq!(together, apart);
        let runs = run_after(together) - run_after(0);
        assert!((12..=19).contains(&runs), "2,000,000 rows are 15.3 runs, and {runs} are told");
    }

    #[test]
    fn no_row_of_this_release_is_of_the_run_of_the_one_before() {
        assert_eq!((run_after(0), run_after(7), run_after(8), run_after(i64::MAX)), (1, 1, 2, i32::MAX));
    }
}
