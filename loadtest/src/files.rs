//! Files that something is to be written into at the end. Never changes what is there.

use std::fs::{OpenOptions, remove_file};
use std::path::Path;

use anyhow::Context;

/// Whether that file can be written: better known before a run than after it. What is in it stays, and where there was none there is
/// none afterwards.
///
/// # Errors
/// If it cannot.
pub fn writable(file: &Path) -> anyhow::Result<()> {
    let was_there = file.exists();
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened
        .map(drop)
        .and_then(|()| if was_there { Ok(()) } else { remove_file(file) })
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_be_written_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        std::fs::write(&old, "the last run").unwrap();
        assert!(writable(&old).is_ok() && writable(&new).is_ok());
        assert_eq!((std::fs::read(&old).unwrap(), new.exists()), (b"the last run".to_vec(), false));
        assert!(writable(&folder.path().join("nowhere/file")).is_err() && writable(folder.path()).is_err());
    }
}
