//! Article numbers: each is one commodity's, at every instant. Never decides by a clock.
//!
//! 1. A number is claimed in the tables, where two claims on the same cannot be.
//! 2. Then the commodity's engine is asked to take it. A new commodity is written down in the transaction that claims its number, and listed by
//!    this process or by another, so a claim of one always comes to something. A change of a commodity that is there says of which version
//!    it is; once that has another one, a change that was left behind cannot be carried out any more.
//! 3. When a change is known to have led to the number, its claim says since which version of the commodity.
//! 4. Nobody gives a claim back. Whoever wants a number that somebody has a claim on asks the owner of that commodity whether it has the number
//!    or may still get it. If neither is so, the claim is taken over, as it was read: if it was made once more meanwhile, it is not. An owner
//!    that speaks of an earlier version than the claim was overtaken, and its word does not count.

use std::collections::BTreeMap;

use actix_web::web;

use crate::domain::{Commodity, CommodityId, Sku, Terms, TermsChange, Timestamp, Units};
use crate::engine::{Answer, Command, Refusal};
use crate::http::AppState;
use crate::http::etag::Expected;
use crate::http::problem::Problem;
use crate::routing::Reply;
use crate::store::{DueListing, Reserved, SkuClaim, SkuClaimed};

/// How often something is tried again that others were faster at.
const TRIES_MAX: usize = 8;

/// Owners that are asked at the same time.
const ASKED_AT_A_TIME: usize = 64;

/// Writes commodities down to be listed, all or none, with ids from `first` on. Tells the claims that are in the way.
pub(in crate::admin) async fn reserve(
    state: &AppState,
    first: CommodityId,
    offers: Vec<(Terms, Units)>,
    import_at: Option<Timestamp>,
) -> Result<Result<Vec<DueListing>, Vec<SkuClaim>>, Problem> {
    let mut in_place_of = BTreeMap::new();
    for _ in 0..TRIES_MAX {
        let claims = match state.store.reserve_listings(first, offers.clone(), in_place_of, import_at).await? {
            Reserved::Due(due) => return Ok(Ok(due)),
            Reserved::OlderReleases => return Err(Refusal::UpgradeUnfinished.into()),
            Reserved::Claimed(claims) => claims,
        };
        // The same was written down before, or just now, and asked for again.
        if claims.is_empty() && import_at.is_some() && state.store.import(first).await?.is_some() {
            return Ok(Ok(DueListing::with_ids_from(first, offers)));
        }
        if !claims.is_empty() && claims.iter().all(|claim| is_one_of(claim.commodity, first, offers.len())) {
            return Ok(Ok(DueListing::with_ids_from(first, offers)));
        }
        let (in_the_way, left_behind) = judged(state, claims).await?;
        if !in_the_way.is_empty() {
            return Ok(Err(in_the_way));
        }
        in_place_of = left_behind.into_iter().map(|claim| (claim.sku.clone(), claim)).collect();
    }
    Err(outpaced())
}

/// The claims on these numbers that are in the way of whoever wants them.
pub(in crate::admin) async fn that_count(state: &AppState, skus: &[Sku]) -> Result<Vec<SkuClaim>, Problem> {
    let (in_the_way, _) = judged(state, state.store.sku_claims(skus).await?).await?;
    Ok(in_the_way)
}

/// The claims that are in the way, and those that were left behind.
async fn judged(state: &AppState, claims: Vec<SkuClaim>) -> Result<(Vec<SkuClaim>, Vec<SkuClaim>), Problem> {
    let (mut in_the_way, mut left_behind) = (Vec::new(), Vec::new());
    let mut claims = claims.into_iter().peekable();
    while claims.peek().is_some() {
        let some: Vec<SkuClaim> = claims.by_ref().take(ASKED_AT_A_TIME).collect();
        let judged = futures_util::future::join_all(some.iter().map(|claim| is_left_behind(state, claim))).await;
        for (claim, is_left_behind) in some.into_iter().zip(judged) {
            if is_left_behind? { left_behind.push(claim) } else { in_the_way.push(claim) }
        }
    }
    Ok((in_the_way, left_behind))
}

fn is_one_of(id: CommodityId, first: CommodityId, count: usize) -> bool {
    usize::try_from(id.get() - first.get()).is_ok_and(|index| index < count)
}

/// Changes a commodity that is to have that number then. Goes on to its end whoever waits for it.
pub(super) async fn change(
    state: web::Data<AppState>,
    (id, expected): (CommodityId, Expected),
    sku: Sku,
    change: TermsChange,
) -> Result<Reply, Problem> {
    let changed = tokio::spawn(async move { change_of(&state, id, &expected, &sku, change).await });
    changed.await.unwrap_or_else(|failed| Err(Problem::Internal(format!("a change was cut short: {failed}"))))
}

async fn change_of(state: &AppState, id: CommodityId, expected: &Expected, sku: &Sku, change: TermsChange) -> Result<Reply, Problem> {
    for _ in 0..TRIES_MAX {
        let now = match as_it_is(state, id).await {
            Reply::Done(Answer::Commodity(commodity)) => commodity,
            other => return Ok(other),
        };
        if matches!(expected, Expected::OneOf(versions) if !versions.contains(&now.version)) {
            return Ok(Reply::Refused(Refusal::VersionMismatch));
        }
        let needs_claim = now.terms.sku.as_ref() != Some(sku);
        if needs_claim {
            claim(state, sku, (id, now.version)).await?;
        }
        let command = Command::Change { commodity: id, change: Box::new(change.clone()) };
        let reply = state.router.about_commodity(id, Command::Expecting { version: now.version, command: Box::new(command) }).await;
        if needs_claim {
            settle(state, sku, id, &reply).await;
        }
        match (reply, expected) {
            // Somebody else's change came between, and the caller means the commodity as it is.
            (Reply::Refused(Refusal::VersionMismatch), Expected::Any) => {}
            (reply, _) => return Ok(reply),
        }
    }
    Err(outpaced())
}

/// Notes what came of a change under a claim, if that is known.
async fn settle(state: &AppState, sku: &Sku, id: CommodityId, reply: &Reply) {
    let since = match reply {
        Reply::Pending(_) => return,
        Reply::Done(Answer::Commodity(commodity)) if commodity.terms.sku.as_ref() == Some(sku) => Some(commodity.version),
        Reply::Done(_) | Reply::Refused(_) | Reply::Busy(_) => None,
    };
    if let Err(error) = state.store.settle_sku(sku, id, since).await {
        // It stays open, and is over with the next change of the commodity.
        tracing::warn!(%error, "cannot note that a claim on a sku is settled");
    }
}

/// Claims a number for a change of that version of a commodity.
async fn claim(state: &AppState, sku: &Sku, of: (CommodityId, u32)) -> Result<(), Problem> {
    let mut in_place_of = None;
    for _ in 0..TRIES_MAX {
        match state.store.claim_sku(sku, of, in_place_of.as_ref()).await? {
            SkuClaimed::Made => return Ok(()),
            SkuClaimed::Of(claim) if is_left_behind(state, &claim).await? => in_place_of = Some(claim),
            SkuClaimed::Of(claim) => return Err(taken(claim)),
        }
    }
    Err(outpaced())
}

/// Whether the commodity neither has the number nor can get it by what was asked of it before the claim was read.
async fn is_left_behind(state: &AppState, claim: &SkuClaim) -> Result<bool, Problem> {
    let has_it = |commodity: &Commodity| commodity.terms.sku.as_ref() == Some(&claim.sku);
    match as_it_is(state, claim.commodity).await {
        // The number was got from a later owner, of which this one has not heard.
        Reply::Done(Answer::Commodity(commodity)) if commodity.version < claim.since => Err(outpaced()),
        Reply::Done(Answer::Commodity(commodity)) => Ok(!has_it(&commodity) && (claim.open == 0 || commodity.version > claim.version)),
        // Nothing of it changes any more. As long as the tables do not have that, nobody knows what they will say.
        Reply::Refused(Refusal::Closed) => {
            let row = state.store.commodity(claim.commodity).await?;
            Ok(row.is_some_and(|row| row.commodity.closed_at.is_some() && !has_it(&row.commodity)))
        }
        // Removed, or about to be listed.
        Reply::Refused(Refusal::CommodityNotFound) => {
            let row = state.store.commodity(claim.commodity).await?;
            Ok(row.is_some_and(|row| row.removed_at.is_some()))
        }
        Reply::Busy(busy) => Err(busy.into()),
        Reply::Done(_) | Reply::Refused(_) | Reply::Pending(_) => Err(outpaced()),
    }
}

/// The commodity as its owner has it: a change that changes nothing.
pub(in crate::admin) async fn as_it_is(state: &AppState, id: CommodityId) -> Reply {
    state.router.about_commodity(id, Command::Change { commodity: id, change: Box::default() }).await
}

/// What is told of a number that is another commodity's.
pub(in crate::admin) fn taken(claim: SkuClaim) -> Problem {
    Problem::SkuTaken { sku: claim.sku, commodity: claim.commodity }
}

fn outpaced() -> Problem {
    Problem::Unavailable { what: "What is known of the sku", cause: None }
}
