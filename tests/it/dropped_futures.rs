//! Whoever asks the store for something may be dropped at any await: what it leaves behind is of no consequence to anybody.

use std::time::Duration;

use doorbuster::config;
use doorbuster::domain::{OrderStatus, Partitions};
use doorbuster::event::Batch;
use doorbuster::projection;
use doorbuster::store::{AuditScope, OrderFilter, Role, Store};
use rstest::rstest;

use crate::support::history::History;
use crate::support::{Backend, TestDatabase, at, load, partition, polled, position};

/// More polls than anything here takes.
const POLLS_MAX: usize = 2_000;

/// One connection for everything, and one for loads: whatever comes next comes over the same.
const ONE: config::Database = config::Database { url: None, connections_max: 1, loads_max: 1, acquire_timeout_ms: 10_000 };

/// What is dropped.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Projection,
    Epoch,
    CommodityId,
    Load,
    Audit,
    Seal,
    Checkpoint,
    Account,
    LogVersion,
    Lists,
}

/// A fence, two commodities, and an order in each batch after these.
fn history() -> Vec<Batch> {
    let mut history = History::begin(partition(0), position(1, 0).0);
    history.list(1, 100_000).list(2, 10).cut();
    for number in 0..POLLS_MAX {
        let buyer = i64::try_from(number + 1).expect("a number");
        history.place(0, buyer, 1, OrderStatus::Confirmed, Some(&format!("key-{number}")));
        history.cut();
    }
    history.batches()
}

/// Does it once. `round` counts from 1.
async fn work(kind: Kind, store: &Store, history: &[Batch], round: usize) {
    let now = at(200_000 + round as i64);
    match kind {
        Kind::Projection => drop(projection::apply(store, &history[round..round + 3]).await.expect("it applies")),
        Kind::Epoch => drop(store.claim_epoch(partition(3), "node-1").await.expect("it is claimed")),
        Kind::CommodityId => drop(store.next_commodity_id().await.expect("an id")),
        Kind::Load => drop(store.snapshot(partition(0), load()).await.expect("it loads")),
        Kind::Audit => drop(store.audit_of(AuditScope::All).await.expect("an audit")),
        Kind::Seal => {
            let audit = store.audit_of(AuditScope::Unsealed).await.expect("an audit");
            store.seal(&audit, now).await.expect("it seals");
        }
        Kind::Checkpoint => drop(store.write_checkpoint(partition(0), now).await.expect("it is written")),
        Kind::Account => {
            store.create_account(&format!("dropped-{round}"), "hash", Role::Buyer, now).await.expect("it is made");
        }
        Kind::LogVersion => drop(store.raise_log_version().await.expect("it is raised")),
        Kind::Lists => drop(store.orders(&OrderFilter::default(), None, 100).await.expect("a page")),
    }
}

/// What is done over the same connection is done, is seen by others, and sees what others did.
async fn is_sound(store: &Store, witness: &Store, history: &[Batch], round: usize) {
    let name = format!("after-{round}");
    store.create_account(&name, "hash", Role::Buyer, at(0)).await.expect("it can be written to").expect("the name is free");
    assert!(witness.account_by_name(&name).await.expect("it answers").is_some(), "what one statement did is committed");
    let epoch = witness.claim_epoch(partition(9), "witness").await.expect("no row is locked");
    assert_eq!(store.partition_rows().await.expect("it answers")[9].epoch, epoch, "reads are of now");
    let report = projection::apply(store, &history[..round + 3]).await.expect("it can be applied to");
    assert!(report.stops.is_empty(), "{:?}", report.stops);
    assert_eq!(witness.applied(partition(0)).await.expect("it answers").1.0, round as u64 + 2, "what a transaction did is committed");
    store.snapshot(partition(0), load()).await.expect("it loads");
}

#[rstest]
#[tokio::test]
async fn a_future_that_is_dropped_at_any_poll_leaves_a_connection_that_is_as_good_as_new(
    #[values(Backend::Sqlite, Backend::Mysql)] backend: Backend,
    #[values(
        Kind::Projection,
        Kind::Epoch,
        Kind::CommodityId,
        Kind::Load,
        Kind::Audit,
        Kind::Seal,
        Kind::Checkpoint,
        Kind::Account,
        Kind::LogVersion,
        Kind::Lists
    )]
    kind: Kind,
) {
    let database = TestDatabase::migrated(backend).await;
    let (history, witness) = (history(), database.store().await);
    let store = Store::connect(database.url(), &ONE).await.expect("it is migrated");
    is_sound(&store, &witness, &history, 0).await;
    for polls in 1..POLLS_MAX {
        // There is always one to be sealed.
        database.execute("UPDATE commodities SET removed_at = 1, sealed_at = NULL WHERE id = 2").await;
        let ended = polled(polls, work(kind, &store, &history, polls)).await.is_some();
        database.is_at_rest().await;
        is_sound(&store, &witness, &history, polls).await;
        if ended {
            assert!(polls > 1, "nothing that asks a database is ready at once");
            assert!(witness.audit().await.expect("an audit").iter().all(|row| row.balanced), "and the books are right");
            return;
        }
    }
    panic!("it does not end");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn many_that_are_dropped_together_keep_nobody_waiting(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = Store::connect(database.url(), &ONE).await.expect("it is migrated");
    let last = async {
        for polls in 1..6 {
            let claims = (0..16).map(|number| polled(polls, store.claim_epoch(partition(number), "node-1")));
            futures_util::future::join_all(claims).await;
        }
        store.next_commodity_id().await
    };
    tokio::time::timeout(Duration::from_secs(30), last).await.expect("soon").expect("an id");
    database.is_at_rest().await;
}

#[tokio::test]
async fn a_migration_that_is_dropped_goes_on_to_its_end() {
    for polls in 1..POLLS_MAX {
        let database = TestDatabase::empty(Backend::Mysql).await;
        let migrated = polled(polls, Store::migrate(database.url(), &ONE, Partitions::DEFAULT)).await;
        if let Some(migrated) = migrated {
            migrated.expect("it can be migrated");
            return;
        }
        // Whoever comes next waits for it, and finds a whole schema or makes one.
        Store::migrate(database.url(), &ONE, Partitions::DEFAULT).await.expect("it can be migrated");
        Store::connect(database.url(), &ONE).await.expect("a whole schema");
        database.is_at_rest().await;
    }
    panic!("it does not end");
}
