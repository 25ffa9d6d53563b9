//! A broker and a database server of the harness's own, on spare ports with their data in its folder, for damage to servers.
//! Never touches the machine's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use lapin::{Connection, ConnectionProperties};
use nix::sys::signal::Signal;
use sea_orm::Database;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::epmd::PortMapper;
use super::group::Group;
use super::place::Place;
use super::programs::find;
use crate::outcome::NoOutcome;
use crate::ports::spare_port;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a server may take to stop when asked to, or to do something else.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the servers of a cluster may take until each can be spared.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(120);
/// What is installed for a broker.
const RABBITMQ: &str = "RabbitMQ's server (Debian: rabbitmq-server)";
/// What is installed for a database server.
const MARIADB: &str = "MariaDB's server (Debian: mariadb-server)";
/// What a server prints is in this file of its folder.
const OUTPUT: &str = "output.log";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RabbitMQ.
    Broker,
    /// MariaDB.
    Database,
}

impl Kind {
    /// Its program, and what is to be installed for it.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Broker => ("rabbitmq-server", RABBITMQ),
            Self::Database => ("mariadbd", MARIADB),
        }
    }
}

/// A server that runs, or did. Dropped, it is killed, with all that it started.
#[derive(Debug)]
pub(super) struct PrivateServer {
    kind: Kind,
    home: Home,
    process: Group,
    // Goes last.
    _port_mapper: Option<Arc<PortMapper>>,
}

/// What a server has that lives longer than its process.
#[derive(Clone, Debug)]
struct Home {
    folder: PathBuf,
    place: Place,
    /// Its own, and for a broker those of Erlang: of the node, and of the port mapper.
    ports: [u16; 3],
    /// Lines of its configuration file that make it one of a cluster.
    peers: String,
}

impl PrivateServer {
    /// Starts one with fresh data in `folder`, and waits until it answers.
    pub(super) async fn start(kind: Kind, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join(match kind {
            Kind::Broker => "rabbitmq",
            Kind::Database => "mariadb",
        });
        std::fs::create_dir_all(&folder)?;
        let home = Home { folder, place: Place::HERE, ports: [spare_port()?, spare_port()?, spare_port()?], peers: String::new() };
        let port_mapper = match kind {
            Kind::Broker => Some(Arc::new(PortMapper::start(&home.place, home.ports[2]).await?)),
            Kind::Database => {
                install(&home.folder).await?;
                None
            }
        };
        let process = launch(kind, &home).await?;
        let mut server = Self { kind, home, process, _port_mapper: port_mapper };
        server.answers().await?;
        Ok(server)
    }

    /// Starts a cluster of brokers with fresh data in `folder`, one at each place, and waits until it is whole.
    pub(super) async fn start_brokers(places: Vec<Place>, folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut homes = Vec::new();
        let mapped = spare_port()?;
        for (number, place) in (1..).zip(places) {
            let folder = folder.join(format!("rabbitmq-{number}"));
            std::fs::create_dir_all(&folder)?;
            homes.push(Home { folder, place, ports: [spare_port()?, spare_port()?, mapped], peers: String::new() });
        }
        let (peers, count) = (peers(&homes), homes.len().to_string());
        let mut brokers: Vec<Self> = Vec::new();
        for home in homes {
            // Those in one place share one.
            let shared = brokers.first().filter(|first| !first.home.place.is_apart()).and_then(|first| first._port_mapper.clone());
            let port_mapper = match shared {
                Some(port_mapper) => port_mapper,
                None => Arc::new(PortMapper::start(&home.place, mapped).await?),
            };
            let home = Home { peers: peers.clone(), ..home };
            let process = launch(Kind::Broker, &home).await?;
            brokers.push(Self { kind: Kind::Broker, home, process, _port_mapper: Some(port_mapper) });
        }
        for broker in &mut brokers {
            broker.answers().await?;
        }
        for broker in &brokers {
            broker.controlled(&["await_online_nodes", &count]).await?;
        }
        Ok(brokers)
    }

    /// Waits until this server of a cluster can be spared: all others are there, and have what it has.
    pub(super) async fn can_be_spared(&self) -> anyhow::Result<()> {
        let (mut pause, began) = (tokio::time::interval(Duration::from_millis(200)), Instant::now());
        while !self.tool("rabbitmq-queues", &["check_if_node_is_quorum_critical"]).await?.status.success() {
            if began.elapsed() > WHOLE_TIMEOUT {
                return Err(NoOutcome::mark(anyhow!("a broker cannot be spared {} s after all were there", WHOLE_TIMEOUT.as_secs())));
            }
            pause.tick().await;
        }
        Ok(())
    }

    /// Which it is.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// What its URL is.
    pub(super) fn url(&self) -> String {
        let (port, address) = (self.home.ports[0], self.home.place.address());
        match self.kind {
            Kind::Broker => format!("amqp://guest:guest@{address}:{port}/%2f"),
            Kind::Database => format!("mysql://root@127.0.0.1:{port}"),
        }
    }

    /// Ends it: SIGKILL, or SIGTERM and waiting.
    pub(super) async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let ended = self.process.end_by(signal, STOP_TIMEOUT).await;
        ended.with_context(|| format!("{} told {signal}", self.kind.program().0)).map_err(NoOutcome::mark)
    }

    /// Has it stand still (SIGSTOP), or go on (SIGCONT).
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal).with_context(|| format!("{} told {signal}", self.kind.program().0)).map_err(NoOutcome::mark)
    }

    /// Starts it again on the same data.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        let process = launch(self.kind, &self.home).await;
        self.process = process.map_err(NoOutcome::mark)?;
        self.answers().await.map_err(NoOutcome::mark)
    }

    /// Has `rabbitmqctl` do something with this broker.
    pub(super) async fn control(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.controlled(arguments).await.map_err(NoOutcome::mark)
    }

    async fn controlled(&self, arguments: &[&str]) -> anyhow::Result<()> {
        ensure!(self.kind == Kind::Broker, "only a broker is controlled");
        let output = self.tool("rabbitmqctl", arguments).await?;
        ensure!(output.status.success(), "rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn tool(&self, name: &str, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        let mut command = broker_tool(name, &self.home)?;
        command.args(["--node", &broker_node(&self.home)]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        Ok(tokio::time::timeout(STOP_TIMEOUT, command.output()).await.with_context(|| format!("{name} did not end in time"))??)
    }

    /// Waits until it answers, or ends by itself.
    async fn answers(&mut self) -> anyhow::Result<()> {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        let (name, began) = (self.kind.program().0, Instant::now());
        while !self.takes_connections().await {
            if let Some(status) = self.process.ended()? {
                bail!("{name} ended by itself with {status}: {}", self.last_words());
            }
            ensure!(began.elapsed() < START_TIMEOUT, "{name} did not answer within {} s: {}", START_TIMEOUT.as_secs(), self.last_words());
            pause.tick().await;
        }
        Ok(())
    }

    async fn takes_connections(&self) -> bool {
        // Somebody listens before anybody logs in: who asks a database that is not there waits long for the answer.
        if TcpStream::connect((self.home.place.address(), self.home.ports[0])).await.is_err() {
            return false;
        }
        match self.kind {
            Kind::Broker => Connection::connect(&self.url(), ConnectionProperties::default()).await.is_ok(),
            Kind::Database => Database::connect(self.url()).await.is_ok(),
        }
    }

    fn last_words(&self) -> String {
        last_line(&self.home.folder.join(OUTPUT))
    }
}

/// The URL of brokers that are servers of one cluster.
pub(super) fn url_of_all(brokers: &[PrivateServer]) -> String {
    let hosts: Vec<String> = brokers.iter().map(|broker| format!("{}:{}", broker.home.place.address(), broker.home.ports[0])).collect();
    format!("amqp://guest:guest@{}/%2f", hosts.join(","))
}

/// Makes a database server's first data.
async fn install(folder: &Path) -> anyhow::Result<()> {
    let output = folder.join("install.log");
    let mut command = Command::new(find("mariadb-install-db", MARIADB)?);
    command.arg("--no-defaults").arg("--auth-root-authentication-method=normal").arg("--skip-test-db");
    command.arg(format!("--user={}", user().await?)).arg(format!("--datadir={}", folder.join("data").display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&output)?);
    let status = Group::lead_by(&mut command)?.end(START_TIMEOUT).await.context("mariadb-install-db")?;
    ensure!(status.success(), "mariadb-install-db: {}", last_line(&output));
    Ok(())
}

async fn launch(kind: Kind, home: &Home) -> anyhow::Result<Group> {
    let Home { folder, ports, .. } = home;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(OUTPUT))?;
    let mut command = match kind {
        Kind::Broker => broker(home)?,
        Kind::Database => {
            let mut command = Command::new(find(kind.program().0, kind.program().1)?);
            command.arg("--no-defaults").arg("--bind-address=127.0.0.1").arg(format!("--port={}", ports[0]));
            command.arg(format!("--datadir={}", folder.join("data").display()));
            command.arg(format!("--socket={}", folder.join("socket").display())).arg(format!("--user={}", user().await?));
            command
        }
    };
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder);
    Group::lead_by(&mut command).with_context(|| format!("{} cannot be run", kind.program().0))
}

fn broker(home: &Home) -> anyhow::Result<Command> {
    let Home { folder, place, ports, peers } = home;
    std::fs::write(folder.join("plugins"), "[].")?;
    std::fs::write(folder.join("rabbitmq.conf"), format!("disk_free_limit.absolute = 10MB\n{peers}"))?;
    let mut command = broker_tool(Kind::Broker.program().0, home)?;
    command
        .env("RABBITMQ_NODE_IP_ADDRESS", place.address().to_string())
        .env("RABBITMQ_NODE_PORT", ports[0].to_string())
        .env("RABBITMQ_DIST_PORT", ports[1].to_string())
        // The script becomes the server, and does not start it as a child whose number stands in a file: the process is the server's.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .env_remove("NOTIFY_SOCKET");
    Ok(command)
}

/// What makes brokers find each other when they start for the first time. Of a cluster that splits, the smaller part stops; that it is
/// split is noticed within some ten seconds, not within a minute.
fn peers(homes: &[Home]) -> String {
    let nodes = (1..).zip(homes).map(|(number, home)| format!("cluster_formation.classic_config.nodes.{number} = {}\n", broker_node(home)));
    let nodes: String = nodes.collect();
    let policy = "cluster_partition_handling = pause_minority\nnet_ticktime = 8\nloopback_users = none\n";
    format!("cluster_formation.peer_discovery_backend = classic_config\n{nodes}{policy}")
}

/// One of the broker's scripts, which finds the node of that folder and no other.
fn broker_tool(name: &str, home: &Home) -> anyhow::Result<Command> {
    let mut command = home.place.command(&find(name, RABBITMQ)?);
    for (key, path) in [
        ("HOME", ""),
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_PID_FILE", "pid"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
    ] {
        command.env(key, home.folder.join(path));
    }
    command
        .env("RABBITMQ_NODENAME", broker_node(home))
        .env("RABBITMQ_USE_LONGNAME", home.place.is_apart().to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("ERL_EPMD_PORT", home.ports[2].to_string())
        .env("RABBITMQ_ERLANG_COOKIE", "doorbuster-loadtest");
    Ok(command)
}

/// The broker's own name, which nothing else on this machine has.
fn broker_node(home: &Home) -> String {
    format!("doorbuster-loadtest-{}@{}", home.ports[0], home.place.host())
}

/// Who runs this: MariaDB wants to be told.
async fn user() -> anyhow::Result<String> {
    let output = Command::new("id").arg("-un").output().await?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What is most likely the reason, of all that was printed into a file.
fn last_line(output: &Path) -> String {
    let text = std::fs::read(output).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}
