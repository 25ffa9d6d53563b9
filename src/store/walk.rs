//! Walks along the indexes of the orders, newest first: a page costs what is on it, wherever in the list it is.
//!
//! Databases are not left to find the index. MariaDB takes `a = ? AND id < ?` for "all of a", and reads everything newer than
//! the page; and whatever a planner knows of a sale is of an hour ago. Without a sieve a walk meets exactly the rows it is of.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use uuid::Uuid;

use super::StoreError;
use super::entity::order;
use super::pool::Pool;
use crate::domain::{CommodityId, NamedOrder, OrderStatus, PrincipalKey};

/// Which orders, each kind along an index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    All,
    Status(OrderStatus),
    Commodity(CommodityId),
    CommodityStatus(CommodityId, OrderStatus),
    /// A buyer's, in the runs from 0 to this one.
    User(PrincipalKey, i32),
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
    pub(super) user: Option<PrincipalKey>,
    pub(super) status: Option<OrderStatus>,
}

/// The runs that are looked into together, newest first: twice as many each time, because most pages end in the newest.
const RUNS_FIRST: i32 = 8;
const RUNS_MAX: i32 = 32;

/// A run that no row is of, to fill a statement up.
const NO_RUN: i32 = -1;

/// What lists show of an order.
const COLUMNS: [&str; 13] = [
    "id",
    "commodity_id",
    "user_id",
    "quantity",
    "unit_price",
    "currency",
    "status",
    "pay_by",
    "user_high",
    "user_text",
    "grace_seconds",
    "discount",
    "coupon_id",
];

/// A table that orders lie in, and its indexes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    of_run_user: &'static str,
    pub(super) of_commodity: &'static str,
    of_status: &'static str,
}

/// The statuses that orders are archived in: nothing of them is held or due.
pub(super) const MOVED: [OrderStatus; 5] =
    [OrderStatus::Confirmed, OrderStatus::Paid, OrderStatus::Cancelled, OrderStatus::Expired, OrderStatus::Refunded];

/// What is sold, and what was and is not archived.
pub(super) const ORDERS: Table =
    Table { name: "orders", of_run_user: "ix_orders_run_user", of_commodity: "ix_orders_commodity_status", of_status: "ix_orders_status" };

/// What `doorbuster archive` has moved away. Nothing in it is held or due.
pub(super) const ARCHIVED: Table = Table {
    name: "archived_orders",
    of_run_user: "ix_archived_orders_run_user",
    of_commodity: "ix_archived_orders_commodity_status",
    of_status: "ix_archived_orders_status",
};

impl Walk {
    /// The newest orders of it that pass the sieve, at most `limit`.
    pub(super) async fn page(self, connection: &Pool, ids: Ids, sieve: Sieve, limit: u64) -> Result<Vec<NamedOrder>, StoreError> {
        let (mut found, mut ids): (Vec<NamedOrder>, Ids) = (Vec::new(), ids);
        for lanes in self.lanes(connection.get_database_backend()) {
            let rows = connection.query_all_raw(lanes.page(ids, sieve, limit)).await?;
            found.extend(rows.iter().map(named).collect::<Result<Vec<_>, _>>()?);
            found.sort_unstable_by_key(|named| std::cmp::Reverse(named.order.id));
            found.truncate(limit as usize);
            // Every run may hold any order of its buyer: a partition that lagged has its old ones in a new run. But once there are
            // enough, older runs are asked for what is newer than the last of them only, and hardly ever have it.
            if let Some(last) = found.last().filter(|_| found.len() as u64 == limit) {
                ids.from = last.order.id.uuid();
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

    /// Both tables are walked in one statement: an order that is moved from one to the other meanwhile is seen in one of them.
    fn lanes(self, backend: DbBackend) -> Vec<Lanes> {
        const OF_COMMODITY: &str = "commodity_id = ? AND status = ?";
        let of_status = |status: OrderStatus| tables_of(status).iter().copied().map(move |table| (table, status));
        let (columns, groups) = match self {
            Self::All => ("", vec![[&ORDERS, &ARCHIVED].map(|table| Lane { table, index: "PRIMARY", values: Vec::new() }).to_vec()]),
            Self::Status(status) => {
                let lane = |(table, status): (&'static Table, OrderStatus)| {
                    let values = vec![status.code().into()];
                    Lane { table, index: table.of_status, values }
                };
                ("status = ?", vec![of_status(status).map(lane).collect()])
            }
            Self::CommodityStatus(commodity, status) => {
                (OF_COMMODITY, vec![of_status(status).map(|(table, status)| Lane::of_commodity(table, commodity, status)).collect()])
            }
            Self::Commodity(commodity) => {
                let all = OrderStatus::ALL.into_iter().flat_map(of_status);
                (OF_COMMODITY, vec![all.map(|(table, status)| Lane::of_commodity(table, commodity, status)).collect()])
            }
            Self::User(user, newest) => ("run = ? AND user_id = ?", of_runs(user, newest)),
        };
        groups.into_iter().map(|lanes| Lanes { backend, columns, lanes }).collect()
    }
}

/// Where orders of a status may lie.
fn tables_of(status: OrderStatus) -> &'static [&'static Table] {
    if MOVED.contains(&status) { &[&ORDERS, &ARCHIVED] } else { &[&ORDERS] }
}

/// The newest runs first, then groups of older ones. An order stays in its run when it is moved: so it is always of one group.
fn of_runs(user: PrincipalKey, newest: i32) -> Vec<Vec<Lane>> {
    let (mut groups, mut run, mut count) = (Vec::new(), newest, RUNS_FIRST);
    while run >= 0 {
        let lane = |table: &'static Table, run: i32| Lane {
            table,
            index: table.of_run_user,
            values: vec![run.max(NO_RUN).into(), user.halves().1.into()],
        };
        groups.push((run - count + 1..=run).flat_map(|run| [lane(&ORDERS, run), lane(&ARCHIVED, run)]).collect());
        (run, count) = (run - count, (2 * count).min(RUNS_MAX));
    }
    groups
}

/// A stretch of an index, in which rows lie by their ids.
#[derive(Clone)]
struct Lane {
    table: &'static Table,
    index: &'static str,
    /// What the columns before the id are.
    values: Vec<Value>,
}

impl Lane {
    fn of_commodity(table: &'static Table, commodity: CommodityId, status: OrderStatus) -> Self {
        Self { table, index: table.of_commodity, values: vec![commodity.get().into(), status.code().into()] }
    }
}

/// Lanes that are walked together.
struct Lanes {
    backend: DbBackend,
    /// The columns before the id.
    columns: &'static str,
    lanes: Vec<Lane>,
}

impl Lanes {
    fn page(self, ids: Ids, sieve: Sieve, limit: u64) -> Statement {
        let backend = self.backend;
        let (conditions, mut rest) = sieve.conditions();
        rest.push(limit.into());
        // A lane or two bring their rows along.
        let is_narrow = self.lanes.len() <= 2;
        let wanted = if is_narrow { COLUMNS.map(|column| format!("o.{column} AS {column}")).join(", ") } else { "id".to_owned() };
        let (mut lanes, mut values) = self.walks(&wanted, ids, &conditions, &rest, "LIMIT ?");
        if lanes.len() == 1 {
            return Statement::from_sql_and_values(backend, lanes.swap_remove(0), values);
        }
        values.push(limit.into());
        let mut sql = format!("{} ORDER BY id DESC LIMIT ?", merged(backend, &lanes));
        if !is_narrow {
            // Many read their index alone; rows are fetched for what is on the page, from where they lie.
            let rows = COLUMNS[1..].iter().map(|column| format!("COALESCE(o.{column}, a.{column})")).collect::<Vec<_>>().join(", ");
            let (orders, archived) = (ORDERS.name, ARCHIVED.name);
            sql = format!("SELECT k.id, {rows} FROM ({sql}) k LEFT JOIN {orders} o ON o.id = k.id LEFT JOIN {archived} a ON a.id = k.id");
        }
        Statement::from_sql_and_values(backend, sql, values)
    }

    /// The newest of what each lane has in that place: so none has more before it.
    fn edge(self, ids: Ids, rows: u64) -> Statement {
        let backend = self.backend;
        let (lanes, values) = self.walks("id", ids, "", &[Value::from(1_u64), (rows - 1).into()], "LIMIT ? OFFSET ?");
        Statement::from_sql_and_values(backend, format!("SELECT id FROM ({}) k ORDER BY id DESC LIMIT 1", merged(backend, &lanes)), values)
    }

    /// One statement a lane, and the values of all of them.
    fn walks(self, wanted: &str, ids: Ids, conditions: &str, rest: &[Value], limit: &str) -> (Vec<String>, Vec<Value>) {
        let Self { backend, columns, lanes } = self;
        let and = if columns.is_empty() { "" } else { " AND " };
        let bounds = [ids.from.into(), ids.until.into()];
        let walk = |Lane { table, index, values }: Lane| {
            let (table, hint) = (table.name, hint(backend, index));
            let sql =
                format!("SELECT {wanted} FROM {table} o {hint}WHERE {columns}{and}id >= ? AND id < ?{conditions} ORDER BY id DESC {limit}");
            (sql, [values.as_slice(), &bounds, rest].concat())
        };
        let (walks, values): (Vec<String>, Vec<Vec<Value>>) = lanes.into_iter().map(walk).unzip();
        (walks, values.concat())
    }
}

impl Sieve {
    fn conditions(self) -> (String, Vec<Value>) {
        let columns = [
            ("commodity_id", self.commodity.map(|commodity| Value::from(commodity.get()))),
            ("user_id", self.user.map(|user| user.halves().1.into())),
            // Whoever has another half there than an account of our own is none.
            ("user_high", self.user.filter(|user| user.account().is_none()).map(|user| user.halves().0.into())),
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
        _ => walks.iter().map(|walk| format!("SELECT * FROM ({walk})")).collect(),
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

fn named(row: &QueryResult) -> Result<NamedOrder, StoreError> {
    order::Model {
        id: row.try_get_by_index(0)?,
        commodity_id: row.try_get_by_index(1)?,
        user_id: row.try_get_by_index(2)?,
        quantity: row.try_get_by_index(3)?,
        unit_price: row.try_get_by_index(4)?,
        currency: row.try_get_by_index(5)?,
        status: row.try_get_by_index(6)?,
        pay_by: row.try_get_by_index(7)?,
        user_high: row.try_get_by_index(8)?,
        user_text: row.try_get_by_index(9)?,
        grace_seconds: row.try_get_by_index(10)?,
        discount: row.try_get_by_index(11)?,
        coupon_id: row.try_get_by_index(12)?,
        // No list shows these.
        idempotency_key: None,
        fingerprint: 0,
        changed_at: 0,
        run: 0,
    }
    .named()
}

#[cfg(test)]
pub(super) mod tests;
