//! A MariaDB of a test's own, for what must not happen to one that others use.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor};

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that runs. Dropped, it is killed.
pub struct DatabaseServer {
    port: u16,
    folder: tempfile::TempDir,
    process: Child,
}

impl DatabaseServer {
    /// One with a database `doorbuster` and a user `shop` who may do everything with that and nothing else; none where MariaDB is
    /// not installed.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Ok(installed) = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--user={}", user()))
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            .stdin(Stdio::null())
            .output()
        else {
            eprintln!("mariadb-install-db is not installed: this is not tried");
            return None;
        };
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let port = spare_port();
        let process = launch(folder.path(), port, arguments);
        let mut server = Self { port, folder, process };
        server.answers().await;
        server.execute("CREATE DATABASE doorbuster CHARACTER SET utf8mb4").await;
        server.execute("CREATE USER shop@127.0.0.1").await;
        server.execute("GRANT ALL ON doorbuster.* TO shop@127.0.0.1").await;
        Some(server)
    }

    /// What `DATABASE_URL` would be.
    pub fn url(&self) -> String {
        format!("mysql://shop@127.0.0.1:{}/doorbuster", self.port)
    }

    /// Runs SQL as its administrator.
    pub async fn execute(&self, sql: &str) {
        let mut root = self.root().await.expect("it runs");
        root.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        drop(root.close().await);
    }

    /// The number in a status variable.
    pub async fn number(&self, sql: &str) -> i64 {
        // Its last connection is the administrator's, who may have one that is just being closed.
        let mut root = loop {
            match self.root().await {
                Ok(root) => break root,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let row = root.fetch_one(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        drop(root.close().await);
        sea_orm::sqlx::Row::get::<String, _>(&row, 1).parse().expect("a number")
    }

    /// Stops it in order and starts it again.
    pub async fn restart(&mut self, arguments: &[&str]) {
        self.execute("SHUTDOWN").await;
        let (began, mut pause) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
        while self.process.try_wait().expect("it is ours").is_none() {
            assert!(began.elapsed() < PATIENCE, "the server does not stop");
            pause.tick().await;
        }
        self.process = launch(self.folder.path(), self.port, arguments);
        self.answers().await;
    }

    async fn root(&self) -> Result<MySqlConnection, sea_orm::sqlx::Error> {
        MySqlConnection::connect(&format!("mysql://root@127.0.0.1:{}", self.port)).await
    }

    async fn answers(&mut self) {
        let (began, mut pause) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
        while self.root().await.is_err() {
            let said = || std::fs::read_to_string(self.folder.path().join("output.log")).unwrap_or_default();
            assert!(self.process.try_wait().expect("it is ours").is_none(), "the server ended: {}", said());
            assert!(began.elapsed() < PATIENCE, "the server does not answer: {}", said());
            pause.tick().await;
        }
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn launch(folder: &Path, port: u16, arguments: &[&str]) -> Child {
    let output = std::fs::File::create(folder.join("output.log")).expect("the folder is ours");
    // Where Debian keeps it is on no path but the administrator's.
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new("mariadbd")
        .env("PATH", path)
        .args(["--no-defaults", "--bind-address=127.0.0.1", "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M"])
        .arg(format!("--port={port}"))
        .arg(format!("--datadir={}", folder.join("data").display()))
        .arg(format!("--socket={}", folder.join("socket").display()))
        .arg(format!("--user={}", user()))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a handle"))
        .stderr(output)
        .spawn()
        .expect("mariadbd comes with mariadb-install-db")
}

/// Who runs this: MariaDB wants to be told.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("`id` is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn spare_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}
