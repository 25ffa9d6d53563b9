//! A filled database with the servers that lists are asked of: one process on SQLite, or a small cluster on MySQL or MariaDB. Ends
//! with them.

use std::path::Path;

use super::{Fill, Filled, fill_folder, seed_with_bar};
use crate::cluster::{Cluster, Layout, Services, Special};
use crate::loopback::Target;
use crate::server::{Kind, Launcher, ServerProcess};

/// What kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// SQLite, embedded.
    Sqlite,
    /// MySQL or MariaDB, with a cluster of one node (RabbitMQ too, as for `race --spikes`).
    Mysql,
}

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Mysql => "MySQL or MariaDB",
        })
    }
}

/// Who answers.
enum Servers {
    Embedded(Box<ServerProcess>),
    Cluster(Box<Cluster>),
}

/// Servers on a filled database.
pub(super) struct Shop {
    servers: Servers,
    operators: Target,
    buyers: Target,
    filled: Filled,
}

impl Shop {
    /// Fills a database of its own, and starts servers on it.
    pub(super) async fn open(on: On, fill: Fill, launcher: &Launcher, folder: &Path) -> anyhow::Result<Self> {
        match on {
            On::Sqlite => {
                let data = folder.join("data");
                let filled = fill_folder(&data, fill).await?;
                let server = launcher.start(&Kind::Embedded { data }, &folder.join("server.log")).await?;
                let target = server.target().clone();
                Ok(Self { servers: Servers::Embedded(Box::new(server)), operators: target.clone(), buyers: target, filled })
            }
            On::Mysql => {
                let (layout, services) = (Layout { spikes: 1, consumers: 1 }, Services::from_environment());
                let mut cluster = Cluster::prepare(layout, &services, launcher, folder, Special::default()).await?;
                let store = cluster.store().await?;
                let filled = seed_with_bar(&store, fill).await?;
                store.close().await?;
                cluster.run().await?;
                let (operators, buyers) = (cluster.admin.target().clone(), cluster.spikes[0].target().clone());
                Ok(Self { servers: Servers::Cluster(Box::new(cluster)), operators, buyers, filled })
            }
        }
    }

    /// Where operators are answered.
    pub(super) const fn operators(&self) -> &Target {
        &self.operators
    }

    /// Where buyers are answered.
    pub(super) const fn buyers(&self) -> &Target {
        &self.buyers
    }

    /// What is in the database.
    pub(super) const fn filled(&self) -> &Filled {
        &self.filled
    }

    /// Stops the servers in order.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.servers {
            Servers::Embedded(server) => server.stop().await,
            Servers::Cluster(mut cluster) => cluster.stop().await,
        }
    }
}
