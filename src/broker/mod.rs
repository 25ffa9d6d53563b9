//! The way to RabbitMQ: connections without recovery, the topology, and dead letters.
//!
//! It never reconnects behind anyone's back: the life of a node's connection *is* the ownership of what it holds, so a
//! connection that ended stays ended and says so. It never decides what is in a message.

mod dead;
mod depth;
mod health;
mod publish;
mod publisher;
mod servers;
mod session;
mod subscription;
mod tls;
mod topology;

use std::time::Duration;

use tokio::time::Instant;

pub use dead::{DeadLetter, Why};
pub use depth::Depth;
pub use health::{Health, HealthCheck};
pub use publish::PERSISTENT;
pub use publisher::Publisher;
pub use session::{Ended, Session};
pub use subscription::{Messages, Subscription};
pub use topology::{BATCH_CONTENT_TYPE, Topology};

use crate::config;
use servers::Servers;

/// Where the broker is and how long its answers may take.
#[derive(Clone)]
pub struct Broker {
    servers: Servers,
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
    /// The connection is there, and what was asked on it is not answered in time.
    #[error("broker: {0}")]
    Late(String),
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
            servers: Servers::parse(url, settings)?,
            topology: Topology::new(&settings.prefix),
            answer_timeout: Duration::from_millis(settings.answer_timeout_ms),
        })
    }

    /// The names of queues and exchanges.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Opens a connection, which `name` tells from others in the broker's own tools: to a server by chance, or to one of the others if that
    /// one gives none. Servers that were lost within the last seconds, by whichever connection, are tried last. Must be called on a runtime that lives at least as long as the connection: it reads and writes there.
    ///
    /// # Errors
    /// [`BrokerError::Away`], with what each server said.
    pub async fn connect(&self, name: &str) -> Result<Session, BrokerError> {
        let deadline = Instant::now() + self.answer_timeout;
        let servers = self.servers.beginning_at(rand::random::<u32>() as usize, Instant::now());
        let (count, mut failures) = (servers.len(), Vec::new());
        for (index, server) in servers.into_iter().enumerate() {
            // An even share of what is left: one that is silent takes nothing from the others, one that refuses leaves them its own.
            let bound = deadline.saturating_duration_since(Instant::now()) / (count - index) as u32;
            let (address, losses) = (servers::address(server), self.servers.losses());
            let why = match Session::open((server, &self.servers), name, bound, self.answer_timeout).await {
                Ok(session) => {
                    losses.found(&address);
                    return Ok(session);
                }
                Err(BrokerError::Away(why)) => why,
                Err(error) => error.to_string(),
            };
            losses.lost(&address, Instant::now());
            failures.push(format!("{address}: {why}"));
        }
        Err(BrokerError::Away(failures.join("; ")))
    }
}

/// The hosts, their ports, and the virtual host; never the password.
impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.servers.fmt(f)
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_line_for_people_nor_a_debug_line_shows_the_password() {
        let mut settings = config::Config::load(None).expect("the defaults are good").broker;
        settings.url = Some("amqp://guest:sesame@one,two".to_owned().into());
        let broker = Broker::new(&settings).unwrap();
        assert_eq!(format!("{broker} {broker:?}"), "one:5672,two:5672, vhost / Broker(one:5672,two:5672, vhost /)");
    }
}
