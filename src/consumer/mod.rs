//! The process that brings the logs of all partitions into the database: many batches in one transaction, acknowledged after
//! its commit.
//!
//! It never acknowledges what is not committed or buried in the dead-letter queue, never goes on behind a batch it
//! could not apply, and never decides anything about stock. A redelivery changes nothing: the projection skips what it has. Nor does
//! the order in which a log stands: each lane puts in order what it is sent.

mod http;
mod lag;
mod lane;
mod meters;
mod pump;
mod round;
mod search;
mod status;
mod tags;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use status::{Health, Status};

use crate::broker::{Broker, BrokerError, Publisher};
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::event::LogVersion;
use crate::process::{self, Port, Served, StartError};
use crate::projection;
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::trace::Tracer;
use pump::Pump;

/// Everything a consumer needs to run.
pub struct Consumer {
    store: Store,
    broker: Broker,
    name: String,
    settings: config::Consumer,
    /// The newest version of the log that is read.
    newest: LogVersion,
    delays: ExponentialBuilder,
    clock: Clock,
    status: Arc<Status>,
    tracer: Tracer,
}

/// Takes the port for metrics and health.
///
/// # Errors
/// [`StartError::Listen`] if it is taken.
pub async fn listen(settings: &config::Consumer) -> Result<Port, StartError> {
    Port::take(&settings.listen, "DOORBUSTER__CONSUMER__LISTEN").await
}

/// Runs a consumer with its small HTTP listener until `shutdown`: finishes the transaction under way, acknowledges it and
/// leaves. It waits for its database, and tells on its port that it does.
///
/// # Errors
/// [`StartError`] while it starts.
pub async fn run_until(config: &Config, port: Port, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
    let (metrics, tracer) = process::observed(config, ("consumer", &config.node.id))?;
    let (status, stop) = (Arc::new(Status::default()), CancellationToken::new());
    let served: Served = port.serve(|listener| http::start(listener, metrics.clone(), Arc::clone(&status)))?.into();
    tokio::spawn(telemetry::run_metrics_upkeep(metrics, stop.clone()));
    tokio::spawn({
        let stop = stop.clone();
        async move {
            shutdown.await;
            stop.cancel();
        }
    });
    let outcome = consume(config, status, tracer.clone(), stop).await;
    tracer.shut().await;
    served.stop().await;
    outcome
}

async fn consume(config: &Config, status: Arc<Status>, tracer: Tracer, stop: CancellationToken) -> Result<(), StartError> {
    // Whether the broker's URL is one is known before anything is waited for.
    Broker::new(&config.broker)?;
    let Some(store) = connect(config, &status, &stop).await? else { return Ok(()) };
    let newest = config.release.log_version();
    let keeper = tokio::spawn(projection::keep_checkpoints((store.clone(), newest), clock::system, stop.clone()));
    Consumer::new(config, store.clone(), clock::system, status)?.traced(tracer).run(stop).await;
    // It ends with the same token; a panic in it has been reported by the runtime.
    let _ = keeper.await;
    Ok(store.close().await?)
}

/// The database, waited for if it is away; none if it is time to stop.
async fn connect(config: &Config, status: &Status, stop: &CancellationToken) -> Result<Option<Store>, StartError> {
    let url = config.database.url.as_ref().ok_or_else(|| StoreError::Connect("no database is configured: set DATABASE_URL".into()))?;
    let mut delays = database_delays().build();
    while !stop.is_cancelled() {
        match Store::connect(url.expose_secret(), &config.database).await {
            Ok(store) => return Ok(Some(store)),
            Err(error @ (StoreError::Schema(_) | StoreError::Corrupt(_) | StoreError::Refused(_))) => return Err(error.into()),
            Err(error @ (StoreError::Connect(_) | StoreError::Database(_))) => {
                tracing::warn!(%error, "no database yet: {error}");
                status.database(Some(error.to_string()));
                stop.run_until_cancelled(tokio::time::sleep(delays.next().unwrap_or_default())).await;
            }
        }
    }
    Ok(None)
}

impl Consumer {
    /// Puts a consumer together; nothing is connected yet.
    ///
    /// # Errors
    /// [`BrokerError::Url`].
    pub fn new(config: &Config, store: Store, clock: Clock, status: Arc<Status>) -> Result<Self, BrokerError> {
        Ok(Self {
            store,
            broker: Broker::new(&config.broker)?,
            name: format!("doorbuster consumer {:08x}", rand::random::<u32>()),
            settings: config.consumer.clone(),
            newest: config.release.log_version(),
            delays: delays(&config.broker),
            clock,
            status,
            tracer: Tracer::off(),
        })
    }

    /// Goes on with the traces of the orders it brings into the database.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Consumes until `stop`. It outlives the loss of the broker and of the database.
    pub async fn run(self, stop: CancellationToken) {
        let mut publisher = Publisher::new(self.broker.clone(), format!("{} (dead letters)", self.name));
        let mut delays = self.delays.build();
        while !stop.is_cancelled() {
            let why = match self.session(&mut publisher, &stop).await {
                Ok(()) => {
                    delays = self.delays.build();
                    continue;
                }
                Err(error) => error.to_string(),
            };
            if self.status.broker(Some(why.clone())) {
                // It had been there: the next attempt comes soon.
                delays = self.delays.build();
            }
            tracing::warn!(broker = %self.broker, why, "not consuming: {why}");
            stop.run_until_cancelled(tokio::time::sleep(delays.next().unwrap_or_default())).await;
        }
    }

    /// One connection, from its opening to its end, or to `stop`.
    async fn session(&self, publisher: &mut Publisher, stop: &CancellationToken) -> Result<(), BrokerError> {
        let session = Arc::new(self.broker.connect(&self.name).await?);
        let consumed = match self.broker.topology().declare(&session, self.store.partitions()).await {
            Ok(()) => {
                tracing::info!(broker = %self.broker, server = session.address(), "consuming from the broker at {}", session.address());
                self.status.broker(None);
                let lag = lag::watch(Arc::clone(&session), self.broker.topology().clone(), self.store.partitions());
                let _lag = AbortOnDropHandle::new(tokio::spawn(lag));
                Pump::new(self, &session, publisher).run(stop).await
            }
            Err(error) => Err(error),
        };
        session.shut().await;
        consumed
    }
}

fn delays(settings: &config::Broker) -> ExponentialBuilder {
    pauses(Duration::from_millis(settings.reconnect_delay_min_ms), Duration::from_millis(settings.reconnect_delay_max_ms))
}

/// Pauses between tries at the database. Nobody waits for it but claims, and each try may be a whole transaction.
fn database_delays() -> ExponentialBuilder {
    pauses(Duration::from_millis(100), Duration::from_secs(5))
}

fn pauses(least: Duration, most: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(least).with_max_delay(most).with_jitter().without_max_times()
}
