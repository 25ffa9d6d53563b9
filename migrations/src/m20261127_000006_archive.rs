//! Where the orders of commodities that are over are moved, out of the way of those that are sold: `doorbuster archive`.
//!
//! Whoever does not know the table does not miss it: rows come into it only when no process of the release before is left.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::parts::{add_column, add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        manager.create_table(of_the_backend(archived_orders(backend), backend)).await?;
        // As those of the orders, because lists walk both tables side by side. None is unique but the key.
        add_index(manager, "archived_orders", "ix_archived_orders_run_user", &["run", "user_id", "id", "commodity_id"]).await?;
        let columns = ["commodity_id", "status", "id", "quantity", "user_id"];
        add_index(manager, "archived_orders", "ix_archived_orders_commodity_status", &columns).await?;
        add_index(manager, "archived_orders", "ix_archived_orders_status", &["status", "id"]).await?;
        // The seal under which the last of a commodity's orders was moved: a later seal means that there may be more to move.
        add_column(manager, "commodities", ColumnDef::new("archived_seal").big_integer().null()).await
    }
}

/// Column by column as the orders are.
fn archived_orders(backend: DbBackend) -> TableCreateStatement {
    let mut table = Table::create()
        .table("archived_orders")
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
        // An order keeps the run it was inserted under: it is found in the same part of a buyer's list wherever it lies.
        .col(ColumnDef::new("run").integer().not_null())
        .take();
    if backend == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}
