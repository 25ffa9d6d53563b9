//! The queues of a cluster that is over. Never touches any that do not begin with its prefix.

use doorbuster::domain::Partitions;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};

use super::database::on_a_thread_of_its_own;

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
        let (url, prefix, partitions) = (self.url.clone(), self.prefix.clone(), self.partitions);
        let removed = on_a_thread_of_its_own(async move {
            // A broker that is gone by now has nothing to clean up.
            let Ok(connection) = Connection::connect(&url, ConnectionProperties::default()).await else { return Ok(()) };
            for partition in partitions.iter() {
                delete(&connection, format!("{prefix}.partition.{partition}.log")).await;
            }
            delete(&connection, format!("{prefix}.dead")).await;
            if let Ok(channel) = connection.create_channel().await {
                drop(channel.exchange_delete(prefix.as_str().into(), ExchangeDeleteOptions::default()).await);
            }
            // What is left to fail here is the good-bye.
            drop(connection.close(200, "done".into()).await);
            Ok(())
        });
        if let Err(error) = removed {
            eprintln!("loadtest: queues of {} may be left behind: {error:#}", self.prefix);
        }
    }
}

/// A queue that is not there is what is wanted.
async fn delete(connection: &Connection, queue: String) {
    if let Ok(channel) = connection.create_channel().await {
        drop(channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await);
    }
}
