//! The first schema: meta, partitions, commodities, orders, users, nodes.
//!
//! All times are BIGINT Unix milliseconds (the date types of the two families differ), all ids that travel as UUID are
//! 16 bytes, and text is compared byte by byte. Every table can be made again after a step that was cut short:
//! MySQL commits each statement of a schema change by itself.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for table in [meta(), partitions(), commodities(), orders(backend), users(), nodes()] {
            manager.create_table(of_the_backend(table, backend)).await?;
        }
        if !manager.has_index("orders", "ix_orders_commodity").await? {
            manager.create_index(orders_by_commodity()).await?;
        }
        Ok(())
    }
}

/// One row: what holds for the whole database.
fn meta() -> TableCreateStatement {
    Table::create()
        .table("meta")
        .col(ColumnDef::new("id").small_integer().not_null().primary_key())
        // Fixed for ever: ids of orders and the place of every commodity depend on it.
        .col(ColumnDef::new("partitions").integer().not_null())
        .col(ColumnDef::new("last_commodity_id").big_integer().not_null())
        .take()
}

/// One row a partition, made with the schema.
fn partitions() -> TableCreateStatement {
    Table::create()
        .table("partitions")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(ColumnDef::new("owner").string_len(64).null())
        .col(ColumnDef::new("epoch").big_integer().not_null())
        .col(ColumnDef::new("applied_epoch").big_integer().not_null())
        .col(ColumnDef::new("applied_sequence").big_integer().not_null())
        .take()
}

/// Terms and stock. A removed commodity keeps its row: its id is never used again.
fn commodities() -> TableCreateStatement {
    Table::create()
        .table("commodities")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("name").string_len(200).not_null())
        .col(ColumnDef::new("description").text().not_null())
        .col(ColumnDef::new("image_url").string_len(2000).null())
        .col(ColumnDef::new("price").big_integer().not_null())
        .col(ColumnDef::new("currency").char_len(3).not_null())
        .col(ColumnDef::new("limit_per_user").integer().null())
        .col(ColumnDef::new("hold_seconds").integer().null())
        .col(ColumnDef::new("starts_at").big_integer().not_null())
        .col(ColumnDef::new("ends_at").big_integer().not_null())
        .col(ColumnDef::new("total").big_integer().not_null())
        .col(ColumnDef::new("available").big_integer().not_null())
        .col(ColumnDef::new("held").big_integer().not_null())
        .col(ColumnDef::new("sold").big_integer().not_null())
        .col(ColumnDef::new("paused").boolean().not_null())
        .col(ColumnDef::new("ended_at").big_integer().null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("removed_at").big_integer().null())
        // The last guard under the engine's own assertions: rows that break the equation cannot be committed.
        .check(Expr::cust("available >= 0 AND held >= 0 AND sold >= 0 AND total = available + held + sold"))
        .take()
}

/// Orders, clustered by their ids, which are ordered by time: new rows go to the end of the table.
///
/// Two indexes besides, because each costs on every insert. The unique one is the last guard under the engine's
/// idempotency and, led by the buyer, serves a buyer's own list. The other serves a commodity's list newest first, the
/// load of a partition, and appends nearly in order. What asks by time walks the ids; what asks by status alone, too.
fn orders(backend: DbBackend) -> TableCreateStatement {
    let mut table = Table::create()
        .table("orders")
        .col(ColumnDef::new("id").binary_len(16).not_null().primary_key())
        .col(ColumnDef::new("commodity_id").big_integer().not_null())
        .col(ColumnDef::new("user_id").big_integer().not_null())
        .col(ColumnDef::new("quantity").integer().not_null())
        .col(ColumnDef::new("unit_price").big_integer().not_null())
        .col(ColumnDef::new("currency").char_len(3).not_null())
        .col(ColumnDef::new("status").small_integer().not_null())
        .col(ColumnDef::new("pay_by").big_integer().null())
        .col(ColumnDef::new("idempotency_key").binary_len(16).null())
        .col(ColumnDef::new("fingerprint").big_integer().not_null())
        .col(ColumnDef::new("changed_at").big_integer().not_null())
        .index(Index::create().name("uq_orders_user_commodity_key").unique().col("user_id").col("commodity_id").col("idempotency_key"))
        .take();
    if backend == DbBackend::Sqlite {
        // InnoDB clusters every table by its key; SQLite would keep a second tree from the key to a hidden row number.
        table.extra("WITHOUT ROWID");
    }
    table
}

fn orders_by_commodity() -> IndexCreateStatement {
    Index::create().name("ix_orders_commodity").table("orders").col("commodity_id").col("id").take()
}

/// Accounts. `username_key` is the name in lower case as bytes: no collation has a say in what is the same name.
fn users() -> TableCreateStatement {
    Table::create()
        .table("users")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("username").string_len(255).not_null())
        .col(ColumnDef::new("username_key").var_binary(1020).not_null())
        .col(ColumnDef::new("password_hash").string_len(255).not_null())
        .col(ColumnDef::new("role").small_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .index(Index::create().name("uq_users_username_key").unique().col("username_key"))
        .take()
}

/// Processes that may own partitions: what the ring is built from.
fn nodes() -> TableCreateStatement {
    Table::create()
        .table("nodes")
        .col(ColumnDef::new("id").string_len(64).not_null().primary_key())
        // Drawn by the process: two processes under one id are told apart by it.
        .col(ColumnDef::new("instance").big_integer().not_null())
        .col(ColumnDef::new("internal_address").string_len(255).not_null())
        .col(ColumnDef::new("state").small_integer().not_null())
        .col(ColumnDef::new("started_at").big_integer().not_null())
        .col(ColumnDef::new("heartbeat_at").big_integer().not_null())
        .take()
}

fn of_the_backend(mut table: TableCreateStatement, backend: DbBackend) -> TableCreateStatement {
    table.if_not_exists();
    if backend == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}
