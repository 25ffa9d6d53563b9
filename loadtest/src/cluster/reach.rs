//! Whether the servers of a cluster are there. Never waits long, and never changes anything on them.

use std::time::Duration;

use anyhow::{Context, anyhow};
use lapin::{Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Services;
use super::isolation::parts;

/// How long a server may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A server as people know it.
struct Known {
    what: &'static str,
    remedy: &'static str,
}

const DATABASE: Known = Known { what: "database server", remedy: "start MariaDB or MySQL, or set DATABASE_URL" };
const BROKER: Known = Known { what: "broker", remedy: "start RabbitMQ, or set AMQP_URL" };

impl Services {
    /// Whether somebody listens where the database is, and the broker lets this program in.
    ///
    /// # Errors
    /// If not, in a line that says what to do.
    pub async fn reach(&self) -> anyhow::Result<()> {
        self.reach_database().await?;
        self.reach_broker().await
    }

    /// Whether somebody listens where the database is.
    ///
    /// # Errors
    /// If not, in a line that says what to do.
    pub async fn reach_database(&self) -> anyhow::Result<()> {
        listens(&DATABASE, &self.mysql, 3306).await
    }

    /// Whether the broker lets this program in.
    ///
    /// # Errors
    /// If not, in a line that says what to do.
    pub async fn reach_broker(&self) -> anyhow::Result<()> {
        let Known { what, remedy } = BROKER;
        listens(&BROKER, &self.amqp, if self.amqp.starts_with("amqps:") { 5671 } else { 5672 }).await?;
        let greeted = timeout(ANSWER_TIMEOUT, Connection::connect(&self.amqp, ConnectionProperties::default())).await;
        let greeted = greeted.map_err(|_| anyhow!("no answer within {} s", ANSWER_TIMEOUT.as_secs())).and_then(|greeted| Ok(greeted?));
        let connection = greeted.with_context(|| format!("the {what} at {} lets nobody in: {remedy}", parts(&self.amqp).1))?;
        // What is left to fail here is the good-bye.
        drop(connection.close(200, "done".into()).await);
        Ok(())
    }
}

/// Whether anybody takes a connection at the host and port of that URL. Its user and password are nobody's to read.
async fn listens(Known { what, remedy }: &Known, url: &str, default_port: u16) -> anyhow::Result<()> {
    let (_, authority, _) = parts(url);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{default_port}") };
    let connected = timeout(ANSWER_TIMEOUT, TcpStream::connect(&address)).await;
    let connected = connected.map_err(|_| anyhow!("no answer within {} s", ANSWER_TIMEOUT.as_secs())).and_then(|stream| Ok(stream?));
    connected.map(drop).with_context(|| format!("no {what} at {address}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_away_is_named_without_its_password_and_with_what_to_do() {
        let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = listens(&BROKER, &format!("amqp://guest:secret@{away}/%2f"), 5672).await.unwrap_err();
        let words = format!("{error:#}");
        assert!(words.starts_with(&format!("no broker at {away}: start RabbitMQ, or set AMQP_URL: ")), "{words}");
        assert!(!words.contains("secret"), "{words}");
    }
}
