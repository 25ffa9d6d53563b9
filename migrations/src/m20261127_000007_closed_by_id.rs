//! An index that has the closed commodities by their ids, and no others: their list meets nothing that is not closed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::parts::{add_column, add_index};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            let sql = "CREATE INDEX IF NOT EXISTS ix_commodities_is_closed ON commodities (id) WHERE closed_at IS NOT NULL";
            manager.get_connection().execute_unprepared(sql).await?;
            return Ok(());
        }
        // MariaDB has no indexes of a part of a table. Nobody writes the column, so whoever does not know it inserts as before.
        let is_closed = Expr::cust("closed_at IS NOT NULL");
        add_column(manager, "commodities", ColumnDef::new("is_closed").boolean().generated(is_closed, false)).await?;
        add_index(manager, "commodities", "ix_commodities_is_closed", &["is_closed", "id"]).await
    }
}
