//! The way to RabbitMQ: connections without recovery, the topology, and dead letters.
//!
//! It never reconnects behind anyone's back: the life of a node's connection *is* the ownership of what it holds, so a
//! connection that ended stays ended and says so. It never decides what is in a message.

mod dead;
mod publish;
mod session;
mod subscription;
mod topology;

use std::time::Duration;

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

pub use dead::{DeadLetter, DeadLetters, Why};
pub use publish::PERSISTENT;
pub use session::{Ended, Session};
pub use subscription::{Messages, Subscription};
pub use topology::{BATCH_CONTENT_TYPE, Topology};

use crate::config;

/// Where the broker is and how long its answers may take.
#[derive(Clone)]
pub struct Broker {
    uri: AMQPUri,
    topology: Topology,
    answer_timeout: Duration,
}

/// What the broker did not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The URL is wrong: one line that says what to do.
    #[error("{0}")]
    Url(String),
    /// No connection, or it ended.
    #[error("broker: {0}")]
    Away(String),
    /// It takes no messages: its memory or disk alarm is raised.
    #[error("broker is blocked: {0}")]
    Blocked(String),
    /// It answered, and refused.
    #[error("broker refused: {0}")]
    Refused(String),
    /// What is asked for is another connection's exclusively (405).
    #[error("locked by another connection")]
    Locked,
    /// What is asked for does not exist (404).
    #[error("broker: {0}")]
    Missing(String),
}

impl Broker {
    /// Takes the configuration; connects to nothing yet.
    ///
    /// # Errors
    /// [`BrokerError::Url`] when there is no URL or it is none.
    pub fn new(settings: &config::Broker) -> Result<Self, BrokerError> {
        let url = settings.url.as_ref().ok_or_else(|| BrokerError::Url("no broker is configured: set AMQP_URL or broker.url".into()))?;
        Ok(Self {
            uri: parse(url, settings)?,
            topology: Topology::new(&settings.prefix),
            answer_timeout: Duration::from_millis(settings.answer_timeout_ms),
        })
    }

    /// The names of queues and exchanges.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Opens a connection, which `name` tells from others in the broker's own tools. Must be called on a runtime that lives
    /// at least as long as the connection: it reads and writes there.
    ///
    /// # Errors
    /// [`BrokerError::Away`].
    pub async fn connect(&self, name: &str) -> Result<Session, BrokerError> {
        Session::open(self.uri.clone(), name, self.answer_timeout).await
    }
}

/// The host, the port and the virtual host; never the password.
impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}, vhost {}", self.uri.authority.host, self.uri.authority.port, self.uri.vhost)
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({self})")
    }
}

fn parse(url: &SecretString, settings: &config::Broker) -> Result<AMQPUri, BrokerError> {
    // The parser's own errors are not shown: some repeat the URL, and the URL has the password.
    let wrong = || BrokerError::Url("broker.url (AMQP_URL) is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST".into());
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| wrong())?;
    if uri.vhost.is_empty() {
        // amqp://host/ names the virtual host "" by the letter; everyone who writes it means the default one.
        uri.vhost = "/".into();
    }
    if let Some(vhost) = &settings.vhost {
        uri.vhost.clone_from(vhost);
    }
    // The server proposes 60 s; a peer that vanished without a word should be noticed sooner.
    uri.query.heartbeat.get_or_insert(settings.heartbeat_seconds);
    uri.query.connection_timeout.get_or_insert(settings.answer_timeout_ms);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> config::Broker {
        config::Broker {
            url: Some(url.to_owned().into()),
            vhost: None,
            prefix: "doorbuster".into(),
            heartbeat_seconds: 10,
            answer_timeout_ms: 5000,
            reconnect_delay_min_ms: 100,
            reconnect_delay_max_ms: 250,
        }
    }

    #[test]
    fn a_url_without_a_vhost_means_the_default_one() {
        for url in ["amqp://guest:guest@127.0.0.1:5672", "amqp://guest:guest@127.0.0.1:5672/", "amqp://guest:guest@127.0.0.1/%2f"] {
            assert_eq!(Broker::new(&settings(url)).unwrap().uri.vhost, "/", "{url}");
        }
    }

    #[test]
    fn a_configured_vhost_wins_over_the_one_of_the_url() {
        let settings = config::Broker { vhost: Some("shop".into()), ..settings("amqp://127.0.0.1/other") };
        assert_eq!(Broker::new(&settings).unwrap().uri.vhost, "shop");
    }

    #[test]
    fn the_heartbeat_of_the_url_wins_over_the_configured_one() {
        assert_eq!(Broker::new(&settings("amqp://127.0.0.1/?heartbeat=3")).unwrap().uri.query.heartbeat, Some(3));
        assert_eq!(Broker::new(&settings("amqp://127.0.0.1")).unwrap().uri.query.heartbeat, Some(10));
    }

    #[test]
    fn neither_an_error_nor_a_debug_line_shows_the_password() {
        let error = Broker::new(&settings("http://guest:sesame@127.0.0.1")).unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
        let broker = Broker::new(&settings("amqp://guest:sesame@127.0.0.1")).unwrap();
        assert!(!format!("{broker} {broker:?}").contains("sesame"));
    }
}
