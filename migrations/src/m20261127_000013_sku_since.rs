//! Since which version a commodity is known to have the number of its claim: so that the word of an owner that was stopped and overtaken is
//! known for what it is.

use sea_orm_migration::prelude::*;

use crate::parts::add_column;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // 0 = of none it is known.
        add_column(manager, "skus", ColumnDef::new("since_version").big_integer().not_null().default(0)).await
    }
}
