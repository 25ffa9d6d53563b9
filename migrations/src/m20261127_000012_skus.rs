//! Article numbers, what can be cancelled, and commodities that are about to be listed.
//!
//! Two commodities of two partitions may show the same number in their rows for a while, because the projection of one may be behind that of
//! the other. So what is unique is the claim on a number, which is made before an engine is asked.

use sea_orm_migration::prelude::*;

use crate::parts::{add_column, add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        add_column(manager, "commodities", ColumnDef::new("sku").string_len(64).null()).await?;
        // 1 = what no money was taken for, as it was before.
        add_column(manager, "commodities", ColumnDef::new("cancellation").small_integer().not_null().default(1)).await?;
        add_index(manager, "commodities", "ix_commodities_sku", &["sku", "id"]).await?;
        manager.create_table(of_the_backend(skus(), backend)).await?;
        add_index(manager, "skus", "ix_skus_commodity", &["commodity_id"]).await?;
        manager.create_table(of_the_backend(listings(), backend)).await?;
        manager.create_table(of_the_backend(imports(), backend)).await
    }
}

/// Which commodity has a claim on a number. A claim is left behind when its commodity has another number or is gone, and taken over by
/// whoever wants it then.
fn skus() -> TableCreateStatement {
    Table::create()
        .table("skus")
        .col(ColumnDef::new("sku").string_len(64).not_null().primary_key())
        .col(ColumnDef::new("commodity_id").big_integer().not_null())
        // Grows by one each time it is claimed.
        .col(ColumnDef::new("claims").big_integer().not_null())
        // Claims of which it is not known what came of them.
        .col(ColumnDef::new("open_claims").big_integer().not_null())
        // The highest version of the commodity that one of those can be carried out in.
        .col(ColumnDef::new("version").big_integer().not_null())
        .take()
}

/// Commodities that will be listed, whatever happens to whoever wrote them down: terms and total, as in `commodities`.
fn listings() -> TableCreateStatement {
    Table::create()
        .table("listings")
        .col(ColumnDef::new("commodity_id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("sku").string_len(64).null())
        .col(ColumnDef::new("name").string_len(200).not_null())
        .col(ColumnDef::new("description").text().not_null())
        .col(ColumnDef::new("image_url").string_len(2000).null())
        .col(ColumnDef::new("price").big_integer().not_null())
        .col(ColumnDef::new("currency").char_len(3).not_null())
        .col(ColumnDef::new("limit_per_user").integer().null())
        .col(ColumnDef::new("hold_seconds").integer().null())
        .col(ColumnDef::new("cancellation").small_integer().not_null())
        .col(ColumnDef::new("starts_at").big_integer().not_null())
        .col(ColumnDef::new("ends_at").big_integer().not_null())
        .col(ColumnDef::new("total").big_integer().not_null())
        .take()
}

/// Files of commodities that were taken: the id is that of the first commodity, and the others follow it.
fn imports() -> TableCreateStatement {
    Table::create()
        .table("imports")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("commodities").integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .take()
}
