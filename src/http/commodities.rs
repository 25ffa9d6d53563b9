//! What is on sale, for everyone: read from the board, never from an engine. What is closed is read from the tables.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::{Page, PageRequest};
use super::etag;
use super::extract::Id;
use super::problem::{Fault, Problem};
use super::query::Query;
use super::schema::{PageParameters, problems};
use super::state::AppState;
use crate::domain::{Cancellation, Commodity, CommodityId, CommodityState, Currency, Price, Sku, Timestamp, Units};
use crate::engine::Refusal;
use crate::partition::Listing;

/// Commodities that a list looks at before other requests of the same thread have their turn.
const PASSED_AT_A_TIME: usize = 1_024;

/// A commodity as buyers see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Commodity)]
pub(crate) struct CommodityBody {
    pub(crate) id: CommodityId,
    /// The shop's own number of it; null = it has none.
    #[schema(required)]
    sku: Option<Sku>,
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
    /// How long after that money on its way still counts as in time, in seconds.
    #[schema(maximum = 604_800)]
    grace_seconds: u32,
    /// Which orders can be cancelled.
    cancellation: Cancellation,
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
            sku: terms.sku.clone(),
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
            grace_seconds: terms.grace_seconds,
            cancellation: terms.cancellation,
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            server_time: now,
        }
    }
}

/// What is on sale, was or will be, by id. What is closed is left out, unless it is asked for.
#[utoipa::path(get, path = "/v1/commodities", operation_id = "list_commodities", tag = "commodities", security(()),
    params(PageParameters<CommodityId>,
        ("state" = Option<CommodityState>, Query, description = "Only commodities in this state; left out: all but closed ones"),
        ("sku" = Option<Sku>, Query, description = "Only the commodity with this number"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer the client has")),
    responses(
        (status = 200, description = "A page of commodities", body = Page<CommodityBody>, headers(("ETag" = String, description = "A weak tag"))),
        (status = 304, description = "Nothing a buyer sees has changed since that `ETag`"),
        ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, mut query: Query, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<CommodityId>::read(&mut query);
    let wanted = Wanted::read(&mut query);
    query.finish()?;
    let now = (state.clock)();
    let found = listings(&state, &page, &wanted, now).await?;
    let visible: Vec<u8> = found.iter().flat_map(|listing| etag::visible_bytes(listing, listing.state(now))).collect();
    let body = || Page::of(found, page.limit, |listing| listing.id, |listing| CommodityBody::of(&listing, now));
    Ok(revalidated(&request, &etag::weak_tag(&visible), body))
}

problems!(ListProblems: Unavailable);

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
    let listing = listing(&state, id.0).await?;
    let now = (state.clock)();
    let tag = etag::weak_tag(&etag::visible_bytes(&listing, listing.state(now)));
    Ok(revalidated(&request, &tag, || CommodityBody::of(&listing, now)))
}

problems!(ReadProblems: CommodityNotFound, Unavailable);

/// The commodity as the board shows it, or a closed one as the tables have it. While partitions are being taken, what is neither may
/// still be there.
pub(crate) async fn listing(state: &AppState, id: CommodityId) -> Result<Listing, Problem> {
    if let Some(listing) = state.router.board().get(id) {
        return Ok(listing);
    }
    match state.store.closed_commodity(id).await? {
        Some(closed) => Ok(Listing::new(closed)),
        None if state.router.board_is_whole_for(id) => Err(Refusal::CommodityNotFound.into()),
        None => Err(Problem::Unavailable { what: "At least one partition", cause: None }),
    }
}

/// The page's listings and, where there is a next page, one more.
pub(crate) async fn listings(
    state: &AppState,
    page: &PageRequest<CommodityId>,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Vec<Listing>, Problem> {
    let most = page.limit + 1;
    if let Some(sku) = &wanted.sku {
        return with_sku(state, page, (sku, wanted), now).await;
    }
    // The board first: what it does not show as closed any more, the tables have.
    let mut found: Vec<Listing> = Vec::with_capacity(most as usize);
    for (passed, listing) in (1..).zip(state.router.board().walk(page.after)) {
        if wanted.has(listing.state(now)) {
            found.push(listing);
        }
        if found.len() == most as usize {
            break;
        }
        // Where few are wanted, other requests have their turn meanwhile.
        if passed % PASSED_AT_A_TIME == 0 {
            tokio::task::yield_now().await;
        }
    }
    if wanted.state == Some(CommodityState::Closed) {
        found.extend(state.store.closed_commodities(page.after, most).await?.into_iter().map(Listing::new));
        found.sort_by_key(|listing| listing.id);
        found.dedup_by_key(|listing| listing.id);
        found.truncate(most as usize);
    }
    Ok(found)
}

/// Those with an article number: as a rule one at most.
async fn with_sku(
    state: &AppState,
    page: &PageRequest<CommodityId>,
    (sku, wanted): (&Sku, &Wanted),
    now: Timestamp,
) -> Result<Vec<Listing>, Problem> {
    let mut found = state.router.board().with_sku(sku);
    if wanted.state == Some(CommodityState::Closed) {
        found.extend(state.store.closed_with_sku(sku, page.limit + 1).await?.into_iter().map(Listing::new));
        found.sort_by_key(|listing| listing.id);
        found.dedup_by_key(|listing| listing.id);
    }
    found.retain(|listing| wanted.has(listing.state(now)) && page.after.is_none_or(|after| listing.id > after));
    found.truncate(page.limit as usize + 1);
    Ok(found)
}

/// Which commodities a list is to have.
#[derive(Debug)]
pub(crate) struct Wanted {
    state: Option<CommodityState>,
    sku: Option<Sku>,
}

impl Wanted {
    /// The query's `state` and `sku`.
    pub(crate) fn read(query: &mut Query) -> Self {
        Self { state: state_wanted(query), sku: query.parse("sku") }
    }

    fn has(&self, state: CommodityState) -> bool {
        self.state.map_or(is_listed(state), |wanted| state == wanted)
    }
}

/// Whether commodities in that state are in lists that ask for none.
pub(crate) fn is_listed(state: CommodityState) -> bool {
    state != CommodityState::Closed
}

/// The query's `state`, if it is one a commodity can be in.
fn state_wanted(query: &mut Query) -> Option<CommodityState> {
    let text = query.take("state")?;
    let found = CommodityState::ALL.into_iter().find(|state| state.word() == text);
    if found.is_none() {
        query.fault(Fault::new("state", "must be not_started, open, sold_out, paused, ended or closed"));
    }
    found
}

fn revalidated<T: Serialize>(request: &HttpRequest, tag: &str, body: impl FnOnce() -> T) -> HttpResponse {
    let mut response = if etag::client_has(request, tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    if etag::client_has(request, tag) { response.finish() } else { response.json(body()) }
}
