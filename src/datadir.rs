//! The data folder of an embedded server: one process at a time, and the secret that signs its tokens. Never shows a
//! secret, never uses one that others on the machine may read, never comes with one built in.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};

const LOCK_FILE: &str = "doorbuster.lock";
const SECRET_FILE: &str = "jwt.secret";
const SECRET_TEMPORARY_FILE: &str = "jwt.secret.new";

/// How many random bytes a new secret is made of: half as many again as HS256 needs.
const SECRET_RANDOM_BYTES: usize = 48;

/// The largest secret file that is read, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// Why a data folder cannot be used, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process works on it.
    #[error(
        "the data folder {} is in use by process {pid}: stop that one, or choose another folder with --data", path.display()
    )]
    InUse {
        /// Which folder.
        path: PathBuf,
        /// Who has it, as the lock file says.
        pid: String,
    },
    /// The secret may be read by others.
    #[error(
        "others may read the secret in {}: run `chmod 600 {}`, and delete the file instead if somebody may have read it (all tokens end with it)",
        path.display(), path.display()
    )]
    Exposed {
        /// The secret's file.
        path: PathBuf,
    },
    /// There is no secret yet.
    #[error("there is no secret in {}: start doorbuster on that folder once, or set DOORBUSTER__AUTH__JWT_SECRET", path.display())]
    NoSecret {
        /// Where it should be.
        path: PathBuf,
    },
    /// The secret's file is not one line of text.
    #[error("the secret in {} is no line of text of at most 4096 bytes: delete the file to get a new one (all tokens end with it)", path.display())]
    Garbled {
        /// The secret's file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
}

/// A data folder that belongs to this process, until it is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder (mode 700) if there is none, and takes it for this process.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if another process has it, [`DataDirError::Io`] if it cannot be made or locked.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("create the data folder", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { path: path.to_owned(), pid: written_pid(&mut lock) }),
            Err(TryLockError::Error(source)) => return Err(DataDirError::Io { doing: "lock", path: lock_path, source }),
        }
        // The file is never deleted: a process that waits for a deleted file's lock would share the folder with one that
        // made the file anew.
        let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(io("write", &lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret that signs tokens: the one in the folder, or a new one that is on stable storage when this returns.
    ///
    /// # Errors
    /// [`DataDirError`] if it cannot be read or made, and if others may read it.
    pub fn secret(&self) -> Result<SecretString, DataDirError> {
        match read_secret(&self.path) {
            Err(DataDirError::NoSecret { .. }) => self.make_secret(),
            read => read,
        }
    }

    fn make_secret(&self) -> Result<SecretString, DataDirError> {
        let path = self.path.join(SECRET_FILE);
        let mut random = [0; SECRET_RANDOM_BYTES];
        SysRng.try_fill_bytes(&mut random).map_err(|error| DataDirError::Io {
            doing: "find randomness for",
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(random));
        self.write_private(SECRET_FILE, secret.expose_secret())?;
        Ok(secret)
    }

    /// Writes a file of the folder for its owner alone (mode 600), as one line or more of text.
    ///
    /// # Errors
    /// [`DataDirError::Io`] if it cannot be written; what stood there before then still does.
    pub fn write_private(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        self.write_durably(&path, text).map_err(io("write", &path))
    }

    /// Writes beside, syncs, renames, syncs the folder: after a crash there is a whole file or none.
    fn write_durably(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let temporary = self.path.join(SECRET_TEMPORARY_FILE);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{}", text.trim_end())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(&self.path)?.sync_all()
    }
}

/// The secret in a data folder, without taking the folder: for tools that work beside a running server.
///
/// # Errors
/// [`DataDirError`] if there is none, it cannot be read, or others may read it.
pub fn read_secret(data: &Path) -> Result<SecretString, DataDirError> {
    let path = data.join(SECRET_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(DataDirError::NoSecret { path }),
        Err(source) => return Err(DataDirError::Io { doing: "read", path, source }),
    };
    // The open file is asked, not the path: nobody can exchange it in between.
    let metadata = file.metadata().map_err(io("read", &path))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(DataDirError::Exposed { path });
    }
    let mut text = String::new();
    let read = file.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let secret = text.trim();
    match read {
        Ok(bytes) if bytes as u64 <= SECRET_FILE_BYTES_MAX && !secret.is_empty() && !secret.contains('\n') => Ok(secret.into()),
        Ok(_) => Err(DataDirError::Garbled { path }),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(DataDirError::Garbled { path }),
        Err(source) => Err(DataDirError::Io { doing: "read", path, source }),
    }
}

/// The pid in a lock file that another process holds.
fn written_pid(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => pid.to_string(),
        // Locked, and not yet written.
        _ => "that is just starting".into(),
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError {
    move |source| DataDirError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
