//! What was done under an `Idempotency-Key`: changes of commodities and cancellations, which the projection writes; and ids that were drawn
//! for something to be made, before it is.
//!
//! Whoever does not know the tables does not miss them: rows come into the first only when no process of the release before is left.

use sea_orm_migration::prelude::*;

use crate::parts::{add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        manager.create_table(of_the_backend(operations(), backend)).await?;
        // What a claim loads are the changes of commodities: cancellations may be very many more.
        add_index(manager, "operations", "ix_operations_commodity", &["partition_id", "commodity_id", "done_at"]).await?;
        add_index(manager, "operations", "ix_operations_done_at", &["done_at"]).await?;
        manager.create_table(of_the_backend(creations(), backend)).await?;
        add_index(manager, "creations", "ix_creations_drawn_at", &["drawn_at"]).await
    }
}

/// One of commodity and order is there.
fn operations() -> TableCreateStatement {
    Table::create()
        .table("operations")
        .col(ColumnDef::new("operation_key").binary_len(16).not_null().primary_key())
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("fingerprint").big_integer().not_null())
        .col(ColumnDef::new("commodity_id").big_integer().null())
        .col(ColumnDef::new("order_id").binary_len(16).null())
        .col(ColumnDef::new("done_at").big_integer().not_null())
        .take()
}

fn creations() -> TableCreateStatement {
    Table::create()
        .table("creations")
        .col(ColumnDef::new("operation_key").binary_len(16).not_null().primary_key())
        .col(ColumnDef::new("fingerprint").big_integer().not_null())
        .col(ColumnDef::new("made_id").big_integer().not_null())
        .col(ColumnDef::new("drawn_at").big_integer().not_null())
        .take()
}
