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

/// Whether anything was written into that folder or one in it.
#[must_use]
pub fn has_files(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_files(&entry.path()),
        Ok(_) | Err(_) => true,
    })
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

    #[test]
    fn a_folder_of_empty_folders_has_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        assert!(!has_files(folder.path()));
        std::fs::write(inner.join("log"), "").unwrap();
        assert!(has_files(folder.path()));
    }
}
