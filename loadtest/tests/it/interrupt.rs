//! Stopped in the middle, a run takes with it what it has started and made.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use loadtest::cluster::Services;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use tokio::process::{Child, Command};

use crate::PROGRAM;

/// How long anything may take.
const BOUND: Duration = Duration::from_secs(120);

/// A run whose own folder is in that one.
fn run(arguments: &[&str], folder: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("TMPDIR", folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// A variable of every process that has that folder for its own, which the run itself and all that it starts have.
fn variables(folder: &Path, name: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    let ids = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    for environment in ids.filter_map(|process| std::fs::read(process.join("environ")).ok()) {
        let variables: Vec<String> = environment.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect();
        let value = |name: &str| variables.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned));
        if value("TMPDIR").as_deref() == folder.to_str() {
            found.push(value(name));
        }
    }
    found
}

/// What the names of the run's cluster begin with, once it has nodes.
async fn prefix(folder: &Path) -> String {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        if let Some(prefix) = variables(folder, "DOORBUSTER__BROKER__PREFIX").into_iter().flatten().next() {
            return prefix;
        }
        pause.tick().await;
    }
}

/// Whether the database of that cluster and the first of its queues are there.
async fn are_there(services: &Services, prefix: &str) -> (bool, bool) {
    let connection = Database::connect(&services.mysql).await.unwrap();
    let name = prefix.replace('-', "_");
    let query = format!("SELECT 1 FROM information_schema.schemata WHERE schema_name = '{name}'");
    let database = connection.query_one_raw(Statement::from_string(DbBackend::MySql, query)).await.unwrap().is_some();
    connection.close().await.unwrap();
    let connection = Connection::connect(&services.amqp, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(format!("{prefix}.partition.0.log").into(), look, FieldTable::default()).await.is_ok();
    connection.close(200, "done".into()).await.unwrap();
    (database, queue)
}

/// Ends it by a signal, and waits until no process is left that it started.
async fn interrupted(mut run: Child, signal: Signal, folder: &Path) -> Option<i32> {
    kill(Pid::from_raw(run.id().unwrap().try_into().unwrap()), signal).unwrap();
    let status = run.wait().await.unwrap();
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    // What was killed last may not be buried yet.
    while !variables(folder, "TMPDIR").is_empty() {
        pause.tick().await;
    }
    status.code()
}

#[tokio::test]
async fn an_interrupted_run_leaves_no_process_no_database_and_no_queue() {
    leaves_nothing(&["chaos", "--scenario", "spike-killed"]).await;
}

#[tokio::test]
async fn an_interrupted_measurement_leaves_no_process_no_database_and_no_queue() {
    leaves_nothing(&["volume", "failover", "--live", "500", "--turns", "1000"]).await;
}

async fn leaves_nothing(arguments: &[&str]) {
    let (folder, services) = (tempfile::tempdir().unwrap(), Services::from_environment());
    let run = run(arguments, folder.path());
    let ended = tokio::time::timeout(BOUND, async {
        let prefix = prefix(folder.path()).await;
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while are_there(&services, &prefix).await != (true, true) {
            pause.tick().await;
        }
        let code = interrupted(run, Signal::SIGINT, folder.path()).await;
        (code, are_there(&services, &prefix).await)
    });
    assert_eq!(ended.await.unwrap(), (Some(130), (false, false)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

#[tokio::test]
async fn a_private_broker_ends_with_an_interrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&["chaos", "--scenario", "broker-restarted"], folder.path());
    let ended = tokio::time::timeout(BOUND, async {
        // Its nodes are there, so the broker is.
        prefix(folder.path()).await;
        interrupted(run, Signal::SIGTERM, folder.path()).await
    });
    assert_eq!(ended.await.unwrap(), Some(143));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}
