//! Brings the news of changed passwords and roles from the database to where tokens are judged ([`Endings`]): all that count at the start,
//! and from then on several times a second what is new. Never judges a token itself.
//!
//! While the database is away tokens go on being believed, also those that were ended meanwhile: selling does not depend on the
//! database. `/readyz` and the metrics say for how long nothing was heard.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::auth::{CHANGES_MAX, Endings, SKEW_MAX_MS};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::store::{AccountChange, Store, StoreError};
use crate::upkeep::keep_going;

/// How often the database is asked. A change is to be known everywhere within a second.
const INTERVAL: Duration = Duration::from_millis(300);

/// How long it may take to answer before it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Changes that are read at once.
const PAGE: u64 = 10_000;

/// Follows the changes of one database.
#[derive(Clone, Debug)]
pub struct AccountChanges {
    store: Store,
    endings: Arc<Endings>,
    /// The number of the last change that is known.
    last: i64,
    /// How long tokens live, in milliseconds.
    token_life_ms: u64,
}

impl AccountChanges {
    /// Reads what may matter to a token that is good now. Before the first token is judged.
    ///
    /// # Errors
    /// [`StoreError`], after which no token should be judged.
    pub async fn load(store: Store, endings: Arc<Endings>, token_life_seconds: u64, now: Timestamp) -> Result<Self, StoreError> {
        metrics::describe_gauge!(
            "doorbuster_account_changes_age_seconds",
            "How long ago changed passwords and roles were last heard of; tokens that were ended since are still believed"
        );
        let mut changes = Self { store, endings, last: 0, token_life_ms: token_life_seconds.saturating_mul(1_000) };
        changes.read_all(now).await?;
        Ok(changes)
    }

    /// Asks again and again until `stop`.
    pub async fn follow(self, clock: Clock, stop: CancellationToken) {
        keep_going("the news of accounts", &stop, || self.clone().look_until(clock, stop.clone())).await;
    }

    async fn look_until(mut self, clock: Clock, stop: CancellationToken) {
        let age = metrics::gauge!("doorbuster_account_changes_age_seconds");
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_told = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(looked) = stop.run_until_cancelled(self.look(clock())).await else { break };
            age.set(self.endings.unheard_for().as_secs_f64());
            match (looked, self.endings.warning()) {
                (Err(error), Some(warning)) if !was_told => {
                    tracing::warn!(%error, "{warning}: {error}");
                    was_told = true;
                }
                (Ok(()), _) if was_told => {
                    tracing::info!("changed passwords and roles are heard of again");
                    was_told = false;
                }
                _ => {}
            }
        }
    }

    /// Asks once.
    async fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        // What was made in this process may not have been read yet. First what is known, then what there is: that is no less.
        let known = self.last.max(self.endings.newest());
        let last = in_time(self.store.last_account_change()).await?;
        let is_behind = last < known;
        if is_behind && in_time(self.store.last_account_change_where_it_is_made()).await? < known {
            // A database that was brought back from a copy counts on from what it was.
            tracing::warn!(last, known, "the changes of accounts count on from an earlier number: all are read again");
            self.endings.begin_anew();
            return self.read_all(now).await;
        }
        while self.last < last {
            let page = in_time(self.store.account_changes_after(self.last, PAGE)).await?;
            let highest = self.note(&page);
            // An account's earlier changes are not there any more: the sequence has holes, and may end with one.
            self.last = highest.max(if (page.len() as u64) < PAGE { last } else { self.last });
        }
        if is_behind {
            // Something between us and the database has a copy of it answer, which does not have yet what was changed here. What is known stays
            // known; news that is not there yet cannot be heard.
            return Err(StoreError::Connect("the database answers with what it was before: a copy of it that lags".into()));
        }
        self.endings.heard();
        Ok(())
    }

    /// From the latest on, as far back as there is room for, or as any token is old. Cut short, the next look begins it anew.
    async fn read_all(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let oldest_token = now.minus_millis(self.token_life_ms.saturating_add(2 * SKEW_MAX_MS));
        let mut last = in_time(self.store.last_account_change()).await?;
        let (mut before, mut left) = (i64::MAX, CHANGES_MAX as u64);
        loop {
            let limit = PAGE.min(left);
            let page = in_time(self.store.account_changes_before(before, limit)).await?;
            last = last.max(self.note(&page));
            let Some(oldest) = page.last().filter(|_| page.len() as u64 == limit) else { break };
            left -= limit;
            if left == 0 || oldest.at < oldest_token {
                self.endings.unsure_until(oldest.at);
                break;
            }
            before = oldest.number;
        }
        self.last = last;
        self.endings.heard();
        Ok(())
    }

    /// The highest number of these, or 0.
    fn note(&self, changes: &[AccountChange]) -> i64 {
        for change in changes {
            self.endings.note(change.account, change.number, change.generation, change.at);
        }
        changes.iter().map(|change| change.number).max().unwrap_or(0)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Connect(format!("the database does not answer within {} ms", ANSWER_TIMEOUT.as_millis()));
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Partitions;
    use crate::store::{Account, Role};

    async fn database(folder: &tempfile::TempDir, name: &str) -> Store {
        let (url, settings) =
            (format!("sqlite:{}", folder.path().join(name).display()), crate::config::Config::load(None).unwrap().database);
        Store::migrate(&url, &settings, Partitions::DEFAULT).await.unwrap();
        Store::connect(&url, &settings).await.unwrap()
    }

    async fn account(store: &Store, name: &str) -> Account {
        store.create_account(name, "a hash", Role::Buyer, at(0)).await.unwrap().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000 + seconds * 1_000).unwrap()
    }

    /// Reads go to a copy that has everything later than the database has it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_that_lags_ends_nothing_that_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (database, copy) = (database(&folder, "database").await, database(&folder, "copy").await);
        let (alice, bob) = (account(&database, "alice").await, account(&database, "bob").await);
        assert_eq!((account(&copy, "alice").await.id, account(&copy, "bob").await.id), (alice.id, bob.id));
        let endings = Arc::<Endings>::default();
        let mut changes = AccountChanges::load(database.reading_from(&copy), Arc::clone(&endings), 60, at(0)).await.unwrap();
        changes.look(at(1)).await.unwrap();

        // Made here, so that it is known here.
        let change = database.change_password(&alice, "another hash", at(2)).await.unwrap().unwrap();
        endings.note(change.account, change.number, change.generation, change.at);
        for _ in 0..3 {
            assert!(changes.look(at(3)).await.is_err(), "no news is to be had");
            assert_eq!(endings.newest(), change.number, "and what is known stays known");
        }
        // Made elsewhere, and come to the copy together with the other, and one more that has not.
        let of_bob = database.change_password(&bob, "another hash", at(4)).await.unwrap().unwrap();
        copy.change_password(&alice, "another hash", at(2)).await.unwrap().unwrap();
        changes.look(at(5)).await.unwrap();
        assert_eq!(endings.newest(), change.number);
        copy.change_password(&bob, "another hash", at(4)).await.unwrap().unwrap();
        changes.look(at(6)).await.unwrap();
        assert_eq!(endings.newest(), of_bob.number);

        // The copy was left behind again, further than before; then something is made here.
        let alice = database.account(alice.id).await.unwrap().unwrap();
        let last = database.change_password(&alice, "a third hash", at(7)).await.unwrap().unwrap();
        endings.note(last.account, last.number, last.generation, last.at);
        assert!(changes.look(at(8)).await.is_err());
        assert_eq!(endings.newest(), last.number);
    }
}
