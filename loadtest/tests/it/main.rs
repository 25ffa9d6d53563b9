//! The load generator against servers it starts itself.

mod generator;

use std::path::Path;

use loadtest::server::Launcher;

/// The secret of every server these tests start.
const SECRET: &str = "a secret of the tests, long enough";

/// Starts servers by running the `loadtest` binary of this build.
fn launcher() -> Launcher {
    Launcher::new(Path::new(env!("CARGO_BIN_EXE_loadtest")), SECRET)
}
