//! Whether the books balance: the equation of every commodity against its order rows, read in one snapshot. Never repairs
//! anything.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::CommodityId;
use crate::http::problem::Problem;
use crate::http::schema::problems;
use crate::http::{AppState, Operator};
use crate::store::AuditRow;

/// The books.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Audit {
    /// Whether `total = available + held + sold = what the order rows say` for every commodity.
    balanced: bool,
    /// Every commodity, by id.
    items: Vec<AuditItem>,
}

/// The equation of one commodity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AuditItem {
    commodity_id: CommodityId,
    name: String,
    total: i64,
    available: i64,
    held: i64,
    sold: i64,
    /// Units in reserved order rows.
    held_by_orders: i64,
    /// Units in confirmed and paid order rows.
    sold_by_orders: i64,
    /// Order rows whose units are off sale.
    live_orders: i64,
    /// Whether this commodity's equation holds.
    balanced: bool,
}

impl From<AuditRow> for AuditItem {
    fn from(row: AuditRow) -> Self {
        Self {
            commodity_id: row.commodity_id,
            name: row.name,
            total: row.total,
            available: row.available,
            held: row.held,
            sold: row.sold,
            held_by_orders: row.held_by_orders,
            sold_by_orders: row.sold_by_orders,
            live_orders: row.live_orders,
            balanced: row.balanced,
        }
    }
}

/// Check the equation of every commodity.
#[utoipa::path(get, path = "/admin/v1/audit", operation_id = "audit", tag = "operators: audit",
    responses((status = 200, description = "What was found", body = Audit), AuditProblems))]
pub(crate) async fn show(state: web::Data<AppState>, _operator: Operator) -> Result<HttpResponse, Problem> {
    let rows = state.store.audit().await?;
    let balanced = rows.iter().all(|row| row.balanced);
    Ok(HttpResponse::Ok().json(Audit { balanced, items: rows.into_iter().map(AuditItem::from).collect() }))
}

problems!(AuditProblems: Unavailable);
