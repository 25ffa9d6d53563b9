//! What a queue says of itself. Asking changes nothing.

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use super::{BrokerError, Session};

/// How much is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait. Those that somebody was sent and has not acknowledged are not among them.
    pub ready: u32,
    /// Subscriptions that are served, or were and still hold messages. Those that stand by behind a single active one are not counted.
    pub readers: u32,
}

impl Session {
    /// Asks a queue. If there is none of that name, the channel is closed.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn depth(&self, channel: &Channel, queue: ShortString) -> Result<Depth, BrokerError> {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let queue = self.answer(channel.queue_declare(queue, options, FieldTable::default())).await?;
        Ok(Depth { ready: queue.message_count(), readers: queue.consumer_count() })
    }
}
