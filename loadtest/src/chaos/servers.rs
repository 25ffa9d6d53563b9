//! A broker and a database server of the harness's own, on spare ports with their data in its folder, for damage to servers.
//! Never touches the machine's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use lapin::{Connection, ConnectionProperties};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sea_orm::Database;
use tokio::process::{Child, Command};

use crate::cluster::spare_port;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a server may take to stop when asked to, or to do something else.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RabbitMQ.
    Broker,
    /// MariaDB.
    Database,
}

/// A server that runs, or did. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct PrivateServer {
    kind: Kind,
    folder: PathBuf,
    ports: [u16; 2],
    process: Child,
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
            let mut install = Command::new("mariadb-install-db");
            install.arg("--no-defaults").arg("--auth-root-authentication-method=normal").arg("--skip-test-db");
            install.arg(format!("--user={}", user().await?)).arg(format!("--datadir={}", folder.join("data").display()));
            let output = install.output().await.context("mariadb-install-db: install MariaDB's server")?;
            ensure!(output.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));
        }
        let ports = [spare_port()?, spare_port()?];
        let process = launch(kind, &folder, ports).await?;
        let server = Self { kind, folder, ports, process };
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
        kill(self.pid().context("the server ended by itself")?, signal)?;
        tokio::time::timeout(STOP_TIMEOUT, self.process.wait()).await.context("the server did not stop in time")??;
        Ok(())
    }

    /// RabbitMQ's script starts the server as a child of its own and says which.
    fn pid(&self) -> Option<Pid> {
        let own = self.process.id().and_then(|id| i32::try_from(id).ok())?;
        match self.kind {
            Kind::Broker => std::fs::read_to_string(self.folder.join("pid")).ok()?.trim().parse().ok().map(Pid::from_raw),
            Kind::Database => Some(Pid::from_raw(own)),
        }
    }

    /// Starts it again on the same data.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = launch(self.kind, &self.folder, self.ports).await?;
        self.answers().await
    }

    /// Has `rabbitmqctl` do something with this broker.
    pub(super) async fn control(&self, arguments: &[&str]) -> anyhow::Result<()> {
        ensure!(self.kind == Kind::Broker, "only a broker is controlled");
        let mut command = broker_tool("rabbitmqctl", &self.folder, self.ports);
        command.args(["--node", &broker_node(self.ports)]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(STOP_TIMEOUT, command.output()).await.context("rabbitmqctl did not end in time")??;
        ensure!(output.status.success(), "rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn answers(&self) -> anyhow::Result<()> {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        let url = self.url();
        let answered = tokio::time::timeout(START_TIMEOUT, async {
            loop {
                pause.tick().await;
                let answers = match self.kind {
                    Kind::Broker => Connection::connect(&url, ConnectionProperties::default()).await.is_ok(),
                    Kind::Database => Database::connect(url.as_str()).await.is_ok(),
                };
                if answers {
                    return;
                }
            }
        });
        answered.await.with_context(|| format!("{:?} at port {} did not start: see {}", self.kind, self.ports[0], self.folder.display()))
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = self.pid().map(|pid| kill(pid, Signal::SIGKILL));
    }
}

async fn launch(kind: Kind, folder: &Path, ports: [u16; 2]) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("output.log"))?;
    let mut command = match kind {
        Kind::Broker => broker(folder, ports)?,
        Kind::Database => {
            let mut command = Command::new("mariadbd");
            command.arg("--no-defaults").arg("--bind-address=127.0.0.1").arg(format!("--port={}", ports[0]));
            command.arg(format!("--datadir={}", folder.join("data").display()));
            command.arg(format!("--socket={}", folder.join("socket").display())).arg(format!("--user={}", user().await?));
            command
        }
    };
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder).kill_on_drop(true);
    command.spawn().with_context(|| format!("{kind:?}: the server's program is not there"))
}

fn broker(folder: &Path, ports: [u16; 2]) -> anyhow::Result<Command> {
    std::fs::write(folder.join("plugins"), "[].")?;
    std::fs::write(folder.join("rabbitmq.conf"), "disk_free_limit.absolute = 10MB\n")?;
    let mut command = broker_tool("rabbitmq-server", folder, ports);
    command
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", ports[0].to_string())
        .env("RABBITMQ_DIST_PORT", ports[1].to_string());
    Ok(command)
}

/// One of the broker's scripts, which finds the node of that folder and no other.
fn broker_tool(name: &str, folder: &Path, ports: [u16; 2]) -> Command {
    // The server's own script, not the distribution's wrapper: that one changes the user.
    let own = Path::new("/usr/lib/rabbitmq/bin").join(name);
    let mut command = Command::new(if own.exists() { own } else { name.into() });
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
        .env("RABBITMQ_ERLANG_COOKIE", "doorbuster-loadtest");
    command
}

/// The broker's own name, which nothing else on this machine has.
fn broker_node(ports: [u16; 2]) -> String {
    format!("doorbuster-loadtest-{}@localhost", ports[0])
}

/// Who runs this: MariaDB wants to be told.
async fn user() -> anyhow::Result<String> {
    let output = Command::new("id").arg("-un").output().await?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
