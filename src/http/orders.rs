//! Buyers' orders: placing, reading, cancelling. The board may refuse early (R4: it is a hint); everything else is the
//! engine's word.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Body;
use super::cursor::{Page, PageRequest};
use super::extract::{Caller, CountedCaller, Id};
use super::fields::Fields;
use super::key::{GivenKey, KeyHeader, given};
use super::metrics::Meters;
use super::own_orders;
use super::payments;
use super::problem::{Fault, Problem};
use super::query::Query;
use super::retry_key::RetryKey;
use super::schema::{PageParameters, problems};
use super::skus::{Skus, sku_of};
use super::state::AppState;
use super::traces::{note_order, traced};
use crate::domain::{
    CommodityId, Currency, IdempotencyKey, NamedOrder, Order, OrderId, OrderStatus, PaymentId, Price, Principal, Quantity,
    RequestFingerprint, Sku, Timestamp,
};
use crate::engine::{Answer, Command, Place, Refusal};
use crate::routing::{OrderLookup, Reply, Traced};
use crate::store::OrderFilter;

/// When to ask again about an order whose outcome is not known yet, in seconds.
const PENDING_RETRY_SECONDS: &str = "1";

/// How often a cancellation calls off a payment that is open: one may be started in between.
const PAYMENTS_CALLED_OFF_MAX: u32 = 3;

/// How long a list waits for the owners of partitions that are changing hands.
const OWNERS_PATIENCE: Duration = Duration::from_millis(500);

/// How far the clocks of two nodes may be apart, in milliseconds: so near to its beginning or its end no board says whether a sale is on.
const CLOCKS_APART_MAX_MS: u64 = 5 * 60 * 1_000;

/// An order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderBody {
    order_id: OrderId,
    commodity_id: CommodityId,
    /// The shop's own number of the commodity, as it is now; null = it has none.
    #[schema(required)]
    sku: Option<Sku>,
    user_id: Principal,
    quantity: Quantity,
    /// What one unit cost when the order was placed, in minor units.
    unit_price: Price,
    /// What a coupon took off, in minor units.
    #[schema(minimum = 0)]
    discount: i64,
    /// The coupon; null = none.
    #[schema(required)]
    coupon: Option<String>,
    /// What the whole order costs, in minor units.
    #[schema(minimum = 0)]
    amount: i64,
    currency: Currency,
    status: OrderStatus,
    placed_at: Timestamp,
    /// Up to when it is to be paid; null for an order that needs no payment.
    #[schema(required)]
    pay_by: Option<Timestamp>,
}

impl OrderBody {
    /// The same, of a commodity with that number.
    pub(crate) fn with_sku(self, sku: Option<Sku>) -> Self {
        Self { sku, ..self }
    }

    /// An order of that buyer's, of a commodity without a number.
    pub(crate) fn of(order: Order, buyer: Principal) -> Self {
        Self {
            order_id: order.id,
            commodity_id: order.commodity,
            sku: None,
            user_id: buyer,
            quantity: order.quantity,
            unit_price: order.unit_price,
            discount: order.discount.map_or(0, |discount| discount.amount),
            coupon: None,
            amount: order.amount(),
            currency: order.currency,
            status: order.status,
            placed_at: order.id.placed_at(),
            pay_by: order.pay_by,
        }
    }

    /// An order of which it is known who ordered it.
    pub(crate) fn named(named: NamedOrder) -> Result<Self, Problem> {
        let buyer = named.buyer().ok_or_else(|| Problem::Internal(format!("nobody says who placed order {}", named.order.id)))?;
        Ok(Self::of(named.order, buyer))
    }
}

/// An order id whose order is not known to be: not decided yet, or never placed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct UnsettledOrder {
    /// What to ask again with; null where not even an id is known: send the request again with its Idempotency-Key.
    #[schema(required)]
    order_id: Option<OrderId>,
    status: Unsettled,
}

/// An order whose outcome is not known yet.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PendingOrder {
    /// What to ask again with; null where not even an id is known.
    #[schema(required)]
    order_id: Option<OrderId>,
    #[schema(schema_with = only_pending)]
    status: &'static str,
    /// The same request under this `Idempotency-Key` gets the outcome: the request's own key, or one that was made for it.
    retry_key: String,
}

fn only_pending() -> utoipa::openapi::Object {
    utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String).enum_values(Some(["pending"])).build()
}

/// What is known of such an id.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unsettled {
    /// Not known yet: ask again.
    Pending,
    /// There is no such order and never will be.
    Refused,
}

/// An order, or what is known of an id instead.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OrderOrUnsettled {
    /// The order.
    Order(OrderBody),
    /// What is known of the id.
    Unsettled(UnsettledOrder),
}

/// A page of the caller's orders.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnOrders {
    #[serde(flatten)]
    page: Page<OrderBody>,
    /// Whether every order is in it that was answered before. If not, some partition has no owner right now, and the newest orders of it
    /// may be missing, or shown as they were: ask again.
    complete: bool,
}

/// What an order asks for.
#[derive(Debug, ToSchema)]
#[schema(as = PlaceOrder)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct PlaceBody {
    /// Units to claim; 1 if left out.
    #[schema(nullable = false, default = 1)]
    quantity: Option<Quantity>,
    /// Coupons are not in use yet: leave it out or send null.
    #[schema(required = false, schema_with = super::schema::only_null)]
    coupon: (),
    /// What one unit costs as the buyer saw it: at any other price nothing is claimed. At any price if left out.
    unit_price: Option<Price>,
}

/// Claim units of a commodity.
///
/// The body may be left out: one unit. `201` means that the order is on stable storage. With an `Idempotency-Key` the
/// request can be repeated safely: it leads to one order however often it arrives.
#[utoipa::path(post, path = "/v1/commodities/{id}/orders", operation_id = "place_order", tag = "orders",
    params(("id" = CommodityId, Path, description = "The commodity"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; remembered per buyer and commodity",
            min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    request_body(content = PlaceBody, description = "Left out: one unit", example = json!({"quantity": 1})),
    responses(
        (status = 201, description = "Accepted", body = OrderBody, headers(("Location" = String, description = "The order")), links(
            ("read" = (operation_id = "read_order", parameters(("id" = "$response.body#/order_id")))),
            ("cancel" = (operation_id = "cancel_order", parameters(("id" = "$response.body#/order_id")))))),
        (status = 200, description = "Accepted before, under the same key", body = OrderBody),
        (status = 202, description = "The outcome is not known yet: ask for the order, or send the request again under `retry_key`",
            body = PendingOrder,
            headers(("Retry-After" = u32, description = "Seconds to wait before asking"), ("Location" = Option<String>, description = "The order"))),
        PlaceProblems))]
pub(crate) async fn place(
    state: web::Data<AppState>,
    caller: CountedCaller,
    id: Id<CommodityId>,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let buyer = caller.0.principal;
    let (place, key) = placing(id.0, &buyer, &request, body.fields_if_any()?)?;
    if place.key.is_none() {
        // A request with a key may be the repetition of one that was accepted: only the engine knows.
        refused_by_board(&state, id.0)?;
    }
    let retry_key = RetryKey::of(key);
    if let Some(order) = retry_key.order()
        && let Some(response) = repeated(&state, order, &place, &retry_key).await?
    {
        return Ok(response);
    }
    let mut command = traced(&state.tracer, &request, Command::Place(place));
    command.retry_key = retry_key.spare();
    match state.router.about_commodity(id.0, command).await {
        Reply::Done(Answer::Placed(order)) => {
            note_order(&state.tracer, &request, order.id);
            Meters::get().accepted();
            let location = format!("/v1/orders/{}", order.id);
            let body = OrderBody::of(order, buyer).with_sku(sku_of(&state, id.0).await);
            Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(body))
        }
        Reply::Done(Answer::Replayed(order)) => {
            Ok(HttpResponse::Ok().json(OrderBody::of(order, buyer).with_sku(sku_of(&state, id.0).await)))
        }
        Reply::Done(other) => Err(unexpected(&other)),
        Reply::Refused(refusal) => Err(refusal.into()),
        // It waits for a task here that neither decides it nor ends.
        Reply::Pending(None) if !retry_key.leads_to_it() => Err(Problem::Internal("nobody knows whether an order was placed".to_owned())),
        Reply::Pending(order) => Ok(placed_or_not(order, &retry_key)),
        Reply::Busy(busy) => Err(busy.into()),
    }
}

problems!(PlaceProblems: CommodityNotFound, SoldOut, LimitReached, NotStarted, Ended, Paused, PriceChanged, IdempotencyMismatch,
    UpgradeUnfinished, Unavailable, Overloaded);

/// The caller's orders, newest first.
#[utoipa::path(get, path = "/v1/orders", operation_id = "list_orders", tag = "orders",
    params(PageParameters<OrderId>,
        ("commodity_id" = Option<CommodityId>, Query, description = "Only orders of this commodity"),
        ("status" = Option<OrderStatus>, Query, description = "Only orders in this status")),
    responses((status = 200, description = "A page of orders", body = OwnOrders), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<OrderId>::read(&mut query);
    let (buyer, user) = (&caller.0.principal, caller.0.principal.key());
    let mut filter = OrderFilter { user: Some(user), commodity: query.parse("commodity_id"), ..OrderFilter::default() };
    filter.status = status(&mut query);
    query.finish()?;
    // The owners first: what they do not know any more, the tables have.
    let (recent, complete) = state.router.recent_orders(user, OWNERS_PATIENCE).await;
    let items = page.limit + 1;
    let rows = state.store.orders(&filter, page.after, own_orders::rows_needed(items, &recent)).await?;
    let rows = rows.into_iter().map(|named| named.order).collect();
    let found = own_orders::lay_over(&recent, rows, &filter, page.after, items);
    let skus = Skus::of(&state, found.iter().map(|order| order.commodity)).await?;
    let body = |order: Order| OrderBody::of(order, buyer.clone()).with_sku(skus.get(order.commodity).cloned());
    let page = Page::of(found, page.limit, |order| order.id, body);
    Ok(HttpResponse::Ok().json(OwnOrders { page, complete }))
}

problems!(ListProblems: Unavailable);

/// One of the caller's orders, or what is known of an id instead.
#[utoipa::path(get, path = "/v1/orders/{id}", operation_id = "read_order", tag = "orders",
    params(("id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "The order; or `pending`, `refused` for an id without one", body = OrderOrUnsettled), OrderProblems))]
pub(crate) async fn read(state: web::Data<AppState>, caller: Caller, id: Id<OrderId>) -> Result<HttpResponse, Problem> {
    let buyer = &caller.0.principal;
    match state.router.order(id.0).await {
        OrderLookup::Known(NamedOrder { order, .. }) if order.user != buyer.key() => Err(Refusal::OrderNotFound.into()),
        found => lookup(&state, id.0, found, Some(buyer)).await,
    }
}

problems!(OrderProblems: OrderNotFound, Unavailable);

/// Call an order off. Its units are on sale again at once.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", operation_id = "cancel_order", tag = "orders",
    params(("id" = OrderId, Path, description = "The order"), KeyHeader),
    responses(
        (status = 200, description = "Cancelled; or cancelled before, under the same key", body = OrderBody),
        (status = 202, description = "The outcome is not known yet: ask for the order", body = UnsettledOrder,
            headers(("Retry-After" = u32, description = "Seconds to wait before asking"), ("Location" = Option<String>, description = "The order"))),
        CancelProblems))]
pub(crate) async fn cancel(
    state: web::Data<AppState>,
    caller: CountedCaller,
    id: Id<OrderId>,
    key: GivenKey,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let buyer = caller.0.principal;
    let command = Command::Cancel { order: id.0, user: Some(buyer.key()), reason: None, row: None };
    let command = key.command(&buyer, &"cancel", command);
    cancelled(&state, id.0, traced(&state.tracer, &request, command), Some(buyer)).await
}

problems!(CancelProblems: OrderNotFound, NotCancellable, Closed, IdempotencyMismatch, ProviderUnavailable, Unavailable, Overloaded);

/// Has an order cancelled by that command, of that buyer or of whoever it is.
pub(crate) async fn cancelled(
    state: &AppState,
    order: OrderId,
    command: impl Into<Traced>,
    buyer: Option<Principal>,
) -> Result<HttpResponse, Problem> {
    let command = command.into();
    let mut reply = state.router.about_order(order, command.clone()).await;
    for _ in 0..PAYMENTS_CALLED_OFF_MAX {
        let Reply::Refused(Refusal::PaymentOpen(attempt)) = reply else { break };
        // Called off, or found to have succeeded: then the engine decides again.
        payments::call_off(state, PaymentId { order, attempt }).await?;
        reply = state.router.about_order(order, command.clone()).await;
    }
    match reply {
        Reply::Done(Answer::Order(order) | Answer::Replayed(order)) => {
            let buyer = match buyer.or_else(|| order.user.account().map(Principal::Own)) {
                Some(buyer) => Some(buyer),
                None => match state.router.named_order(order.id).await {
                    OrderLookup::Known(named) => named.buyer(),
                    OrderLookup::Refused | OrderLookup::Pending | OrderLookup::NotFound | OrderLookup::Unavailable => None,
                },
            };
            // It is done; whose it was can be read later.
            let Some(buyer) = buyer else { return Ok(pending(Some(order.id))) };
            Ok(HttpResponse::Ok().json(OrderBody::of(order, buyer).with_sku(sku_of(state, order.commodity).await)))
        }
        Reply::Done(other) => Err(unexpected(&other)),
        Reply::Refused(refusal) => Err(refusal.into()),
        Reply::Pending(_) => Ok(pending(Some(order))),
        Reply::Busy(busy) => Err(busy.into()),
    }
}

/// The answer to what was found of an id, of that buyer or of whoever is found with it.
pub(crate) async fn lookup(state: &AppState, id: OrderId, found: OrderLookup, buyer: Option<&Principal>) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Ok();
    let unsettled = |status| OrderOrUnsettled::Unsettled(UnsettledOrder { order_id: Some(id), status });
    match found {
        OrderLookup::Known(named) => {
            let sku = sku_of(state, named.order.commodity).await;
            let body = match buyer {
                Some(buyer) => OrderBody::of(named.order, buyer.clone()),
                None => OrderBody::named(named)?,
            };
            Ok(response.json(OrderOrUnsettled::Order(body.with_sku(sku))))
        }
        OrderLookup::Refused => Ok(response.json(unsettled(Unsettled::Refused))),
        OrderLookup::Pending => {
            Ok(response.insert_header((header::RETRY_AFTER, PENDING_RETRY_SECONDS)).json(unsettled(Unsettled::Pending)))
        }
        OrderLookup::NotFound => Err(Refusal::OrderNotFound.into()),
        OrderLookup::Unavailable => Err(Problem::Unavailable { what: "What is known of the order", cause: None }),
    }
}

/// The query's `status`, if it is one an order can be in.
pub(crate) fn status(query: &mut Query) -> Option<OrderStatus> {
    let text = query.take("status")?;
    let found = OrderStatus::ALL.into_iter().find(|status| status.word() == text);
    if found.is_none() {
        query.fault(Fault::new("status", "must be reserved, confirmed, paid, cancelled, expired, refund_due or refunded"));
    }
    found
}

/// An answer no engine gives to that command.
pub(crate) fn unexpected(answer: &Answer) -> Problem {
    Problem::Internal(format!("the engine answered a question nobody asked: {answer:?}"))
}

/// What became of the order that a retry key names; none if it is no order of this request's: then the request is a new one.
async fn repeated(state: &AppState, order: OrderId, place: &Place, key: &RetryKey) -> Result<Option<HttpResponse>, Problem> {
    match state.router.order(order).await {
        OrderLookup::Known(NamedOrder { order: found, .. }) if (found.user, found.commodity) == (place.user.key(), place.commodity) => {
            if found.quantity == place.quantity && place.unit_price.is_none_or(|seen| seen == found.unit_price) {
                let body = OrderBody::of(found, place.user.clone()).with_sku(sku_of(state, found.commodity).await);
                Ok(Some(HttpResponse::Ok().json(body)))
            } else {
                Err(Refusal::IdempotencyMismatch.into())
            }
        }
        OrderLookup::Known(_) | OrderLookup::Refused | OrderLookup::NotFound => Ok(None),
        OrderLookup::Pending => Ok(Some(placed_or_not(Some(order), key))),
        OrderLookup::Unavailable => Err(Problem::Unavailable { what: "What is known of the order", cause: None }),
    }
}

/// What a request is, and its key's text if it has one.
fn placing(
    commodity: CommodityId,
    buyer: &Principal,
    request: &HttpRequest,
    mut fields: Fields,
) -> Result<(Place, Option<String>), Problem> {
    let quantity = fields.integer::<Quantity>("quantity").unwrap_or(Quantity::ONE);
    if fields.take("coupon").is_some_and(|coupon| !coupon.is_null()) {
        fields.fault(Fault::new("coupon", "unknown coupon: coupons are not in use yet"));
    }
    let unit_price = fields.nullable_integer::<Price>("unit_price").flatten();
    let text = given(request).unwrap_or_else(|fault| {
        fields.fault(fault);
        None
    });
    let key = text.as_deref().and_then(|text| IdempotencyKey::of(buyer, text).ok());
    fields.finish()?;
    let fingerprint = RequestFingerprint::of(quantity, None).at_price(unit_price);
    Ok((Place { commodity, user: buyer.clone(), quantity, key, fingerprint, unit_price }, text))
}

/// The answer to an order of which nobody says yet whether it was placed.
fn placed_or_not(order_id: Option<OrderId>, key: &RetryKey) -> HttpResponse {
    unknown_yet(order_id).json(PendingOrder { order_id, status: "pending", retry_key: key.text_for(order_id) })
}

/// Spares the engine what the board can tell already, whatever the owner's clock says: for all alike that one decides. What is not on the
/// board goes on: the engine knows better.
fn refused_by_board(state: &AppState, commodity: CommodityId) -> Result<(), Refusal> {
    let (board, now) = (state.router.board(), (state.clock)());
    let refused_at = |at| board.refusal(commodity, at);
    match refused_at(now) {
        // No clock is needed for that: its owner has sold it.
        Some(Refusal::SoldOut) => Err(Refusal::SoldOut),
        refusal @ Some(why)
            if [now.minus_millis(CLOCKS_APART_MAX_MS), now.plus_millis(CLOCKS_APART_MAX_MS)]
                .into_iter()
                .all(|at| refused_at(at) == refusal) =>
        {
            Err(why)
        }
        Some(_) | None => Ok(()),
    }
}

fn pending(order: Option<OrderId>) -> HttpResponse {
    unknown_yet(order).json(UnsettledOrder { order_id: order, status: Unsettled::Pending })
}

fn unknown_yet(order: Option<OrderId>) -> HttpResponseBuilder {
    let mut response = HttpResponse::Accepted();
    response.insert_header((header::RETRY_AFTER, PENDING_RETRY_SECONDS));
    if let Some(id) = order {
        response.insert_header((header::LOCATION, format!("/v1/orders/{id}")));
    }
    response
}
