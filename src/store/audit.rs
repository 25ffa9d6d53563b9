//! The audit: what the counters say and what the order rows say, read in one snapshot. Never repairs anything.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseTransaction, EntityTrait, QueryOrder};

use super::entity::commodity;
use super::{Store, StoreError};
use crate::domain::{CommodityId, OrderStatus};

/// The equation of one commodity, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AuditRow {
    /// Which commodity.
    pub commodity_id: CommodityId,
    /// Its name.
    pub name: String,
    /// The four counters of its row.
    pub total: i64,
    /// On sale.
    pub available: i64,
    /// Held.
    pub held: i64,
    /// Sold.
    pub sold: i64,
    /// Units in reserved order rows.
    pub held_by_orders: i64,
    /// Units in confirmed and paid order rows.
    pub sold_by_orders: i64,
    /// Live order rows.
    pub live_orders: i64,
    /// Buyers whose live orders exceed the limit per user as it is now. No fault: the limit may have been lowered.
    pub buyers_over_limit: i64,
    /// Whether no counter is negative, `total = available + held + sold`, both counters are what the order rows say,
    /// and every order row has a status of this release and a commodity.
    pub balanced: bool,
}

/// Order rows of one commodity in one status.
#[derive(Clone, Copy, Default)]
struct Sums {
    live_orders: i64,
    held: i64,
    sold: i64,
    unknown: i64,
}

impl Store {
    /// The equation for every commodity, removed ones too, by rising id, read in one snapshot.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn audit(&self) -> Result<Vec<AuditRow>, StoreError> {
        let transaction = self.read_snapshot().await?;
        let commodities = commodity::Entity::find().order_by_asc(commodity::Column::Id).all(&transaction).await?;
        let mut sums = self.sums(&transaction).await?;
        let mut over_limit = self.over_limit(&transaction).await?;
        transaction.rollback().await?;
        let mut rows = Vec::with_capacity(commodities.len());
        for commodity in commodities {
            let sums = sums.remove(&commodity.id).unwrap_or_default();
            rows.push(row(commodity.id, Some(commodity), sums, &mut over_limit)?);
        }
        for (orphan, sums) in sums {
            rows.push(row(orphan, None, sums, &mut over_limit)?);
        }
        Ok(rows)
    }

    async fn sums(&self, transaction: &DatabaseTransaction) -> Result<BTreeMap<i64, Sums>, StoreError> {
        let sql = "SELECT commodity_id, status, COUNT(*), CAST(SUM(quantity) AS SIGNED) FROM orders GROUP BY commodity_id, status";
        let mut sums: BTreeMap<i64, Sums> = BTreeMap::new();
        for row in transaction.query_all_raw(self.statement(sql, [])).await? {
            let (status, orders, units): (i16, i64, i64) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?, row.try_get_by_index(3)?);
            let sum = sums.entry(row.try_get_by_index(0)?).or_default();
            match OrderStatus::from_code(status) {
                Some(OrderStatus::Reserved) => (sum.live_orders, sum.held) = (sum.live_orders + orders, sum.held + units),
                Some(OrderStatus::Confirmed | OrderStatus::Paid) => {
                    (sum.live_orders, sum.sold) = (sum.live_orders + orders, sum.sold + units);
                }
                Some(OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::RefundDue | OrderStatus::Refunded) => {}
                None => sum.unknown += orders,
            }
        }
        Ok(sums)
    }

    async fn over_limit(&self, transaction: &DatabaseTransaction) -> Result<BTreeMap<i64, i64>, StoreError> {
        let live: Vec<String> = OrderStatus::ALL.iter().filter(|status| status.is_live()).map(|status| status.code().to_string()).collect();
        let sql = format!(
            "SELECT commodity_id, COUNT(*) FROM (\
               SELECT o.commodity_id, o.user_id FROM commodities c JOIN orders o ON o.commodity_id = c.id \
               WHERE c.limit_per_user IS NOT NULL AND o.status IN ({}) \
               GROUP BY o.commodity_id, o.user_id, c.limit_per_user HAVING SUM(o.quantity) > c.limit_per_user\
             ) AS beyond GROUP BY commodity_id",
            live.join(", ")
        );
        let rows = transaction.query_all_raw(self.statement(&sql, [])).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }
}

fn row(id: i64, commodity: Option<commodity::Model>, sums: Sums, over_limit: &mut BTreeMap<i64, i64>) -> Result<AuditRow, StoreError> {
    let listed = commodity.is_some();
    let (name, total, available, held, sold) = commodity
        .map_or_else(|| ("(no such commodity)".to_owned(), 0, 0, 0, 0), |row| (row.name, row.total, row.available, row.held, row.sold));
    let counters_hold = [available, held, sold].iter().all(|count| *count >= 0) && total == available + held + sold;
    Ok(AuditRow {
        commodity_id: CommodityId::new(id).map_err(|error| StoreError::Corrupt(format!("commodity {id}: {error}")))?,
        name,
        total,
        available,
        held,
        sold,
        held_by_orders: sums.held,
        sold_by_orders: sums.sold,
        live_orders: sums.live_orders,
        buyers_over_limit: over_limit.remove(&id).unwrap_or(0),
        balanced: listed && counters_hold && held == sums.held && sold == sums.sold && sums.unknown == 0,
    })
}
