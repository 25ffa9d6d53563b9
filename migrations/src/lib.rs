//! The schema and its steps, the same for SQLite and for MySQL and MariaDB. Never holds data and never changes rows:
//! what a fresh schema starts with is written by the store.
//!
//! The first releases refuse a schema with a step that they do not know. What came after them must let them work on beside
//! its own release, so it is recorded in a table that they do not read: see [`Widening`]. A later release, beside which none
//! of them may run any more, narrows what was widened for them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DynIden;

mod m20261120_000001_create_tables;
mod m20261121_000002_node_broker;
mod m20261127_000003_widen;
mod m20261127_000004_orders_by_run;
mod m20261127_000005_node_versions;
mod m20261127_000006_archive;
mod m20261127_000007_closed_by_id;
mod m20261127_000008_log_losses;
mod m20261127_000009_principals;
mod m20261127_000010_keys;
mod m20261127_000011_accounts;
mod m20261127_000012_skus;
mod m20261127_000013_sku_since;
mod m20261127_000014_payments;
mod m20261127_000015_provider_events;
mod parts;

/// The steps that every release knows, oldest first. None is added any more.
#[derive(Clone, Copy, Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261120_000001_create_tables::Migration), Box::new(m20261121_000002_node_broker::Migration)]
    }
}

/// The steps after those, oldest first. Each only widens: processes of the release before its own keep working on what it
/// makes. Append-only: a step that was released is never changed.
#[derive(Clone, Copy, Debug)]
pub struct Widening;

#[async_trait::async_trait]
impl MigratorTrait for Widening {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261127_000003_widen::Migration),
            Box::new(m20261127_000004_orders_by_run::Migration),
            Box::new(m20261127_000005_node_versions::Migration),
            Box::new(m20261127_000006_archive::Migration),
            Box::new(m20261127_000007_closed_by_id::Migration),
            Box::new(m20261127_000008_log_losses::Migration),
            Box::new(m20261127_000009_principals::Migration),
            Box::new(m20261127_000010_keys::Migration),
            Box::new(m20261127_000011_accounts::Migration),
            Box::new(m20261127_000012_skus::Migration),
            Box::new(m20261127_000013_sku_since::Migration),
            Box::new(m20261127_000014_payments::Migration),
            Box::new(m20261127_000015_provider_events::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "schema_steps".into_iden()
    }
}
