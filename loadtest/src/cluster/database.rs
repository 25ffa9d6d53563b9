//! A database with a name of its own and the schema of this release, gone when it is dropped.

use std::time::Duration;

use anyhow::Context;
use doorbuster::config;
use doorbuster::domain::Partitions;
use doorbuster::store::Store;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use super::reach::ANSWER_TIMEOUT;
use super::services::beside;
use crate::outcome::NoOutcome;

/// How long dropping it may take.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);

/// The database.
#[derive(Debug)]
pub(super) struct OwnDatabase {
    server: String,
    url: String,
    name: String,
    is_left: bool,
}

impl OwnDatabase {
    /// Makes it. On a server that `ends_with_us` it is left where it is. A server that does not allow it is no outcome.
    pub(super) async fn create(server: &str, name: &str, ends_with_us: bool) -> anyhow::Result<Self> {
        let (server, url) = beside(server, name).map_err(NoOutcome::mark)?;
        let connection = connect(&server).await.map_err(NoOutcome::mark)?;
        // Before it is made: who is stopped in the middle of that must not leave it behind.
        let database = Self { server, url, name: name.to_owned(), is_left: ends_with_us };
        let made = connection.execute_unprepared(&format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4")).await;
        made.map_err(|error| NoOutcome::mark(error.into()))?;
        connection.close().await?;
        let settings = config::Database { url: None, connections_max: 2, loads_max: 1, acquire_timeout_ms: 10_000 };
        Store::migrate(&database.url, &settings, Partitions::DEFAULT).await?;
        Ok(database)
    }

    /// What `DATABASE_URL` is for the processes on it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whatever a killed process left open holds locks that the drop would wait for, so the connections go first.
    async fn remove(server: &str, name: &str) -> anyhow::Result<()> {
        let connection = connect(server).await?;
        let query = format!("SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = '{name}'");
        let rows = connection.query_all_raw(Statement::from_string(DbBackend::MySql, query)).await.unwrap_or_default();
        for id in rows.iter().filter_map(|row| row.try_get_by_index::<i64>(0).ok()) {
            // One that is gone by now is what is wanted.
            drop(connection.execute_unprepared(&format!("KILL {id}")).await);
        }
        connection.execute_unprepared(&format!("DROP DATABASE IF EXISTS `{name}`")).await?;
        Ok(connection.close().await?)
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        let removed = on_a_thread_of_its_own(async move {
            let seconds = REMOVE_TIMEOUT.as_secs();
            tokio::time::timeout(REMOVE_TIMEOUT, Self::remove(&server, &name))
                .await
                .with_context(|| format!("not done within {seconds} s"))?
        });
        if let Err(error) = removed {
            eprintln!("loadtest: the database {} is left behind: {error:#}", self.name);
        }
    }
}

/// The caller's runtime may be going down: cleaning up needs one that is not.
pub(super) fn on_a_thread_of_its_own(work: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> anyhow::Result<()> {
    let worker = std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work));
    worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
}

async fn connect(server: &str) -> anyhow::Result<DatabaseConnection> {
    let mut options = sea_orm::ConnectOptions::new(server);
    options.max_connections(1).connect_timeout(ANSWER_TIMEOUT).acquire_timeout(ANSWER_TIMEOUT).sqlx_logging(false);
    Database::connect(options).await.context("the database server lets nobody in: see that MariaDB or MySQL is well, or set DATABASE_URL")
}
