//! The indexes of the orders, so that inserts stay at the ends of their trees however many rows there are.
//!
//! The unique index over buyer, commodity and key goes: it was led by the buyer, so that of a table larger than the memory
//! every insert read and wrote a page anywhere in it. That a key is used once is decided by the engine. The list of one
//! buyer is led by a `run` instead: a number that stands still for so many rows and then grows by one, the same for all who
//! write. Inserts are spread over the pages of one run, which stay in memory; a list looks into every run.
//!
//! Processes of the release before go on working: their statements name their columns, and their rows are of run 0.
//! Until they are gone their lists of one buyer or one commodity sort what they read.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::parts::{add_column, add_index, drop_index};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

const COLUMNS: &str = "id, commodity_id, user_id, quantity, unit_price, currency, status, pay_by, idempotency_key, fingerprint, changed_at";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Sqlite {
            add_column(manager, "orders", &mut run()).await?;
            add_indexes(manager).await?;
            drop_index(manager, "orders", "uq_orders_user_commodity_key").await?;
            return drop_index(manager, "orders", "ix_orders_commodity").await;
        }
        if manager.has_column("orders", "run").await? {
            return Ok(());
        }
        // SQLite cannot drop the index of a UNIQUE clause: the table is made anew, in one transaction.
        let transaction = manager.begin().await?;
        transaction.create_table(orders_anew()).await?;
        let connection = transaction.get_connection();
        connection.execute_unprepared(&format!("INSERT INTO orders_anew ({COLUMNS}) SELECT {COLUMNS} FROM orders ORDER BY id")).await?;
        transaction.drop_table(Table::drop().table("orders").take()).await?;
        transaction.rename_table(Table::rename().table("orders_anew", "orders").take()).await?;
        add_indexes(&transaction).await?;
        transaction.commit().await
    }
}

async fn add_indexes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // A buyer's own list, a run at a time; with the commodity, so that it is sifted without a look at the rows.
    add_index(manager, "orders", "ix_orders_run_user", &["run", "user_id", "id", "commodity_id"]).await?;
    // A commodity's list, a status at a time; with what the audit sums up, and for whom.
    add_index(manager, "orders", "ix_orders_commodity_status", &["commodity_id", "status", "id", "quantity", "user_id"]).await?;
    // A list by status alone.
    add_index(manager, "orders", "ix_orders_status", &["status", "id"]).await
}

fn run() -> ColumnDef {
    ColumnDef::new("run").integer().not_null().default(0).take()
}

/// For SQLite: as the first step made it, without the unique index.
fn orders_anew() -> TableCreateStatement {
    let mut table = Table::create()
        .table("orders_anew")
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
        .col(run())
        .take();
    table.extra("WITHOUT ROWID");
    table
}
