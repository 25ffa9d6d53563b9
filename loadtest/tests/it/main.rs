//! The load generator against servers it starts itself.

mod chaos;
mod command;
mod crash;
mod generator;
mod interrupt;
mod race;
mod rotate;
mod volume;

use std::path::Path;

use doorbuster::config::Config;
use loadtest::server::Launcher;

/// The program that serves: the `loadtest` binary of this build.
const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");

/// The secret of every server these tests start.
const SECRET: &str = "a secret of the tests, long enough";

fn launcher() -> Launcher {
    Launcher::new(Path::new(PROGRAM), SECRET)
}

/// How to read the database of a server these tests start.
fn config() -> Config {
    let mut config = Config::load(None).unwrap();
    config.database.url = None;
    config
}
