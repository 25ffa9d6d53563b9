//! Walks along the indexes of the orders, newest first: a page costs what is on it, wherever in the list it is.
//!
//! Databases are not left to find the index. MariaDB takes `a = ? AND id < ?` for "all of a", and reads everything newer than
//! the page; and whatever a planner knows of a sale is of an hour ago. Without a sieve a walk meets exactly the rows it is of.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use uuid::Uuid;

use super::StoreError;
use super::entity::order;
use super::pool::Pool;
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

/// What rows of a walk must fit besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sieve {
    pub(super) commodity: Option<CommodityId>,
    pub(super) user: Option<UserId>,
    pub(super) status: Option<OrderStatus>,
}

/// The runs that are looked into together, newest first: twice as many each time, because most pages end in the newest.
const RUNS_FIRST: i32 = 8;
const RUNS_MAX: i32 = 32;

/// A run that no row is of, to fill a statement up.
const NO_RUN: i32 = -1;

const COLUMNS: &str = "o.id, o.commodity_id, o.user_id, o.quantity, o.unit_price, o.currency, o.status, o.pay_by";

impl Walk {
    /// The newest orders of it that pass the sieve, at most `limit`.
    pub(super) async fn page(self, connection: &Pool, ids: Ids, sieve: Sieve, limit: u64) -> Result<Vec<Order>, StoreError> {
        let (mut found, mut ids): (Vec<Order>, Ids) = (Vec::new(), ids);
        for lanes in self.lanes(connection.get_database_backend()) {
            let rows = connection.query_all_raw(lanes.page(ids, sieve, limit)).await?;
            found.extend(rows.iter().map(order).collect::<Result<Vec<_>, _>>()?);
            found.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
            found.truncate(limit as usize);
            // Every run may hold any order of its buyer: a partition that lagged has its old ones in a new run. But once there are
            // enough, older runs are asked for what is newer than the last of them only, and hardly ever have it.
            if let Some(last) = found.last().filter(|_| found.len() as u64 == limit) {
                ids.from = last.id.uuid();
            }
        }
        Ok(found)
    }

    /// An id from which on it has so many orders, or as many in each of its lanes; none if no lane has so many.
    pub(super) async fn edge(self, connection: &Pool, ids: Ids, rows: u64) -> Result<Option<Uuid>, StoreError> {
        let mut edge = None;
        for lanes in self.lanes(connection.get_database_backend()) {
            let found = connection.query_one_raw(lanes.edge(ids, rows)).await?;
            edge = edge.max(found.map(|row| row.try_get_by_index(0)).transpose()?);
        }
        Ok(edge)
    }

    fn lanes(self, backend: DbBackend) -> Vec<Lanes> {
        const OF_COMMODITY: (&str, &str) = ("ix_orders_commodity_status", "commodity_id = ? AND status = ?");
        let ((index, columns), lanes) = match self {
            Self::All => (("PRIMARY", ""), vec![vec![vec![]]]),
            Self::Status(status) => (("ix_orders_status", "status = ?"), vec![vec![vec![status.code().into()]]]),
            Self::CommodityStatus(commodity, status) => (OF_COMMODITY, vec![vec![of_commodity(commodity, status)]]),
            Self::Commodity(commodity) => (OF_COMMODITY, vec![OrderStatus::ALL.map(|status| of_commodity(commodity, status)).to_vec()]),
            Self::User(user, newest) => (("ix_orders_run_user", "run = ? AND user_id = ?"), of_runs(user, newest)),
        };
        lanes.into_iter().map(|lanes| Lanes { backend, index, columns, lanes }).collect()
    }
}

/// The newest runs first, then groups of older ones.
fn of_runs(user: UserId, newest: i32) -> Vec<Vec<Vec<Value>>> {
    let (mut groups, mut run, mut count) = (Vec::new(), newest, RUNS_FIRST);
    while run >= 0 {
        groups.push((run - count + 1..=run).map(|run| vec![run.max(NO_RUN).into(), user.get().into()]).collect());
        (run, count) = (run - count, (2 * count).min(RUNS_MAX));
    }
    groups
}

fn of_commodity(commodity: CommodityId, status: OrderStatus) -> Vec<Value> {
    vec![commodity.get().into(), status.code().into()]
}

/// Stretches of one index, in each of which rows lie by their ids.
struct Lanes {
    backend: DbBackend,
    index: &'static str,
    /// The columns before the id, and what they are in each lane.
    columns: &'static str,
    lanes: Vec<Vec<Value>>,
}

impl Lanes {
    fn page(self, ids: Ids, sieve: Sieve, limit: u64) -> Statement {
        let backend = self.backend;
        let (conditions, mut rest) = sieve.conditions();
        rest.push(limit.into());
        let (lanes, values) = match self.lanes.len() {
            1 => {
                let (mut lanes, values) = self.walks(COLUMNS, ids, &conditions, &rest, "LIMIT ?");
                (lanes.swap_remove(0), values)
            }
            _ => {
                let (lanes, mut values) = self.walks("id", ids, &conditions, &rest, "LIMIT ?");
                values.push(limit.into());
                // They read their index alone; rows are fetched for what is on the page.
                let join = if backend == DbBackend::MySql { "STRAIGHT_JOIN" } else { "CROSS JOIN" };
                let merged = merged(backend, &lanes);
                (
                    format!(
                        "SELECT {COLUMNS} FROM ({merged} ORDER BY id DESC LIMIT ?) k {join} orders o ON o.id = k.id ORDER BY k.id DESC"
                    ),
                    values,
                )
            }
        };
        Statement::from_sql_and_values(backend, lanes, values)
    }

    /// The newest of what each lane has in that place: so none has more before it.
    fn edge(self, ids: Ids, rows: u64) -> Statement {
        let backend = self.backend;
        let (lanes, values) = self.walks("id", ids, "", &[Value::from(1_u64), (rows - 1).into()], "LIMIT ? OFFSET ?");
        Statement::from_sql_and_values(backend, format!("SELECT id FROM ({}) k ORDER BY id DESC LIMIT 1", merged(backend, &lanes)), values)
    }

    /// One statement a lane, and the values of all of them.
    fn walks(self, wanted: &str, ids: Ids, conditions: &str, rest: &[Value], limit: &str) -> (Vec<String>, Vec<Value>) {
        let Self { backend, index, columns, lanes } = self;
        let (hint, and) = (hint(backend, index), if columns.is_empty() { "" } else { " AND " });
        let walk =
            format!("SELECT {wanted} FROM orders o {hint}WHERE {columns}{and}id >= ? AND id < ?{conditions} ORDER BY id DESC {limit}");
        let count = lanes.len();
        let bounds = [ids.from.into(), ids.until.into()];
        let values = lanes.into_iter().flat_map(|lane| [lane.as_slice(), &bounds, rest].concat());
        (vec![walk; count], values.collect())
    }
}

impl Sieve {
    fn conditions(self) -> (String, Vec<Value>) {
        let columns = [
            ("commodity_id", self.commodity.map(|commodity| Value::from(commodity.get()))),
            ("user_id", self.user.map(|user| user.get().into())),
            ("status", self.status.map(|status| status.code().into())),
        ];
        let wanted = columns.into_iter().filter_map(|(column, value)| Some((format!(" AND {column} = ?"), value?)));
        wanted.unzip()
    }
}

/// Several walks as one list, in no order.
fn merged(backend: DbBackend, walks: &[String]) -> String {
    let walks: Vec<String> = match backend {
        DbBackend::MySql => walks.iter().map(|walk| format!("({walk})")).collect(),
        // Only what stands by itself may have a limit of its own.
        _ => walks.iter().map(|walk| format!("SELECT id FROM ({walk})")).collect(),
    };
    walks.join(" UNION ALL ")
}

pub(super) fn hint(backend: DbBackend, index: &str) -> String {
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
pub(super) mod tests;
