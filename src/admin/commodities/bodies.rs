//! What operators send of commodities and what they get. Each body is one struct: what is read is what the documentation says. Never
//! holds fields against each other: see [`super::terms`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Cancellation, Commodity, CommodityId, Currency, Invalid, Price, Sku, TermsChange, Timestamp, Units};
use crate::http::commodities::CommodityBody;
use crate::http::fields::{integer, nullable_integer, nullable_text, text};

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
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = NewCommodity)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewBody {
    /// The shop's own number of it, which no other commodity has; none if left out.
    #[schema(value_type = Option<Sku>)]
    #[serde(deserialize_with = "nullable_text")]
    sku: Option<Option<Sku>>,
    /// No control characters, and not of spaces alone.
    #[schema(
        value_type = String,
        required,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        examples("Mechanical keyboard, 75 %")
    )]
    #[serde(deserialize_with = "text")]
    name: Option<String>,
    /// Empty if left out.
    #[schema(value_type = String, max_length = 10_000)]
    #[serde(deserialize_with = "text")]
    description: Option<String>,
    /// An http(s) URL with a host and without a user; none if left out.
    #[schema(value_type = Option<String>, max_length = 2_000, pattern = "^https?://[^/?#\\\\@\\s]+([/?#][!-~]*)?$")]
    #[serde(deserialize_with = "nullable_text")]
    image_url: Option<Option<String>>,
    #[schema(value_type = Price, required)]
    #[serde(deserialize_with = "integer")]
    price: Option<Price>,
    #[schema(value_type = Currency, required)]
    #[serde(deserialize_with = "text")]
    currency: Option<Currency>,
    /// All units there are to sell.
    #[schema(value_type = Units, required)]
    #[serde(deserialize_with = "integer")]
    total: Option<Units>,
    /// The most units one buyer may have in live orders; no limit if left out.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    #[serde(deserialize_with = "nullable_integer")]
    limit_per_user: Option<Option<Count>>,
    /// How long a buyer has to pay, in seconds; no payment needed if left out.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 31_536_000)]
    #[serde(deserialize_with = "nullable_integer")]
    hold_seconds: Option<Option<Count>>,
    /// How long after that money on its way still counts as in time, in seconds; 30 if left out.
    #[schema(value_type = u32, nullable = false, maximum = 604_800, default = 30)]
    #[serde(deserialize_with = "integer")]
    grace_seconds: Option<Grace>,
    /// Which orders can be cancelled; `unpaid` if left out.
    #[schema(nullable = false)]
    #[serde(deserialize_with = "text")]
    cancellation: Option<Cancellation>,
    #[schema(value_type = Timestamp, required)]
    #[serde(deserialize_with = "text")]
    starts_at: Option<Timestamp>,
    /// After `starts_at`.
    #[schema(value_type = Timestamp, required)]
    #[serde(deserialize_with = "text")]
    ends_at: Option<Timestamp>,
}

/// What changes: only the fields that are sent do.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = CommodityChange)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeBody {
    /// Null = none from now on. The number is free for another commodity then.
    #[schema(value_type = Option<Sku>)]
    #[serde(deserialize_with = "nullable_text")]
    sku: Option<Option<Sku>>,
    /// No control characters, and not of spaces alone.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$"
    )]
    #[serde(deserialize_with = "text")]
    name: Option<String>,
    #[schema(nullable = false, max_length = 10_000)]
    #[serde(deserialize_with = "text")]
    description: Option<String>,
    /// Null = no picture from now on.
    #[schema(value_type = Option<String>, max_length = 2_000, pattern = "^https?://[^/?#\\\\@\\s]+([/?#][!-~]*)?$")]
    #[serde(deserialize_with = "nullable_text")]
    image_url: Option<Option<String>>,
    /// For orders placed from now on.
    #[schema(nullable = false)]
    #[serde(deserialize_with = "integer")]
    price: Option<Price>,
    /// For orders placed from now on.
    #[schema(nullable = false)]
    #[serde(deserialize_with = "text")]
    currency: Option<Currency>,
    /// Null = no limit from now on.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    #[serde(deserialize_with = "nullable_integer")]
    limit_per_user: Option<Option<Count>>,
    /// Null = no payment needed; for orders placed from now on.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 31_536_000)]
    #[serde(deserialize_with = "nullable_integer")]
    hold_seconds: Option<Option<Count>>,
    /// For orders placed from now on.
    #[schema(value_type = u32, nullable = false, maximum = 604_800)]
    #[serde(deserialize_with = "integer")]
    grace_seconds: Option<Grace>,
    /// From now on, for orders placed before too.
    #[schema(nullable = false)]
    #[serde(deserialize_with = "text")]
    cancellation: Option<Cancellation>,
    #[schema(nullable = false)]
    #[serde(deserialize_with = "text")]
    starts_at: Option<Timestamp>,
    #[schema(nullable = false)]
    #[serde(deserialize_with = "text")]
    ends_at: Option<Timestamp>,
    /// Not below what is held and sold.
    #[schema(nullable = false)]
    #[serde(deserialize_with = "integer")]
    total: Option<Units>,
}

/// Units to add.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Restock)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RestockBody {
    #[schema(value_type = u32, required, minimum = 1, maximum = 1_000_000_000, examples(100))]
    #[serde(deserialize_with = "integer")]
    pub(super) units: Option<Added>,
}

/// A limit or a hold time of any size; [`Terms::faults`](crate::domain::Terms::faults) knows the range.
#[derive(Clone, Copy, Debug, Serialize)]
struct Count(u32);

impl TryFrom<i64> for Count {
    type Error = Invalid;
    fn try_from(number: i64) -> Result<Self, Invalid> {
        u32::try_from(number).map(Self).map_err(|_| Invalid("must be a whole number of at least 1, or null"))
    }
}

/// A time of any size, 0 too; [`Terms::faults`](crate::domain::Terms::faults) knows the range.
#[derive(Clone, Copy, Debug, Serialize)]
struct Grace(u32);

impl TryFrom<i64> for Grace {
    type Error = Invalid;
    fn try_from(number: i64) -> Result<Self, Invalid> {
        u32::try_from(number).map(Self).map_err(|_| Invalid("must be a whole number from 0 to 604800"))
    }
}

/// Units to add: at least one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Added(pub(super) Units);

impl TryFrom<i64> for Added {
    type Error = Invalid;
    fn try_from(number: i64) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("units to add must be a whole number from 1 to 1000000000");
        if number < 1 { Err(WRONG) } else { Units::new(number).map(Self).map_err(|_| WRONG) }
    }
}

/// Both bodies are the same change, of a commodity or of nothing.
macro_rules! into_change {
    ($body:ident) => {
        impl From<$body> for TermsChange {
            fn from(body: $body) -> Self {
                Self {
                    sku: body.sku,
                    name: body.name,
                    description: body.description,
                    image_url: body.image_url,
                    price: body.price,
                    currency: body.currency,
                    limit_per_user: body.limit_per_user.map(|limit| limit.map(|Count(limit)| limit)),
                    hold_seconds: body.hold_seconds.map(|hold| hold.map(|Count(hold)| hold)),
                    grace_seconds: body.grace_seconds.map(|Grace(grace)| grace),
                    cancellation: body.cancellation,
                    starts_at: body.starts_at,
                    ends_at: body.ends_at,
                    total: body.total,
                }
            }
        }
    };
}

into_change!(NewBody);
into_change!(ChangeBody);

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
