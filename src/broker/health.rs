//! Whether the broker answers anybody at all, asked over a connection that carries nothing else. So a broker that stands still is told
//! from one connection, or one queue, that does. It never decides who owns what, nor what becomes of a batch.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// For whoever wants to know.
#[derive(Clone, Debug)]
pub struct Health {
    wanted: Arc<Notify>,
    answered: watch::Receiver<Option<Instant>>,
}

/// For the one who asks the broker.
#[derive(Debug)]
pub struct HealthCheck {
    wanted: Arc<Notify>,
    answered: watch::Sender<Option<Instant>>,
}

impl HealthCheck {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Health) {
        let (wanted, (sender, answered)) = (Arc::<Notify>::default(), watch::channel(None));
        (Self { wanted: Arc::clone(&wanted), answered: sender }, Health { wanted, answered })
    }

    /// Waits until somebody wants to know.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The broker has answered something just now.
    pub fn passed(&self) {
        self.answered.send_replace(Some(Instant::now()));
    }
}

impl Health {
    /// Has the broker asked.
    pub fn ask(&self) {
        self.wanted.notify_one();
    }

    /// Has the broker asked, and waits until it has answered something from now on, however long that takes.
    pub async fn answers(&self) {
        let (since, mut answered) = (Instant::now(), self.answered.clone());
        self.ask();
        if answered.wait_for(|at| at.is_some_and(|at| at >= since)).await.is_err() {
            // Nobody asks any more.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_before_says_nothing_of_now() {
        let (check, health) = HealthCheck::new();
        check.passed();
        sleep(MOMENT).await;
        assert!(timeout(MOMENT, health.answers()).await.is_err());
        check.wanted().await;
        let asked = tokio::spawn({
            let health = health.clone();
            async move { health.answers().await }
        });
        check.wanted().await;
        check.passed();
        asked.await.expect("it is answered");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_who_asks_is_no_answer() {
        let (check, health) = HealthCheck::new();
        check.passed();
        sleep(MOMENT).await;
        drop(check);
        assert!(timeout(MOMENT, health.answers()).await.is_err());
    }
}
