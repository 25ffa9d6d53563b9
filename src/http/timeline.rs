//! What became of an order: each status it had, when, and who moved it. Read from the tables; the owner's word is waited for there.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::extract::{Caller, Id};
use super::problem::Problem;
use super::schema::problems;
use super::state::AppState;
use crate::domain::{Actor, NamedOrder, Order, OrderId, OrderStatus, Principal, Reason, Timestamp};
use crate::engine::Refusal;
use crate::routing::OrderLookup;
use crate::store::{StoreError, TimelineStep};

/// How long the tables are waited for that do not have an order's last change yet.
const TABLES_PATIENCE: Duration = Duration::from_secs(2);
/// How often they are looked into meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What became of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// Each status it had, oldest first.
    items: Vec<Step>,
}

/// A status of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineStep)]
pub(crate) struct Step {
    /// From when on.
    at: Timestamp,
    status: OrderStatus,
    /// Who moved it.
    by: Actor,
    /// Why, if they said so.
    #[schema(required, value_type = Option<String>)]
    reason: Option<Reason>,
}

/// What became of one of the caller's orders.
#[utoipa::path(get, path = "/v1/orders/{id}/timeline", operation_id = "read_timeline", tag = "orders",
    params(("id" = OrderId, Path, description = "The order")),
    responses((status = 200, description = "Each status it had, oldest first", body = Timeline), TimelineProblems))]
pub(crate) async fn read(state: web::Data<AppState>, caller: Caller, id: Id<OrderId>) -> Result<HttpResponse, Problem> {
    timeline(&state, id.0, Some(&caller.0.principal)).await
}

problems!(TimelineProblems: OrderNotFound, Unavailable);

/// The answer, of that buyer's order or of anybody's. Of an id that is no order, or none yet, there is nothing to tell.
pub(crate) async fn timeline(state: &AppState, id: OrderId, buyer: Option<&Principal>) -> Result<HttpResponse, Problem> {
    let order = match state.router.order(id).await {
        OrderLookup::Known(NamedOrder { order, .. }) if buyer.is_none_or(|buyer| buyer.key() == order.user) => order,
        OrderLookup::Known(_) | OrderLookup::Refused | OrderLookup::NotFound => return Err(Refusal::OrderNotFound.into()),
        OrderLookup::Pending | OrderLookup::Unavailable => {
            return Err(Problem::Unavailable { what: "What is known of the order", cause: None });
        }
    };
    let placed = Step { at: id.placed_at(), status: first_status(&order), by: Actor::Buyer, reason: None };
    let later = steps(state, &order, placed.status).await?;
    let step = |TimelineStep { at, status, by, reason }| Step { at, status, by, reason };
    Ok(HttpResponse::Ok().json(Timeline { items: std::iter::once(placed).chain(later.into_iter().map(step)).collect() }))
}

const fn first_status(order: &Order) -> OrderStatus {
    if order.pay_by.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed }
}

/// The steps after the placing, up to how the order stands, if the tables have that in time.
async fn steps(state: &AppState, order: &Order, first: OrderStatus) -> Result<Vec<TimelineStep>, StoreError> {
    let end = Instant::now() + TABLES_PATIENCE;
    loop {
        let mut steps = state.store.timeline(order.id).await?;
        let last = steps.last().map_or(first, |step| step.status);
        if last == order.status {
            return Ok(steps);
        }
        // What releases moved that knew no timeline is in the order's row alone.
        match state.store.changed(order.id).await? {
            Some((status, at)) if status == order.status && state.store.timeline(order.id).await?.len() == steps.len() => {
                steps.push(TimelineStep { at, status, by: Actor::System, reason: None });
                return Ok(steps);
            }
            _ if Instant::now() >= end => return Ok(steps),
            _ => sleep(LOOK_AGAIN).await,
        }
    }
}
