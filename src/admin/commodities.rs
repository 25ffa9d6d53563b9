//! Commodities for operators. Each change goes to the owner's engine and is answered when it is on stable storage.

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{note, terms};
use crate::domain::{Commodity, CommodityId, CommodityState, Currency, Invalid, Price, Timestamp, Units};
use crate::engine::{Answer, Command, Refusal};
use crate::http::commodities::{CommodityBody, listing, listings, state_wanted};
use crate::http::etag::{self, Expected, IfMatch};
use crate::http::orders::unexpected;
use crate::http::problem::Problem;
use crate::http::schema::{PageParameters, problems};
use crate::http::{AppState, Body, Id, Operator, Page, PageRequest, Query, RequestId};
use crate::routing::Reply;

/// When to look again after a change whose outcome is not known yet, in seconds.
const PENDING_RETRY_SECONDS: &str = "1";

/// A commodity as operators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OperatorCommodity)]
pub(crate) struct OperatorCommodityBody {
    #[serde(flatten)]
    commodity: CommodityBody,
    /// Units in reserved orders.
    held: Units,
    /// Units in confirmed and paid orders.
    sold: Units,
    /// Whether an operator paused the sale.
    paused: bool,
    /// When an operator ended the sale before its window did; null if nobody did.
    #[schema(required)]
    ended_at: Option<Timestamp>,
    /// When it was closed; null while it is not.
    #[schema(required)]
    closed_at: Option<Timestamp>,
    /// Grows with each change an operator makes, not with orders. In quotes it is the `ETag`.
    version: u32,
}

impl OperatorCommodityBody {
    fn of(commodity: &Commodity, now: Timestamp) -> Self {
        Self {
            commodity: CommodityBody::of(commodity, now),
            held: commodity.stock.held,
            sold: commodity.stock.sold,
            paused: commodity.paused,
            ended_at: commodity.ended_at,
            closed_at: commodity.closed_at,
            version: commodity.version,
        }
    }
}

/// A new commodity.
#[derive(Debug, ToSchema)]
#[schema(as = NewCommodity)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct NewBody {
    /// No control characters, and not of spaces alone.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        examples("Mechanical keyboard, 75 %")
    )]
    name: String,
    /// Empty if left out.
    #[schema(max_length = 10_000)]
    #[serde(default)]
    description: String,
    /// An http(s) URL; none if left out.
    #[schema(max_length = 2_000, pattern = "^https?://[!-~]*$")]
    image_url: Option<String>,
    price: Price,
    currency: Currency,
    /// All units there are to sell.
    total: Units,
    /// The most units one buyer may have in live orders; no limit if left out.
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit_per_user: Option<u32>,
    /// How long a buyer has to pay, in seconds; no payment needed if left out.
    #[schema(minimum = 1, maximum = 31_536_000)]
    hold_seconds: Option<u32>,
    starts_at: Timestamp,
    /// After `starts_at`.
    ends_at: Timestamp,
}

/// What changes: only the fields that are sent do.
#[derive(Debug, ToSchema)]
#[schema(as = CommodityChange)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field: absent and null differ")]
pub(crate) struct ChangeBody {
    /// No control characters, and not of spaces alone.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$"
    )]
    name: Option<String>,
    #[schema(nullable = false, max_length = 10_000)]
    description: Option<String>,
    /// Null = no picture from now on.
    #[schema(max_length = 2_000, pattern = "^https?://[!-~]*$")]
    image_url: Option<String>,
    /// For orders placed from now on.
    #[schema(nullable = false)]
    price: Option<Price>,
    /// For orders placed from now on.
    #[schema(nullable = false)]
    currency: Option<Currency>,
    /// Null = no limit from now on.
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit_per_user: Option<u32>,
    /// Null = no payment needed; for orders placed from now on.
    #[schema(minimum = 1, maximum = 31_536_000)]
    hold_seconds: Option<u32>,
    #[schema(nullable = false)]
    starts_at: Option<Timestamp>,
    #[schema(nullable = false)]
    ends_at: Option<Timestamp>,
    /// Not below what is held and sold.
    #[schema(nullable = false)]
    total: Option<Units>,
}

/// Units to add.
#[derive(Debug, ToSchema)]
#[schema(as = Restock)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct RestockBody {
    #[schema(minimum = 1, maximum = 1_000_000_000, examples(100))]
    units: u32,
}

/// The outcome of a change is not known yet: read the commodity to learn it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct PendingChange {
    commodity_id: CommodityId,
    /// Always `pending`.
    #[schema(examples("pending"))]
    status: &'static str,
}

/// All commodities, by id. What is closed is left out, unless it is asked for.
#[utoipa::path(get, path = "/admin/v1/commodities", operation_id = "operator_list_commodities", tag = "operators: commodities",
    params(PageParameters<CommodityId>,
        ("state" = Option<CommodityState>, Query, description = "Only commodities in this state; left out: all but closed ones")),
    responses((status = 200, description = "A page of commodities", body = Page<OperatorCommodityBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _operator: Operator, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<CommodityId>::read(&mut query);
    let wanted = state_wanted(&mut query);
    query.finish()?;
    let now = (state.clock)();
    let found = listings(&state, &page, wanted, now).await?;
    Ok(HttpResponse::Ok().json(Page::of(found, page.limit, |listing| listing.id, |listing| OperatorCommodityBody::of(&listing, now))))
}

problems!(ListProblems: Unavailable);

/// One commodity.
#[utoipa::path(get, path = "/admin/v1/commodities/{id}", operation_id = "operator_read_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity")),
    responses(
        (status = 200, description = "The commodity", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        ReadProblems))]
pub(crate) async fn read(state: web::Data<AppState>, _operator: Operator, id: Id<CommodityId>) -> Result<HttpResponse, Problem> {
    let listing = listing(&state, id.0).await?;
    Ok(shown(&state, HttpResponse::Ok(), &listing))
}

problems!(ReadProblems: CommodityNotFound, Unavailable);

/// Put a commodity on the list. It is on sale as soon as its window opens.
#[utoipa::path(post, path = "/admin/v1/commodities", operation_id = "create_commodity", tag = "operators: commodities",
    request_body = NewBody,
    responses(
        (status = 201, description = "Listed", body = OperatorCommodityBody,
            headers(("Location" = String, description = "The commodity"), ("ETag" = String, description = "For `If-Match`")), links(
            ("place" = (operation_id = "place_order", parameters(("id" = "$response.body#/id")))),
            ("change" = (operation_id = "change_commodity", parameters(("id" = "$response.body#/id")))))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        CreateProblems))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    operator: Operator,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (terms, total) = terms::new_commodity(body.fields()?)?;
    let id = state.store.next_commodity_id().await?;
    note(&operator.0, &request, "list commodity", id);
    let command = Command::List { commodity: id, terms: Box::new(terms), total };
    match state.router.about_commodity(id, command).await {
        Reply::Done(Answer::Commodity(commodity)) => {
            let mut response = HttpResponse::Created();
            response.insert_header((header::LOCATION, location(id)));
            Ok(shown(&state, response, &commodity))
        }
        other => outcome(&state, id, other),
    }
}

problems!(CreateProblems: CommodityExists, Unavailable, Overloaded);

/// Change terms or the total: only the fields that are sent.
#[utoipa::path(patch, path = "/admin/v1/commodities/{id}", operation_id = "change_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "Changed", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        ChangeProblems))]
pub(crate) async fn change(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let listing = state.router.board().get(id.0);
    let change = terms::change(body.fields()?, listing.as_ref().map(|listing| &listing.terms))?;
    note(&operator.0, &request, "change commodity", id.0);
    command(&state, (id.0, expected), Command::Change { commodity: id.0, change: Box::new(change) }).await
}

problems!(ChangeProblems: CommodityNotFound, TotalTooLow, Closed, VersionMismatch, Unavailable, Overloaded);

/// Take a commodity off the list that nobody holds or bought units of.
#[utoipa::path(delete, path = "/admin/v1/commodities/{id}", operation_id = "remove_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    responses(
        (status = 204, description = "Removed"),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        RemoveProblems))]
pub(crate) async fn remove(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
) -> Result<HttpResponse, Problem> {
    note(&operator.0, &request, "remove commodity", id.0);
    command(&state, (id.0, expected), Command::Remove(id.0)).await
}

problems!(RemoveProblems: CommodityNotFound, HasOrders, Closed, VersionMismatch, Unavailable, Overloaded);

/// Add units. They are on sale at once.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/restock", operation_id = "restock_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    request_body = RestockBody,
    responses(
        (status = 200, description = "Restocked", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        RestockProblems))]
pub(crate) async fn restock(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields()?;
    let added = fields.integer::<Added>("units");
    let added = fields.required("units", added);
    fields.finish()?;
    let Added(units) = added.ok_or_else(|| Problem::field("units", "is needed"))?;
    note(&operator.0, &request, "restock commodity", id.0);
    command(&state, (id.0, expected), Command::Restock { commodity: id.0, units }).await
}

problems!(RestockProblems: CommodityNotFound, TotalTooHigh, Closed, VersionMismatch, Unavailable, Overloaded);

/// Units to add: at least one.
struct Added(Units);

impl TryFrom<i64> for Added {
    type Error = Invalid;
    fn try_from(number: i64) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("units to add must be a whole number from 1 to 1000000000");
        if number < 1 { Err(WRONG) } else { Units::new(number).map(Self).map_err(|_| WRONG) }
    }
}

/// Stop the sale for now. Pausing what is paused changes nothing.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/pause", operation_id = "pause_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    responses(
        (status = 200, description = "Paused", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        SwitchProblems))]
pub(crate) async fn pause(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
) -> Result<HttpResponse, Problem> {
    note(&operator.0, &request, "pause commodity", id.0);
    command(&state, (id.0, expected), Command::Pause(id.0)).await
}

problems!(SwitchProblems: CommodityNotFound, Closed, VersionMismatch, Unavailable, Overloaded);

/// Go on with a paused sale. Resuming what is not paused changes nothing.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/resume", operation_id = "resume_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    responses(
        (status = 200, description = "Going on", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        SwitchProblems))]
pub(crate) async fn resume(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
) -> Result<HttpResponse, Problem> {
    note(&operator.0, &request, "resume commodity", id.0);
    command(&state, (id.0, expected), Command::Resume(id.0)).await
}

/// End a sale for good, before its window does. Ending what was ended changes nothing.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/end", operation_id = "end_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    responses(
        (status = 200, description = "Ended", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        SwitchProblems))]
pub(crate) async fn end(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
) -> Result<HttpResponse, Problem> {
    note(&operator.0, &request, "end commodity", id.0);
    command(&state, (id.0, expected), Command::End(id.0)).await
}

/// Make a commodity history whose sale is over and of which nothing is owed. Closing what is closed changes nothing.
///
/// It and its orders can be read as before; nothing of them changes any more, but for money that has to go back. A commodity is closed
/// by itself some time after its sale.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/close", operation_id = "close_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch),
    responses(
        (status = 200, description = "Closed", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        CloseProblems))]
pub(crate) async fn close(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<CommodityId>,
    expected: Expected,
    request: RequestId,
) -> Result<HttpResponse, Problem> {
    note(&operator.0, &request, "close commodity", id.0);
    command(&state, (id.0, expected), Command::Close(id.0)).await
}

problems!(CloseProblems: CommodityNotFound, NotEnded, HasOpenOrders, UpgradeUnfinished, VersionMismatch, Unavailable, Overloaded);

/// Sends a command to the commodity's owner, who decides in one step whether it is of an expected version and what becomes of it.
///
/// One of several versions is asked for after the other, in rising order: versions only grow, so that none that was there all the time is
/// missed.
async fn command(state: &AppState, (id, expected): (CommodityId, Expected), command: Command) -> Result<HttpResponse, Problem> {
    let versions = match expected {
        Expected::Any => return outcome(state, id, state.router.about_commodity(id, command).await),
        Expected::OneOf(versions) => versions,
    };
    for version in versions {
        let expecting = Command::Expecting { version, command: Box::new(command.clone()) };
        match state.router.about_commodity(id, expecting).await {
            Reply::Refused(Refusal::VersionMismatch) => {}
            reply => return outcome(state, id, reply),
        }
    }
    Err(Refusal::VersionMismatch.into())
}

fn outcome(state: &AppState, id: CommodityId, reply: Reply) -> Result<HttpResponse, Problem> {
    match reply {
        Reply::Done(Answer::Commodity(commodity)) => Ok(shown(state, HttpResponse::Ok(), &commodity)),
        Reply::Done(Answer::Removed) => Ok(HttpResponse::NoContent().finish()),
        Reply::Done(other) => Err(unexpected(&other)),
        Reply::Refused(refusal) => Err(refusal.into()),
        Reply::Pending(_) => Ok(HttpResponse::Accepted()
            .insert_header((header::RETRY_AFTER, PENDING_RETRY_SECONDS))
            .insert_header((header::LOCATION, location(id)))
            .json(PendingChange { commodity_id: id, status: "pending" })),
        Reply::Busy(busy) => Err(busy.into()),
    }
}

fn shown(state: &AppState, mut response: HttpResponseBuilder, commodity: &Commodity) -> HttpResponse {
    response.insert_header((header::ETAG, etag::version_tag(commodity.version)));
    response.json(OperatorCommodityBody::of(commodity, (state.clock)()))
}

fn location(id: CommodityId) -> String {
    format!("/admin/v1/commodities/{id}")
}
