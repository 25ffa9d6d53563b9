//! Which process said that it reads the newest form of the log. A process of the release before that takes the place of one of this
//! release, under the same id, does not know that there is anything to say, and leaves what the other said as it was.

use sea_orm_migration::prelude::*;

use crate::parts::add_column;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "nodes", ColumnDef::new("log_version_instance").big_integer().not_null().default(0)).await
    }
}
