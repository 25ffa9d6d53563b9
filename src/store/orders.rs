//! Reading orders. Never writes one.

use sea_orm::{ConnectionTrait, EntityTrait, Value};
use uuid::Uuid;

use super::entity::order::{Entity, Model};
use super::statements::{ORDER_COLUMNS, places};
use super::walk::{ARCHIVED, Ids, ORDERS, Sieve, Walk};
use super::{OrderFilter, Store, StoreError, runs};
use crate::domain::{
    CommodityId, Epoch, IdempotencyKey, NamedOrder, OrderId, OrderStatus, PartitionId, PrincipalKey, RequestFingerprint, Timestamp,
};
use crate::engine::Recalled;

/// How many rows the first step of a race takes, how many times as many the next, and how many a step takes at most.
const STEP_FIRST: u64 = 256;
const STEP_GROWTH: u64 = 4;
const STEP_MAX: u64 = 4_096;

/// Orders whose keys are looked at in one step.
const KEYS_STEP: u64 = 200;

impl Store {
    /// One order of the projection.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn order(&self, id: OrderId) -> Result<Option<NamedOrder>, StoreError> {
        self.order_row(id).await?.map(|row| row.named()).transpose()
    }

    /// An order for an engine that has forgotten it, with its commodity if that is over.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn recalled(&self, id: OrderId) -> Result<Option<Recalled>, StoreError> {
        // The position first: the row is then at least as new.
        let applied = self.applied(id.partition()).await?;
        let Some(row) = self.order_row(id).await? else { return Ok(None) };
        let order = row.order()?;
        let commodity =
            self.commodity(order.commodity).await?.filter(|stored| stored.removed_at.is_some() || stored.commodity.closed_at.is_some());
        let commodity = commodity.map(|stored| Box::new(stored.commodity));
        let payments = self.known_payments(id).await?;
        Ok(Some(Recalled { order, key: row.key().map(|(key, _)| key), payments, applied, commodity }))
    }

    /// How an order stands in the tables, and since when.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn changed(&self, id: OrderId) -> Result<Option<(OrderStatus, Timestamp)>, StoreError> {
        let Some(row) = self.order_row(id).await? else { return Ok(None) };
        Ok(Some((row.order()?.status, row.changed_at()?)))
    }

    /// The latest order of a buyer and a commodity that was placed under that key, and what it asked for.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn order_under_key(
        &self,
        commodity: CommodityId,
        user: PrincipalKey,
        key: IdempotencyKey,
    ) -> Result<Option<(OrderId, RequestFingerprint)>, StoreError> {
        // No index is of keys: it would be as large as the orders, and written in no order. A buyer's orders of one commodity are few.
        let filter = OrderFilter { commodity: Some(commodity), user: Some(user), ..OrderFilter::default() };
        let (mut before, mut latest) = (None, None);
        loop {
            let page = self.orders(&filter, before, KEYS_STEP).await?;
            if page.is_empty() {
                return Ok(latest);
            }
            let condition = format!("idempotency_key = ? AND id IN ({})", places(page.len()));
            let values = std::iter::once(Uuid::from_bytes(key.to_bytes())).chain(page.iter().map(|named| named.order.id.uuid()));
            for row in self.order_rows(&condition, values.map(Value::from).collect()).await? {
                let (id, fingerprint) = (row.order()?.id, RequestFingerprint(row.fingerprint));
                // Later by the log, whatever the clocks said.
                let place = |id: OrderId| (id.epoch(), id.number());
                if latest.is_none_or(|(other, _)| place(other) < place(id)) {
                    latest = Some((id, fingerprint));
                }
            }
            before = page.last().filter(|_| page.len() as u64 == KEYS_STEP).map(|named| named.order.id);
            if before.is_none() {
                return Ok(latest);
            }
        }
    }

    /// The keys of all of a commodity's orders that have one.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn keys_of(&self, commodity: CommodityId) -> Result<Vec<(OrderId, IdempotencyKey)>, StoreError> {
        let rows = self.order_rows("commodity_id = ? AND idempotency_key IS NOT NULL", vec![commodity.get().into()]).await?;
        rows.iter().filter_map(|row| row.key().map(|(key, _)| Ok((row.order()?.id, key)))).collect()
    }

    /// Orders in falling order of id (newest first), at most `limit`, older than `before`.
    ///
    /// A page reads what is on it, wherever it is in the list. Where a buyer is asked for together with a commodity or a
    /// status, it reads a few times what the shorter of both lists has.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn orders(&self, filter: &OrderFilter, before: Option<OrderId>, limit: u64) -> Result<Vec<NamedOrder>, StoreError> {
        let until = [filter.placed_until.map(first_id_at), before.map(OrderId::uuid)].into_iter().flatten().min();
        let ids = Ids { from: filter.placed_from.map_or(Uuid::nil(), first_id_at), until: until.unwrap_or(Uuid::max()) };
        if ids.from >= ids.until || limit == 0 {
            return Ok(Vec::new());
        }
        let of_anybody = match (filter.commodity, filter.status) {
            (None, None) => Walk::All,
            (None, Some(status)) => Walk::Status(status),
            (Some(commodity), None) => Walk::Commodity(commodity),
            (Some(commodity), Some(status)) => Walk::CommodityStatus(commodity, status),
        };
        let (reader, whole) = (self.reader(), Sieve::default());
        let Some(user) = filter.user else { return of_anybody.page(reader, ids, whole, limit).await };
        let (of_buyer, theirs) = (Walk::User(user, self.newest_run().await?), Sieve { user: Some(user), ..whole });
        // The index has the lower half of the buyer's key: of an account of our own that is all of it.
        let sieve = if user.account().is_some() { whole } else { theirs };
        if of_anybody == Walk::All {
            return of_buyer.page(reader, ids, sieve, limit).await;
        }
        let of_buyer = (of_buyer, Sieve { commodity: filter.commodity, status: filter.status, ..sieve });
        let of_anybody = (of_anybody, theirs);
        self.race([of_buyer, of_anybody], ids, limit).await
    }

    /// No index is of both. So both lists are walked in turns, each alone, and sifted: whichever has a page together first, or has
    /// ended, has won.
    async fn race(&self, walks: [(Walk, Sieve); 2], ids: Ids, limit: u64) -> Result<Vec<NamedOrder>, StoreError> {
        let mut racers = walks.map(|(walk, sieve)| (walk, sieve, ids, Vec::new()));
        let mut step = STEP_FIRST;
        loop {
            for (walk, sieve, left, found) in &mut racers {
                let edge = walk.edge(self.reader(), *left, step).await?;
                let here = Ids { from: edge.unwrap_or(ids.from), until: left.until };
                found.extend(walk.page(self.reader(), here, *sieve, limit - found.len() as u64).await?);
                if found.len() as u64 == limit || edge.is_none() {
                    return Ok(std::mem::take(found));
                }
                left.until = here.from;
            }
            step = (STEP_GROWTH * step).min(STEP_MAX);
        }
    }

    async fn order_row(&self, id: OrderId) -> Result<Option<Model>, StoreError> {
        Ok(self.order_rows("id = ?", vec![id.uuid().into()]).await?.pop())
    }

    /// Whole rows, wherever they lie: one statement sees each of them in one table.
    async fn order_rows(&self, condition: &str, values: Vec<Value>) -> Result<Vec<Model>, StoreError> {
        let select = |table: &str| format!("SELECT {ORDER_COLUMNS} FROM {table} WHERE {condition}");
        let sql = format!("{} UNION ALL {}", select(ORDERS.name), select(ARCHIVED.name));
        let query = self.statement(&sql, [values.clone(), values].concat());
        Ok(Entity::find().from_raw_sql(query).all(self.reader()).await?)
    }

    /// The run that orders are written under now. Whatever was committed before is of this or of an older one.
    async fn newest_run(&self) -> Result<i32, StoreError> {
        let row = self.reader().query_one_raw(self.statement("SELECT order_run FROM meta WHERE id = 1", [])).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("meta has no row".into()))?;
        Ok(runs::run_after(row.try_get_by_index(0)?))
    }
}

/// The lowest id an order placed at that time can have: ids sort by time.
fn first_id_at(at: Timestamp) -> Uuid {
    let lowest = PartitionId::new(0).expect("0 is in range");
    OrderId::new(at, lowest, Epoch::default(), 0).uuid()
}
