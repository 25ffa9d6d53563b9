//! What payment providers have told, each event once. A provider repeats what it says, and in whatever order: by this it is known what was
//! heard before. And what was asked of a provider for a payment, which is the same however often it is asked.

use sea_orm_migration::prelude::*;

use crate::parts::{add_column, add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "provider_payments", ColumnDef::new("asked").text().null()).await?;
        manager.create_table(of_the_backend(provider_events(), manager.get_database_backend())).await?;
        add_index(manager, "provider_events", "ix_provider_events_received_at", &["received_at"]).await?;
        manager.create_table(of_the_backend(provider_positions(), manager.get_database_backend())).await
    }
}

fn provider_events() -> TableCreateStatement {
    Table::create()
        .table("provider_events")
        .col(ColumnDef::new("provider").string_len(32).not_null())
        .col(ColumnDef::new("event_id").string_len(255).not_null())
        .col(ColumnDef::new("kind").string_len(255).not_null())
        .col(ColumnDef::new("object_id").string_len(255).null())
        .col(ColumnDef::new("reference").string_len(255).null())
        .col(ColumnDef::new("received_at").big_integer().not_null())
        .primary_key(Index::create().col("provider").col("event_id"))
        .take()
}

/// The last event of each provider up to which its list was read.
fn provider_positions() -> TableCreateStatement {
    Table::create()
        .table("provider_positions")
        .col(ColumnDef::new("provider").string_len(32).not_null().primary_key())
        .col(ColumnDef::new("event_id").string_len(255).null())
        // Until then somebody reads it.
        .col(ColumnDef::new("taken_until").big_integer().not_null())
        .take()
}
