//! What ends tokens and slows the guessing of passwords: each change of a password or a role has a number, one sequence for all accounts;
//! budgets of logins that the nodes of a cluster share; and where accounts were logged in from lately.

use sea_orm_migration::prelude::*;

use crate::parts::{add_column, add_index, of_the_backend};

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let zero = |name: &'static str| ColumnDef::new(name).big_integer().not_null().default(0).take();
        // The number of the last change.
        add_column(manager, "meta", &mut zero("account_changes")).await?;
        // How often the account was changed, and the number and time of its last change; 0 = never.
        for column in ["generation", "change_number", "changed_at"] {
            add_column(manager, "users", &mut zero(column)).await?;
        }
        add_index(manager, "users", "ix_users_change_number", &["change_number"]).await?;

        let backend = manager.get_database_backend();
        manager.create_table(of_the_backend(login_budgets(), backend)).await?;
        add_index(manager, "login_budgets", "ix_login_budgets_full_at", &["full_at"]).await?;
        manager.create_table(of_the_backend(login_addresses(), backend)).await?;
        add_index(manager, "login_addresses", "ix_login_addresses_seen_at", &["seen_at"]).await
    }
}

/// Budgets that are not full, and when they will be, on the server's clock.
fn login_budgets() -> TableCreateStatement {
    Table::create()
        .table("login_budgets")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("full_at").big_integer().not_null())
        .take()
}

/// Hashes of a name and of an address, and when the name was last logged in from there.
fn login_addresses() -> TableCreateStatement {
    Table::create()
        .table("login_addresses")
        .col(ColumnDef::new("account").big_integer().not_null())
        .col(ColumnDef::new("address").big_integer().not_null())
        .col(ColumnDef::new("seen_at").big_integer().not_null())
        .primary_key(Index::create().col("account").col("address"))
        .take()
}
