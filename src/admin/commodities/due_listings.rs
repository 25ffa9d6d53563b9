//! Lists commodities that are written down, by this process or after another that was killed: each once, whoever asks its engine first, and
//! however often. Never gives one up.
//!
//! An engine that is asked for one again says that it knows it. Where it has forgotten it, because it was closed or removed meanwhile, the
//! tables have its row; so each request says as of which batch they had none, and the engine holds that against what it has forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::skus::as_it_is;
use crate::domain::{CommodityId, Epoch, Sequence};
use crate::engine::{Command, Refusal};
use crate::http::AppState;
use crate::ring::partition_of;
use crate::routing::{Reply, Router};
use crate::store::{DueListing, Store, StoreError};
use crate::upkeep::keep_going;

/// How often the tables are read anew for one that an engine has forgotten more since.
const ROWS_READ_MAX: usize = 4;
/// Engines' answers that are waited for at the same time.
const ASKED_AT_A_TIME: usize = 256;
/// Between two tries for what could not be listed.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for what others have left.
const LOOK: Duration = Duration::from_secs(3);
/// What is read at a look.
const LOOKED_AT: u64 = 1_000;

/// Lists one that is written down. Whatever is told, it will be listed.
pub(super) async fn list_one(state: &AppState, due: &DueListing) -> Reply {
    for _ in 0..ROWS_READ_MAX {
        let mut replies = match ask(&state.router, &state.store, std::slice::from_ref(due)).await {
            Ok(replies) => replies,
            Err(error) => {
                tracing::warn!(%error, "cannot list commodity {} yet", due.commodity);
                return Reply::Pending(None);
            }
        };
        let reply = match replies.pop() {
            Some((_, Reply::Refused(Refusal::StaleRow))) => continue,
            Some((_, Reply::Refused(Refusal::CommodityExists))) | None => as_it_is(state, due.commodity).await,
            Some((_, reply)) => reply,
        };
        if !matches!(reply, Reply::Done(_) | Reply::Refused(Refusal::Closed | Refusal::CommodityNotFound)) {
            return Reply::Pending(None);
        }
        if let Err(error) = state.store.note_listed(&[due.commodity]).await {
            // Whoever looks for what is left finds it listed.
            tracing::warn!(%error, "cannot note that commodity {} is listed", due.commodity);
        }
        return reply;
    }
    Reply::Pending(None)
}

/// Lists what is written down, for so long. What is left then is listed later.
pub(in crate::admin) async fn list_all(
    router: &Router,
    store: &Store,
    due: Vec<DueListing>,
    patience: Duration,
) -> Result<Vec<DueListing>, StoreError> {
    let until = Instant::now() + patience;
    let mut left = due;
    loop {
        left = list_some(router, store, left).await?;
        if left.is_empty() || Instant::now() >= until {
            return Ok(left);
        }
        sleep(PAUSE).await;
    }
}

/// Lists what others have written down and left, for as long as the process runs.
pub(crate) async fn list_what_was_left(router: Arc<Router>, store: Store, stop: CancellationToken) {
    keep_going("what lists commodities that were left", &stop, || look_until(&router, &store, &stop)).await;
}

async fn look_until(router: &Router, store: &Store, stop: &CancellationToken) {
    let mut seen = BTreeSet::new();
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let looked = stop.run_until_cancelled(look(router, store, &mut seen)).await;
        if let Some(Err(error)) = looked {
            tracing::warn!(%error, "cannot look for commodities that are to be listed");
        }
    }
}

/// Lists everything, if something is still there that was there at the last look. What is new, somebody is at work on.
async fn look(router: &Router, store: &Store, seen: &mut BTreeSet<CommodityId>) -> Result<(), StoreError> {
    let due = store.due_listings(None, LOOKED_AT).await?;
    let now: BTreeSet<CommodityId> = due.iter().map(|due| due.commodity).collect();
    let is_left = !now.is_disjoint(seen);
    *seen = now;
    if is_left {
        tracing::info!("listing commodities that were left");
        list_what_is_due(router, store).await?;
    }
    Ok(())
}

/// Lists everything that is written down, as far as it can be now.
pub(crate) async fn list_what_is_due(router: &Router, store: &Store) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let due = store.due_listings(after, LOOKED_AT).await?;
        let Some(last) = due.last() else { return Ok(()) };
        after = Some(last.commodity);
        list_some(router, store, due).await?;
    }
}

/// Asks for each once; what is not listed then.
async fn list_some(router: &Router, store: &Store, due: Vec<DueListing>) -> Result<Vec<DueListing>, StoreError> {
    let mut left = Vec::new();
    for chunk in due.chunks(ASKED_AT_A_TIME) {
        let asked: BTreeSet<CommodityId> = ask(router, store, chunk)
            .await?
            .into_iter()
            .filter(|(_, reply)| !matches!(reply, Reply::Done(_) | Reply::Refused(Refusal::CommodityExists)))
            .map(|(id, _)| id)
            .collect();
        let (still, listed): (Vec<&DueListing>, Vec<&DueListing>) = chunk.iter().partition(|due| asked.contains(&due.commodity));
        store.note_listed(&listed.iter().map(|due| due.commodity).collect::<Vec<_>>()).await?;
        left.extend(still.into_iter().cloned());
    }
    Ok(left)
}

/// Asks the engines of commodities that have no row; what they say. Of those that have one there is nothing to ask.
async fn ask(router: &Router, store: &Store, due: &[DueListing]) -> Result<Vec<(CommodityId, Reply)>, StoreError> {
    let partitions = store.partitions();
    // First how far the tables are, then that they have no row: so far they had none.
    let applied: Vec<(Epoch, Sequence)> = store.partition_rows().await?.into_iter().map(|row| row.applied).collect();
    let ids: Vec<CommodityId> = due.iter().map(|due| due.commodity).collect();
    let with_rows: BTreeSet<CommodityId> = store.commodities_with_rows(&ids).await?.into_iter().collect();
    let mut asked = Vec::with_capacity(due.len());
    for due in due.iter().filter(|due| !with_rows.contains(&due.commodity)) {
        let absent_at = applied.get(usize::from(partition_of(due.commodity, partitions).get())).copied().unwrap_or_default();
        let (commodity, terms, total) = (due.commodity, Box::new(due.terms.clone()), due.total);
        let command = Command::ListOnce { commodity, terms, total, absent_at };
        asked.push(async move { (commodity, router.about_commodity(commodity, command).await) });
    }
    Ok(futures_util::future::join_all(asked).await)
}
