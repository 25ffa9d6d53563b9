//! Floods: as many connections as the machine gives, metrics and audits in a loop. Whoever else comes is served.

use std::time::Duration;

use doorbuster::store::Role;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::Backend;
use crate::support::app::TestApp;
use crate::support::cluster::eventually;

const CONNECTIONS: usize = 10_000;

/// How many files this process may open, after it has asked for as many as it can get.
fn files_max() -> usize {
    let read = || std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limits = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let mut numbers = line.split_whitespace().map(|word| word.parse::<usize>().unwrap_or(usize::MAX));
        Some((numbers.next()?, numbers.next()?))
    };
    let (soft, hard) = limits(&read()).unwrap_or((1_024, 1_024));
    if soft < hard {
        let raise = ["--pid", &std::process::id().to_string(), &format!("--nofile={hard}:{hard}")];
        // Where there is no such command, it is the fewer that are tried.
        drop(std::process::Command::new("prlimit").args(raise).status());
    }
    limits(&read()).map_or(soft, |(soft, _)| soft)
}

async fn connect_from(address: &str, to: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{address}:0").parse().expect("an address"))?;
    socket.connect(to).await
}

/// Whether a server answers on this connection.
async fn is_answered(mut stream: TcpStream) -> bool {
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    asked.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_of_one_address_leave_room_for_others() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.connections_per_address_max = 1_000;
    })
    .await;
    // Each has two ends in this process, as long as the server keeps it; other tests of this process have some too.
    let count = CONNECTIONS.min(files_max().saturating_sub(4_000));
    assert!(count > 1_000, "{count} connections are fewer than one address may have: raise the limit of open files");
    let mut flood = Vec::with_capacity(count);
    for _ in 0..count {
        flood.push(connect_from("127.0.0.2", app.address()).await.expect("the system connects"));
        if flood.len() % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let refused = async |flood: &[TcpStream]| {
        let closed = |stream: &&TcpStream| matches!(stream.try_read(&mut [0; 1]), Ok(0) | Err(_)) && !would_block(stream);
        flood.iter().filter(closed).count()
    };
    eventually("what one address has too many of is closed", async || refused(&flood).await >= count - 1_000).await;
    for address in ["127.0.0.3", "127.0.0.4"] {
        let others = connect_from(address, app.address()).await.expect("the system connects");
        assert!(is_answered(others).await, "another address is served");
    }
    assert!(!is_answered(connect_from("127.0.0.2", app.address()).await.expect("the system connects")).await);
    drop(flood);
    let again = async || match connect_from("127.0.0.2", app.address()).await {
        Ok(stream) => is_answered(stream).await,
        Err(_) => false,
    };
    eventually("the address is served again when it has let go", again).await;
}

fn would_block(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn metrics_and_audits_in_a_loop_do_not_keep_buyers_waiting() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(1_000, json!({})).await;
    let admin = app.mint(999, Role::Admin);
    let paths = ["/metrics", "/admin/v1/audit", "/admin/v1/audit?all=true"];
    let flood = futures_util::future::join_all((0..600).map(|number| {
        let request = app.request(Method::GET, paths[number % 3]).bearer_auth(&admin).timeout(Duration::from_secs(60));
        async { app.send(request).await.status.as_u16() }
    }));
    let buyers = async {
        for user in 1..=50 {
            let placed = app.place(user, lamp, &json!({})).await;
            assert_eq!(placed.status.as_u16(), 201, "{:?}", placed.body);
        }
    };
    let (answers, ()) = tokio::join!(flood, buyers);
    // Who finds the line full hears it at once.
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.iter().filter(|status| **status == 200).count() >= 100);
    let audit = app.get_as(&admin, "/admin/v1/audit").await;
    assert_eq!((&audit.body["balanced"], &audit.body["items"][0]["sold"]), (&json!(true), &json!(50)), "read after it was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_over_metrics_without_a_token_is_limited_by_its_address() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.per_address_per_second = 1;
        config.limits.per_address_burst = 10;
    })
    .await;
    let answers = futures_util::future::join_all((0..50).map(|_| app.get("/metrics"))).await;
    let limited = answers.iter().filter(|answer| answer.refusal() == (429, "rate_limited")).count();
    assert!(limited >= 30, "{limited} of 50 were limited");
    assert!(app.send(app.request(Method::GET, "/healthz")).await.body != Value::Null, "probes are free");
}
