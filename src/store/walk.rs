//! Walks along the indexes of the orders, newest first: a page costs what is on it, wherever in the list it is.
//!
//! Databases are not left to find the index. MariaDB takes `a = ? AND id < ?` for "all of a", and reads everything newer than
//! the page; and whatever a planner knows of a sale is of an hour ago. Never filters: a walk meets exactly the rows it is of.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement, Value};
use uuid::Uuid;

use super::StoreError;
use super::entity::order;
use crate::domain::{CommodityId, Order, OrderStatus, UserId};

/// Which orders, each kind along an index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    All,
    Status(OrderStatus),
    Commodity(CommodityId),
    CommodityStatus(CommodityId, OrderStatus),
    /// A buyer's, in the runs from 0 to this one.
    User(UserId, i32),
}

/// Ids from `from` to before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) from: Uuid,
    pub(super) until: Uuid,
}

/// The runs that are looked into together, newest first: twice as many each time, because most pages end in the newest.
const RUNS_FIRST: i32 = 8;
const RUNS_MAX: i32 = 32;

/// A run that no row is of, to fill a statement up.
const NO_RUN: i32 = -1;

const COLUMNS: &str = "o.id, o.commodity_id, o.user_id, o.quantity, o.unit_price, o.currency, o.status, o.pay_by";

impl Walk {
    /// The newest orders of it, at most `limit`.
    pub(super) async fn page(self, connection: &DatabaseConnection, ids: Ids, limit: u64) -> Result<Vec<Order>, StoreError> {
        match self {
            Self::User(user, newest) => of_user(connection, user, newest, ids, limit).await,
            walk => Lanes::of(connection.get_database_backend(), walk, ids, limit).page(connection).await,
        }
    }
}

fn of_commodity(commodity: CommodityId, status: OrderStatus) -> Vec<Value> {
    vec![commodity.get().into(), status.code().into()]
}

/// Every run may hold any of them: a partition that lagged has its old orders in a new run. But once there are enough, older
/// runs are asked for what is newer than the last of them only, and hardly ever have it.
async fn of_user(connection: &DatabaseConnection, user: UserId, newest: i32, ids: Ids, limit: u64) -> Result<Vec<Order>, StoreError> {
    let (mut found, mut ids): (Vec<Order>, Ids) = (Vec::new(), ids);
    let (mut run, mut count) = (newest, RUNS_FIRST);
    while run >= 0 {
        let lanes = Lanes::of_runs(connection.get_database_backend(), user, run, count, ids, limit);
        found.extend(lanes.page(connection).await?);
        found.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
        found.truncate(limit as usize);
        if let Some(last) = found.last().filter(|_| found.len() as u64 == limit) {
            ids.from = last.id.uuid();
        }
        (run, count) = (run - count, (2 * count).min(RUNS_MAX));
    }
    Ok(found)
}

/// Stretches of one index, in each of which rows lie by their ids.
struct Lanes {
    backend: DbBackend,
    index: &'static str,
    /// The columns before the id, and what they are in each lane.
    columns: &'static str,
    lanes: Vec<Vec<Value>>,
    ids: Ids,
    limit: u64,
}

impl Lanes {
    fn of(backend: DbBackend, walk: Walk, ids: Ids, limit: u64) -> Self {
        const OF_COMMODITY: (&str, &str) = ("ix_orders_commodity_status", "commodity_id = ? AND status = ? AND ");
        let ((index, columns), lanes) = match walk {
            Walk::All => (("PRIMARY", ""), vec![vec![]]),
            Walk::Status(status) => (("ix_orders_status", "status = ? AND "), vec![vec![status.code().into()]]),
            Walk::CommodityStatus(commodity, status) => (OF_COMMODITY, vec![of_commodity(commodity, status)]),
            Walk::Commodity(commodity) => (OF_COMMODITY, OrderStatus::ALL.map(|status| of_commodity(commodity, status)).to_vec()),
            Walk::User(user, newest) => return Self::of_runs(backend, user, newest, newest + 1, ids, limit),
        };
        Self { backend, index, columns, lanes, ids, limit }
    }

    /// A buyer's in so many runs, of which this is the newest.
    fn of_runs(backend: DbBackend, user: UserId, newest: i32, count: i32, ids: Ids, limit: u64) -> Self {
        let lanes = (newest - count + 1..=newest).map(|run| vec![run.max(NO_RUN).into(), user.get().into()]).collect();
        Self { backend, index: "ix_orders_run_user", columns: "run = ? AND user_id = ? AND ", lanes, ids, limit }
    }

    async fn page(self, connection: &DatabaseConnection) -> Result<Vec<Order>, StoreError> {
        connection.query_all_raw(self.statement()).await?.iter().map(order).collect()
    }

    fn statement(self) -> Statement {
        let Self { backend, index, columns, lanes, ids, limit } = self;
        let hint = hint(backend, index);
        let walk = |wanted: &str| format!("SELECT {wanted} FROM orders o {hint}WHERE {columns}id >= ? AND id < ? ORDER BY id DESC LIMIT ?");
        let bounds = [ids.from.into(), ids.until.into(), limit.into()];
        let (sql, last) = match lanes.len() {
            1 => (walk(COLUMNS), None),
            count => (merged(backend, &vec![walk("id"); count]), Some(limit.into())),
        };
        let values = lanes.into_iter().flat_map(|lane| lane.into_iter().chain(bounds.clone())).chain(last);
        Statement::from_sql_and_values(backend, sql, values)
    }
}

/// The newest of several walks. They read their indexes alone; rows are fetched for what is on the page.
fn merged(backend: DbBackend, walks: &[String]) -> String {
    let (walks, join) = match backend {
        DbBackend::MySql => (walks.iter().map(|walk| format!("({walk})")).collect::<Vec<_>>(), "STRAIGHT_JOIN"),
        _ => (walks.iter().map(|walk| format!("SELECT id FROM ({walk})")).collect(), "CROSS JOIN"),
    };
    let union = walks.join(" UNION ALL ");
    format!("SELECT {COLUMNS} FROM ({union} ORDER BY id DESC LIMIT ?) k {join} orders o ON o.id = k.id ORDER BY k.id DESC")
}

fn hint(backend: DbBackend, index: &str) -> String {
    match backend {
        DbBackend::MySql => format!("FORCE INDEX ({index}) "),
        // The primary key of a table without row numbers is the table.
        _ if index == "PRIMARY" => String::new(),
        _ => format!("INDEXED BY {index} "),
    }
}

fn order(row: &QueryResult) -> Result<Order, StoreError> {
    order::Model {
        id: row.try_get_by_index(0)?,
        commodity_id: row.try_get_by_index(1)?,
        user_id: row.try_get_by_index(2)?,
        quantity: row.try_get_by_index(3)?,
        unit_price: row.try_get_by_index(4)?,
        currency: row.try_get_by_index(5)?,
        status: row.try_get_by_index(6)?,
        pay_by: row.try_get_by_index(7)?,
        // No list shows these.
        idempotency_key: None,
        fingerprint: 0,
        changed_at: 0,
        run: 0,
    }
    .order()
}

#[cfg(test)]
mod tests;
