//! What every log keeps to, whatever it is made of. A log that passes can carry partitions: each implementation brings a
//! [`Fixture`] and runs all of it through [`conformance!`].

use std::sync::Arc;

use doorbuster::domain::{Epoch, OrderStatus, PartitionId, Sequence};
use doorbuster::event::Batch;
use doorbuster::log::{InDoubt, Log};
use doorbuster::ownership::{Claim, Ownership};
use doorbuster::store::Store;

use crate::support::history::History;
use crate::support::{buyers_in, partition};

/// A log under test, with its own database.
pub trait Fixture {
    /// The store its projection writes to.
    fn store(&self) -> &Store;

    /// How one node claims partitions.
    fn ownership(&self) -> &Arc<dyn Ownership>;

    /// Claims a partition that is claimed, by whatever makes a claim change hands here.
    async fn take_over(&self, partition: PartitionId) -> Claim;

    /// Waits until what was confirmed is in the tables, up to that batch at least.
    async fn settled(&self, partition: PartitionId, position: (Epoch, Sequence));

    /// Ends everything, in order.
    async fn stop(self);
}

/// Runs the suite over one fixture; each test is a function with the name of what it shows.
macro_rules! conformance {
    ($module:ident, $fixture:expr) => {
        mod $module {
            use super::*;

            $crate::log_conformance::conformance!(@tests $fixture;
                a_confirmed_batch_is_in_the_tables
                each_claim_begins_the_next_epoch
                a_claim_loads_all_that_was_confirmed_before
                a_claim_that_changed_hands_confirms_nothing_more
                a_released_claim_confirms_nothing_more
                a_log_takes_only_batches_of_its_claim
                many_partitions_append_at_the_same_time
                after_the_end_every_append_is_in_doubt
            );
        }
    };
    (@tests $fixture:expr; $($name:ident)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::log_conformance::$name($fixture.await).await;
            }
        )+
    };
}
pub(crate) use conformance;

/// The batches of a sale behind the fence of a claim: a commodity of its own for each partition, then orders.
fn sale(claim: &Claim, of: PartitionId) -> Vec<Batch> {
    let mut history = History::begin(of, claim.epoch);
    history.list(i64::from(of.get()) * 1000 + i64::from(claim.epoch.get()), 10).cut();
    history.place(0, 1, 1, OrderStatus::Confirmed, Some("key"));
    history.cut();
    history.place(0, 2, 2, OrderStatus::Reserved, None);
    history.batches().split_off(1)
}

async fn append_all(log: &Arc<dyn Log>, batches: &[Batch]) {
    for batch in batches {
        log.append(batch.clone()).await.expect("a claimed log confirms");
    }
}

async fn claim(fixture: &impl Fixture, partition: PartitionId) -> Claim {
    fixture.ownership().claim(partition).await.expect("nobody else owns it")
}

fn last(batches: &[Batch]) -> (Epoch, Sequence) {
    batches.last().map(|batch| (batch.epoch, batch.sequence)).expect("there are batches")
}

pub async fn a_confirmed_batch_is_in_the_tables(fixture: impl Fixture) {
    let claim = claim(&fixture, partition(3)).await;
    let batches = sale(&claim, partition(3));
    append_all(&claim.log, &batches).await;
    fixture.settled(partition(3), last(&batches)).await;
    let rows = fixture.store().audit().await.unwrap();
    assert_eq!((rows.len(), rows[0].available, rows[0].held, rows[0].sold, rows[0].balanced), (1, 7, 2, 1, true));
    fixture.stop().await;
}

pub async fn each_claim_begins_the_next_epoch(fixture: impl Fixture) {
    let first = claim(&fixture, partition(3)).await;
    assert_eq!((first.epoch.get(), &first.snapshot), (1, &doorbuster::engine::Snapshot::default()));
    assert_eq!(fixture.store().applied(partition(3)).await.unwrap(), (first.epoch, Sequence::FENCE));
    let second = fixture.take_over(partition(3)).await;
    assert_eq!(second.epoch.get(), 2);
    assert_eq!(claim(&fixture, partition(4)).await.epoch.get(), 1, "partitions count for themselves");
    fixture.stop().await;
}

pub async fn a_claim_loads_all_that_was_confirmed_before(fixture: impl Fixture) {
    let first = claim(&fixture, partition(3)).await;
    append_all(&first.log, &sale(&first, partition(3))).await;
    let second = fixture.take_over(partition(3)).await;
    assert_eq!((second.snapshot.commodities.len(), buyers_in(&second.snapshot)), (1, 2));
    append_all(&second.log, &sale(&second, partition(3))).await;
    let third = fixture.take_over(partition(3)).await;
    assert_eq!((third.snapshot.commodities.len(), buyers_in(&third.snapshot)), (2, 4));
    fixture.stop().await;
}

pub async fn a_claim_that_changed_hands_confirms_nothing_more(fixture: impl Fixture) {
    let first = claim(&fixture, partition(3)).await;
    assert!(!first.lost.is_cancelled());
    let second = fixture.take_over(partition(3)).await;
    first.lost.cancelled().await;
    let late = sale(&first, partition(3)).swap_remove(0);
    assert!(matches!(first.log.append(late).await, Err(InDoubt(_))));
    let batches = sale(&second, partition(3));
    append_all(&second.log, &batches).await;
    fixture.settled(partition(3), last(&batches)).await;
    assert_eq!(fixture.store().commodities(None, 10, true).await.unwrap().len(), 1, "the late one is not in the tables");
    fixture.stop().await;
}

pub async fn a_released_claim_confirms_nothing_more(fixture: impl Fixture) {
    let claim = claim(&fixture, partition(3)).await;
    fixture.ownership().release(partition(3)).await;
    fixture.ownership().release(partition(4)).await;
    assert!(claim.log.append(sale(&claim, partition(3)).swap_remove(0)).await.is_err());
    let next = fixture.ownership().claim(partition(3)).await.expect("it was released");
    assert!(next.snapshot.commodities.is_empty());
    fixture.stop().await;
}

pub async fn a_log_takes_only_batches_of_its_claim(fixture: impl Fixture) {
    let one = claim(&fixture, partition(3)).await;
    let foreign = Batch::fence(partition(4), one.epoch);
    assert!(one.log.append(foreign).await.is_err());
    assert!(one.lost.is_cancelled(), "who mixes up logs starts over");
    assert_eq!(fixture.store().applied(partition(4)).await.unwrap().0, Epoch::default());
    fixture.stop().await;
}

pub async fn many_partitions_append_at_the_same_time(fixture: impl Fixture) {
    let sell = async |index: u16| {
        let claim = claim(&fixture, partition(index)).await;
        let batches = sale(&claim, partition(index));
        append_all(&claim.log, &batches).await;
        fixture.settled(partition(index), last(&batches)).await;
    };
    futures_util::future::join_all((0..16).map(sell)).await;
    let rows = fixture.store().audit().await.unwrap();
    assert_eq!(rows.len(), 16);
    assert!(rows.iter().all(|row| row.balanced && row.live_orders == 2));
    fixture.stop().await;
}

pub async fn after_the_end_every_append_is_in_doubt(fixture: impl Fixture) {
    let claim = claim(&fixture, partition(3)).await;
    let ownership = Arc::clone(fixture.ownership());
    fixture.stop().await;
    claim.lost.cancelled().await;
    assert!(claim.log.append(sale(&claim, partition(3)).swap_remove(0)).await.is_err());
    assert!(ownership.claim(partition(3)).await.is_err());
}
