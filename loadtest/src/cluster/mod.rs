//! A cluster of our own: spikes, consumers and the operators' process as children, over a database and queues of their own on
//! servers that are there. Ends with it, however that comes: processes first, then queues and database. Never touches
//! what another program has on those servers.

mod database;
mod isolation;
mod member;
mod owners;
mod queues;
mod reach;
mod services;

use std::path::Path;

use anyhow::Context;
use doorbuster::config::Config;
use doorbuster::domain::{CommodityId, Epoch, NodeId, PartitionId, Partitions};
use doorbuster::ring::{Placement, partition_of};
use doorbuster::store::Store;

pub use isolation::Isolation;
pub(crate) use isolation::ip;
pub use member::Member;
pub use services::Services;
use tokio::process::Child;

use crate::loopback::Target;
use crate::outcome::NoOutcome;
use crate::server::Launcher;
use database::OwnDatabase;
use member::Setting;
use queues::OwnQueues;

/// How many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Layout {
    /// Nodes that sell, at least 1.
    pub spikes: usize,
    /// Processes that bring the logs into the database.
    pub consumers: usize,
}

/// What only some clusters have.
#[derive(Debug, Default)]
pub struct Special {
    /// Where the first node that sells is on its own.
    pub isolation: Option<Isolation>,
    /// Settings of all processes.
    pub environment: Vec<(&'static str, String)>,
}

/// A cluster that runs. Dropped, everything of it is killed and removed.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes that sell: `spike-1`, `spike-2` ...
    pub spikes: Vec<Member>,
    /// The processes that bring the logs into the database.
    pub consumers: Vec<Member>,
    /// The operators' process.
    pub admin: Member,
    launcher: Launcher,
    setting: Setting,
    // Processes go before what they are connected to: fields are dropped in this order.
    isolation: Option<Isolation>,
    // None on a broker that ends with this program.
    _queues: Option<OwnQueues>,
    database: OwnDatabase,
}

impl Cluster {
    /// Starts one and waits until every process is ready and every partition has an owner. Logs go into `folder`.
    ///
    /// # Errors
    /// Marked with [`NoOutcome`] if a server is not there, and without it if a process is not ready in time.
    pub async fn start(layout: Layout, services: &Services, launcher: &Launcher, folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(layout, services, launcher, folder, Special::default()).await
    }

    /// The same, with what only some need.
    ///
    /// # Errors
    /// Marked with [`NoOutcome`] if a server is not there, and without it if a process is not ready in time.
    pub async fn start_with(
        layout: Layout,
        services: &Services,
        launcher: &Launcher,
        folder: &Path,
        special: Special,
    ) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(layout, services, launcher, folder, special).await?;
        cluster.run().await?;
        Ok(cluster)
    }

    /// One of which nothing runs yet, on an empty database.
    ///
    /// # Errors
    /// Marked with [`NoOutcome`] if a server is not there.
    pub async fn prepare(
        layout: Layout,
        services: &Services,
        launcher: &Launcher,
        folder: &Path,
        special: Special,
    ) -> anyhow::Result<Self> {
        let name = format!("loadtest-{:08x}", rand::random::<u32>());
        let Special { isolation, environment } = special;
        // The processes have this environment too: what is wrong in it is not theirs.
        Config::load(None).map_err(|error| NoOutcome::mark(error.into()))?;
        services.reach().await.map_err(NoOutcome::mark)?;
        let database = OwnDatabase::create(&services.mysql, &name.replace('-', "_"), services.mysql_is_ours).await?;
        let queues = (!services.amqp_is_ours).then(|| OwnQueues::new(&services.amqp, &name, Partitions::DEFAULT));
        let (services, prefix, folder) = (services.clone(), name, folder.to_owned());
        let setting = Setting { database: database.url().to_owned(), services, prefix, secret: random_secret(), folder, environment };
        Ok(Self {
            spikes: (1..=layout.spikes).map(|number| setting.spike(number, isolation.as_ref())).collect::<Result<_, _>>()?,
            consumers: (1..=layout.consumers).map(|number| setting.consumer(number)).collect::<Result<_, _>>()?,
            admin: setting.admin()?,
            launcher: launcher.clone(),
            setting,
            isolation,
            _queues: queues,
            database,
        })
    }

    /// Starts all processes, and waits until each is ready and every partition has an owner.
    ///
    /// # Errors
    /// If a process is not ready in time.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let members = self.consumers.iter_mut().chain(&mut self.spikes).chain([&mut self.admin]);
        // All at once: a node is ready only when its partitions are in the projection, and that takes a consumer.
        futures_util::future::try_join_all(members.map(|member| member.start(&self.launcher))).await?;
        self.wait_owned().await
    }

    /// Starts all nodes that sell at the same time, and waits until each is ready and every partition has an owner.
    ///
    /// # Errors
    /// If one is not ready in time.
    pub async fn start_spikes_together(&mut self) -> anyhow::Result<()> {
        futures_util::future::try_join_all(self.spikes.iter_mut().map(|spike| spike.start(&self.launcher))).await?;
        self.wait_owned().await
    }

    /// Starts one more node that sells, and waits until it has its share.
    ///
    /// # Errors
    /// If it is not ready in time.
    pub async fn grow(&mut self) -> anyhow::Result<()> {
        let mut spike = self.setting.spike(self.spikes.len() + 1, self.isolation.as_ref())?;
        spike.start(&self.launcher).await?;
        self.spikes.push(spike);
        self.wait_owned().await
    }

    /// Stops the node that came last.
    ///
    /// # Errors
    /// If it does not stop in time.
    pub async fn shrink(&mut self) -> anyhow::Result<()> {
        self.spikes.pop().context("there is no node to stop")?.stop().await
    }

    /// Whether a commodity would be sold by the next node that [`Cluster::grow`] starts.
    ///
    /// # Errors
    /// If a name is no node's.
    pub fn would_move(&self, commodity: CommodityId) -> anyhow::Result<bool> {
        let next = format!("spike-{}", self.spikes.len() + 1);
        let names = self.spikes.iter().map(Member::name).chain([next.as_str()]);
        let nodes: Vec<NodeId> = names.map(str::parse).collect::<Result<_, _>>()?;
        let chosen = Placement::new(nodes, Partitions::DEFAULT);
        Ok(chosen.node_of(partition_of(commodity, Partitions::DEFAULT)).is_some_and(|node| node.as_str() == next))
    }

    /// Where the first node is on its own, if it is.
    ///
    /// # Errors
    /// If it is not.
    pub fn isolation(&self) -> anyhow::Result<&Isolation> {
        self.isolation.as_ref().context("no node is isolated")
    }

    /// Where buyers go: every node that sells.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.spikes.iter().map(|spike| spike.target().clone()).collect()
    }

    /// How processes of this cluster are started.
    #[must_use]
    pub const fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// How to read its database.
    ///
    /// # Errors
    /// If the environment holds a wrong setting.
    pub fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(None)?;
        config.database.url = Some(self.database.url().to_owned().into());
        Ok(config)
    }

    /// Where its database is.
    #[must_use]
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Where its broker is.
    #[must_use]
    pub fn broker_url(&self) -> &str {
        &self.setting.services.amqp
    }

    /// Connects to its database.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::connect(self.database.url(), &self.config()?.database).await?)
    }

    /// Which of [`Cluster::spikes`] owns a commodity's partition, and in which epoch, as the database has it.
    ///
    /// # Errors
    /// If the database does not answer, or knows no such node.
    pub async fn owner_of(&self, commodity: CommodityId) -> anyhow::Result<(usize, Epoch)> {
        let store = self.store().await?;
        let partition = partition_of(commodity, store.partitions());
        let rows = store.partition_rows().await?;
        store.close().await?;
        let row = rows.into_iter().find(|row| row.id == partition).with_context(|| format!("there is no partition {partition}"))?;
        let owner = row.owner.with_context(|| format!("partition {partition} has no owner"))?;
        let index = self.spikes.iter().position(|spike| spike.name() == owner);
        Ok((index.with_context(|| format!("{owner} is no node of this cluster"))?, row.epoch))
    }

    /// Stops all processes in order. Database and queues stay until the cluster is dropped.
    ///
    /// # Errors
    /// If one does not stop in time or ends with a failure.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.admin.stop().await?;
        for spike in &mut self.spikes {
            spike.stop().await?;
        }
        for consumer in &mut self.consumers {
            consumer.stop().await?;
        }
        Ok(())
    }

    /// Lets a partition go on without what its log has lost, as `doorbuster log accept-loss` does, in a process of its own. What that
    /// printed.
    ///
    /// # Errors
    /// If it refuses.
    pub async fn accept_loss(&self, partition: PartitionId, reason: &str) -> anyhow::Result<String> {
        self.setting.tool(&self.launcher, &["accept-loss", &partition.to_string(), reason]).await
    }

    /// Begins to put dead letters back, as `doorbuster dead put-back` does, in a process of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn put_back(&self, names: &[String]) -> anyhow::Result<Child> {
        let arguments: Vec<&str> = std::iter::once("put-back").chain(names.iter().map(String::as_str)).collect();
        self.setting.begin_tool(&self.launcher, &arguments)
    }

    /// Where the cluster's messages are.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.setting.prefix
    }
}

/// Deletes the queues and the exchange whose names begin with `prefix`, of a cluster that is over.
///
/// # Errors
/// If any of them is left.
pub fn remove_queues(amqp: &str, prefix: &str) -> anyhow::Result<()> {
    queues::delete(amqp, prefix, Partitions::DEFAULT)
}

fn random_secret() -> String {
    uuid::Uuid::from_u128(rand::random()).to_string()
}
