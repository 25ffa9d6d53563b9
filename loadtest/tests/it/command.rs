//! The command line: what it refuses, and that it leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::PROGRAM;

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[test]
fn other_machines_are_refused_in_one_line() {
    for url in ["http://192.0.2.1:8080", "http://example.com", "http://0.0.0.0:8080"] {
        let output = loadtest(&["race", "--url", url, "--data", "nowhere"]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), complaint.lines().count()), (Some(2), 1), "{complaint}");
        assert!(complaint.contains("loopback"), "{complaint}");
    }
}

#[test]
fn a_url_without_a_data_folder_is_refused() {
    assert_eq!(loadtest(&["race", "--url", "http://127.0.0.1:1"]).status.code(), Some(2));
}

/// One line that says so much, and the exit code of a run that came to nothing.
fn came_to_nothing(command: &mut Command, words: &str) {
    let output = command.output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), complaint.lines().count()), (Some(2), 1), "{complaint}");
    assert!(complaint.contains(words) && !complaint.contains("VIOLATION"), "{complaint}");
}

#[test]
fn arguments_that_do_not_fit_together_are_no_violation() {
    for what in [&["crash"][..], &["chaos", "--scenario", "spike-killed"]] {
        let few = ["--buyers", "10", "--stock", "20"];
        came_to_nothing(Command::new(PROGRAM).args(what).args(few), "more buyers than units");
    }
    let nowhere = ["chaos", "--scenario", "spike-killed", "--history", "/nowhere/history"];
    came_to_nothing(Command::new(PROGRAM).args(nowhere), "cannot write /nowhere/history");
}

#[test]
fn a_server_that_is_away_is_no_violation() {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (variable, url, words) in [
        ("DOORBUSTER_TEST_MYSQL_URL", format!("mysql://root@{away}"), "start MariaDB or MySQL"),
        ("DOORBUSTER_TEST_AMQP_URL", format!("amqp://guest:guest@{away}/%2f"), "start RabbitMQ"),
    ] {
        let mut command = Command::new(PROGRAM);
        came_to_nothing(command.args(["chaos", "--scenario", "spike-killed"]).env(variable, url), words);
    }
}

#[test]
fn a_run_that_cannot_start_leaves_the_last_ones_files_and_no_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (history, json) = (folder.path().join("history"), folder.path().join("json"));
    std::fs::write(&history, "the last run").unwrap();
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["chaos", "--scenario", "spike-killed"]).env("DOORBUSTER_TEST_AMQP_URL", format!("amqp://guest:guest@{away}/%2f"));
    came_to_nothing(command.arg("--history").arg(&history).arg("--json").arg(&json), "start RabbitMQ");
    assert_eq!((std::fs::read(&history).unwrap(), json.exists()), (b"the last run".to_vec(), false));
}

#[test]
fn the_logs_of_a_run_that_came_to_nothing_are_kept_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::write(&data, "no folder").unwrap();
    let output = Command::new(PROGRAM).arg("race").arg("--data").arg(&data).env("TMPDIR", folder.path()).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    let kept = complaint.lines().find_map(|line| line.strip_prefix("loadtest: the logs are kept in ")).expect(&complaint);
    assert!(Path::new(kept).join("server.log").is_file(), "{complaint}");
}

#[test]
fn queues_that_are_left_behind_are_a_failure() {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("amqp://guest:guest@{away}/%2f");
    came_to_nothing(Command::new(PROGRAM).args(["remove-queues", &url, "shop"]), "left behind: shop.partition.0.log");
}

#[test]
fn a_whole_race_runs_from_the_command_line_and_writes_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("race.json");
    let output = loadtest(&["race", "--buyers", "50", "--stock", "10", "--connections", "8", "--json", json.to_str().unwrap()]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&figures["audit"]["rows"], &figures["violations"]), (&10.into(), &serde_json::json!([])), "{figures}");
    assert_eq!(figures["audit_after_stop"]["counters"]["available"], 0, "{figures}");
    for latency in ["accepted_latency", "confirm_latency"] {
        assert!(figures[latency]["p99_us"].as_u64().or(figures[latency]["p99_us_max"].as_u64()).is_some(), "{figures}");
    }
}

#[test]
fn a_signal_ends_a_race_and_says_so() {
    for (signal, name, code) in [
        (Signal::SIGHUP, "SIGHUP", 129),
        (Signal::SIGINT, "SIGINT", 130),
        (Signal::SIGQUIT, "SIGQUIT", 131),
        (Signal::SIGTERM, "SIGTERM", 143),
    ] {
        let arguments = ["race", "--buyers", "1000", "--stock", "10", "--connections", "8", "--rate", "10"];
        // Whoever runs the tests may have one of them ignored: `nohup` has.
        let mut command = Command::new("env");
        command.arg(format!("--default-signal={name}")).arg(PROGRAM);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{first}{complaint}");
        assert!(complaint.contains(name), "{complaint}");
    }
}
