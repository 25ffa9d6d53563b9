//! Which system this database is, and what is known of batches that the logs may lose: which were confirmed, which are missing, and which
//! an operator has accepted the loss of. What the rows start with is written by the store.

use sea_orm_migration::prelude::*;

use crate::parts::{add_column, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        add_column(manager, "meta", ColumnDef::new("system_id").binary_len(16).null()).await?;
        manager.create_table(of_the_backend(log_confirmed(), backend)).await?;
        manager.create_table(of_the_backend(log_gaps(), backend)).await?;
        manager.create_table(of_the_backend(log_losses(), backend)).await
    }
}

/// The last batch of each partition that is known to be confirmed. Apart from the partitions, whose rows the projection locks.
fn log_confirmed() -> TableCreateStatement {
    Table::create()
        .table("log_confirmed")
        .col(ColumnDef::new("partition_id").integer().not_null().primary_key())
        .col(ColumnDef::new("epoch").big_integer().not_null())
        .col(ColumnDef::new("sequence").big_integer().not_null())
        .take()
}

/// Partitions whose projection lacks batches: where it stands, and the last that is missing.
fn log_gaps() -> TableCreateStatement {
    Table::create()
        .table("log_gaps")
        .col(ColumnDef::new("partition_id").integer().not_null().primary_key())
        .col(ColumnDef::new("applied_epoch").big_integer().not_null())
        .col(ColumnDef::new("applied_sequence").big_integer().not_null())
        .col(ColumnDef::new("missing_epoch").big_integer().not_null())
        .col(ColumnDef::new("missing_sequence").big_integer().not_null())
        // What is missing is there, and does not fit without what was lost before it.
        .col(ColumnDef::new("is_broken").small_integer().not_null())
        .col(ColumnDef::new("noted_at").big_integer().not_null())
        .take()
}

/// Losses that an operator has accepted. The projection does not go back, so the last missing batch names one.
fn log_losses() -> TableCreateStatement {
    Table::create()
        .table("log_losses")
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("missing_epoch").big_integer().not_null())
        .col(ColumnDef::new("missing_sequence").big_integer().not_null())
        .col(ColumnDef::new("applied_epoch").big_integer().not_null())
        .col(ColumnDef::new("applied_sequence").big_integer().not_null())
        .col(ColumnDef::new("reason").string_len(1_000).not_null())
        .col(ColumnDef::new("accepted_by").string_len(200).not_null())
        .col(ColumnDef::new("accepted_at").big_integer().not_null())
        .primary_key(Index::create().col("partition_id").col("missing_epoch").col("missing_sequence"))
        .take()
}
