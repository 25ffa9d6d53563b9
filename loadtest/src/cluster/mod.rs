//! A cluster of our own: spikes, consumers and the operators' process as children, over a database and queues of their own on
//! servers that are there. Ends with it, however that comes: processes first, then queues and database. Never touches
//! what another program has on those servers.

mod database;
mod ports;
mod queues;
mod services;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use doorbuster::config::Config;
use doorbuster::domain::{CommodityId, Epoch, Partitions};
use doorbuster::ring::partition_of;
use doorbuster::store::Store;

pub use ports::spare_port;
pub use services::Services;

use crate::loopback::Target;
use crate::server::{Kind, Launcher, Role, ServerProcess};
use database::OwnDatabase;
use queues::OwnQueues;

/// How long all partitions together may take to get an owner.
const OWNED_TIMEOUT: Duration = Duration::from_secs(60);

/// How many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Layout {
    /// Nodes that sell, at least 1.
    pub spikes: usize,
    /// Processes that bring the logs into the database.
    pub consumers: usize,
}

/// One process of a cluster, running or not, always at the same address.
#[derive(Debug)]
pub struct Member {
    name: String,
    kind: Kind,
    log: PathBuf,
    target: Target,
    process: Option<ServerProcess>,
}

impl Member {
    /// Its id, among the nodes of the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens when it runs.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.running()?.kill().await
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not run, does not end in time or ends with a failure.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.running()?.stop().await
    }

    /// Starts it again, at the address it had.
    ///
    /// # Errors
    /// If it is not ready in time.
    pub async fn start(&mut self, launcher: &Launcher) -> anyhow::Result<()> {
        let started = launcher.start(&self.kind, &self.log).await.with_context(|| self.name.clone())?;
        self.process = Some(started);
        Ok(())
    }

    /// The process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn process(&self) -> anyhow::Result<&ServerProcess> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    fn running(&mut self) -> anyhow::Result<ServerProcess> {
        self.process.take().with_context(|| format!("{} does not run", self.name))
    }
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
    // Processes go before what they are connected to: fields are dropped in this order.
    queues: OwnQueues,
    database: OwnDatabase,
}

impl Cluster {
    /// Starts one and waits until every process is ready and every partition has an owner. Logs go into `folder`.
    ///
    /// # Errors
    /// If a server is not there, or a process is not ready in time.
    pub async fn start(layout: Layout, services: &Services, launcher: &Launcher, folder: &Path) -> anyhow::Result<Self> {
        let name = format!("loadtest-{:08x}", rand::random::<u32>());
        let database = OwnDatabase::create(&services.mysql, &name.replace('-', "_")).await?;
        let queues = OwnQueues::new(&services.amqp, &name, Partitions::DEFAULT);
        let setting = Setting { database: database.url(), services, prefix: &name, secret: random_secret(), folder };
        let mut cluster = Self {
            spikes: (1..=layout.spikes).map(|number| setting.spike(number)).collect::<Result<_, _>>()?,
            consumers: (1..=layout.consumers).map(|number| setting.consumer(number)).collect::<Result<_, _>>()?,
            admin: setting.admin()?,
            launcher: launcher.clone(),
            queues,
            database,
        };
        let members = cluster.consumers.iter_mut().chain(&mut cluster.spikes).chain([&mut cluster.admin]);
        // All at once: a node is ready only when its partitions are in the projection, and that takes a consumer.
        futures_util::future::try_join_all(members.map(|member| member.start(launcher))).await?;
        cluster.wait_owned().await?;
        Ok(cluster)
    }

    /// Where buyers go: every node that sells.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.spikes.iter().map(|spike| spike.target.clone()).collect()
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
        let index = self.spikes.iter().position(|spike| spike.name == owner);
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

    /// Where the cluster's messages are.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.queues.prefix()
    }

    /// Waits until all partitions are sold from, by nodes that share them: a node is ready with its first.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub async fn wait_owned(&self) -> anyhow::Result<()> {
        let store = self.store().await?;
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        let owned = tokio::time::timeout(OWNED_TIMEOUT, async {
            loop {
                pause.tick().await;
                let rows = store.partition_rows().await?;
                let most = rows.len().div_ceil(self.spikes.len());
                let share = |spike: &Member| rows.iter().filter(|row| row.owner.as_ref() == Some(&spike.name)).count();
                let balanced = self.spikes.iter().map(share).all(|share| share <= most);
                if balanced && rows.iter().all(|row| row.owner.is_some() && row.applied.0 == row.epoch) {
                    return anyhow::Ok(());
                }
            }
        });
        owned.await.context("not every partition got an owner in time")??;
        Ok(store.close().await?)
    }
}

/// Deletes the queues and the exchange whose names begin with `prefix`, of a cluster that is over.
pub fn remove_queues(amqp: &str, prefix: &str) {
    drop(OwnQueues::new(amqp, prefix, Partitions::DEFAULT));
}

/// What all processes of a cluster have in common.
struct Setting<'a> {
    database: &'a str,
    services: &'a Services,
    prefix: &'a str,
    secret: String,
    folder: &'a Path,
}

impl Setting<'_> {
    fn spike(&self, number: usize) -> anyhow::Result<Member> {
        let name = format!("spike-{number}");
        let own = [("DOORBUSTER__NODE__ID", name.clone()), ("DOORBUSTER__NODE__INTERNAL_LISTEN", loopback(spare_port()?))];
        self.member(name, Role::Spike, &own)
    }

    fn consumer(&self, number: usize) -> anyhow::Result<Member> {
        self.member(format!("consumer-{number}"), Role::Consumer, &[])
    }

    fn admin(&self) -> anyhow::Result<Member> {
        self.member("admin".to_owned(), Role::Admin, &[])
    }

    fn member(&self, name: String, role: Role, own: &[(&'static str, String)]) -> anyhow::Result<Member> {
        let address = loopback(spare_port()?);
        let target = address.parse::<std::net::SocketAddr>().map(Target::new)??;
        let listen = match role {
            Role::Spike => "DOORBUSTER__HTTP__LISTEN",
            Role::Consumer => "DOORBUSTER__CONSUMER__LISTEN",
            Role::Admin => "DOORBUSTER__ADMIN__LISTEN",
        };
        let amqp = match role {
            Role::Spike => self.services.spikes_amqp.as_ref().unwrap_or(&self.services.amqp),
            Role::Consumer | Role::Admin => &self.services.amqp,
        };
        let mut environment = vec![
            ("DATABASE_URL", self.database.to_owned()),
            ("AMQP_URL", amqp.clone()),
            ("DOORBUSTER__BROKER__PREFIX", self.prefix.to_owned()),
            ("DOORBUSTER__AUTH__INTERNAL_SECRET", self.secret.clone()),
            (listen, address),
        ];
        environment.extend_from_slice(own);
        let log = self.folder.join(format!("{name}.log"));
        Ok(Member { name, kind: Kind::Member { role, environment }, log, target, process: None })
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn random_secret() -> String {
    uuid::Uuid::from_u128(rand::random()).to_string()
}
