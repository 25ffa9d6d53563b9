//! What an audit reads, on both databases: orders of what is sealed never, and those of a commodity alone from an index.

use super::super::walk::tests::{Backend, Meter, ROWS, TestDatabase, filled};
use super::*;

/// Commodities 1 and 2 have all the orders; those from 3 on have none.
async fn with_commodities(database: &TestDatabase, store: &Store, commodities: u64) {
    let row = |id: u64| {
        let (sold, held, sealed_at) = if id <= 2 { (0, 0, "NULL") } else { (0, 0, "1") };
        format!("({id}, 3, 'lamp', '', 100, 'EUR', 0, 1, {sold}, 0, {held}, {sold}, FALSE, 1, 1, {sealed_at})")
    };
    let rows: Vec<String> = (1..=commodities).map(row).collect();
    let columns = "id, partition_id, name, description, price, currency, starts_at, ends_at, total, available, held, sold, paused, version, \
                   closed_at, sealed_at";
    database.execute(&format!("INSERT INTO commodities ({columns}) VALUES {}", rows.join(","))).await;
    let live = "SELECT SUM(quantity) FROM orders WHERE commodity_id = commodities.id AND status = 1";
    database.execute(&format!("UPDATE commodities SET sold = ({live}), total = ({live}) WHERE id <= 2")).await;
    assert!(store.audit_of(AuditScope::All).await.expect("it is there").is_balanced());
}

async fn what_is_sealed_is_not_read(backend: Backend) {
    const SEALED: u64 = 1_000;
    let (database, store) = filled(backend).await;
    with_commodities(&database, &store, SEALED).await;
    let meter = Meter::of(&store).await;
    let audit = async || {
        meter.reset(&store).await;
        let audit = store.audit_of(AuditScope::Unsealed).await.expect("it is there");
        (audit, meter.read(&store).await)
    };
    let (found, read) = audit().await;
    assert!(found.is_balanced() && found.rows.len() == 2 && found.sealed == SEALED - 2, "{found:?}");
    assert!(read > ROWS, "{read} read, and there are {ROWS} orders");
    assert_eq!(store.seal(&found, Timestamp::ZERO).await.expect("it is there"), 2);

    // What is left is to count the seals.
    let (found, read) = audit().await;
    assert!(found.rows.is_empty() && found.sealed == SEALED, "{found:?}");
    assert!(read < 2 * SEALED + 100, "{read} read for {SEALED} seals");
    store.close().await.expect("nothing is under way");
}

#[tokio::test]
async fn sqlite_does_not_read_what_is_sealed() {
    what_is_sealed_is_not_read(Backend::Sqlite).await;
}

#[tokio::test]
async fn mysql_does_not_read_what_is_sealed() {
    what_is_sealed_is_not_read(Backend::Mysql).await;
}
