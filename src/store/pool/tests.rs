//! What becomes of a connection that somebody has let go of in the middle.

use rstest::rstest;

use super::*;
use crate::config;
use crate::store::Store;
use crate::store::walk::tests::{Backend, TestDatabase};

/// Short, because it is also what the server gets for what nobody waits for any more.
const SETTINGS: config::Database = config::Database { url: None, connections_max: 1, loads_max: 1, acquire_timeout_ms: 500 };

async fn connection_id(pool: &Pool) -> i64 {
    let query = Statement::from_string(DbBackend::MySql, "SELECT CAST(CONNECTION_ID() AS SIGNED)");
    let row = pool.query_one_raw(query).await.expect("it answers").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

/// Until the pool has one connection that is not this one; the time for it is bounded by the tries.
async fn another_than(pool: &Pool, before: i64) {
    for _ in 0..20 {
        let query = Statement::from_string(DbBackend::MySql, "SELECT CAST(CONNECTION_ID() AS SIGNED)");
        // As long as the first is out, the time for a connection passes.
        let Ok(row) = pool.query_one_raw(query).await else { continue };
        assert_ne!(row.expect("a row").try_get_by_index::<i64>(0).expect("a number"), before, "it was made anew");
        return;
    }
    panic!("the only connection does not come back");
}

async fn store(backend: Backend) -> (TestDatabase, Store) {
    let database = TestDatabase::migrated(backend).await;
    let store = Store::connect(database.url(), &SETTINGS).await.expect("it is migrated");
    (database, store)
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_interrupted_and_its_connection_closed() {
    let (_database, store) = store(Backend::Mysql).await;
    let pool = store.reader();
    let before = connection_id(pool).await;
    let sleeping = pool.execute_unprepared("DO SLEEP(30)");
    assert!(tokio::time::timeout(Duration::from_millis(100), sleeping).await.is_err());
    another_than(pool, before).await;
}

#[tokio::test]
async fn a_statement_that_somebody_waits_for_may_take_longer_than_a_connection() {
    let (_database, store) = store(Backend::Mysql).await;
    let pool = store.reader();
    let before = connection_id(pool).await;
    pool.execute_unprepared("DO SLEEP(1)").await.expect("it ends");
    assert_eq!(connection_id(pool).await, before, "it is good for the next");
}

#[tokio::test]
async fn a_transaction_that_is_given_up_takes_its_connection_along() {
    let (_database, store) = store(Backend::Mysql).await;
    let pool = store.reader();
    let before = connection_id(pool).await;
    pool.begin(TransactionOptions::default()).await.expect("it begins").give_up();
    another_than(pool, before).await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_transaction_is_not_committed_without_a_statement_that_was_given_up(#[case] backend: Backend) {
    let (_database, store) = store(backend).await;
    let pool = &store.inner.connections.writer;
    let transaction = pool.begin(TransactionOptions::default()).await.expect("it begins");
    transaction.execute_unprepared("UPDATE meta SET last_commodity_id = 77").await.expect("it is there");
    {
        let mut statement = std::pin::pin!(transaction.execute_unprepared("UPDATE meta SET last_commodity_id = 78"));
        assert!(futures_util::poll!(&mut statement).is_pending());
    }
    transaction.commit().await.expect_err("it is not whole");
    assert_eq!(store.next_commodity_id().await.expect("an id").get(), 1, "nothing of it is there");
}
