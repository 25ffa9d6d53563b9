//! Why a process does not start: lines that say what to do.

use std::time::Duration;

use crate::auth::KeyError;
use crate::broker::BrokerError;
use crate::config::Address;
use crate::datadir::DataDirError;
use crate::membership::JoinError;
use crate::routing::peer::CredentialError;
use crate::store::StoreError;
use crate::telemetry::TelemetryError;

/// Why a process does not start: lines that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that a cluster cannot do without: one line each.
    #[error("{}", .0.join("\n"))]
    Missing(Vec<String>),
    /// The data folder is in use, not writable, or its secret is readable by others.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// There is no database to look at yet.
    #[error("no database at {0}; start `doorbuster` once, or name the folder with --data or the database with DATABASE_URL")]
    NoDatabase(String),
    /// The database is away, or its schema is of another release.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema has another number of partitions than the configuration.
    #[error(
        "the schema has {schema} partitions and partition.count says {configured}: set DOORBUSTER__PARTITION__COUNT={schema} on all nodes"
    )]
    Partitions {
        /// The schema's.
        schema: u16,
        /// The configuration's.
        configured: u16,
    },
    /// The secret or the public key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is nothing that other nodes could know this one by.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The other nodes do not want this one.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Metrics or logs cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The port is taken or not ours to take.
    #[error("cannot listen on {address}: {cause}; stop what listens there, or set {setting}")]
    Listen {
        /// Where.
        address: Address,
        /// What to set.
        setting: &'static str,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The name that other nodes are to find this one by leads nowhere.
    #[error("DOORBUSTER__NODE__INTERNAL_ADVERTISE: {address} cannot be looked up: {cause}")]
    Advertise {
        /// The name.
        address: Address,
        /// What the resolver says.
        cause: std::io::Error,
    },
    /// The broker's URL is wrong.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The partitions were not served in time.
    #[error("the partitions are not served after {0:?}; the log above says why")]
    NotServing(Duration),
    /// The payment provider that this process is itself does not start.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::ServerError),
    /// A payment provider cannot be used.
    #[error("{0}")]
    Payments(String),
    /// The demo sale could not be made.
    #[error("the demo sale could not be made: {0}")]
    Demo(String),
}
