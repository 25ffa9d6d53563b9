//! The `doorbuster` program itself, as whoever installs it runs it: on a folder of its own and a free port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A server that runs. Dropped, it is killed.
pub struct Program {
    process: Child,
    address: String,
}

impl Program {
    /// Runs the embedded mode until it says where it listens.
    pub fn start(data: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_doorbuster"))
            .current_dir(data)
            .arg("--data")
            .arg(data)
            .env_remove("DATABASE_URL")
            .env("DOORBUSTER__HTTP__LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(process.stdout.take().expect("it is a pipe")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, url) = line.split_once("http://")?;
            Some(url.split('/').next()?.to_owned())
        });
        let address = address.unwrap_or_else(|| panic!("it does not say where it listens: {:?}", process.wait()));
        // What else it prints is read: a pipe that nobody reads would be an error of its own.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    /// Where it listens, like `127.0.0.1:4711`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(status.expect("there is a kill command").success());
    }

    /// Waits until it ends.
    pub fn ended(&mut self) -> ExitStatus {
        self.process.wait().expect("it is ours")
    }

    /// The most memory it had at one time, in KiB, as the system counts.
    pub fn memory_peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
