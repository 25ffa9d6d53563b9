//! Creating, changing, restocking and removing commodities. Never changes a row: each is a command to the owner's engine.

use actix_web::{HttpResponse, web};

use super::bodies::{Added, ChangeBody, NewBody, OperatorCommodityBody, PendingChange, RestockBody};
use super::request::{ChangeRequest, created, expecting, outcome, shown};
use super::{due_listings, skus, terms};
use crate::admin::note;
use crate::domain::CommodityId;
use crate::engine::{Answer, Command, Refusal};
use crate::http::etag::IfMatch;
use crate::http::key::{GivenKey, KeyHeader, under};
use crate::http::problem::Problem;
use crate::http::schema::problems;
use crate::http::{AppState, Body, Operator, RequestId};
use crate::routing::Reply;
use crate::store::Drawn;

/// Put a commodity on the list. It is on sale as soon as its window opens.
#[utoipa::path(post, path = "/admin/v1/commodities", operation_id = "create_commodity", tag = "operators: commodities",
    params(KeyHeader),
    request_body = NewBody,
    responses(
        (status = 201, description = "Listed", body = OperatorCommodityBody,
            headers(("Location" = String, description = "The commodity"), ("ETag" = String, description = "For `If-Match`")), links(
            ("place" = (operation_id = "place_order", parameters(("id" = "$response.body#/id")))),
            ("change" = (operation_id = "change_commodity", parameters(("id" = "$response.body#/id")))))),
        (status = 200, description = "Listed before, under the same key: as it stands now", body = OperatorCommodityBody,
            headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet. A commodity with a `sku` will be listed, whatever happens", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        CreateProblems))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    operator: Operator,
    key: GivenKey,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (terms, total) = terms::new_commodity(body.fields()?)?;
    let operation = key.operation(&operator.0.principal, &terms::asked(&terms, total));
    let (id, is_new) = match operation {
        None => (state.store.next_commodity_id().await?, true),
        // Before anything is made with it: whoever repeats the request goes on with the same id.
        Some(operation) => match state.store.commodity_ids_under_key(operation, 1, (state.clock)()).await? {
            Drawn::New(id) => (id, true),
            Drawn::Before(id) => (id, false),
            Drawn::Mismatch => return Err(Refusal::IdempotencyMismatch.into()),
        },
    };
    note(&operator.0, &request, "list commodity", id);
    if !is_new
        && terms.sku.is_some()
        && let Some(response) = made_before(&state, id).await?
    {
        return Ok(response);
    }
    if terms.sku.is_none() {
        let command = Command::List { commodity: id, terms: Box::new(terms), total };
        return created(&state, id, state.router.about_commodity(id, under(operation, command)).await);
    }
    let reply = match skus::reserve(&state, id, vec![(terms, total)], None).await? {
        Ok(due) => due_listings::list_one(&state, &due[0]).await,
        Err(mut claims) => return Err(claims.pop().map_or(Problem::Internal("nobody's claim is in the way".into()), skus::taken)),
    };
    let reply = match reply {
        Reply::Refused(Refusal::CommodityNotFound | Refusal::Closed) => gone(&state, id).await?,
        reply => reply,
    };
    if is_new { created(&state, id, reply) } else { outcome(&state, id, reply) }
}

/// What a commodity with that id is now, whose listing was asked for before under the same key; none if it was not written down then.
async fn made_before(state: &web::Data<AppState>, id: CommodityId) -> Result<Option<HttpResponse>, Problem> {
    match skus::as_it_is(state, id).await {
        Reply::Refused(Refusal::CommodityNotFound | Refusal::Closed) => {
            let row = state.store.commodity(id).await?;
            Ok(row.map(|row| shown(state, HttpResponse::Ok(), &row.commodity)))
        }
        reply => outcome(state, id, reply).map(Some),
    }
}

/// A commodity that was listed, and is not any more: as it was then. The tables may not have it yet.
async fn gone(state: &AppState, id: CommodityId) -> Result<Reply, Problem> {
    Ok(match state.store.commodity(id).await? {
        Some(row) if row.commodity.closed_at.is_none() && row.removed_at.is_none() => Reply::Pending(None),
        Some(row) => {
            if row.removed_at.is_some() {
                // What was claimed for it just now is of no use to it.
                state.store.drop_sku_claims(id).await?;
            }
            Reply::Done(Answer::DoneBefore(id, Some(Box::new(row.commodity))))
        }
        None => Reply::Pending(None),
    })
}

problems!(CreateProblems: CommodityExists, SkuTaken, IdempotencyMismatch, TooManyKeys, UpgradeUnfinished, Unavailable, Overloaded);

/// Change terms or the total: only the fields that are sent.
#[utoipa::path(patch, path = "/admin/v1/commodities/{id}", operation_id = "change_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "Changed", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        ChangeProblems))]
pub(crate) async fn change(request: ChangeRequest, body: Body) -> Result<HttpResponse, Problem> {
    let listing = request.state.router.board().get(request.id);
    let change = terms::change(body.fields()?, listing.as_ref().map(|listing| &listing.terms))?;
    let Some(Some(sku)) = change.sku.clone() else {
        return request.ask("change commodity", |commodity| Command::Change { commodity, change: Box::new(change) }).await;
    };
    note(&request.operator.0, &request.request, "change commodity", request.id);
    let reply = skus::change(request.state.clone(), (request.id, request.expected), sku, change).await?;
    outcome(&request.state, request.id, reply)
}

problems!(ChangeProblems: CommodityNotFound, TotalTooLow, Closed, SkuTaken, UpgradeUnfinished, VersionMismatch, Unavailable, Overloaded);

/// Take a commodity off the list that nobody holds or bought units of.
#[utoipa::path(delete, path = "/admin/v1/commodities/{id}", operation_id = "remove_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    responses(
        (status = 204, description = "Removed"),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        RemoveProblems))]
pub(crate) async fn remove(request: ChangeRequest) -> Result<HttpResponse, Problem> {
    note(&request.operator.0, &request.request, "remove commodity", request.id);
    let reply = expecting(&request.state, request.id, request.expected, None, Command::Remove(request.id)).await;
    if matches!(reply, Reply::Done(Answer::Removed))
        && let Err(error) = request.state.store.drop_sku_claims(request.id).await
    {
        // Whoever wants its number finds that it was removed, as soon as the tables have that.
        tracing::warn!(%error, "cannot drop the claims of commodity {}", request.id);
    }
    outcome(&request.state, request.id, reply)
}

problems!(RemoveProblems: CommodityNotFound, HasOrders, Closed, VersionMismatch, Unavailable, Overloaded);

/// Add units. They are on sale at once.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/restock", operation_id = "restock_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch, KeyHeader),
    request_body = RestockBody,
    responses(
        (status = 200, description = "Restocked", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        RestockProblems))]
pub(crate) async fn restock(request: ChangeRequest, body: Body) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields()?;
    let RestockBody { units } = fields.read_into();
    let added = fields.required("units", units);
    fields.finish()?;
    let Added(units) = added.ok_or_else(|| Problem::field("units", "is needed"))?;
    request.ask_once("restock commodity", &("restock", i64::from(units)), |commodity| Command::Restock { commodity, units }).await
}

problems!(RestockProblems: CommodityNotFound, TotalTooHigh, Closed, VersionMismatch, IdempotencyMismatch, TooManyKeys, UpgradeUnfinished, Unavailable, Overloaded);
