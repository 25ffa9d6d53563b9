//! Everybody's orders, for operators: list, export, read, what became of them, cancel, give back.

use std::collections::HashMap;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use futures_util::stream;
use utoipa::ToSchema;

use super::csv::Lines;
use super::note;
use crate::domain::{CommodityId, NamedOrder, OrderId, OrderStatus, Principal, Reason, Sku, Timestamp};
use crate::engine::Command;
use crate::http::key::{GivenKey, KeyHeader};
use crate::http::orders::{OrderBody, OrderOrUnsettled, UnsettledOrder, cancelled, lookup, status};
use crate::http::problem::Problem;
use crate::http::schema::{PageParameters, problems};
use crate::http::skus::Skus;
use crate::http::timeline::{Timeline, timeline};
use crate::http::{AppState, Body, Id, Operator, Page, PageRequest, Query, RequestId};
use crate::store::{OrderFilter, StoreError};

/// Orders one step of an export reads.
const EXPORT_STEP: u64 = 2_000;

/// Names of commodities an export remembers.
const NAMES_MAX: usize = 4_096;

/// Orders, newest first.
#[utoipa::path(get, path = "/admin/v1/orders", operation_id = "operator_list_orders", tag = "operators: orders",
    params(PageParameters<OrderId>,
        ("commodity_id" = Option<CommodityId>, Query, description = "Only orders of this commodity"),
        ("user_id" = Option<Principal>, Query, description = "Only orders of this buyer"),
        ("status" = Option<OrderStatus>, Query, description = "Only orders in this status"),
        ("placed_from" = Option<Timestamp>, Query, description = "Only orders placed at or after this time"),
        ("placed_until" = Option<Timestamp>, Query, description = "Only orders placed before this time")),
    responses((status = 200, description = "A page of orders", body = Page<OrderBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _operator: Operator, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<OrderId>::read(&mut query);
    let filter = filter(&mut query);
    query.finish()?;
    let found = state.store.orders(&filter, page.after, page.limit + 1).await?;
    let skus = Skus::of(&state, found.iter().map(|named| named.order.commodity)).await?;
    let body = |named: NamedOrder| {
        let sku = skus.get(named.order.commodity).cloned();
        Ok::<_, Problem>(OrderBody::named(named)?.with_sku(sku))
    };
    let page = Page::of(found, page.limit, |named| named.order.id, body);
    Ok(HttpResponse::Ok().json(page.transposed()?))
}

problems!(ListProblems: Unavailable);

/// Orders as CSV, newest first, without a limit.
#[utoipa::path(get, path = "/admin/v1/orders.csv", operation_id = "export_orders", tag = "operators: orders",
    params(
        ("commodity_id" = Option<CommodityId>, Query, description = "Only orders of this commodity"),
        ("user_id" = Option<Principal>, Query, description = "Only orders of this buyer"),
        ("status" = Option<OrderStatus>, Query, description = "Only orders in this status"),
        ("placed_from" = Option<Timestamp>, Query, description = "Only orders placed at or after this time"),
        ("placed_until" = Option<Timestamp>, Query, description = "Only orders placed before this time")),
    responses((status = 200, description = "RFC 4180 in UTF-8 with a mark that says so, and a header line; cut off where the database went away", body = String,
        content_type = "text/csv"), ListProblems))]
pub(crate) async fn export(
    state: web::Data<AppState>,
    operator: Operator,
    request: RequestId,
    mut query: Query,
) -> Result<HttpResponse, Problem> {
    let filter = filter(&mut query);
    query.finish()?;
    note(&operator.0, &request, "export orders", "as csv");
    // The first step is made before the answer begins: a database that is away still gets its status.
    let first = state.store.orders(&filter, None, EXPORT_STEP).await?;
    let export = Export { state, filter, found: Some(first), lines: Lines::with_header(), names: HashMap::new() };
    let chunks = stream::try_unfold(export, |export| async move { export.step().await.inspect_err(cut_off) });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"orders.csv\""))
        .streaming(chunks))
}

/// One order, or what is known of an id instead.
#[utoipa::path(get, path = "/admin/v1/orders/{id}", operation_id = "operator_read_order", tag = "operators: orders",
    params(("id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "The order; or `pending`, `refused` for an id without one", body = OrderOrUnsettled), ReadProblems))]
pub(crate) async fn read(state: web::Data<AppState>, _operator: Operator, id: Id<OrderId>) -> Result<HttpResponse, Problem> {
    lookup(&state, id.0, state.router.named_order(id.0).await, None).await
}

problems!(ReadProblems: OrderNotFound, Unavailable);

/// What became of an order.
#[utoipa::path(get, path = "/admin/v1/orders/{id}/timeline", operation_id = "operator_read_timeline", tag = "operators: orders",
    params(("id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "Each status it had, oldest first", body = Timeline), TimelineProblems))]
pub(crate) async fn read_timeline(state: web::Data<AppState>, _operator: Operator, id: Id<OrderId>) -> Result<HttpResponse, Problem> {
    timeline(&state, id.0, None).await
}

problems!(TimelineProblems: OrderNotFound, Unavailable);

/// Why an order is cancelled.
#[derive(Debug, ToSchema)]
#[schema(as = CancelOrder)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct CancelBody {
    /// Kept in the order's timeline.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// How the money of an order is given back.
#[derive(Debug, ToSchema)]
#[schema(as = RefundOrder)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct RefundBody {
    /// Kept in the order's timeline.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
    /// Whether its units go on sale again; else they are written off: the commodity's `total` shrinks by them. True if left out.
    #[schema(nullable = false, default = true)]
    restock: Option<bool>,
}

/// Call an order off for its buyer. Its units are on sale again at once. The body may be left out.
#[utoipa::path(post, path = "/admin/v1/orders/{id}/cancel", operation_id = "operator_cancel_order", tag = "operators: orders",
    params(("id" = OrderId, Path, description = "The order"), KeyHeader),
    request_body(content = CancelBody, description = "Left out: for no reason that is told", example = json!({"reason": "out of stock"})),
    responses(
        (status = 200, description = "Cancelled; or cancelled before, under the same key", body = OrderBody),
        (status = 202, description = "The outcome is not known yet: ask for the order", body = UnsettledOrder,
            headers(("Retry-After" = u32, description = "Seconds to wait before asking"), ("Location" = String, description = "The order"))),
        CancelProblems))]
pub(crate) async fn cancel(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<OrderId>,
    key: GivenKey,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields_unless_null()?;
    let reason = fields.nullable_text::<Reason>("reason").flatten();
    fields.finish()?;
    note(&operator.0, &request, "cancel order", id.0);
    let asked = serde_json::json!(["cancel", reason]);
    // Without a reason as in releases that knew of none.
    let asked = if reason.is_some() { asked } else { serde_json::json!("cancel") };
    let command = Command::Cancel { order: id.0, user: None, reason, row: None };
    cancelled(&state, id.0, key.command(&operator.0.principal, &asked, command), None).await
}

/// Give the money of a paid order back. It is `refund_due` until the provider has confirmed that it went back, then `refunded`. The body may
/// be left out.
#[utoipa::path(post, path = "/admin/v1/orders/{id}/refund", operation_id = "operator_refund_order", tag = "operators: orders",
    params(("id" = OrderId, Path, description = "The order"), KeyHeader),
    request_body(content = RefundBody, description = "Left out: its units go on sale again", example = json!({"reason": "broken", "restock": false})),
    responses(
        (status = 200, description = "The money is due back; or was, under the same key", body = OrderBody),
        (status = 202, description = "The outcome is not known yet: ask for the order", body = UnsettledOrder,
            headers(("Retry-After" = u32, description = "Seconds to wait before asking"), ("Location" = String, description = "The order"))),
        RefundProblems))]
pub(crate) async fn refund(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<OrderId>,
    key: GivenKey,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields_unless_null()?;
    let reason = fields.nullable_text::<Reason>("reason").flatten();
    let restock = fields.boolean("restock").unwrap_or(true);
    fields.finish()?;
    note(&operator.0, &request, "refund order", id.0);
    let asked = serde_json::json!(["refund", reason, restock]);
    let command = Command::Refund { order: id.0, reason, restock, row: None };
    cancelled(&state, id.0, key.command(&operator.0.principal, &asked, command), None).await
}

problems!(RefundProblems: OrderNotFound, NotRefundable, IdempotencyMismatch, UpgradeUnfinished, Unavailable, Overloaded);

problems!(CancelProblems: OrderNotFound, NotCancellable, Closed, IdempotencyMismatch, ProviderUnavailable, Unavailable, Overloaded);

fn filter(query: &mut Query) -> OrderFilter {
    OrderFilter {
        commodity: query.parse("commodity_id"),
        user: query.parse::<Principal>("user_id").map(|buyer| buyer.key()),
        status: status(query),
        placed_from: query.parse("placed_from"),
        placed_until: query.parse("placed_until"),
    }
}

/// What is left of an export.
struct Export {
    state: web::Data<AppState>,
    filter: OrderFilter,
    found: Option<Vec<NamedOrder>>,
    /// What the next chunk begins with.
    lines: Lines,
    names: HashMap<CommodityId, (Option<Sku>, String)>,
}

impl Export {
    /// The next chunk and what is left after it; none at the end.
    async fn step(mut self) -> Result<Option<(web::Bytes, Self)>, StoreError> {
        let Some(found) = self.found.take() else { return Ok(None) };
        self.learn_names(&found).await?;
        let mut lines = std::mem::replace(&mut self.lines, Lines::more());
        let write = async {
            for named in &found {
                let (sku, name) = self.names.get(&named.order.commodity).map_or((None, ""), |(sku, name)| (sku.as_ref(), name.as_str()));
                lines.order(named, sku, name);
            }
        };
        let next = async {
            let before = found.last().filter(|_| found.len() as u64 == EXPORT_STEP).map(|named| named.order.id);
            match before {
                Some(_) => self.state.store.orders(&self.filter, before, EXPORT_STEP).await.map(Some),
                None => Ok(None),
            }
        };
        // The database looks for the next rows while these are written.
        let (next, ()) = futures_util::future::join(next, write).await;
        self.found = next?;
        Ok(Some((lines.into_bytes().into(), self)))
    }

    /// The numbers and names of these orders' commodities: most are on the board, the rest is history.
    async fn learn_names(&mut self, orders: &[NamedOrder]) -> Result<(), StoreError> {
        if self.names.len() > NAMES_MAX {
            self.names.clear();
        }
        for NamedOrder { order, .. } in orders {
            if self.names.contains_key(&order.commodity) {
                continue;
            }
            let name = match self.state.router.board().get(order.commodity) {
                Some(listing) => (listing.terms.sku.clone(), listing.terms.name.clone()),
                None => {
                    let terms = self.state.store.commodity(order.commodity).await?.map(|row| row.commodity.terms);
                    terms.map(|terms| (terms.sku, terms.name)).unwrap_or_default()
                }
            };
            self.names.insert(order.commodity, name);
        }
        Ok(())
    }
}

fn cut_off(error: &StoreError) {
    tracing::error!(%error, "an export of orders was cut off");
}
