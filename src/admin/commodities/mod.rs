//! Commodities for operators. Each change goes to the owner's engine and is answered when it is on stable storage.

mod bodies;
pub(crate) mod change;
pub(super) mod due_listings;
mod request;
pub(super) mod skus;
pub(crate) mod switch;
pub(super) mod terms;

use actix_web::{HttpResponse, web};

pub(crate) use bodies::OperatorCommodityBody;
use request::shown;

use crate::domain::{CommodityId, CommodityState, Sku};
use crate::http::commodities::{Wanted, listing, listings};
use crate::http::problem::Problem;
use crate::http::schema::{PageParameters, problems};
use crate::http::{AppState, Id, Operator, Page, PageRequest, Query};

/// All commodities, by id. What is closed is left out, unless it is asked for.
#[utoipa::path(get, path = "/admin/v1/commodities", operation_id = "operator_list_commodities", tag = "operators: commodities",
    params(PageParameters<CommodityId>,
        ("state" = Option<CommodityState>, Query, description = "Only commodities in this state; left out: all but closed ones"),
        ("sku" = Option<Sku>, Query, description = "Only the commodity with this number")),
    responses((status = 200, description = "A page of commodities", body = Page<OperatorCommodityBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _operator: Operator, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<CommodityId>::read(&mut query);
    let wanted = Wanted::read(&mut query);
    query.finish()?;
    let now = (state.clock)();
    let found = listings(&state, &page, &wanted, now).await?;
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
