//! What operators send of commodities and what they get. Never reads a body: see [`super::terms`].

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Cancellation, Commodity, CommodityId, Currency, Price, Sku, Timestamp, Units};
use crate::http::commodities::CommodityBody;

/// A commodity as operators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OperatorCommodity)]
pub(crate) struct OperatorCommodityBody {
    #[serde(flatten)]
    commodity: CommodityBody,
    /// Units in reserved orders.
    held: Units,
    /// Units in confirmed and paid orders.
    sold: Units,
    /// Whether an operator paused the sale.
    paused: bool,
    /// When an operator ended the sale before its window did; null if nobody did.
    #[schema(required)]
    ended_at: Option<Timestamp>,
    /// When it was closed; null while it is not.
    #[schema(required)]
    closed_at: Option<Timestamp>,
    /// Grows with each change an operator makes, not with orders. In quotes it is the `ETag`.
    version: u32,
}

impl OperatorCommodityBody {
    pub(super) fn of(commodity: &Commodity, now: Timestamp) -> Self {
        Self {
            commodity: CommodityBody::of(commodity, now),
            held: commodity.stock.held,
            sold: commodity.stock.sold,
            paused: commodity.paused,
            ended_at: commodity.ended_at,
            closed_at: commodity.closed_at,
            version: commodity.version,
        }
    }
}

/// A new commodity.
#[derive(Debug, ToSchema)]
#[schema(as = NewCommodity)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct NewBody {
    /// The shop's own number of it, which no other commodity has; none if left out.
    sku: Option<Sku>,
    /// No control characters, and not of spaces alone.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        examples("Mechanical keyboard, 75 %")
    )]
    name: String,
    /// Empty if left out.
    #[schema(max_length = 10_000)]
    #[serde(default)]
    description: String,
    /// An http(s) URL with a host and without a user; none if left out.
    #[schema(max_length = 2_000, pattern = "^https?://[^/?#\\\\@\\s]+([/?#][!-~]*)?$")]
    image_url: Option<String>,
    price: Price,
    currency: Currency,
    /// All units there are to sell.
    total: Units,
    /// The most units one buyer may have in live orders; no limit if left out.
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit_per_user: Option<u32>,
    /// How long a buyer has to pay, in seconds; no payment needed if left out.
    #[schema(minimum = 1, maximum = 31_536_000)]
    hold_seconds: Option<u32>,
    /// How long after that money on its way still counts as in time, in seconds; 30 if left out.
    #[schema(nullable = false, maximum = 604_800, default = 30)]
    grace_seconds: Option<u32>,
    /// Which orders can be cancelled; `unpaid` if left out.
    #[schema(nullable = false)]
    cancellation: Option<Cancellation>,
    starts_at: Timestamp,
    /// After `starts_at`.
    ends_at: Timestamp,
}

/// What changes: only the fields that are sent do.
#[derive(Debug, ToSchema)]
#[schema(as = CommodityChange)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field: absent and null differ")]
pub(crate) struct ChangeBody {
    /// Null = none from now on. The number is free for another commodity then.
    sku: Option<Sku>,
    /// No control characters, and not of spaces alone.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$"
    )]
    name: Option<String>,
    #[schema(nullable = false, max_length = 10_000)]
    description: Option<String>,
    /// Null = no picture from now on.
    #[schema(max_length = 2_000, pattern = "^https?://[^/?#\\\\@\\s]+([/?#][!-~]*)?$")]
    image_url: Option<String>,
    /// For orders placed from now on.
    #[schema(nullable = false)]
    price: Option<Price>,
    /// For orders placed from now on.
    #[schema(nullable = false)]
    currency: Option<Currency>,
    /// Null = no limit from now on.
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit_per_user: Option<u32>,
    /// Null = no payment needed; for orders placed from now on.
    #[schema(minimum = 1, maximum = 31_536_000)]
    hold_seconds: Option<u32>,
    /// For orders placed from now on.
    #[schema(nullable = false, maximum = 604_800)]
    grace_seconds: Option<u32>,
    /// From now on, for orders placed before too.
    #[schema(nullable = false)]
    cancellation: Option<Cancellation>,
    #[schema(nullable = false)]
    starts_at: Option<Timestamp>,
    #[schema(nullable = false)]
    ends_at: Option<Timestamp>,
    /// Not below what is held and sold.
    #[schema(nullable = false)]
    total: Option<Units>,
}

/// Units to add.
#[derive(Debug, ToSchema)]
#[schema(as = Restock)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct RestockBody {
    #[schema(minimum = 1, maximum = 1_000_000_000, examples(100))]
    units: u32,
}

/// The outcome of a change is not known yet: read the commodity to learn it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct PendingChange {
    commodity_id: CommodityId,
    /// Always `pending`.
    #[schema(examples("pending"))]
    status: &'static str,
}

impl PendingChange {
    pub(super) const fn of(commodity_id: CommodityId) -> Self {
        Self { commodity_id, status: "pending" }
    }
}
