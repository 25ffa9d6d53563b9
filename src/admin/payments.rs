//! Everybody's payments, for operators. Never changes one: what is to be done about them is done by itself.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{CommodityId, OrderId, PaymentId, PaymentStatus, Timestamp};
use crate::http::payments::PaymentBody;
use crate::http::problem::{Fault, Problem};
use crate::http::schema::{PageParameters, problems};
use crate::http::{AppState, Operator, Page, PageRequest, Query};
use crate::store::FullPayment;

/// A payment as operators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OperatorPayment)]
pub(crate) struct OperatorPaymentBody {
    #[serde(flatten)]
    payment: PaymentBody,
    commodity_id: CommodityId,
    /// What the provider calls it; null before it has said so.
    #[schema(required)]
    provider_id: Option<String>,
    /// Whether the order is paid by it, or came too late by it.
    pays: bool,
    started_at: Timestamp,
    /// When its status last changed for the order.
    changed_at: Timestamp,
    /// When it is looked after next; null = there is nothing left to do.
    #[schema(required)]
    due_at: Option<Timestamp>,
    /// How often in a row its provider could not be asked.
    failures: u32,
}

/// Payments, the newest orders' first.
#[utoipa::path(get, path = "/admin/v1/payments", operation_id = "operator_list_payments", tag = "operators: payments",
    params(PageParameters<PaymentId>,
        ("status" = Option<PaymentStatus>, Query, description = "Only payments in this status"),
        ("order_id" = Option<OrderId>, Query, description = "Only payments of this order")),
    responses((status = 200, description = "A page of payments", body = Page<OperatorPaymentBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _operator: Operator, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<PaymentId>::read(&mut query);
    let (status, order) = (status(&mut query), query.parse::<OrderId>("order_id"));
    query.finish()?;
    let found = match order {
        Some(order) => {
            let mut found = state.store.full_payments(order).await?;
            found.reverse();
            found.retain(|payment| status.is_none_or(|status| status == payment.status()));
            found.retain(|payment| page.after.is_none_or(|after| payment.stored.id < after));
            found
        }
        None => state.store.list_payments(status, page.after, page.limit + 1).await?,
    };
    Ok(HttpResponse::Ok().json(Page::of(found, page.limit, |payment| payment.stored.id, OperatorPaymentBody::from)))
}

problems!(ListProblems: Unavailable);

impl From<FullPayment> for OperatorPaymentBody {
    fn from(payment: FullPayment) -> Self {
        let (stored, row) = (payment.stored.clone(), payment.provider.clone());
        Self {
            payment: payment.into(),
            commodity_id: stored.commodity,
            provider_id: row.as_ref().and_then(|row| row.object.clone()),
            pays: stored.pays,
            started_at: stored.started_at,
            changed_at: stored.changed_at,
            due_at: stored.due_at,
            failures: row.map_or(0, |row| row.failures),
        }
    }
}

/// The query's `status`, if it is one a payment can be in.
fn status(query: &mut Query) -> Option<PaymentStatus> {
    let text = query.take("status")?;
    let found = PaymentStatus::ALL.into_iter().find(|status| status.word() == text);
    if found.is_none() {
        let words = PaymentStatus::ALL.map(PaymentStatus::word).join(", ");
        query.fault(Fault::new("status", format!("must be one of {words}")));
    }
    found
}
