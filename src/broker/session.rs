//! One connection, from its opening to its end. It ends once, with a reason, and everyone who depends on it is told.
//!
//! It never reconnects and never recovers. Every wait for an answer has a bound: a client library may keep callers of a lost
//! connection waiting much longer than that.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::options::{BasicConsumeOptions, ConfirmSelectOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::BrokerError;
use super::servers::{self, Losses, Servers};

/// Refusals after which a session ends, at most: it is less where the broker allows fewer than twice as many channels. Each closes a channel
/// by the broker's hand, and the library (4.12) cannot use such a channel's number again; a connection has 2,047 of them by default. Whoever
/// expects many refusals asks over a connection of its own.
const REFUSALS_MAX: u16 = 1_000;

/// A connection. Dropping it closes it.
pub struct Session {
    number: u64,
    connection: Arc<Connection>,
    end: Arc<End>,
    refusals: AtomicU16,
    refusals_max: u16,
    answer_timeout: Duration,
    _watch: DropGuard,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The broker takes no messages (its memory or disk alarm); the connection is still there.
    Blocked(String),
    /// The connection is gone.
    Gone(String),
    /// This process does not use the connection any more, because of what the broker said on it or did not say.
    GivenUp(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blocked(why) => write!(f, "the broker is blocked: {why}"),
            Self::Gone(why) | Self::GivenUp(why) => f.write_str(why),
        }
    }
}

/// What is known of the end: the first reason counts.
#[derive(Default)]
struct End {
    token: CancellationToken,
    why: OnceLock<Ended>,
    gone: CancellationToken,
    unblocked: CancellationToken,
    /// Who is told that the server was lost.
    losses: Losses,
    address: String,
}

impl End {
    fn set(&self, why: Ended) {
        let is_gone = matches!(why, Ended::Gone(_));
        // The reason before the notice, so that whoever is woken finds it. Whoever ends a connection here has not lost its server.
        if self.why.set(why).is_ok() && is_gone {
            self.shun();
        }
        self.token.cancel();
    }

    fn shun(&self) {
        self.losses.lost(&self.address, Instant::now());
    }
}

impl Session {
    /// Within a bound, all of it.
    pub(super) async fn open(
        (server, servers): (&AMQPUri, &Servers),
        name: &str,
        bound: Duration,
        answer_timeout: Duration,
    ) -> Result<Self, BrokerError> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let mut uri = server.clone();
        uri.query.connection_timeout.get_or_insert(bound.as_millis() as u64);
        let tls = &servers.tls;
        let deadline = Instant::now() + bound;
        let runtime = lapin::runtime::default_runtime()?;
        let connect = Connection::connect_uri_with_config(uri, properties, tls.config()?, runtime);
        let late = |_| BrokerError::Away(format!("no answer within {} ms", bound.as_millis()));
        let connection = tokio::time::timeout(bound, connect).await.map_err(late)?.map_err(|error| tls.explain(error))?;
        // Before anything else is done with the connection: what happens while nobody listens is not told later.
        let events = connection.events_listener();
        let sentinel = bounded(deadline.saturating_duration_since(Instant::now()), sentinel(&connection)).await?;
        let refusals_max = match connection.configuration().channel_max() {
            0 => REFUSALS_MAX,
            channels => (channels / 2).clamp(1, REFUSALS_MAX),
        };
        let end = Arc::new(End { losses: servers.losses().clone(), address: servers::address(server), ..End::default() });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(watch(events, sentinel, Arc::clone(&end))));
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            number,
            connection: Arc::new(connection),
            end,
            refusals: AtomicU16::new(0),
            refusals_max,
            answer_timeout,
            _watch: stop.drop_guard(),
        })
    }

    /// What tells it from every other one of this process.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The server at the other end, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.end.address
    }

    /// A new channel.
    ///
    /// # Errors
    /// [`BrokerError::Away`].
    pub async fn channel(&self) -> Result<Channel, BrokerError> {
        self.answer(self.connection.create_channel()).await
    }

    /// A new channel on which the broker confirms what is published.
    ///
    /// # Errors
    /// [`BrokerError::Away`].
    pub async fn confirming_channel(&self) -> Result<Channel, BrokerError> {
        let channel = self.channel().await?;
        self.answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    /// Waits for an answer as long as answers may take, and no longer than the session lasts.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn answer<T>(&self, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
        let answer = tokio::select! {
            biased;
            answer = bounded(self.answer_timeout, answer) => answer,
            why = self.ended() => return Err(why.into()),
        };
        if let Err(BrokerError::Locked | BrokerError::Missing(_) | BrokerError::Refused(_)) = &answer
            && self.refusals.fetch_add(1, Ordering::Relaxed) + 1 >= self.refusals_max
        {
            self.end("so many channels were refused that a new connection is needed");
        }
        answer
    }

    /// As [`answer`](Self::answer), with the answer being waited for until somebody says why no longer.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn answer_until<T>(
        &self,
        answer: impl Future<Output = Result<T, BrokerError>>,
        given_up: impl Future<Output = String>,
    ) -> Result<T, BrokerError> {
        tokio::select! {
            biased;
            answer = answer => answer,
            why = self.ended() => Err(why.into()),
            why = given_up => Err(BrokerError::Late(why)),
        }
    }

    /// Closes a channel and does not mind if it was closed. What was sent through it before has reached the broker then.
    pub async fn close(&self, channel: Channel) {
        let _ = self.answer(channel.close(200, "done".into())).await;
    }

    /// Ends the session: nothing that was sent through it and is not confirmed yet will be believed any more.
    pub fn end(&self, why: &str) {
        self.end.set(Ended::GivenUp(why.to_owned()));
    }

    /// The same, because its server does not answer: for a while, connections are sought with the others first.
    pub fn end_silent(&self, why: &str) {
        self.end.shun();
        self.end(why);
    }

    /// The same, because of what the library or the broker said: if the connection is gone, that is why.
    pub fn end_after(&self, error: &BrokerError) {
        let why = error.to_string();
        if matches!(error, BrokerError::Late(_)) {
            return self.end_silent(&why);
        }
        self.end.set(if matches!(error, BrokerError::Away(_)) { Ended::Gone(why) } else { Ended::GivenUp(why) });
    }

    /// Cancelled when the session has ended.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.end.token
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Ended {
        self.end.token.cancelled().await;
        self.over().unwrap_or_else(|| Ended::Gone("the connection was closed".into()))
    }

    /// Why it ended, if it has.
    #[must_use]
    pub fn over(&self) -> Option<Ended> {
        if self.connection.status().blocked() {
            // Known to the connection a moment before the notice is.
            self.end.set(Ended::Blocked("its memory or disk alarm is raised".into()));
        }
        self.end.why.get().cloned()
    }

    /// Why the broker takes nothing from this connection right now: it can be neither used nor closed, and what it holds stays held.
    #[must_use]
    pub fn blocked(&self) -> Option<String> {
        let is_over = self.end.unblocked.is_cancelled() || self.end.gone.is_cancelled();
        match self.over() {
            Some(Ended::Blocked(why)) if !is_over => Some(why),
            Some(Ended::Blocked(_) | Ended::Gone(_) | Ended::GivenUp(_)) | None => None,
        }
    }

    /// Waits until a blocked broker takes messages again, or the connection is gone.
    pub async fn unblocked(&self) {
        tokio::select! {
            () = self.end.unblocked.cancelled() => (),
            () = self.end.gone.cancelled() => (),
        }
    }

    /// Closes the connection: locks are free when this returns, if the broker answers within the bound.
    pub async fn shut(&self) {
        self.end("the connection was closed");
        let _ = bounded(self.answer_timeout, self.connection.close(200, "done".into())).await;
    }
}

/// The library closes a connection when the last of its channels is dropped; a subscription that was not closed keeps one.
impl Drop for Session {
    fn drop(&mut self) {
        self.end("the connection was dropped");
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && self.connection.status().connected()
        {
            let connection = Arc::clone(&self.connection);
            runtime.spawn(async move { connection.close(200, "dropped".into()).await });
        }
    }
}

impl From<Ended> for BrokerError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Blocked(why) => Self::Blocked(why),
            Ended::Gone(why) | Ended::GivenUp(why) => Self::Away(why),
        }
    }
}

impl From<lapin::Error> for BrokerError {
    fn from(error: lapin::Error) -> Self {
        let ErrorKind::ProtocolError(amqp) = error.kind() else {
            return Self::Away(crate::tls::why(&error).unwrap_or_else(|| error.to_string()));
        };
        match amqp.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => Self::Locked,
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing(amqp.get_message().to_string()),
            AMQPErrorKind::Soft(_) => Self::Refused(amqp.get_message().to_string()),
            AMQPErrorKind::Hard(_) => Self::Away(amqp.get_message().to_string()),
        }
    }
}

async fn bounded<T>(bound: Duration, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
    match tokio::time::timeout(bound, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(BrokerError::Away(format!("no answer within {} ms", bound.as_millis()))),
    }
}

/// A consumer on the pseudo-queue of direct replies, which nothing is ever sent to: it ends when the connection does.
/// (The library's connection events say when a channel was closed, and do not say when the connection was.)
async fn sentinel(connection: &Connection) -> lapin::Result<(Channel, lapin::Consumer)> {
    let channel = connection.create_channel().await?;
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consumer = channel.basic_consume("amq.rabbitmq.reply-to".into(), "".into(), options, FieldTable::default()).await?;
    Ok((channel, consumer))
}

/// Turns what the connection goes through into the end of the session.
async fn watch(events: impl Stream<Item = Event>, sentinel: (Channel, lapin::Consumer), end: Arc<End>) {
    let (_channel, mut consumer) = sentinel;
    let mut events = std::pin::pin!(events);
    loop {
        tokio::select! {
            Some(event) = events.next() => match event {
                Event::ConnectionBlocked(why) => end.set(Ended::Blocked(why)),
                Event::ConnectionUnblocked => end.unblocked.cancel(),
                // Of a channel: its user is told by the call that failed.
                _ => (),
            },
            delivery = consumer.next() => {
                let why = match delivery {
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => error.to_string(),
                    None => "the connection was closed".to_owned(),
                };
                end.set(Ended::Gone(why));
                end.gone.cancel();
                return;
            }
        }
    }
}
