//! The sandbox's messages on their way: signed as Standard Webhooks has it, sent until somebody takes them, and those of before a restart too.
//! Never sends one that is not in the books.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{self, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::books::{BooksError, Delivery};
use super::{Sandbox, api};
use crate::domain::Timestamp;
use crate::payments::provider::transport::{Question, Reach, Transport};
use crate::payments::webhook::sign_standard;

/// How long whoever gets a message may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Messages at the same time, at most.
const IN_FLIGHT_MAX: usize = 64;

/// The pauses between two attempts, in seconds: doubled each time, from the first to the last.
const RETRY_SECONDS: (u64, u64) = (1, 60);

/// Attempts at most: about half an hour.
const ATTEMPTS_MAX: u32 = 30;

/// How long to wait when the books fail, or when there is nothing to do.
const PAUSE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);

/// Where messages go.
pub(super) struct Deliveries {
    transport: Transport,
    secret: SecretString,
}

impl Deliveries {
    pub(super) fn new(url: &str, secret: &SecretString) -> Result<Self, String> {
        sign_standard(secret.expose_secret(), "check", Timestamp::ZERO, b"")?;
        let reach = Reach { url: url.to_owned(), timeout: TIMEOUT, in_flight_max: IN_FLIGHT_MAX, ca_file: None };
        Ok(Self { transport: Transport::new(&reach)?, secret: secret.clone() })
    }

    /// Whether it was taken.
    async fn send(&self, id: &str, body: &str, now: Timestamp) -> bool {
        let Ok(signature) = sign_standard(self.secret.expose_secret(), id, now, body.as_bytes()) else { return false };
        let value = |text: &str| HeaderValue::from_str(text).expect("it is visible ASCII");
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("webhook-id"), value(id)),
            (HeaderName::from_static("webhook-timestamp"), value(&(now.millis() / 1_000).to_string())),
            (HeaderName::from_static("webhook-signature"), value(&signature)),
        ];
        let question = Question { method: Method::POST, path: "", headers, body: body.to_owned().into() };
        match self.transport.ask(question).await {
            Ok(answer) => answer.status.is_success(),
            Err(_) => false,
        }
    }
}

impl Sandbox {
    /// Has succeed what is to, and sends what is to be sent, until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let this = actix_web::web::Data::from(Arc::clone(&self));
        loop {
            api::settle(&this).await;
            let pause = match self.send_due().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "the sandbox's books failed");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sends what is due; how long to wait for more.
    async fn send_due(&self) -> Result<Duration, BooksError> {
        let Some(deliveries) = &self.deliveries else { return self.pause_until_next().await };
        let due = self.books.due((self.clock)(), IN_FLIGHT_MAX as u32).await?;
        if due.is_empty() {
            return self.pause_until_next().await;
        }
        futures_util::future::try_join_all(due.iter().map(|delivery| self.deliver(deliveries, delivery))).await?;
        Ok(Duration::ZERO)
    }

    async fn deliver(&self, deliveries: &Deliveries, delivery: &Delivery) -> Result<(), BooksError> {
        let now = (self.clock)();
        let id = self.event_id(delivery.event);
        if deliveries.send(&id, &delivery.body, now).await || delivery.attempts + 1 >= ATTEMPTS_MAX {
            return self.books.delivered(delivery.id).await;
        }
        let (first, longest) = RETRY_SECONDS;
        let pause = first.checked_shl(delivery.attempts).unwrap_or(longest).min(longest);
        self.books.postpone(delivery.id, (self.clock)().plus_millis(pause * 1_000)).await
    }

    async fn pause_until_next(&self) -> Result<Duration, BooksError> {
        let next = self.books.next_due(self.deliveries.is_some()).await?;
        let millis = next.map(|at| at.millis().saturating_sub((self.clock)().millis()).max(0));
        Ok(millis.map_or(IDLE, |millis| Duration::from_millis(millis.unsigned_abs())).min(IDLE))
    }
}
