//! Servers as child processes of this one: started on a free port, waited for, stopped. Never touches other processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, Shape};
use crate::loopback::Target;
use crate::ports::spare_port;

/// How long a server may take from its start to its first `200` on `/readyz`.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is asked for that. Starts are measured by it.
const READY_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a server may take from SIGTERM to its end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the threads of a server may take from SIGSTOP until they stand still.
const STILL_TIMEOUT: Duration = Duration::from_secs(10);
/// What a child prints, followed by its address, when its socket is bound.
pub const LISTENING: &str = "listening on ";
/// How a child gets its secret.
pub const SECRET_VARIABLE: &str = "DOORBUSTER__AUTH__JWT_SECRET";

/// What to start.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The bare endpoint of [`crate::bare`].
    Bare,
    /// The whole of doorbuster in one process, on this data folder.
    Embedded {
        /// The data folder.
        data: PathBuf,
    },
    /// A process of a cluster.
    Member {
        /// Which.
        role: Role,
        /// Its settings, as variables of its environment. It listens where they say.
        environment: Vec<(&'static str, String)>,
        /// The network namespace it runs in, if not this process's.
        namespace: Option<String>,
    },
}

/// The processes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sells.
    Spike,
    /// Brings the logs into the database.
    Consumer,
    /// Answers operators.
    Admin,
}

impl Role {
    const fn subcommand(self) -> &'static str {
        match self {
            Self::Spike => "serve-spike",
            Self::Consumer => "serve-consumer",
            Self::Admin => "serve-admin",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Consumer => "consumer",
            Self::Admin => "admin",
        }
    }

    /// The setting that says where it listens.
    #[must_use]
    pub const fn listen_variable(self) -> &'static str {
        match self {
            Self::Spike => "DOORBUSTER__HTTP__LISTEN",
            Self::Consumer => "DOORBUSTER__CONSUMER__LISTEN",
            Self::Admin => "DOORBUSTER__ADMIN__LISTEN",
        }
    }
}

/// How to start servers: which program (one that has the hidden `serve-*` subcommands) and with which secret.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    programs: Option<PathBuf>,
    secret: String,
}

/// A program that is ready to run, and where it will listen, if that is known before it says so.
struct Prepared {
    program: PathBuf,
    command: Command,
    address: Option<SocketAddr>,
}

impl Launcher {
    /// Starts servers by running `program` again; `secret` signs the tokens they accept.
    #[must_use]
    pub fn new(program: &Path, secret: &str) -> Self {
        Self { program: program.to_owned(), programs: None, secret: secret.to_owned() }
    }

    /// The same, but `doorbuster`, `spike`, `consumer` and `admin` in that folder are run: those of another release, say.
    #[must_use]
    pub fn with_programs(self, folder: &Path) -> Self {
        Self { programs: Some(folder.to_owned()), ..self }
    }

    fn prepared(&self, kind: &Kind) -> anyhow::Result<Prepared> {
        let own = |arguments: &[&str]| {
            let mut command = Command::new(&self.program);
            command.args(arguments);
            Prepared { program: self.program.clone(), command, address: None }
        };
        let of_release = |folder: &Path, name: &str, address: SocketAddr| {
            let program = folder.join(name);
            Prepared { command: Command::new(&program), program, address: Some(address) }
        };
        Ok(match (kind, &self.programs) {
            (Kind::Bare, _) => own(&["serve-bare"]),
            (Kind::Embedded { data }, None) => {
                let mut prepared = own(&["serve-embedded", "--data"]);
                prepared.command.arg(data);
                prepared
            }
            (Kind::Embedded { data }, Some(folder)) => {
                let address = SocketAddr::from(([127, 0, 0, 1], spare_port()?));
                let mut prepared = of_release(folder, "doorbuster", address);
                prepared.command.arg("--data").arg(data).env(Role::Spike.listen_variable(), address.to_string());
                prepared
            }
            (Kind::Member { role, namespace: Some(namespace), .. }, _) => {
                // It becomes the program: the process is the server's.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.program).arg(role.subcommand());
                Prepared { program: self.program.clone(), command, address: None }
            }
            (Kind::Member { role, .. }, None) => own(&[role.subcommand()]),
            (Kind::Member { role, environment, .. }, Some(folder)) => {
                let address = environment.iter().rfind(|(name, _)| *name == role.listen_variable());
                let (_, address) = address.context("a process of a cluster is told where to listen")?;
                of_release(folder, role.program(), address.parse()?)
            }
        })
    }

    /// Starts a server, on a free loopback port unless its settings name one, and waits until it is ready. What it logs goes into `log`.
    ///
    /// # Errors
    /// If it ends early or is not ready within a minute; the end of its log is part of the error.
    pub async fn start(&self, kind: &Kind, log: &Path) -> anyhow::Result<ServerProcess> {
        self.launch(kind, log, true).await
    }

    /// The same, and only waits until it listens.
    ///
    /// # Errors
    /// If it ends early or does not listen within a minute; the end of its log is part of the error.
    pub async fn begin(&self, kind: &Kind, log: &Path) -> anyhow::Result<ServerProcess> {
        self.launch(kind, log, false).await
    }

    async fn launch(&self, kind: &Kind, log: &Path, until_ready: bool) -> anyhow::Result<ServerProcess> {
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log).context("cannot open the server's log")?;
        let Prepared { program, mut command, address } = self.prepared(kind)?;
        let environment: &[_] = if let Kind::Member { environment, .. } = kind { environment } else { &[] };
        self.settle(&mut command, environment);
        if let Some(folder) = log.parent() {
            command.current_dir(folder);
        }
        // The child sees its standard input end when this process is gone, however it went, and leaves too.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        // A terminal's Ctrl-C is for this process, which ends its children itself.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let mut server = Starting { child, log: log.to_owned(), address };
        let ready = tokio::time::timeout(READY_TIMEOUT, server.ready(until_ready)).await;
        match ready.unwrap_or_else(|_| bail!("the server was not ready within {} s", READY_TIMEOUT.as_secs())) {
            Ok(target) => Ok(ServerProcess { child: server.child, target, log: server.log }),
            Err(error) => Err(error.context(tail(log))),
        }
    }

    /// A server of our own lives in its own folder: no database, broker or issuer of the caller's environment.
    fn settle(&self, command: &mut Command, environment: &[(&'static str, String)]) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let foreign = ["DATABASE_URL", "AMQP_URL", "DOORBUSTER__DATABASE__URL"].contains(&&*name);
            if foreign || name.starts_with("DOORBUSTER__AUTH__") {
                command.env_remove(&*name);
            }
        }
        command.env(SECRET_VARIABLE, &self.secret).env("DOORBUSTER__LIMITS__ENABLED", "false");
        command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    }

    /// Begins to run one of the hidden subcommands that do one thing and end. What it prints is kept.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn begin_tool(&self, environment: &[(&'static str, String)], arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        self.settle(&mut command, environment);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        command.spawn().with_context(|| format!("cannot run {}", self.program.display()))
    }

    /// Runs one of them to its end. What it printed.
    ///
    /// # Errors
    /// If it ends with a failure, or not within a minute.
    pub async fn tool(&self, environment: &[(&'static str, String)], arguments: &[&str]) -> anyhow::Result<String> {
        let child = self.begin_tool(environment, arguments)?;
        let ended = tokio::time::timeout(READY_TIMEOUT, child.wait_with_output()).await;
        let output = ended.with_context(|| format!("{} did not end within {} s", arguments[0], READY_TIMEOUT.as_secs()))??;
        let [said, complaint] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        if !output.status.success() {
            bail!("{}: {}: {said}{complaint}", arguments[0], output.status);
        }
        Ok(said)
    }
}

struct Starting {
    child: Child,
    log: PathBuf,
    address: Option<SocketAddr>,
}

impl Starting {
    async fn ready(&mut self, until_ready: bool) -> anyhow::Result<Target> {
        let stdout = self.child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        if let Some(address) = self.address {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            let target = Target::of_our_own(address);
            if !until_ready {
                return Ok(target);
            }
            return tokio::select! {
                ready = wait_ready(&target, READY_TIMEOUT) => ready.map(|()| target.clone()),
                status = self.child.wait() => bail!("the server ended before it was ready: {}", status?),
            };
        }
        let address: SocketAddr = loop {
            let line = lines.next_line().await?.context("the server ended before it listened")?;
            if let Some((_, address)) = line.split_once(LISTENING) {
                break address.trim().parse().with_context(|| format!("no address in {line:?}"))?;
            }
        };
        // Whatever else it prints is of no interest, but the pipe must not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let target = Target::of_our_own(address);
        if until_ready {
            wait_ready(&target, READY_TIMEOUT).await?;
        }
        Ok(target)
    }
}

/// The memory of a process that is in use, in units of 1,024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Now (`VmRSS`).
    pub resident_kib: u64,
    /// At the worst so far (`VmHWM`).
    pub peak_kib: u64,
}

/// A server that is ready. Dropped, it is killed.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    target: Target,
    log: PathBuf,
}

impl ServerProcess {
    /// Where it listens.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// How much processor time it has used so far, in all of its threads; none if the system does not say.
    #[must_use]
    pub fn processor_time(&self) -> Option<Duration> {
        /// Linux counts these in hundredths of a second, whatever the kernel's own clock is.
        const TICKS_PER_SECOND: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // The name in parentheses may hold anything; the fields after it are counted from 3.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }

    /// How much memory it has; none if the system does not say.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let kib = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Some(Memory { resident_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.id().context("the server ended before it was told to")?;
        Ok(kill(Pid::from_raw(i32::try_from(id)?), signal)?)
    }

    /// Lets it stand still (SIGSTOP), and waits until all of its threads do.
    ///
    /// # Errors
    /// If it had ended before, or goes on for too long.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let id = self.child.id().context("the server ended before it stood still")?;
        let mut pause = tokio::time::interval(Duration::from_millis(1));
        let still = tokio::time::timeout(STILL_TIMEOUT, async {
            while !stands_still(id)? {
                pause.tick().await;
            }
            anyhow::Ok(())
        });
        still.await.with_context(|| format!("the server did not stand still within {} s of SIGSTOP", STILL_TIMEOUT.as_secs()))?
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not end by itself within half a minute, or ends with a failure.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await else {
            self.child.kill().await?;
            bail!("the server did not stop within {} s of SIGTERM\n{}", STOP_TIMEOUT.as_secs(), tail(&self.log));
        };
        let status = status?;
        if !status.success() {
            bail!("the server stopped with {status}\n{}", tail(&self.log));
        }
        Ok(())
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended by itself with {status}\n{}", tail(&self.log));
        }
        self.child.kill().await?;
        Ok(())
    }
}

/// Asks `/readyz` until it says yes.
///
/// # Errors
/// If it does not within the bound.
pub async fn wait_ready(target: &Target, bound: Duration) -> anyhow::Result<()> {
    let shape = Shape::get("/readyz");
    let mut client = Client::new(target.clone());
    let asked = tokio::time::timeout(bound, async {
        let mut pause = tokio::time::interval(READY_LOOK_INTERVAL);
        loop {
            pause.tick().await;
            let answer = client.send(&shape, None, None, Duration::from_secs(5)).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
        }
    });
    asked.await.map_err(|_| anyhow::anyhow!("{target}/readyz did not say yes within {} s", bound.as_secs()))
}

/// Whether every thread of a process is stopped.
fn stands_still(id: u32) -> anyhow::Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        // One that ended since is looked for no more the next time.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { return Ok(false) };
        // The state stands behind the name in parentheses, which may hold anything.
        if !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    if end.is_empty() { "it logged nothing".to_owned() } else { format!("the end of its log:\n{end}") }
}
