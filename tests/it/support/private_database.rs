//! A database server of the test's own that takes nothing but TLS, on a spare port, with its data in a temporary folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::tls::Shown;

/// How often a server is started, at most.
const STARTS_MAX: u32 = 3;

/// The server. Dropped, it is killed.
pub struct PrivateDatabase {
    server: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl PrivateDatabase {
    /// Starts one that shows that certificate, and waits until it listens.
    pub async fn start_with_tls(shown: &Shown) -> Self {
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a spare port").port();
            let server = launch(folder.path(), port, shown);
            let mut database = Self { server, port, _folder: folder };
            // Between the choice of a port and its use somebody else may have taken it: then the server ends at once.
            if database.is_listening().await {
                return database;
            }
        }
        panic!("no private database started in {STARTS_MAX} tries, on other ports each time");
    }

    /// Where it is, without a database and without parameters.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    async fn is_listening(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(120);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if self.server.try_wait().expect("it is our child").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "the private database on port {} did not start", self.port);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        true
    }
}

impl Drop for PrivateDatabase {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn launch(folder: &Path, port: u16, Shown { authority, certificate, key }: &Shown) -> Child {
    let data = folder.join("data");
    let user = Command::new("id").arg("-un").output().expect("there is an id command").stdout;
    let user = format!("--user={}", String::from_utf8_lossy(&user).trim());
    let server = tool("mariadbd").or_else(|| tool("mysqld")).expect("a database server: install mariadb-server (script/test does)");
    if server.ends_with("mariadbd") {
        let install = tool("mariadb-install-db").expect("it comes with the server");
        let arguments = ["--auth-root-authentication-method=normal", "--skip-test-db"];
        run(Command::new(install).args(["--no-defaults", &user]).arg(of("--datadir", &data)).args(arguments));
    } else {
        run(Command::new(&server).args(["--no-defaults", "--initialize-insecure", &user]).arg(of("--datadir", &data)));
    }
    let mut command = Command::new(server);
    command.args(["--no-defaults", &user, "--bind-address=127.0.0.1", "--require-secure-transport=ON"]);
    command
        .arg(format!("--port={port}"))
        .args([("--datadir", &data), ("--socket", &folder.join("socket"))].map(|(name, path)| of(name, path)));
    command.arg(of("--pid-file", &folder.join("pid"))).arg(of("--ssl-ca", authority));
    command.arg(of("--ssl-cert", certificate)).arg(of("--ssl-key", key));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server can be started")
}

fn of(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program, wherever servers are installed.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}
