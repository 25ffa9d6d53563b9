//! The queues of a cluster that is over. Never touches any that do not begin with its prefix, and never waits without a bound.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use doorbuster::domain::Partitions;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};

use super::database::on_a_thread_of_its_own;

/// How long deleting them may take, all together.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Names on a broker. The processes declare the queues; dropping this deletes them.
#[derive(Debug)]
pub(super) struct OwnQueues {
    url: String,
    prefix: String,
    partitions: Partitions,
}

impl OwnQueues {
    /// Names that begin with `prefix`.
    pub(super) fn new(url: &str, prefix: &str, partitions: Partitions) -> Self {
        Self { url: url.to_owned(), prefix: prefix.to_owned(), partitions }
    }
}

impl Drop for OwnQueues {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.url, &self.prefix, self.partitions) {
            eprintln!("loadtest: {error:#}");
        }
    }
}

/// Deletes what has a name that begins with `prefix`, or says what is left behind and why.
pub(super) fn delete(url: &str, prefix: &str, partitions: Partitions) -> anyhow::Result<()> {
    let logs = partitions.iter().map(|partition| format!("{prefix}.partition.{partition}.log"));
    let queues = logs.chain([format!("{prefix}.dead")]).collect();
    let (url, exchange) = (url.to_owned(), prefix.to_owned());
    on_a_thread_of_its_own(async move { remove(&url, exchange, queues, REMOVE_TIMEOUT).await }).context("on the broker are left behind")
}

/// Deletes them, or says which are left and why.
async fn remove(url: &str, exchange: String, queues: Vec<String>, bound: Duration) -> anyhow::Result<()> {
    let mut left = queues;
    left.push(exchange);
    let removed = tokio::time::timeout(bound, remove_each(url, &mut left)).await;
    let why = match removed.unwrap_or_else(|_| Err(anyhow!("not done within {bound:?}"))) {
        Ok(()) if left.is_empty() => return Ok(()),
        Ok(()) => anyhow!("the broker refused"),
        Err(error) => error,
    };
    bail!("{}: {why:#}", left.join(", "))
}

/// Takes out of `left` what is deleted: queues, and the exchange at its end. One that is not there is what is wanted.
async fn remove_each(url: &str, left: &mut Vec<String>) -> anyhow::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("no connection")?;
    let exchange = left.last().cloned();
    for name in left.clone() {
        // One for each: a refusal closes it.
        let channel = connection.create_channel().await?;
        let deleted = if Some(&name) == exchange.as_ref() {
            channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await
        } else {
            channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.map(drop)
        };
        if deleted.is_ok() {
            left.retain(|other| *other != name);
        }
    }
    // What is left to fail here is the good-bye.
    drop(connection.close(200, "done".into()).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broker_that_does_not_answer_is_given_up_and_what_is_left_is_named() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://guest:guest@{}/%2f", silent.local_addr().unwrap());
        let left = remove(&url, "shop".to_owned(), vec!["shop.dead".to_owned()], Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(left.to_string(), "shop.dead, shop: not done within 100ms");
    }
}
