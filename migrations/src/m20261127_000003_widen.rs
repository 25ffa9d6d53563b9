//! What checkpoints, closing and forms that change need: columns and tables that the release before does not know and need
//! not know. Every column has a default, because its processes insert with lists of columns of their own.
//!
//! Every part looks first whether it is there already: MySQL commits each statement of a schema change by itself.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::parts::{add_column, add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The newest form that may be in the log: what a cluster that never was on an older release begins with is the store's word.
        add_column(manager, "meta", ColumnDef::new("log_version").small_integer().not_null().default(1)).await?;
        // The run that orders are inserted under, see the step after this one. 0 is that of rows whose consumer knew none.
        add_column(manager, "meta", ColumnDef::new("order_run").big_integer().not_null().default(1)).await?;
        // The newest form of log batches that the node's release reads.
        add_column(manager, "nodes", ColumnDef::new("log_version").small_integer().not_null().default(1)).await?;
        add_column(manager, "commodities", ColumnDef::new("closed_at").big_integer().null()).await?;
        // When the audit found a closed commodity right for the last time it has to look.
        add_column(manager, "commodities", ColumnDef::new("sealed_at").big_integer().null()).await?;
        // Which generation of parts, and the position they were written at.
        for column in ["checkpoint_generation", "checkpoint_epoch", "checkpoint_sequence", "checkpoint_bytes"] {
            add_column(manager, "partitions", ColumnDef::new(column).big_integer().not_null().default(0)).await?;
        }
        add_column(manager, "partitions", ColumnDef::new("checkpoint_parts").integer().not_null().default(0)).await?;

        let backend = manager.get_database_backend();
        manager.create_table(of_the_backend(checkpoint_parts(backend), backend)).await?;
        manager.create_table(of_the_backend(checkpoint_deltas(backend), backend)).await?;

        // What a claim loads: neither closed nor removed, whatever else the partition once sold.
        add_index(manager, "commodities", "ix_commodities_partition", &["partition_id", "closed_at", "removed_at", "id"]).await?;
        // The list of what is not closed, by rising id. That of closed ones walks the ids: it meets few that are not.
        add_index(manager, "commodities", "ix_commodities_closed", &["closed_at", "removed_at", "id"]).await?;
        // What the audit has not sealed.
        add_index(manager, "commodities", "ix_commodities_sealed", &["sealed_at", "id"]).await
    }
}

/// The engine of a partition as it was at one position, in parts that fit a statement.
fn checkpoint_parts(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("checkpoint_parts")
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("generation").big_integer().not_null())
        .col(ColumnDef::new("part").integer().not_null())
        .col(body(backend))
        .primary_key(Index::create().col("partition_id").col("generation").col("part"))
        .take()
}

/// What changed from one position to the next.
fn checkpoint_deltas(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("checkpoint_deltas")
        .col(ColumnDef::new("partition_id").integer().not_null())
        .col(ColumnDef::new("epoch").big_integer().not_null())
        .col(ColumnDef::new("sequence").big_integer().not_null())
        .col(ColumnDef::new("previous_epoch").big_integer().not_null())
        .col(ColumnDef::new("previous_sequence").big_integer().not_null())
        .col(body(backend))
        .primary_key(Index::create().col("partition_id").col("epoch").col("sequence"))
        .take()
}

/// MySQL's BLOB ends at 64 KiB.
fn body(backend: DbBackend) -> ColumnDef {
    let mut body = ColumnDef::new("body");
    match backend {
        DbBackend::MySql => body.custom("LONGBLOB"),
        _ => body.blob(),
    };
    body.not_null().take()
}
