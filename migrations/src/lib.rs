//! The schema and its steps, the same for SQLite and for MySQL and MariaDB. Never holds data and never changes rows:
//! what a fresh schema starts with is written by the store.

use sea_orm_migration::prelude::*;

mod m20261120_000001_create_tables;
mod m20261121_000002_node_broker;

/// All steps, oldest first. Append-only: a step that was released is never changed.
#[derive(Clone, Copy, Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261120_000001_create_tables::Migration), Box::new(m20261121_000002_node_broker::Migration)]
    }
}
