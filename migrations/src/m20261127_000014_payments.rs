//! The life of an order: the grace of its hold and what a coupon takes off it; its payments; who moved it, when and why; and what is to be
//! told to others. What an order without a hold has is in the columns that were there: of it no other table gets a row.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::parts::{add_column, add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["orders", "archived_orders"] {
            // 0 = as it was before: a hold ends at `pay_by`.
            add_column(manager, table, ColumnDef::new("grace_seconds").integer().not_null().default(0)).await?;
            add_column(manager, table, ColumnDef::new("discount").big_integer().not_null().default(0)).await?;
            add_column(manager, table, ColumnDef::new("coupon_id").big_integer().null()).await?;
        }
        for table in ["commodities", "listings"] {
            add_column(manager, table, ColumnDef::new("grace_seconds").integer().not_null().default(30)).await?;
        }
        // Whether anybody is to be told of events.
        add_column(manager, "meta", ColumnDef::new("outbox_wanted").small_integer().not_null().default(0)).await?;

        let backend = manager.get_database_backend();
        for table in [payments(), provider_payments(), order_timeline(), outbox()] {
            manager.create_table(keyed(of_the_backend(table, backend), backend)).await?;
        }
        // What somebody has to look after next.
        add_index(manager, "payments", "ix_payments_due", &["due_at"]).await?;
        // What a claim loads, and operators' lists.
        add_index(manager, "payments", "ix_payments_partition_status", &["partition_id", "status"]).await?;
        add_index(manager, "payments", "ix_payments_status", &["status", "order_id"]).await?;
        // Of which of ours a provider speaks.
        add_index(manager, "provider_payments", "ix_provider_payments_object", &["provider", "object_id"]).await
    }
}

/// As the engine has them: rows of the projection's alone, but for `due_at`, which workers move on.
fn payments() -> TableCreateStatement {
    Table::create()
        .table("payments")
        .col(ColumnDef::new("order_id").binary_len(16).not_null())
        .col(ColumnDef::new("attempt").small_integer().not_null())
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("commodity_id").big_integer().not_null())
        .col(ColumnDef::new("amount").big_integer().not_null())
        .col(ColumnDef::new("currency").char_len(3).not_null())
        .col(ColumnDef::new("status").small_integer().not_null())
        // Whether it is the one that the order is paid by, or came too late by.
        .col(ColumnDef::new("pays").boolean().not_null())
        .col(ColumnDef::new("started_at").big_integer().not_null())
        .col(ColumnDef::new("expires_at").big_integer().not_null())
        .col(ColumnDef::new("changed_at").big_integer().not_null())
        // When somebody is to look after it next.
        .col(ColumnDef::new("due_at").big_integer().null())
        .primary_key(Index::create().col("order_id").col("attempt"))
        .take()
}

/// What only their providers know of them: rows of whoever asks those.
fn provider_payments() -> TableCreateStatement {
    Table::create()
        .table("provider_payments")
        .col(ColumnDef::new("order_id").binary_len(16).not_null())
        .col(ColumnDef::new("attempt").small_integer().not_null())
        .col(ColumnDef::new("provider").string_len(64).not_null())
        .col(ColumnDef::new("object_id").string_len(255).not_null())
        .col(ColumnDef::new("checkout_url").string_len(2000).null())
        // As the provider said last; 0 = open.
        .col(ColumnDef::new("status").small_integer().not_null())
        .col(ColumnDef::new("looked_at").big_integer().not_null())
        // How often in a row it could not be asked.
        .col(ColumnDef::new("failures").integer().not_null())
        .primary_key(Index::create().col("order_id").col("attempt"))
        .take()
}

/// What became of orders after they were placed.
fn order_timeline() -> TableCreateStatement {
    Table::create()
        .table("order_timeline")
        .col(ColumnDef::new("order_id").binary_len(16).not_null())
        .col(ColumnDef::new("epoch").integer().not_null())
        .col(ColumnDef::new("sequence").big_integer().not_null())
        .col(ColumnDef::new("place").integer().not_null())
        .col(ColumnDef::new("at").big_integer().not_null())
        .col(ColumnDef::new("status").small_integer().not_null())
        .col(ColumnDef::new("actor").small_integer().not_null())
        .col(ColumnDef::new("reason").string_len(500).null())
        .primary_key(Index::create().col("order_id").col("epoch").col("sequence").col("place"))
        .take()
}

/// Events to be told, in the order of their log.
fn outbox() -> TableCreateStatement {
    Table::create()
        .table("outbox")
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("epoch").integer().not_null())
        .col(ColumnDef::new("sequence").big_integer().not_null())
        .col(ColumnDef::new("place").integer().not_null())
        .col(ColumnDef::new("at").big_integer().not_null())
        .col(ColumnDef::new("commodity_id").big_integer().not_null())
        // Of an order's event; of a commodity's there is none, and no status.
        .col(ColumnDef::new("order_id").binary_len(16).null())
        .col(ColumnDef::new("status").small_integer().null())
        .primary_key(Index::create().col("partition_id").col("epoch").col("sequence").col("place"))
        .take()
}

/// InnoDB clusters every table by its key; SQLite would keep a second tree from the key to a hidden row number.
fn keyed(mut table: TableCreateStatement, backend: DbBackend) -> TableCreateStatement {
    if backend == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}
