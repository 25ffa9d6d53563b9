//! A broker and a database server of the harness's own, on spare ports with their data in its folder, for damage to servers.
//! Never touches the machine's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lapin::{Connection, ConnectionProperties};
use nix::sys::signal::Signal;
use sea_orm::Database;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::epmd::PortMapper;
use super::group::Group;
use super::programs::find;
use crate::cluster::spare_port;
use crate::outcome::NoOutcome;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a server may take to stop when asked to, or to do something else.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
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
    folder: PathBuf,
    /// Its own, and for a broker those of Erlang: of the node, and of the port mapper.
    ports: [u16; 3],
    process: Group,
    // Goes last.
    _port_mapper: Option<PortMapper>,
}

impl PrivateServer {
    /// Starts one with fresh data in `folder`, and waits until it answers.
    pub(super) async fn start(kind: Kind, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join(match kind {
            Kind::Broker => "rabbitmq",
            Kind::Database => "mariadb",
        });
        std::fs::create_dir_all(&folder)?;
        if kind == Kind::Database {
            install(&folder).await?;
        }
        let port_mapper = match kind {
            Kind::Broker => Some(PortMapper::start().await?),
            Kind::Database => None,
        };
        let ports = [spare_port()?, spare_port()?, port_mapper.as_ref().map_or(0, PortMapper::port)];
        let process = launch(kind, &folder, ports).await?;
        let mut server = Self { kind, folder, ports, process, _port_mapper: port_mapper };
        server.answers().await?;
        Ok(server)
    }

    /// Which it is.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// What its URL is.
    pub(super) fn url(&self) -> String {
        let port = self.ports[0];
        match self.kind {
            Kind::Broker => format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
            Kind::Database => format!("mysql://root@127.0.0.1:{port}"),
        }
    }

    /// Ends it: SIGKILL, or SIGTERM and waiting.
    pub(super) async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let ended = self.process.end_by(signal, STOP_TIMEOUT).await;
        ended.with_context(|| format!("{} told {signal}", self.kind.program().0)).map_err(NoOutcome::mark)
    }

    /// Starts it again on the same data.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        let process = launch(self.kind, &self.folder, self.ports).await;
        self.process = process.map_err(NoOutcome::mark)?;
        self.answers().await.map_err(NoOutcome::mark)
    }

    /// Has `rabbitmqctl` do something with this broker.
    pub(super) async fn control(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.controlled(arguments).await.map_err(NoOutcome::mark)
    }

    async fn controlled(&self, arguments: &[&str]) -> anyhow::Result<()> {
        ensure!(self.kind == Kind::Broker, "only a broker is controlled");
        let mut command = broker_tool("rabbitmqctl", &self.folder, self.ports)?;
        command.args(["--node", &broker_node(self.ports)]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(STOP_TIMEOUT, command.output()).await.context("rabbitmqctl did not end in time")??;
        ensure!(output.status.success(), "rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
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
        if TcpStream::connect(("127.0.0.1", self.ports[0])).await.is_err() {
            return false;
        }
        match self.kind {
            Kind::Broker => Connection::connect(&self.url(), ConnectionProperties::default()).await.is_ok(),
            Kind::Database => Database::connect(self.url()).await.is_ok(),
        }
    }

    fn last_words(&self) -> String {
        last_line(&self.folder.join(OUTPUT))
    }
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

async fn launch(kind: Kind, folder: &Path, ports: [u16; 3]) -> anyhow::Result<Group> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(OUTPUT))?;
    let mut command = match kind {
        Kind::Broker => broker(folder, ports)?,
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

fn broker(folder: &Path, ports: [u16; 3]) -> anyhow::Result<Command> {
    std::fs::write(folder.join("plugins"), "[].")?;
    std::fs::write(folder.join("rabbitmq.conf"), "disk_free_limit.absolute = 10MB\n")?;
    let mut command = broker_tool(Kind::Broker.program().0, folder, ports)?;
    command
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", ports[0].to_string())
        .env("RABBITMQ_DIST_PORT", ports[1].to_string())
        // The script becomes the server, and does not start it as a child whose number stands in a file: the process is the server's.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .env_remove("NOTIFY_SOCKET");
    Ok(command)
}

/// One of the broker's scripts, which finds the node of that folder and no other.
fn broker_tool(name: &str, folder: &Path, ports: [u16; 3]) -> anyhow::Result<Command> {
    let mut command = Command::new(find(name, RABBITMQ)?);
    for (key, path) in [
        ("HOME", ""),
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_PID_FILE", "pid"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
    ] {
        command.env(key, folder.join(path));
    }
    command
        .env("RABBITMQ_NODENAME", broker_node(ports))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("ERL_EPMD_PORT", ports[2].to_string())
        .env("RABBITMQ_ERLANG_COOKIE", "doorbuster-loadtest");
    Ok(command)
}

/// The broker's own name, which nothing else on this machine has.
fn broker_node(ports: [u16; 3]) -> String {
    format!("doorbuster-loadtest-{}@localhost", ports[0])
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
