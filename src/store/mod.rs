//! The database: entities and queries, the only place that knows SQL. Never decides, never changes stock: rows of
//! commodities and orders are written by the projection alone.

use crate::domain::{CommodityId, Order, OrderId, OrderStatus, Partitions, Timestamp, UserId};

/// A connected database with a schema of this release.
#[derive(Clone, Debug)]
pub struct Store {}

/// What the database did not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database answered with an error or not at all.
    #[error("database: {0}")]
    Database(#[from] sea_orm::DbErr),
    /// The schema is missing, older or newer than this release.
    #[error("{0}")]
    Schema(String),
    /// A row holds what no release writes.
    #[error("corrupt row: {0}")]
    Corrupt(String),
}

/// An account's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Buyer,
    /// Operates.
    Admin,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The id tokens carry.
    pub id: UserId,
    /// The name to log in with, unique without regard to case.
    pub username: String,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
    /// What the account may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Which orders to list. Absent = any.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    /// Of this commodity.
    pub commodity: Option<CommodityId>,
    /// Of this buyer.
    pub user: Option<UserId>,
    /// In this status.
    pub status: Option<OrderStatus>,
    /// Placed at or after.
    pub placed_from: Option<Timestamp>,
    /// Placed before.
    pub placed_until: Option<Timestamp>,
}

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
    /// Buyers whose live orders exceed the limit per user (a limit lowered later is no fault: see `doorbuster audit`).
    pub balanced: bool,
}

impl Store {
    /// How many partitions the schema was made with.
    #[must_use]
    pub fn partitions(&self) -> Partitions {
        todo!()
    }

    /// A commodity id nobody got before.
    pub async fn next_commodity_id(&self) -> Result<CommodityId, StoreError> {
        todo!()
    }

    /// One order of the projection.
    pub async fn order(&self, _id: OrderId) -> Result<Option<Order>, StoreError> {
        todo!()
    }

    /// Orders in falling order of id (newest first), at most `limit`, older than `before`.
    pub async fn orders(&self, _filter: &OrderFilter, _before: Option<OrderId>, _limit: u64) -> Result<Vec<Order>, StoreError> {
        todo!()
    }

    /// Makes an account; none if the name is taken.
    pub async fn create_account(
        &self,
        _username: &str,
        _password_hash: &str,
        _role: Role,
        _now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        todo!()
    }

    /// The account with that name, without regard to case.
    pub async fn account_by_name(&self, _username: &str) -> Result<Option<Account>, StoreError> {
        todo!()
    }

    /// The account with that id.
    pub async fn account(&self, _id: UserId) -> Result<Option<Account>, StoreError> {
        todo!()
    }

    /// Accounts by rising id, at most `limit`, after `after`.
    pub async fn accounts(&self, _after: Option<UserId>, _limit: u64) -> Result<Vec<Account>, StoreError> {
        todo!()
    }

    /// Changes an account's role or password hash; none if there is no such account.
    pub async fn change_account(
        &self,
        _id: UserId,
        _role: Option<Role>,
        _password_hash: Option<&str>,
    ) -> Result<Option<Account>, StoreError> {
        todo!()
    }

    /// a
    pub async fn applied(&self, _p: crate::domain::PartitionId) -> Result<(crate::domain::Epoch, crate::domain::Sequence), StoreError> {
        todo!()
    }
    /// The equation for every commodity, read in one snapshot.
    pub async fn audit(&self) -> Result<Vec<AuditRow>, StoreError> {
        todo!()
    }

    /// Whether the database answers now, within a bound.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }
}
