//! Configuration: built-in defaults, then `doorbuster.toml`, then the environment. Read once, at the start; nothing
//! changes it later. It never holds a built-in secret.

mod address;
mod environment;
mod issuers;
mod list;
mod origin;
mod payments;
mod peer;

use std::collections::HashMap;
use std::path::Path;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use address::{Address, NoAddress};
pub use issuers::Issuer;
pub use origin::Origin;
pub use payments::{PaymentProvider, Payments, Sandbox, is_page};
pub use peer::{Peer, PeerTls};

use crate::event::LogVersion;
use crate::form::PeerVersion;

/// Everything that can be set. The defaults with their units stand in `config.default.toml` beside this file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The buyers' API.
    pub http: Http,
    /// The operators' API.
    pub admin: Admin,
    /// Tokens and passwords.
    pub auth: Auth,
    /// The built-in accounts.
    pub accounts: Accounts,
    /// Rate limits.
    pub limits: Limits,
    /// The partition tasks.
    pub partition: Partition,
    /// The database.
    pub database: Database,
    /// RabbitMQ: the log of a cluster.
    pub broker: Broker,
    /// The process that brings the log into the database.
    pub consumer: Consumer,
    /// This process among others.
    pub node: Node,
    /// What nodes know each other by.
    pub peer: Peer,
    /// Who takes the money.
    #[serde(default)]
    pub payments: Payments,
    /// The provider to try with.
    pub sandbox: Sandbox,
    /// Whether it behaves as one of the release before.
    pub release: Release,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// The buyers' API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where to listen. Port 0 = any free port.
    pub listen: Address,
    /// Worker threads; 0 = one per core.
    pub workers: usize,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// How long a client may take to send a request, in milliseconds. Long enough for a connection that is opened ahead of its first
    /// request: what comes of a head that is late is a `408` without a body, and a busy client may take it for the answer to its next.
    pub client_request_timeout_ms: u64,
    /// How long an idle connection is kept, in milliseconds.
    pub keep_alive_ms: u64,
    /// How long a node that leaves its cluster waits for clients to close their connections, in milliseconds.
    pub leave_timeout_ms: u64,
    /// How long a stop waits for requests in flight, in milliseconds.
    pub shutdown_timeout_ms: u64,
    /// Connections at most, over all workers.
    pub connections_max: usize,
    /// Networks and addresses whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "list::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Whose pages may ask from another origin (CORS).
    #[serde(deserialize_with = "list::list")]
    pub cors_origins: Vec<Origin>,
    /// Whether `/metrics` tells everybody who reaches the buyers' port how many units there are of each commodity.
    pub stock_in_metrics: bool,
}

/// The operators' API, where it runs as a process of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where to listen.
    pub listen: Address,
}

/// Tokens and passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The HS256 secret, at least 32 bytes. None: generated into the data folder (embedded) or refused (cluster).
    pub jwt_secret: Option<SecretString>,
    /// What the nodes of a cluster know each other by, at least 32 bytes, the same on all. None: they have certificates ([`PeerTls`]), or a
    /// cluster role refuses to start.
    pub internal_secret: Option<SecretString>,
    /// The `iss` that tokens of our own must carry; none = not looked at.
    pub issuer: Option<String>,
    /// The `aud` that tokens of our own must carry; none = not looked at.
    pub audience: Option<String>,
    /// Other issuers whose tokens are taken.
    #[serde(default, deserialize_with = "issuers::issuers")]
    pub issuers: Vec<Issuer>,
    /// How long a minted token is good, in seconds.
    pub token_ttl_seconds: u64,
    /// Passwords hashed at the same time, at most.
    pub hashing_concurrency_max: usize,
}

/// The built-in accounts: what is offered of them. Tokens that were minted by a tool, or by another issuer, need none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Whether anybody may make one.
    pub registration: bool,
    /// Whether their names and passwords get a token, and passwords can be changed.
    pub login: bool,
    /// Whether a first run of the embedded mode makes those of the demo.
    pub demo: bool,
}

/// Rate limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Whether requests are limited at all.
    pub enabled: bool,
    /// Requests a second of one user.
    pub per_user_per_second: u32,
    /// Requests of one user at once.
    pub per_user_burst: u32,
    /// Requests a second of one address.
    pub per_address_per_second: u32,
    /// Requests of one address at once.
    pub per_address_burst: u32,
    /// Logins, registrations and changes of a password a minute of one address.
    pub logins_per_minute: u32,
    /// Logins and changes of a password a minute of one account, from all addresses together that it was not logged in from lately.
    pub logins_per_account_per_minute: u32,
    /// Logins and changes of a password a minute of one account from one address.
    pub logins_per_account_and_address_per_minute: u32,
    /// Connections of one address at the same time; those of trusted proxies are not counted.
    pub connections_per_address_max: usize,
    /// Keys remembered at most, per limit.
    pub keys_max: usize,
}

/// The partition tasks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// How many partitions a new schema gets, 1 to 4096. An existing schema keeps its own.
    pub count: u16,
    /// Commands waiting for one partition, at most.
    pub inbox_depth_max: usize,
    /// Commands drained into one batch, at most.
    pub batch_commands_max: usize,
    /// How long a confirm may take before the batch is in doubt, in milliseconds.
    pub append_timeout_ms: u64,
    /// How long a command may wait in the inbox, in milliseconds.
    pub command_timeout_ms: u64,
    /// When a partition whose tables contradict themselves is looked at again, in milliseconds.
    pub stopped_retry_ms: u64,
    /// How long after its sale a commodity is closed, in seconds.
    pub retention_seconds: u64,
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` or `mysql://...`. None: SQLite in the data folder.
    pub url: Option<SecretString>,
    /// Connections at most, besides those of loads.
    pub connections_max: u32,
    /// Partitions loaded at one time, each over a connection of its own; on SQLite it is always one.
    pub loads_max: u32,
    /// How long to wait for a connection, in milliseconds.
    pub acquire_timeout_ms: u64,
}

/// RabbitMQ: the log of a cluster. The embedded mode has none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `amqp://` or `amqps://USER:PASSWORD@HOST:PORT/VHOST`; `HOST:PORT,HOST:PORT` for a cluster of brokers. None: a cluster role refuses to
    /// start.
    pub url: Option<SecretString>,
    /// The virtual host, instead of the URL's.
    pub vhost: Option<String>,
    /// What the names of all queues and exchanges begin with: 1 to 64 of letters, digits, `.`, `_` and `-`.
    pub prefix: String,
    /// How often both sides say that they live, in seconds; twice that without a word ends the connection.
    pub heartbeat_seconds: u16,
    /// How long the broker may take to answer (a confirm has its own bound), in milliseconds.
    pub answer_timeout_ms: u64,
    /// The pause before the first attempt to connect again, in milliseconds.
    pub reconnect_delay_min_ms: u64,
    /// The longest pause between two attempts, in milliseconds.
    pub reconnect_delay_max_ms: u64,
}

/// The process that brings the log into the database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Where `/metrics`, `/healthz` and `/readyz` listen. Port 0 = any free port.
    pub listen: Address,
    /// Batches of one partition on their way to this process, at most.
    pub prefetch: u16,
    /// Events in one transaction, at most (a single batch may exceed it).
    pub transaction_events_max: usize,
    /// How long a stopped partition is left alone before it is looked at again, in milliseconds.
    pub stopped_retry_ms: u64,
}

/// This process among others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's id: 1 to 64 of letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// Where other nodes are listened to, in a cluster. Port 0 = any free port.
    pub internal_listen: Address,
    /// Where other nodes find it, if that is another address. Port 0 = the one that is listened on. A name is looked up once, at the start.
    pub internal_advertise: Option<Address>,
    /// How often a node says in the database that it lives, and looks who else does, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long a node whose heartbeat stands still, and that does not answer, is still counted in, in milliseconds.
    pub heartbeat_stale_ms: u64,
}

/// What keeps a process from using what processes of the release before do not know: for a careful upgrade. See docs/upgrading.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The newest version of the log that is read and written.
    pub log_version_max: u8,
    /// The newest version of the peer link that is spoken.
    pub peer_version_max: u8,
    /// Whether nodes of the release before, which know no TLS, are let in and spoken to.
    pub peer_plain: bool,
}

impl Release {
    /// The newest version of the log that is read and written.
    #[must_use]
    pub fn log_version(self) -> LogVersion {
        LogVersion::new(self.log_version_max).expect("checked with the configuration")
    }

    /// The newest version of the peer link that is spoken.
    #[must_use]
    pub fn peer_version(self) -> PeerVersion {
        PeerVersion::new(self.peer_version_max).expect("checked with the configuration")
    }

    fn check(self) -> Result<(), ConfigError> {
        LogVersion::new(self.log_version_max).map_err(|error| ConfigError(format!("release.log_version_max: {error}")))?;
        PeerVersion::new(self.peer_version_max).map_err(|error| ConfigError(format!("release.peer_version_max: {error}")))?;
        Ok(())
    }
}

/// Logs and traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// What to log, in `tracing`'s filter language.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
    /// Where spans go, by OTLP over HTTP: the whole `http://` URL. None: no traces. Checked where a tracer is started: tools
    /// make none, and whoever sets OpenTelemetry's variables for a whole machine did not mean them.
    pub traces_endpoint: Option<String>,
    /// The part of the requests that is traced, 0 to 1.
    pub traces_ratio: f64,
    /// Whether the caller's `traceparent` decides which requests are traced, instead of `traces_ratio`: only behind a gateway
    /// that sets it.
    pub traces_follow_caller: bool,
    /// The name of this process in traces. None: `doorbuster-` and its role.
    pub service_name: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// A setting of releases before this one.
const GONE: &str = "auth.jwt_public_key_file";

/// The most of anything that room is made for at the start.
const COUNT_MAX: usize = 1_000_000;

/// What is wrong with the configuration, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(pub String);

impl Config {
    /// Reads the defaults, `file` (which must exist if given; else `doorbuster.toml` if it exists), and the environment.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown key, a value of the wrong kind, or one out of its range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        // What is not text is no setting of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::read(file, environment.collect())
    }

    fn read(file: Option<&Path>, environment: HashMap<String, String>) -> Result<Self, ConfigError> {
        let wrong = |error: config::ConfigError| ConfigError(in_one_line(&error));
        let file = match file {
            Some(path) => config::File::from(path).required(true),
            None => config::File::with_name("doorbuster.toml").required(false),
        };
        let mut builder = config::Config::builder();
        if let Some(endpoint) = traces_endpoint(&environment) {
            builder = builder.set_default("telemetry.traces_endpoint", endpoint).map_err(wrong)?;
        }
        // Every value of the environment is a text: each setting knows what it reads from one, and a secret of digits stays as it is.
        let settings = environment::settings(&environment)?;
        let builder = builder
            .add_source(config::File::from_str(include_str!("config.default.toml"), config::FileFormat::Toml))
            .add_source(file)
            .add_source(config::Environment::with_prefix("DOORBUSTER").separator("__").source(Some(settings.into_iter().collect())));
        let read = builder.build().map_err(wrong)?;
        if let Ok(file) = read.get_string(GONE) {
            return Err(ConfigError(format!(
                "{GONE} is gone, since it made another issuer's users our accounts: write [[auth.issuers]] with name, issuer (the iss of its \
                 tokens), audience and public_key_file = {file:?} instead (docs/identity.md)"
            )));
        }
        let mut config: Self = read.try_deserialize().map_err(wrong)?;
        config.tidy();
        config.check()?;
        issuers::check(&mut config.auth.issuers, config.auth.issuer.as_deref())?;
        config.payments.settle()?;
        config.sandbox.settle()?;
        Ok(config)
    }

    /// White space around secrets does not count, and an empty text is none.
    fn tidy(&mut self) {
        let secrets = [&mut self.auth.jwt_secret, &mut self.auth.internal_secret, &mut self.database.url, &mut self.broker.url];
        for secret in secrets {
            let trimmed = secret.as_ref().map(|secret| secret.expose_secret().trim()).filter(|secret| !secret.is_empty());
            *secret = trimmed.map(SecretString::from);
        }
        let (auth, telemetry) = (&mut self.auth, &mut self.telemetry);
        let texts =
            [&mut auth.issuer, &mut auth.audience, &mut self.broker.vhost, &mut telemetry.traces_endpoint, &mut telemetry.service_name];
        for text in texts {
            text.take_if(|text| text.trim().is_empty());
        }
        let tls = &mut self.peer.tls;
        for path in [&mut tls.ca_file, &mut tls.certificate_file, &mut tls.key_file] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let partition = &self.partition;
        let positive = [
            ("partition.inbox_depth_max", partition.inbox_depth_max),
            ("partition.batch_commands_max", partition.batch_commands_max),
            ("partition.append_timeout_ms", partition.append_timeout_ms as usize),
            ("partition.command_timeout_ms", partition.command_timeout_ms as usize),
            ("http.body_bytes_max", self.http.body_bytes_max),
            ("http.connections_max", self.http.connections_max),
            ("limits.keys_max", self.limits.keys_max),
            ("limits.per_user_per_second", self.limits.per_user_per_second as usize),
            ("limits.per_user_burst", self.limits.per_user_burst as usize),
            ("limits.per_address_per_second", self.limits.per_address_per_second as usize),
            ("limits.per_address_burst", self.limits.per_address_burst as usize),
            ("limits.logins_per_minute", self.limits.logins_per_minute as usize),
            ("limits.logins_per_account_per_minute", self.limits.logins_per_account_per_minute as usize),
            ("limits.logins_per_account_and_address_per_minute", self.limits.logins_per_account_and_address_per_minute as usize),
            ("limits.connections_per_address_max", self.limits.connections_per_address_max),
            ("database.connections_max", self.database.connections_max as usize),
            ("broker.heartbeat_seconds", self.broker.heartbeat_seconds.into()),
            ("broker.answer_timeout_ms", self.broker.answer_timeout_ms as usize),
            ("broker.reconnect_delay_min_ms", self.broker.reconnect_delay_min_ms as usize),
            ("consumer.prefetch", self.consumer.prefetch.into()),
            ("consumer.transaction_events_max", self.consumer.transaction_events_max),
            ("partition.stopped_retry_ms", partition.stopped_retry_ms as usize),
            ("consumer.stopped_retry_ms", self.consumer.stopped_retry_ms as usize),
            ("auth.token_ttl_seconds", self.auth.token_ttl_seconds as usize),
            ("node.heartbeat_interval_ms", self.node.heartbeat_interval_ms as usize),
            ("auth.hashing_concurrency_max", self.auth.hashing_concurrency_max),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError(format!("{key} must be at least 1")));
        }
        let bounded = [
            ("partition.inbox_depth_max", partition.inbox_depth_max),
            ("partition.batch_commands_max", partition.batch_commands_max),
            ("http.workers", self.http.workers),
        ];
        if let Some((key, _)) = bounded.iter().find(|(_, value)| *value > COUNT_MAX) {
            return Err(ConfigError(format!("{key} must be at most {COUNT_MAX}")));
        }
        crate::domain::Partitions::new(partition.count).map_err(|e| ConfigError(format!("partition.count: {e}")))?;
        if self.node.heartbeat_stale_ms < 3 * self.node.heartbeat_interval_ms {
            return Err(ConfigError("node.heartbeat_stale_ms must be at least three times node.heartbeat_interval_ms".into()));
        }
        if self.broker.reconnect_delay_max_ms < self.broker.reconnect_delay_min_ms {
            return Err(ConfigError("broker.reconnect_delay_max_ms must not be below broker.reconnect_delay_min_ms".into()));
        }
        self.telemetry.check()?;
        self.release.check()?;
        self.peer.tls.check()?;
        for (key, name) in [("node.id", &self.node.id), ("broker.prefix", &self.broker.prefix)] {
            if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return Err(ConfigError(format!("{key} must be 1 to 64 of letters, digits, '.', '_' and '-'")));
            }
        }
        Ok(())
    }
}

impl Telemetry {
    fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.traces_ratio) {
            return Err(ConfigError("telemetry.traces_ratio must be between 0 and 1".into()));
        }
        Ok(())
    }
}

/// What is wrong, without the line of the file that it is in: that may hold a secret.
fn in_one_line(error: &config::ConfigError) -> String {
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (first, last) = (lines.next().unwrap_or_default(), lines.next_back());
    let is_of_a_file = matches!(error, config::ConfigError::FileParse { .. });
    let file = match error {
        config::ConfigError::FileParse { uri: Some(uri), .. } => format!(" in {uri}"),
        _ => String::new(),
    };
    match last {
        // The lines between show the source.
        Some(last) if is_of_a_file => format!("{first}: {last}{file}"),
        _ => text,
    }
}

/// Where OpenTelemetry's own variables say that spans go: the one for traces is a whole URL, the general one is its beginning.
fn traces_endpoint(environment: &HashMap<String, String>) -> Option<String> {
    let set = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned).or_else(|| {
        let base = set("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(format!("{}/v1/traces", base.trim_end_matches('/')))
    })
}

#[cfg(test)]
mod tests;
