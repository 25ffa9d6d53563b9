//! What is on sale, for everyone: read from the board, never from an engine or the database.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::{Page, PageRequest};
use super::etag;
use super::extract::Id;
use super::problem::Problem;
use super::query::Query;
use super::schema::{PageParameters, problems};
use super::state::AppState;
use crate::domain::{Commodity, CommodityId, CommodityState, Currency, Price, Timestamp, Units};
use crate::engine::Refusal;
use crate::partition::Listing;

/// A commodity as buyers see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Commodity)]
pub(crate) struct CommodityBody {
    pub(crate) id: CommodityId,
    /// 1 to 200 characters.
    #[schema(examples("Mechanical keyboard, 75 %"))]
    name: String,
    /// At most 10,000 characters.
    description: String,
    /// An http(s) URL of a picture.
    #[schema(required)]
    image_url: Option<String>,
    /// What one unit costs, in minor units of the currency.
    price: Price,
    currency: Currency,
    state: CommodityState,
    /// All units there ever were to sell.
    total: Units,
    /// Units on sale now.
    available: Units,
    /// The most units one buyer may have in live orders; null = no limit.
    #[schema(required, minimum = 1, maximum = 1_000_000)]
    limit_per_user: Option<u32>,
    /// How long a buyer has to pay, in seconds; null = no payment needed.
    #[schema(required, minimum = 1, maximum = 31_536_000)]
    hold_seconds: Option<u32>,
    /// From when on it sells.
    starts_at: Timestamp,
    /// Up to when it sells, this instant excluded.
    ends_at: Timestamp,
    /// The server's clock when it answered: count down to `starts_at` with this, not with the device's.
    server_time: Timestamp,
}

impl CommodityBody {
    pub(crate) fn of(commodity: &Commodity, now: Timestamp) -> Self {
        let terms = &commodity.terms;
        Self {
            id: commodity.id,
            name: terms.name.clone(),
            description: terms.description.clone(),
            image_url: terms.image_url.clone(),
            price: terms.price,
            currency: terms.currency,
            state: commodity.state(now),
            total: commodity.stock.total,
            available: commodity.stock.available,
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            server_time: now,
        }
    }
}

/// What is on sale, was or will be, by id.
#[utoipa::path(get, path = "/v1/commodities", operation_id = "list_commodities", tag = "commodities", security(()),
    params(PageParameters<CommodityId>, ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer the client has")),
    responses(
        (status = 200, description = "A page of commodities", body = Page<CommodityBody>, headers(("ETag" = String, description = "A weak tag"))),
        (status = 304, description = "Nothing a buyer sees has changed since that `ETag`")))]
pub(crate) async fn list(state: web::Data<AppState>, mut query: Query, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<CommodityId>::read(&mut query);
    query.finish()?;
    let now = (state.clock)();
    let found = listings(&state, &page);
    let visible: Vec<u8> = found.iter().flat_map(|listing| etag::visible_bytes(listing, listing.state(now))).collect();
    let body = || Page::of(found, page.limit, |listing| listing.id, |listing| CommodityBody::of(&listing, now));
    Ok(revalidated(&request, &etag::weak_tag(&visible), body))
}

/// One commodity.
#[utoipa::path(get, path = "/v1/commodities/{id}", operation_id = "read_commodity", tag = "commodities", security(()),
    params(("id" = CommodityId, Path, description = "The commodity"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer the client has")),
    responses(
        (status = 200, description = "The commodity", body = CommodityBody, headers(("ETag" = String, description = "A weak tag")), links(
            ("place" = (operation_id = "place_order", parameters(("id" = "$response.body#/id")))))),
        (status = 304, description = "Nothing a buyer sees has changed since that `ETag`"),
        ReadProblems))]
pub(crate) async fn read(state: web::Data<AppState>, id: Id<CommodityId>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let listing = listing(&state, id.0)?;
    let now = (state.clock)();
    let tag = etag::weak_tag(&etag::visible_bytes(&listing, listing.state(now)));
    Ok(revalidated(&request, &tag, || CommodityBody::of(&listing, now)))
}

problems!(ReadProblems: CommodityNotFound, Unavailable);

/// The commodity as the board shows it. While partitions are being taken, what is not on the board may still be there.
pub(crate) fn listing(state: &AppState, id: CommodityId) -> Result<Listing, Problem> {
    match state.router.board().get(id) {
        Some(listing) => Ok(listing),
        None if state.router.board_is_whole_for(id) => Err(Refusal::CommodityNotFound.into()),
        None => Err(Problem::Unavailable { what: "At least one partition", cause: None }),
    }
}

/// The page's listings and, where there is a next page, one more.
pub(crate) fn listings(state: &AppState, page: &PageRequest<CommodityId>) -> Vec<Listing> {
    let all = state.router.board().all();
    all.into_iter().filter(|listing| page.after.is_none_or(|after| listing.id > after)).take(page.limit as usize + 1).collect()
}

fn revalidated<T: Serialize>(request: &HttpRequest, tag: &str, body: impl FnOnce() -> T) -> HttpResponse {
    let mut response = if etag::client_has(request, tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    if etag::client_has(request, tag) { response.finish() } else { response.json(body()) }
}
