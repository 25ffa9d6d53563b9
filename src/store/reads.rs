//! What single statements read, on both databases: never more than what they are about, however much lies beside it.

use super::walk::tests::{Backend, Meter, TestDatabase, filled, id};
use super::*;
use crate::domain::{IdempotencyKey, OrderId, PaymentStatus, Sku};
use walk::MOVED;

/// Rows of the other tables.
const BESIDE: i64 = 10_000;
/// So many rows a statement is about here.
const ABOUT: u64 = 50;
/// Rows, entries of all indexes and what is read to find them; far below what there is.
const PLENTY: u64 = 30 * ABOUT;

/// Every hundredth commodity is closed, and every thousandth removed; all are of two partitions.
async fn with_much_beside(database: &TestDatabase) {
    let columns = "id, partition_id, name, description, price, currency, starts_at, ends_at, total, available, held, sold, paused, version, \
                   closed_at, removed_at, sealed_at, sku";
    let commodity = |id: i64| {
        let (closed_at, removed_at) = (if id % 100 == 0 { "5" } else { "NULL" }, if id % 1_000 == 1 { "5" } else { "NULL" });
        format!(
            "({id}, {}, 'lamp', '', 100, 'EUR', 0, 1, 0, 0, 0, 0, FALSE, 1, {closed_at}, {removed_at}, {closed_at}, 'sku-{id}')",
            id % 2
        )
    };
    let user = |id: i64| format!("({id}, 'user-{id}', X'{}', 'hash', 0, 1)", hex(&format!("user-{id}")));
    for from in (1..=BESIDE).step_by(1_000) {
        let rows = |row: &dyn Fn(i64) -> String| (from..from + 1_000).map(row).collect::<Vec<_>>().join(",");
        database.execute(&format!("INSERT INTO commodities ({columns}) VALUES {}", rows(&commodity))).await;
        let claim = |id: i64| format!("('sku-{id}', {id}, 1, 0, 1)");
        database.execute(&format!("INSERT INTO skus (sku, commodity_id, claims, open_claims, version) VALUES {}", rows(&claim))).await;
        let columns = "id, username, username_key, password_hash, role, created_at";
        database.execute(&format!("INSERT INTO users ({columns}) VALUES {}", rows(&user))).await;
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

struct Table {
    _database: TestDatabase,
    store: Store,
    meter: Meter,
}

impl Table {
    async fn filled(backend: Backend) -> Self {
        let (database, store) = filled(backend).await;
        with_much_beside(&database).await;
        let meter = Meter::of(&store).await;
        Self { _database: database, store, meter }
    }

    /// Does it, and holds what was read against the bound.
    async fn reads<T>(&self, what: &str, work: impl Future<Output = Result<T, StoreError>>) -> T {
        self.meter.reset(&self.store).await;
        let done = work.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let read = self.meter.read(&self.store).await;
        assert!(read <= PLENTY, "{what}: {read} read, {PLENTY} are plenty");
        done
    }
}

async fn orders_that_change_are_found_by_their_ids(backend: Backend) {
    let table = Table::filled(backend).await;
    let store = &table.store;
    // Spread over all there are; each is confirmed.
    let orders: Vec<OrderId> = (0..ABOUT).map(|number| id(number / 2 * 1_000 + 400 + number % 2 * 300)).collect();
    let moved = Move { from: OrderStatus::Confirmed, to: OrderStatus::Cancelled, at: Timestamp::ZERO, orders: orders.clone() };
    let write = async |which: &str| {
        let write = store.begin().await?;
        let found = match which {
            "move" => write.move_orders(&moved).await?,
            "forget" => write.forget_keys(&orders).await.map(|()| ABOUT)?,
            "bring back" => write.bring_back(&orders).await?,
            _ => write.unseal(&[CommodityId::new(100).expect("an id")].into()).await.map(|()| ABOUT)?,
        };
        write.commit().await.map(|()| found)
    };
    assert_eq!(table.reads("a move", write("move")).await, ABOUT);
    table.reads("keys that are forgotten", write("forget")).await;
    table.reads("a seal that is broken", write("unseal")).await;
    assert_eq!(table.reads("orders that were not archived", write("bring back")).await, 0);

    let commodity = CommodityId::new(2).expect("an id");
    store
        .inner
        .connections
        .writer
        .execute_unprepared("UPDATE commodities SET sealed_at = 7, closed_at = 7 WHERE id = 2")
        .await
        .expect("it is there");
    assert_eq!(table.reads("a slice", store.archive_slice(commodity, ABOUT)).await, Slice::Moved(ABOUT));
    let of_it = OrderFilter { commodity: Some(commodity), ..OrderFilter::default() };
    let archived = store.order(id(301)).await.expect("it is there").expect("it is there");
    assert!(MOVED.contains(&archived.order.status) && archived.order.commodity == commodity);
    let of_it_alone = archived.order.id;
    assert_eq!(table.reads("an order", store.order(of_it_alone)).await, Some(archived));
    table.reads("an order that is recalled", store.recalled(of_it_alone)).await;
    assert_eq!(table.reads("a page of both", store.orders(&of_it, None, ABOUT)).await.len() as u64, ABOUT);
    let key = IdempotencyKey::from_text("no-such-key").expect("a key");
    let few = UserId::new(77).expect("an id").into();
    assert_eq!(table.reads("a key", store.order_under_key(commodity, few, key)).await, None);
    store.close().await.expect("nothing is under way");
}

/// What a claim loads of changes under keys, and what a refused cancellation looks up, beside ten thousand other cancellations.
async fn what_was_done_under_keys_is_found_by_its_indexes(backend: Backend) {
    let table = Table::filled(backend).await;
    let store = &table.store;
    let rows = |from: i64| {
        let row = |number: i64| {
            let commodity = if number % 500 == 0 { number.to_string() } else { "NULL".to_owned() };
            let order = if number % 500 == 0 { "NULL".to_owned() } else { format!("X'{}'", hex_of(id(number as u64))) };
            format!("(X'{number:032x}', 0, 1, {commodity}, {order}, {number})")
        };
        (from..from + 1_000).map(row).collect::<Vec<_>>().join(",")
    };
    let columns = "operation_key, partition_id, fingerprint, commodity_id, order_id, done_at";
    for from in (1..=BESIDE).step_by(1_000) {
        let sql = format!("INSERT INTO operations ({columns}) VALUES {}", rows(from));
        store.inner.connections.writer.execute_unprepared(&sql).await.expect("they are new");
    }
    let key = |number: u128| crate::domain::OperationKey::from_bytes(number.to_be_bytes());
    assert!(matches!(table.reads("a cancellation", store.operation(key(7))).await, Some((_, crate::domain::Subject::Order(_)))));
    assert_eq!(table.reads("none", store.operation(key(1 << 100))).await, None);
    let partition = crate::domain::PartitionId::new(0).expect("an index");
    let known = async {
        let transaction = store.read_snapshot().await?;
        let known = store.known_operations(&transaction, partition, Timestamp::ZERO).await;
        transaction.rollback().await?;
        known
    };
    assert_eq!(table.reads("what a claim loads", known).await.len(), 20);
    table.reads("rows that go", store.drop_old_keys(Timestamp::from_millis(50 * 3_600_000 + 50).expect("a time"))).await;
    assert_eq!(table.reads("one that went", store.operation(key(7))).await, None);
    assert!(table.reads("one that stayed", store.operation(key(70))).await.is_some());
    store.close().await.expect("nothing is under way");
}

/// What is asked of payments and timelines, beside ten thousand of others that are over.
async fn payments_and_timelines_are_found_by_their_indexes(backend: Backend) {
    let table = Table::filled(backend).await;
    let store = &table.store;
    let over = PaymentStatus::Captured.code();
    for from in (1..=BESIDE).step_by(1_000) {
        let payment = |number: i64| {
            let (status, due) = if number % 500 == 0 { (PaymentStatus::Open.code(), "5") } else { (over, "NULL") };
            format!("(X'{}', 1, {}, 1, 100, 'EUR', {status}, FALSE, 1, 2, 3, {due})", hex_of(id(number as u64)), number % 2)
        };
        let step = |number: i64| format!("(X'{}', 1, {number}, 0, 1, 2, 1, NULL)", hex_of(id(number as u64)));
        let rows = |row: &dyn Fn(i64) -> String| (from..from + 1_000).map(row).collect::<Vec<_>>().join(",");
        let columns =
            "order_id, attempt, partition_id, commodity_id, amount, currency, status, pays, started_at, expires_at, changed_at, due_at";
        let payments = format!("INSERT INTO payments ({columns}) VALUES {}", rows(&payment));
        let columns = "order_id, epoch, sequence, place, at, status, actor, reason";
        let steps = format!("INSERT INTO order_timeline ({columns}) VALUES {}", rows(&step));
        for sql in [payments, steps] {
            store.inner.connections.writer.execute_unprepared(&sql).await.expect("they are new");
        }
    }
    assert_eq!(table.reads("the payments of an order", store.payments(id(7))).await.len(), 1);
    assert_eq!(table.reads("what became of an order", store.timeline(id(7))).await.len(), 1);
    table.reads("how an order stands", store.changed(id(301))).await;
    table.reads("an order that is recalled", store.recalled(id(301))).await;
    let partition = crate::domain::PartitionId::new(0).expect("an index");
    let owed = async {
        let transaction = store.read_snapshot().await?;
        let owed = store.payments_owed(&transaction, partition).await;
        transaction.rollback().await?;
        owed
    };
    assert_eq!(table.reads("what a claim loads", owed).await.len(), 20);
    store.close().await.expect("nothing is under way");
}

fn hex_of(order: OrderId) -> String {
    order.uuid().simple().to_string()
}

async fn accounts_and_commodities_are_found_by_their_indexes(backend: Backend) {
    let table = Table::filled(backend).await;
    let store = &table.store;
    let (account, commodity) = (UserId::new(5_000).expect("an id"), |id: i64| CommodityId::new(id).expect("an id"));
    assert_eq!(table.reads("a name", store.account_by_name("USER-5000")).await.map(|found| found.id), Some(account));
    assert!(table.reads("an account", store.account(account)).await.is_some());
    assert_eq!(table.reads("accounts", store.accounts(Some(account), ABOUT)).await.len() as u64, ABOUT);
    let now = crate::domain::Timestamp::ZERO;
    assert!(table.reads("a change", store.change_account(account, Some(Role::Admin), now)).await.is_some());
    assert_eq!(table.reads("what is new", store.account_changes_after(0, ABOUT)).await.len(), 1);
    assert_eq!(table.reads("all that is known", store.account_changes_before(i64::MAX, ABOUT)).await.len(), 1);

    assert!(table.reads("a commodity", store.commodity(commodity(5_000))).await.is_some());
    assert_eq!(table.reads("commodities", store.commodities(Some(commodity(5_000)), ABOUT, false)).await.len() as u64, ABOUT);
    for after in [None, Some(commodity(5_000))] {
        let closed = table.reads("closed commodities", store.closed_commodities(after, 20)).await;
        let first = after.map_or(1, |after| after.get() / 100 + 1);
        assert_eq!(
            closed.iter().map(|closed| closed.id.get()).collect::<Vec<_>>(),
            (first..first + 20).map(|id| id * 100).collect::<Vec<_>>()
        );
    }
    let sku = |id: i64| format!("sku-{id}").parse::<Sku>().expect("a sku");
    let found = table.reads("a closed commodity by its number", store.closed_with_sku(&sku(5_000), 20)).await;
    assert_eq!(found.iter().map(|found| found.id.get()).collect::<Vec<_>>(), [5_000]);
    assert!(table.reads("one that is not closed", store.closed_with_sku(&sku(5_001), 20)).await.is_empty());
    let some: Vec<CommodityId> = (1..=ABOUT as i64).map(|number| commodity(number * 100)).collect();
    assert_eq!(table.reads("numbers", store.skus_of(&some)).await.len() as u64, ABOUT);
    assert_eq!(table.reads("commodities with rows", store.commodities_with_rows(&some)).await.len() as u64, ABOUT);
    let wanted: Vec<Sku> = some.iter().map(|id| sku(id.get())).collect();
    assert_eq!(table.reads("claims", store.sku_claims(&wanted)).await.len() as u64, ABOUT);
    let claimed = table.reads("a claim", store.claim_sku(&sku(300), (commodity(400), 2), None)).await;
    assert!(matches!(&claimed, SkuClaimed::Of(claim) if claim.commodity == commodity(300)), "{claimed:?}");
    table.reads("a claim that is settled", store.settle_sku(&sku(300), commodity(300), Some(2))).await;
    table.reads("claims that are dropped", store.drop_sku_claims(commodity(300))).await;
    assert!(store.sku_claims(&[sku(300)]).await.expect("it is there").is_empty());
    table.reads("what is listed", store.note_listed(&some)).await;
    let partition = crate::domain::PartitionId::new(0).expect("an index");
    assert!(table.reads("the last that was closed", store.last_closed_at(partition)).await.is_some());
    store.close().await.expect("nothing is under way");
}

#[tokio::test]
async fn sqlite_finds_orders_that_change_by_their_ids() {
    orders_that_change_are_found_by_their_ids(Backend::Sqlite).await;
}

#[tokio::test]
async fn mysql_finds_orders_that_change_by_their_ids() {
    orders_that_change_are_found_by_their_ids(Backend::Mysql).await;
}

#[tokio::test]
async fn sqlite_finds_what_was_done_under_keys_by_its_indexes() {
    what_was_done_under_keys_is_found_by_its_indexes(Backend::Sqlite).await;
}

#[tokio::test]
async fn mysql_finds_what_was_done_under_keys_by_its_indexes() {
    what_was_done_under_keys_is_found_by_its_indexes(Backend::Mysql).await;
}

#[tokio::test]
async fn sqlite_finds_payments_and_timelines_by_their_indexes() {
    payments_and_timelines_are_found_by_their_indexes(Backend::Sqlite).await;
}

#[tokio::test]
async fn mysql_finds_payments_and_timelines_by_their_indexes() {
    payments_and_timelines_are_found_by_their_indexes(Backend::Mysql).await;
}

#[tokio::test]
async fn sqlite_finds_accounts_and_commodities_by_their_indexes() {
    accounts_and_commodities_are_found_by_their_indexes(Backend::Sqlite).await;
}

#[tokio::test]
async fn mysql_finds_accounts_and_commodities_by_their_indexes() {
    accounts_and_commodities_are_found_by_their_indexes(Backend::Mysql).await;
}
