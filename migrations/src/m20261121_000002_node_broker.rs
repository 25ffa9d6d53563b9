//! How each node reaches the broker, as it says with its heartbeat: for whoever looks at the table.

use sea_orm_migration::prelude::*;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // It may be there already: MySQL commits each statement of a schema change by itself.
        if manager.has_column("nodes", "broker").await? {
            return Ok(());
        }
        // 1 = it has no session, as far as is known.
        let broker = ColumnDef::new("broker").small_integer().not_null().default(1).take();
        manager.alter_table(Table::alter().table("nodes").add_column(broker).take()).await
    }
}
