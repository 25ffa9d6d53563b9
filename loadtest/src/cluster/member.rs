//! The processes of a cluster: what each is started with, and how it is stopped, stopped short and started again.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::process::Child;

use super::isolation::Isolation;
use super::services::Services;
use crate::loopback::Target;
use crate::ports::spare_port;
use crate::server::{Kind, Launcher, Role, ServerProcess};

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

    /// Lets it stand still (SIGSTOP), and waits until all of its threads do.
    ///
    /// # Errors
    /// If it does not run, or goes on for too long.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.process()?.pause().await
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// If it does not run.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.process()?.signal(Signal::SIGCONT)
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

    /// The same, and it need not be ready yet.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub async fn begin(&mut self, launcher: &Launcher) -> anyhow::Result<()> {
        self.begin_with(launcher, &[]).await
    }

    /// The same, this once with these settings.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub async fn begin_with(&mut self, launcher: &Launcher, settings: &[(&'static str, String)]) -> anyhow::Result<()> {
        let mut kind = self.kind.clone();
        if let Kind::Member { environment, .. } = &mut kind {
            // Later ones win.
            environment.extend_from_slice(settings);
        }
        self.process = Some(launcher.begin(&kind, &self.log).await.with_context(|| self.name.clone())?);
        Ok(())
    }

    /// That its log, over all its starts, has no line with `words`.
    ///
    /// # Errors
    /// If it has, with that line; if there is no log.
    pub fn logged_nothing_of(&self, words: &str) -> anyhow::Result<()> {
        let log = std::fs::read_to_string(&self.log).with_context(|| format!("the log of {}", self.name))?;
        match log.lines().find(|line| line.contains(words)) {
            Some(line) => bail!("{} logged: {line}", self.name),
            None => Ok(()),
        }
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

/// What all processes of a cluster have in common.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) database: String,
    pub(super) services: Services,
    pub(super) prefix: String,
    pub(super) secret: String,
    pub(super) folder: PathBuf,
    /// Variables of the scenario's own.
    pub(super) environment: Vec<(&'static str, String)>,
}

impl Setting {
    /// A node that sells. The first is the one that is isolated, if one is.
    pub(super) fn spike(&self, number: usize, isolation: Option<&Isolation>) -> anyhow::Result<Member> {
        let name = format!("spike-{number}");
        let address = |isolated: fn(&Isolation) -> std::net::IpAddr| isolation.map_or([127, 0, 0, 1].into(), isolated);
        let (apart, outside) = (isolation.filter(|_| number == 1), address(Isolation::outside));
        let (public, internal) = match apart {
            Some(isolation) => (isolation.inside(), isolation.inside()),
            None => ([127, 0, 0, 1].into(), outside),
        };
        let internal = SocketAddr::new(internal, spare_port()?).to_string();
        let mut own = vec![("DOORBUSTER__NODE__ID", name.clone()), ("DOORBUSTER__NODE__INTERNAL_LISTEN", internal)];
        if let Some(isolation) = apart {
            own.push(("DATABASE_URL", isolation.database(&self.database)));
            own.push(("AMQP_URL", isolation.broker(&self.services.amqp)));
        }
        let namespace = apart.map(|isolation| isolation.name().to_owned());
        self.member(name, Role::Spike, SocketAddr::new(public, spare_port()?), namespace, own)
    }

    pub(super) fn consumer(&self, number: usize) -> anyhow::Result<Member> {
        self.member(format!("consumer-{number}"), Role::Consumer, loopback()?, None, Vec::new())
    }

    /// Runs a tool of the cluster's to its end, and gives what it printed.
    pub(super) async fn tool(&self, launcher: &Launcher, arguments: &[&str]) -> anyhow::Result<String> {
        launcher.tool(&self.common(Role::Admin), arguments).await
    }

    /// Begins to run one.
    pub(super) fn begin_tool(&self, launcher: &Launcher, arguments: &[&str]) -> anyhow::Result<Child> {
        launcher.begin_tool(&self.common(Role::Admin), arguments)
    }

    pub(super) fn admin(&self) -> anyhow::Result<Member> {
        self.member("admin".to_owned(), Role::Admin, loopback()?, None, Vec::new())
    }

    /// Where database and broker are, and what is the same for everybody there.
    fn common(&self, role: Role) -> Vec<(&'static str, String)> {
        let all = self.services.brokers_amqp.as_ref().unwrap_or(&self.services.amqp);
        let amqp = match role {
            Role::Spike => self.services.spikes_amqp.as_ref().unwrap_or(all),
            Role::Consumer | Role::Admin => all,
        };
        vec![
            ("DATABASE_URL", self.database.clone()),
            ("AMQP_URL", amqp.clone()),
            ("DOORBUSTER__BROKER__PREFIX", self.prefix.clone()),
            ("DOORBUSTER__AUTH__INTERNAL_SECRET", self.secret.clone()),
        ]
    }

    fn member(
        &self,
        name: String,
        role: Role,
        address: SocketAddr,
        namespace: Option<String>,
        own: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Member> {
        let mut environment = self.common(role);
        environment.push((role.listen_variable(), address.to_string()));
        environment.extend(self.environment.iter().cloned());
        // Later ones win.
        environment.extend(own);
        let log = self.folder.join(format!("{name}.log"));
        let kind = Kind::Member { role, environment, namespace };
        Ok(Member { name, kind, log, target: Target::of_our_own(address), process: None })
    }
}

fn loopback() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], spare_port()?)))
}
