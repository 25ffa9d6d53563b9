//! Mistakes at the start: each ends in one line that says what to do.

use std::net::TcpListener;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::embedded::App;
use doorbuster::store::{Role, Store};

use crate::support::app::config;
use crate::support::program::Program;
use crate::support::{Backend, TestDatabase};

/// Starts the app and gives the one line it refuses to start with.
async fn refusal(config: &Config, data: &std::path::Path) -> String {
    let text = match App::start(config, data).await {
        Ok(_) => panic!("the app started"),
        Err(error) => error.to_string(),
    };
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_data_folder_is_told_who_has_it() {
    let database = TestDatabase::empty(Backend::Sqlite).await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let first = App::start(&config(database.url()), data.path()).await.expect("the first one starts");
    let told = refusal(&config(database.url()), data.path()).await;
    holds(&told, &[&std::process::id().to_string(), "--data", &data.path().display().to_string()]);
    first.stop().await;
    App::start(&config(database.url()), data.path()).await.expect("the folder is free again").stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let database = TestDatabase::empty(Backend::Sqlite).await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(database.url());
    config.http.listen = taken.local_addr().expect("an address").into();
    holds(&refusal(&config, data.path()).await, &[&config.http.listen.to_string(), "DOORBUSTER__HTTP__LISTEN"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_secret_is_refused_and_not_shown() {
    let database = TestDatabase::empty(Backend::Sqlite).await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(database.url());
    config.auth.jwt_secret = Some("hunter2".to_owned().into());
    let told = refusal(&config, data.path()).await;
    holds(&told, &["32"]);
    assert!(!told.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_is_named_without_its_password() {
    let data = tempfile::tempdir().expect("a temporary folder");
    for url in ["postgres://u:hunter2@127.0.0.1/x", "mysql://u:hunter2@127.0.0.1:1/x", "no url at all"] {
        let mut config = config(url);
        config.database.acquire_timeout_ms = 500;
        let told = refusal(&config, data.path()).await;
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_release_is_left_alone() {
    let database = TestDatabase::migrated(Backend::Sqlite).await;
    database.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m99991231_000001_from_the_future', 1)").await;
    let data = tempfile::tempdir().expect("a temporary folder");
    holds(&refusal(&config(database.url()), data.path()).await, &["newer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_the_demo_who_is_one_no_more_gets_no_operators_token_at_the_next_start() {
    let database = TestDatabase::empty(Backend::Sqlite).await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let config = config(database.url());
    let start = async || {
        App::start_with_demo(&config, data.path()).await.expect("it starts").stop().await;
        let token = std::fs::read_to_string(data.path().join("demo-admin.token")).expect("there is a demo");
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a token has three parts")).expect("base64");
        String::from_utf8(claims).expect("JSON")
    };
    assert!(start().await.contains("admin"));
    let store = Store::connect(database.url(), &config.database).await.expect("it is there");
    let account = store.account_by_name("demo-admin").await.expect("it answers").expect("the demo was made");
    store.change_account(account.id, Some(Role::Buyer), clock::system()).await.expect("it answers");
    store.close().await.expect("nothing is under way");
    assert!(!start().await.contains("admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_without_accounts_is_a_sale_and_nothing_else() {
    let database = TestDatabase::empty(Backend::Sqlite).await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(database.url());
    config.accounts.demo = false;
    let app = App::start_with_demo(&config, data.path()).await.expect("it starts");
    assert_eq!(app.router().board().walk(None).count(), 1);
    app.stop().await;
    let files: Vec<_> = std::fs::read_dir(data.path()).expect("it is there").map(|file| file.expect("it is there").file_name()).collect();
    assert!(!files.iter().any(|file| file.to_string_lossy().contains("demo")), "{files:?}");
    let store = Store::connect(database.url(), &config.database).await.expect("it is there");
    assert!(store.accounts(None, 1).await.expect("it answers").is_empty());
    store.close().await.expect("nothing is under way");
}

/// Runs the program on a folder, with variables of a whole platform. What it said, and its exit code.
fn doorbuster(data: &std::path::Path, command: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .current_dir(data)
        .arg("--data")
        .arg(data)
        .args(command)
        .env("DOORBUSTER__HTTP__LISTEN", "127.0.0.1:0")
        .envs(variables.iter().copied())
        .output()
        .expect("the program runs");
    (program.status.code(), String::from_utf8_lossy(&program.stderr).into_owned())
}

#[test]
fn tools_do_not_mind_where_a_platform_sends_spans_and_a_server_says_how_to_send_none() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let tls = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
    let gzip = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    for variables in [&[tls][..], &gzip] {
        for tool in ["migrate", "audit", "nodes"] {
            let (code, said) = doorbuster(data.path(), &[tool], variables);
            assert_eq!(code, Some(0), "{tool}: {said}");
        }
        let (code, said) = doorbuster(data.path(), &[], variables);
        let refusal: Vec<&str> = said.lines().filter(|line| line.starts_with("doorbuster: ")).collect();
        assert!(code == Some(2) && refusal.len() == 1, "{code:?}: {said}");
        holds(refusal[0], &["traces cannot be sent", "set DOORBUSTER__TELEMETRY__TRACES_ENDPOINT to nothing"]);
    }
}

#[test]
fn certificates_are_made_once_and_a_node_that_has_another_nodes_is_told() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let nothing = [("DATABASE_URL", "no url at all")];
    assert_eq!(doorbuster(data.path(), &["certs", "spike-1", "--server", "rabbit=127.0.0.1"], &nothing), (Some(0), String::new()));
    for name in ["authority.pem", "authority.key", "spike-1.pem", "spike-1.key", "rabbit.pem", "rabbit.key"] {
        assert!(data.path().join("certs").join(name).is_file(), "{name}");
    }
    let (code, said) = doorbuster(data.path(), &["certs", "spike-2", "spike-1"], &[]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    holds(&said, &["certs/spike-1", "exists already", "--force"]);
    let file = |name: &str| data.path().join("certs").join(name).display().to_string();
    let (ca, certificate, key) = (file("authority.pem"), file("spike-1.pem"), file("spike-1.key"));
    let spike = std::process::Command::new(env!("CARGO_BIN_EXE_spike"))
        .current_dir(data.path())
        .env("DOORBUSTER__HTTP__LISTEN", "127.0.0.1:0")
        .env("DOORBUSTER__NODE__INTERNAL_LISTEN", "127.0.0.1:0")
        .env("DOORBUSTER__AUTH__JWT_SECRET", "a secret for tests that is long enough")
        .env("DOORBUSTER__NODE__ID", "spike-2")
        .env("DATABASE_URL", "mysql://nobody@127.0.0.1:1/nothing")
        .env("AMQP_URL", "amqp://127.0.0.1:1")
        .envs(
            [("CA", ca), ("CERTIFICATE", certificate), ("KEY", key)]
                .map(|(what, path)| (format!("DOORBUSTER__PEER__TLS__{what}_FILE"), path)),
        )
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&spike.stderr);
    let refusal = said.lines().find(|line| line.starts_with("spike: ")).unwrap_or_else(|| panic!("{said}"));
    holds(refusal, &["names node spike-1 and this is node spike-2", "doorbuster://node/spike-2"]);
}

/// A terminal closes, a container is stopped, somebody has had enough.
#[test]
fn whatever_tells_a_server_to_stop_stops_it_in_order() {
    // Whoever runs the tests under `nohup` has asked for just that.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    let signals = if mask & 1 == 1 { ["TERM", "INT"].as_slice() } else { ["HUP", "TERM", "INT"].as_slice() };
    for signal in signals {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut server = Program::start(data.path(), &[]);
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_server_takes_its_settings_from_files_and_listens_where_a_name_leads() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.to_str().expect("text").to_owned()
    };
    let url = file("url", &format!("sqlite://{}/shop.db?mode=rwc\n", data.path().display()));
    let secret = file("secret", "a secret of tests that is long enough\n");
    let variables = [
        ("DATABASE_URL_FILE", url.as_str()),
        ("DOORBUSTER__AUTH__JWT_SECRET_FILE", secret.as_str()),
        ("DOORBUSTER__HTTP__LISTEN", "localhost:0"),
        ("DOORBUSTER__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1,"),
    ];
    let server = Program::start(data.path(), &variables);
    assert!(server.address().parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback()), "{}", server.address());
    assert!(data.path().join("shop.db").exists(), "the line end is not of its name");
    let (code, said) = doorbuster(data.path(), &["audit"], &variables);
    assert_eq!(code, Some(0), "a tool finds the same database: {said}");
}

#[test]
fn a_setting_that_cannot_be_read_is_one_line() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let missing = ("DATABASE_URL_FILE", "/no/such/file");
    for (variables, parts) in [
        (vec![missing], vec!["DATABASE_URL_FILE", "/no/such/file"]),
        (vec![missing, ("DATABASE_URL", "sqlite:a.db")], vec!["DATABASE_URL_FILE", "DATABASE_URL and"]),
        (vec![("DOORBUSTER__HTTP__LISTEN", "nowhere.invalid:1")], vec!["nowhere.invalid:1", "DOORBUSTER__HTTP__LISTEN"]),
        (vec![("DOORBUSTER__HTTP__LISTEN", "8080")], vec!["8080", "HOST:PORT"]),
        (vec![("DATABASE_URL", "sqlite:a.db?mode=rw")], vec!["a.db", "mode=rwc"]),
    ] {
        let (code, said) = doorbuster(data.path(), &[], &variables);
        let refusal: Vec<&str> = said.lines().filter(|line| line.starts_with("doorbuster: ")).collect();
        assert!(code == Some(2) && refusal.len() == 1, "{code:?}: {said}");
        holds(refusal[0], &parts);
    }
}
