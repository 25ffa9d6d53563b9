//! Whether the file of a SQLite database is still the one that was opened.
//!
//! Somebody may delete it, or put another in its place, under a server that runs: what is committed then goes to a file without a name,
//! and is gone with the process. So the names are looked at before each piece of work and after each commit, before anybody is told of
//! it. Never opens the files: to close one again would take the locks of SQLite away.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, Connection, Executor};
use tokio::sync::Mutex;

/// What SQLite keeps beside its file while connections are open: what was committed last, and who reads what.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// The files of a database that is open.
pub(super) struct DatabaseFile {
    parts: Vec<(PathBuf, Identity)>,
    /// Whether the log has heard of it.
    is_told: AtomicBool,
    /// Open as long as the others are. The last one that closes takes what is beside the file away, to be made anew.
    keeper: Mutex<Option<SqliteConnection>>,
}

/// Device and number of a file.
type Identity = (u64, u64);

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file of the database, {path}, was {what} while this process used it: nothing is accepted; stop it, put the file back, start again"
)]
pub(super) struct Gone {
    path: String,
    what: &'static str,
}

impl DatabaseFile {
    /// The files at that path, which the connection has open.
    pub(super) async fn watched(path: &Path, mut keeper: SqliteConnection) -> sqlx::Result<Self> {
        // What is beside the file is there from the first look into it on.
        keeper.execute("SELECT COUNT(*) FROM sqlite_schema").await?;
        // They are beside the file itself, where the path is a link to it.
        let real = std::fs::canonicalize(path).map_err(sqlx::Error::Io)?;
        let names = BESIDE.iter().map(|end| {
            let mut name = real.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        });
        let paths = std::iter::once(path.to_owned()).chain(names);
        let parts = paths.map(|path| Ok((path.clone(), identity(&path)?))).collect::<std::io::Result<_>>().map_err(sqlx::Error::Io)?;
        Ok(Self { parts, is_told: AtomicBool::new(false), keeper: Mutex::new(Some(keeper)) })
    }

    /// Whether all of them are where they were.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) fn check(&self) -> Result<(), Gone> {
        let gone = self.parts.iter().find_map(|(path, before)| {
            let what = match identity(path) {
                Ok(now) if now == *before => return None,
                Ok(_) => "replaced",
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "deleted",
                Err(_) => "made unreadable",
            };
            Some(Gone { path: path.display().to_string(), what })
        });
        match gone {
            None => {
                // It was put back.
                self.is_told.store(false, Ordering::Relaxed);
                Ok(())
            }
            Some(gone) => {
                if !self.is_told.swap(true, Ordering::Relaxed) {
                    tracing::error!("{gone}");
                }
                Err(gone)
            }
        }
    }

    /// Closes what it keeps open, after all others.
    pub(super) async fn close(&self) -> sqlx::Result<()> {
        match self.keeper.lock().await.take() {
            Some(keeper) => keeper.close().await,
            None => Ok(()),
        }
    }
}

fn identity(path: &Path) -> std::io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok((std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata)))
}
