//! Where the programs of the servers are that the harness starts. Never runs one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Before all others: the server's own scripts, not the distribution's wrappers of the same names, which change the user.
const FIRST: &str = "/usr/lib/rabbitmq/bin";
/// Where servers are installed, and what is not on every user's `PATH`.
const LAST: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Where that program is.
///
/// # Errors
/// If it is not there or cannot be run, in a line that says what to install.
pub(super) fn find(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(FIRST.into()).chain(std::env::split_paths(&path)).chain(LAST.map(PathBuf::from));
    let missing =
        || format!("{name} is not there or cannot be run: install {package} (looked on PATH, in {FIRST} and {})", LAST.join(", "));
    among(name, folders).with_context(missing)
}

fn among(name: &str, mut folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.find_map(|folder| Some(folder.join(name)).filter(|program| is_program(program)))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};

    use super::*;

    #[test]
    fn the_first_that_can_be_run_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["empty", "text", "program"].map(|name| folder.path().join(name));
        folders.iter().for_each(|folder| create_dir(folder).unwrap());
        for (folder, mode) in folders[1..].iter().zip([0o644, 0o755]) {
            write(folder.join("server"), "").unwrap();
            set_permissions(folder.join("server"), Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(among("server", folders.clone().into_iter()), Some(folders[2].join("server")));
        assert_eq!(among("server", folders[..2].iter().cloned()), None);
    }

    #[test]
    fn what_is_not_there_is_named_with_what_to_install() {
        let words = find("doorbuster-no-such-server", "RabbitMQ's server").unwrap_err().to_string();
        assert!(words.starts_with("doorbuster-no-such-server is not there") && words.contains("install RabbitMQ's server"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}
