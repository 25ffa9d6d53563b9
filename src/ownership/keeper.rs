//! The node's one connection: opened, watched until it ends, opened again after a pause that grows. One task owns it; everyone
//! else reads what it says. It never repairs a session and never keeps two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Ended, Session};
use crate::domain::Partitions;

/// What a claim can count on right now.
#[derive(Clone)]
pub(super) enum Link {
    /// The first attempt is under way.
    Opening,
    /// Connected, and the topology is there.
    Up(Arc<Session>),
    /// The broker takes no messages; why.
    Blocked(String),
    /// The connection went; whether there is another is not known yet.
    Lost(String),
    /// There is no connection to be had; why.
    Away(String),
}

/// The least time between two lines about the same.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What the log was told last of a broker that is away: it is asked several times a second.
#[derive(Default)]
struct Complaints(Option<(String, Instant)>);

impl Complaints {
    /// Whether this is to be told: another reason at once, the same one now and then.
    fn is_due(&mut self, why: &str, now: Instant) -> bool {
        let is_known = self.0.as_ref().is_some_and(|(told, at)| told == why && now.duration_since(*at) < COMPLAINT_INTERVAL);
        if !is_known {
            self.0 = Some((why.to_owned(), now));
        }
        !is_known
    }
}

pub(super) struct Keeper {
    pub(super) broker: Broker,
    pub(super) name: String,
    pub(super) partitions: Partitions,
    pub(super) delay_min: Duration,
    pub(super) delay_max: Duration,
}

impl Keeper {
    /// Keeps a connection until `stop`, then closes it: every lock of this node is free then.
    pub(super) async fn run(self, link: watch::Sender<Link>, stop: CancellationToken) {
        let (mut delays, mut complaints) = (self.delays(), Complaints::default());
        while !stop.is_cancelled() {
            match self.open().await {
                Ok(session) => {
                    tracing::info!(broker = %self.broker, "connected to the broker at {}", self.broker);
                    complaints = Complaints::default();
                    delays = self.delays();
                    self.keep(session, &link, &stop).await;
                }
                Err(why) => {
                    if complaints.is_due(&why, Instant::now()) {
                        tracing::warn!(broker = %self.broker, why, "no connection to the broker at {}", self.broker);
                    }
                    link.send_replace(Link::Away(why));
                }
            }
            let pause = delays.next().unwrap_or(self.delay_max);
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
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

    /// Lends the session until it ends, then closes its connection: its locks are free before the next one is opened.
    async fn keep(&self, session: Session, link: &watch::Sender<Link>, stop: &CancellationToken) {
        let session = Arc::new(session);
        link.send_replace(Link::Up(Arc::clone(&session)));
        let ended = tokio::select! {
            ended = session.ended() => ended,
            () = stop.cancelled() => Ended::Gone("the node is stopping".into()),
        };
        tracing::warn!(broker = %self.broker, why = %ended, "the broker session ended: {ended}");
        match ended {
            Ended::Gone(why) => drop(link.send_replace(Link::Lost(why))),
            Ended::Blocked(why) => {
                // A blocked broker does not read from this connection: it can be neither closed nor replaced (its locks
                // stay) until the alarm is over.
                link.send_replace(Link::Blocked(why));
                tokio::select! {
                    () = session.unblocked() => tracing::info!("the broker takes messages again"),
                    () = stop.cancelled() => (),
                }
                link.send_replace(Link::Lost("the broker was blocked until now".into()));
            }
        }
        session.shut().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_its_reason_changes_and_then_now_and_then() {
        let (begin, mut complaints) = (Instant::now(), Complaints::default());
        let mut is_due = |why, millis| complaints.is_due(why, begin + Duration::from_millis(millis));
        assert!(is_due("refused", 0));
        assert!((1..40).all(|attempt| !is_due("refused", attempt * 250)));
        assert!(is_due("refused", 10_000));
        assert!(!is_due("refused", 10_250));
        assert!(is_due("no answer", 10_500));
        assert!(is_due("refused", 10_750));
    }
}
