//! Whether there is a broker: one connection that is never lent, opened, watched until it ends, opened again after a pause that grows.
//! While it lasts the others may be opened. It holds no lock and publishes nothing, so that nothing but the broker itself, or the way
//! there, can hold it up. It never repairs a session and never keeps two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::connections::{Connections, Link};
use crate::broker::{Broker, BrokerError, Ended, HealthCheck, Session};
use crate::domain::Partitions;

/// How long a broker that is there takes for the least of answers, at most.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Keeper {
    pub(super) broker: Broker,
    pub(super) name: String,
    pub(super) partitions: Partitions,
    pub(super) delay_min: Duration,
    pub(super) delay_max: Duration,
    pub(super) connections: Arc<Connections>,
    pub(super) check: HealthCheck,
    pub(super) stop: CancellationToken,
}

impl Keeper {
    /// Keeps a connection until told to stop.
    pub(super) async fn run(self) {
        let (mut delays, mut complaints) = (self.delays(), Complaints::default());
        while let Some(opened) = self.stop.run_until_cancelled(self.open()).await {
            match opened {
                Ok(session) => {
                    tracing::info!(broker = %self.broker, server = session.address(), "connected to the broker at {}", session.address());
                    complaints = Complaints::default();
                    delays = self.delays();
                    self.keep(session).await;
                }
                Err(why) => {
                    if complaints.is_due(&why, Instant::now()) {
                        tracing::warn!(broker = %self.broker, why, "no connection to the broker at {}", self.broker);
                    }
                    self.connections.set_link(Link::Away(why));
                }
            }
            let pause = delays.next().unwrap_or(self.delay_max);
            self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn open(&self) -> Result<Session, String> {
        let session = self.broker.connect(&self.name).await.map_err(|error| error.to_string())?;
        match self.broker.topology().declare(&session, self.partitions).await {
            Ok(()) => Ok(session),
            Err(error) => {
                session.shut().await;
                Err(error.to_string())
            }
        }
    }

    /// Says that the broker is there until the session ends or the broker does not answer on it.
    async fn keep(&self, session: Session) {
        self.connections.set_link(Link::Up);
        self.check.passed();
        let ended = loop {
            tokio::select! {
                ended = session.ended() => break ended,
                () = self.stop.cancelled() => break Ended::Gone("the node is stopping".into()),
                () = self.check.wanted() => match timeout(CHECK_TIMEOUT, ask(&session)).await {
                    Ok(Ok(())) => self.check.passed(),
                    Ok(Err(error)) => session.end_silent(&error.to_string()),
                    Err(_) => session.end_silent(&format!("the broker does not answer within {} ms", CHECK_TIMEOUT.as_millis())),
                },
            }
        };
        let server = session.address();
        tracing::warn!(broker = %self.broker, server, why = %ended, "the session with the broker at {server} ended: {ended}");
        self.connections.set_link(Link::Lost(ended.to_string()));
        self.connections.forget_spares();
        // A broker that does not answer is not waited for: there is nothing of this connection's to be free.
        self.connections.close_later(session);
    }

    fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_min_delay(self.delay_min)
            .with_max_delay(self.delay_max)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// The least that a broker can be asked.
async fn ask(session: &Session) -> Result<(), BrokerError> {
    let channel = session.channel().await?;
    session.close(channel).await;
    Ok(())
}
