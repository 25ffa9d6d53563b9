//! Pause, resume, end, close. Never more than the commands of these names.

use actix_web::HttpResponse;

use super::bodies::{OperatorCommodityBody, PendingChange};
use super::request::ChangeRequest;
use crate::domain::CommodityId;
use crate::engine::Command;
use crate::http::etag::IfMatch;
use crate::http::key::KeyHeader;
use crate::http::problem::Problem;
use crate::http::schema::problems;

/// Stop the sale for now. Pausing what is paused changes nothing.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/pause", operation_id = "pause_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch, KeyHeader),
    responses(
        (status = 200, description = "Paused", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        SwitchProblems))]
pub(crate) async fn pause(request: ChangeRequest) -> Result<HttpResponse, Problem> {
    request.ask_once("pause commodity", &"pause", Command::Pause).await
}

/// Go on with a paused sale. Resuming what is not paused changes nothing.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/resume", operation_id = "resume_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch, KeyHeader),
    responses(
        (status = 200, description = "Going on", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        SwitchProblems))]
pub(crate) async fn resume(request: ChangeRequest) -> Result<HttpResponse, Problem> {
    request.ask_once("resume commodity", &"resume", Command::Resume).await
}

/// End a sale for good, before its window does. Ending what was ended changes nothing.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/end", operation_id = "end_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch, KeyHeader),
    responses(
        (status = 200, description = "Ended", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        SwitchProblems))]
pub(crate) async fn end(request: ChangeRequest) -> Result<HttpResponse, Problem> {
    request.ask_once("end commodity", &"end", Command::End).await
}

problems!(SwitchProblems: CommodityNotFound, Closed, VersionMismatch, IdempotencyMismatch, TooManyKeys, UpgradeUnfinished, Unavailable, Overloaded);

/// Make a commodity history whose sale is over and of which nothing is owed. Closing what is closed changes nothing.
///
/// It and its orders can be read as before; nothing of them changes any more, but for money that has to go back. A commodity is closed
/// by itself some time after its sale.
#[utoipa::path(post, path = "/admin/v1/commodities/{id}/close", operation_id = "close_commodity", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The commodity"), IfMatch, KeyHeader),
    responses(
        (status = 200, description = "Closed", body = OperatorCommodityBody, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 202, description = "The outcome is not known yet", body = PendingChange,
            headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
        CloseProblems))]
pub(crate) async fn close(request: ChangeRequest) -> Result<HttpResponse, Problem> {
    request.ask_once("close commodity", &"close", Command::Close).await
}

problems!(CloseProblems: CommodityNotFound, NotEnded, HasOpenOrders, UpgradeUnfinished, VersionMismatch, IdempotencyMismatch, TooManyKeys, Unavailable, Overloaded);
