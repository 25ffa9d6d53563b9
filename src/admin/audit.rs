//! Whether the books balance: the equation of every commodity against its order rows, read in one snapshot. Never repairs
//! anything; what is over and right is sealed, and not read again unless somebody asks for it.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::domain::{CommodityId, PartitionId, Timestamp};
use crate::http::problem::{Fault, Problem};
use crate::http::schema::problems;
use crate::http::{AppState, Operator, Query};
use crate::projection::{Position, span};
use crate::store::{AuditRow, AuditScope, Loss, Store, StoreError};

/// Losses that are shown, at most.
const LOSSES_MAX: u32 = 100;

/// The books.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Audit {
    /// Whether `total = available + held + sold = what the order rows say` for every commodity that was looked at.
    balanced: bool,
    /// Closed and removed commodities that were found right before, and were not looked at.
    #[schema(minimum = 0)]
    sealed: u64,
    /// Every other commodity, by id.
    items: Vec<AuditItem>,
    /// What logs have lost and an operator has accepted the loss of, the latest first, at most 100.
    losses: Vec<AuditLoss>,
}

/// Batches that a log has lost.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AuditLoss {
    #[schema(value_type = u16)]
    partition: PartitionId,
    /// Which batches, in words: `batches 4/1 to 4/3`.
    missing: String,
    /// Why it was accepted.
    reason: String,
    accepted_by: String,
    accepted_at: Timestamp,
}

impl From<Loss> for AuditLoss {
    fn from(loss: Loss) -> Self {
        let [applied, last] = [loss.applied, loss.missing].map(|(epoch, sequence)| Position { epoch, sequence });
        let (missing, accepted_at) = (span(applied, last), loss.accepted_at);
        Self { partition: loss.partition, missing, reason: loss.reason, accepted_by: loss.accepted_by, accepted_at }
    }
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
    /// Order rows whose money has to go back.
    refunds_due: i64,
    /// Live order rows under a key that another live order of the same buyer has.
    keys_used_twice: i64,
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
            refunds_due: row.refunds_due,
            keys_used_twice: row.keys_used_twice,
            balanced: row.balanced,
        }
    }
}

/// Check the equation of every commodity.
///
/// A closed or removed commodity is checked once and sealed, until an order of it changes all the same (a late payment that is
/// given back). One audit runs at a time, for all who wait for it, and never more than a fifth of the time: what is answered was read
/// after it was asked for.
#[utoipa::path(get, path = "/admin/v1/audit", operation_id = "audit", tag = "operators: audit",
    params(("all" = Option<bool>, Query, description = "`true`: what is sealed is checked too, order by order")),
    responses((status = 200, description = "What was found", body = Audit), AuditProblems))]
pub(crate) async fn show(state: web::Data<AppState>, _operator: Operator, mut query: Query) -> Result<HttpResponse, Problem> {
    let scope = match query.take("all").as_deref() {
        None | Some("false") => AuditScope::Unsealed,
        Some("true") => AuditScope::All,
        Some(_) => {
            query.fault(Fault::new("all", "must be true or false"));
            AuditScope::Unsealed
        }
    };
    query.finish()?;
    let (store, clock) = (state.store.clone(), state.clock);
    let books = state.costly.audits.run(scope == AuditScope::All, move || books(store, scope, clock)).await?;
    let body = books.map_err(|error| match *error {
        // The log has the cause, once for all who waited.
        StoreError::Database(_) | StoreError::Connect(_) => Problem::Unavailable { what: "The database", cause: None },
        StoreError::Schema(_) | StoreError::Corrupt(_) | StoreError::Refused(_) => Problem::Internal(error.to_string()),
    })?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

problems!(AuditProblems: Unavailable);

async fn books(store: Store, scope: AuditScope, clock: Clock) -> Result<Bytes, Arc<StoreError>> {
    let read = async {
        let audit = store.audit_of(scope).await?;
        // What was found stands, sealed or not: only the next audit has more to read.
        if let Err(error) = store.seal(&audit, clock()).await {
            tracing::warn!(%error, "an audit could not seal what is over");
        }
        let (balanced, sealed) = (audit.is_balanced(), audit.sealed);
        let losses = store.losses(LOSSES_MAX).await?.into_iter().map(AuditLoss::from).collect();
        Ok(Audit { balanced, sealed, items: audit.rows.into_iter().map(AuditItem::from).collect(), losses })
    };
    let audit: Audit = read.await.map_err(|error: StoreError| {
        tracing::error!(%error, "an audit could not be made: {error}");
        Arc::new(error)
    })?;
    Ok(serde_json::to_vec(&audit).expect("an audit has no type that JSON cannot write").into())
}
