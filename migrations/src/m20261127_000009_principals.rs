//! Orders of other issuers' accounts: who ordered, in 128 bits and by name.
//!
//! `user_id` becomes the lower half of the buyer's key. That of an account of our own is its number, as it was, and the higher half is 0
//! (what processes of the release before write is therefore right); that of any other is negative, so that those processes take it for no
//! account. The indexes stay as they are: they have the lower half. Nothing refers to the users, who are our own accounts alone. Both
//! columns are the last of their tables, and are added without a copy where the server can do that.

use sea_orm_migration::prelude::*;

use crate::parts::add_column;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["orders", "archived_orders"] {
            add_column(manager, table, ColumnDef::new("user_high").big_integer().not_null().default(0)).await?;
            // An issuer's name of 32, a colon, a subject of 255.
            add_column(manager, table, ColumnDef::new("user_text").string_len(300).null()).await?;
        }
        Ok(())
    }
}
