//! Parts of steps that may be repeated: each does nothing where it was done already. Never used by a step that was
//! released before them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub(crate) async fn add_column(manager: &SchemaManager<'_>, table: &'static str, column: &mut ColumnDef) -> Result<(), DbErr> {
    if manager.has_column(table, column.get_column_name()).await? {
        return Ok(());
    }
    manager.alter_table(Table::alter().table(table).add_column(column.take()).take()).await
}

pub(crate) async fn add_index(manager: &SchemaManager<'_>, table: &'static str, name: &str, columns: &[&'static str]) -> Result<(), DbErr> {
    if manager.has_index(table, name).await? {
        return Ok(());
    }
    let mut index = Index::create().name(name).table(table).take();
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}

pub(crate) async fn drop_index(manager: &SchemaManager<'_>, table: &'static str, name: &str) -> Result<(), DbErr> {
    if !manager.has_index(table, name).await? {
        return Ok(());
    }
    manager.drop_index(Index::drop().name(name).table(table).to_owned()).await
}

pub(crate) fn of_the_backend(mut table: TableCreateStatement, backend: DbBackend) -> TableCreateStatement {
    table.if_not_exists();
    if backend == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}
