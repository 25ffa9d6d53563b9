//! Forms of the domain's values as the first release wrote them, frozen (and those of [`offer`] and [`sale`], which came later): numbers, texts
//! and arrays alone, no type of the domain.
//!
//! The log's first version and the peer link's third are made of them, so no change of the domain can change their bytes. It converts,
//! checked, and never does I/O. A form that is to say more becomes a new type, in the version that needs it.

pub mod offer;
mod peer_version;
pub mod sale;

pub use peer_version::PeerVersion;

use serde::{Deserialize, Serialize};

use crate::domain::{
    self, Cancellation, CommodityId, Currency, Invalid, OrderId, OrderStatus, Price, Quantity, Stock, Timestamp, Units, UserId,
};

/// Why a form is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A word this release does not know: of a newer one.
    #[error("{0}, which this release does not know")]
    Unknown(String),
    /// A value outside its type's range.
    #[error("{0}")]
    Broken(String),
}

impl From<Invalid> for FormError {
    fn from(error: Invalid) -> Self {
        Self::Broken(error.to_string())
    }
}

/// An order.
#[derive(Serialize, Deserialize)]
pub struct Order<'a> {
    id: Id,
    commodity: i64,
    user: i64,
    quantity: i64,
    unit_price: i64,
    currency: &'a str,
    status: u32,
    pay_by: Option<i64>,
}

/// An order's id.
#[derive(Serialize, Deserialize)]
pub struct Id {
    /// Always 16.
    length: u8,
    bytes: [u8; 16],
}

/// A commodity, all of it.
#[derive(Serialize, Deserialize)]
pub struct Commodity<'a> {
    id: i64,
    #[serde(borrow)]
    terms: Terms<'a>,
    total: i64,
    available: i64,
    held: i64,
    sold: i64,
    paused: bool,
    ended_at: Option<i64>,
    version: u32,
}

/// What is offered.
#[derive(Serialize, Deserialize)]
pub struct Terms<'a> {
    name: &'a str,
    description: &'a str,
    image_url: Option<&'a str>,
    price: i64,
    currency: &'a str,
    limit_per_user: Option<u32>,
    hold_seconds: Option<u32>,
    starts_at: i64,
    ends_at: i64,
}

impl<'a> Order<'a> {
    /// None for an order of another issuer's account: there was none when this form was made.
    pub fn of(order: &'a domain::Order) -> Option<Self> {
        Some(Self {
            id: order.id.into(),
            commodity: order.commodity.get(),
            user: order.user.account()?.get(),
            quantity: order.quantity.into(),
            unit_price: order.unit_price.minor(),
            currency: order.currency.code(),
            status: code_of(order.status),
            pay_by: order.pay_by.map(Timestamp::millis),
        })
    }
}

impl TryFrom<Order<'_>> for domain::Order {
    type Error = FormError;

    fn try_from(order: Order<'_>) -> Result<Self, FormError> {
        Ok(Self {
            id: order.id.try_into()?,
            commodity: CommodityId::new(order.commodity)?,
            user: UserId::new(order.user)?.into(),
            quantity: Quantity::new(order.quantity)?,
            unit_price: Price::new(order.unit_price)?,
            currency: currency_of(order.currency)?,
            status: status_of(order.status)?,
            pay_by: order.pay_by.map(Timestamp::from_millis).transpose()?,
            grace_seconds: 0,
            discount: None,
        })
    }
}

impl<'a> From<&'a domain::Commodity> for Commodity<'a> {
    fn from(commodity: &'a domain::Commodity) -> Self {
        let stock = commodity.stock;
        Self {
            id: commodity.id.get(),
            terms: (&commodity.terms).into(),
            total: stock.total.into(),
            available: stock.available.into(),
            held: stock.held.into(),
            sold: stock.sold.into(),
            paused: commodity.paused,
            ended_at: commodity.ended_at.map(Timestamp::millis),
            version: commodity.version,
        }
    }
}

impl TryFrom<Commodity<'_>> for domain::Commodity {
    type Error = FormError;

    fn try_from(commodity: Commodity<'_>) -> Result<Self, FormError> {
        Ok(Self {
            id: CommodityId::new(commodity.id)?,
            terms: commodity.terms.try_into()?,
            stock: Stock {
                total: Units::new(commodity.total)?,
                available: Units::new(commodity.available)?,
                held: Units::new(commodity.held)?,
                sold: Units::new(commodity.sold)?,
            },
            paused: commodity.paused,
            ended_at: commodity.ended_at.map(Timestamp::from_millis).transpose()?,
            closed_at: None,
            version: commodity.version,
        })
    }
}

impl<'a> From<&'a domain::Terms> for Terms<'a> {
    fn from(terms: &'a domain::Terms) -> Self {
        Self {
            name: &terms.name,
            description: &terms.description,
            image_url: terms.image_url.as_deref(),
            price: terms.price.minor(),
            currency: terms.currency.code(),
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            starts_at: terms.starts_at.millis(),
            ends_at: terms.ends_at.millis(),
        }
    }
}

impl TryFrom<Terms<'_>> for domain::Terms {
    type Error = FormError;

    fn try_from(terms: Terms<'_>) -> Result<Self, FormError> {
        Ok(Self {
            sku: None,
            name: terms.name.to_owned(),
            description: terms.description.to_owned(),
            image_url: terms.image_url.map(str::to_owned),
            price: Price::new(terms.price)?,
            currency: currency_of(terms.currency)?,
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            grace_seconds: domain::Terms::GRACE_SECONDS,
            cancellation: Cancellation::Unpaid,
            starts_at: Timestamp::from_millis(terms.starts_at)?,
            ends_at: Timestamp::from_millis(terms.ends_at)?,
        })
    }
}

/// Whether the forms here say all of these terms: they are older than article numbers, and than a say in what can be cancelled. What they do
/// not say is left out, so whoever must not lose it asks first.
pub fn says_all_of(terms: &domain::Terms) -> bool {
    terms.sku.is_none() && terms.cancellation == Cancellation::Unpaid && offer::says_all_of(terms)
}

/// The same of a change.
pub const fn says_all_of_change(change: &domain::TermsChange) -> bool {
    change.sku.is_none() && change.cancellation.is_none() && offer::says_all_of_change(change)
}

impl From<OrderId> for Id {
    fn from(id: OrderId) -> Self {
        Self { length: 16, bytes: id.uuid().into_bytes() }
    }
}

impl TryFrom<Id> for OrderId {
    type Error = FormError;

    fn try_from(id: Id) -> Result<Self, FormError> {
        if id.length != 16 {
            return Err(FormError::Broken(format!("an order id of {} bytes", id.length)));
        }
        Ok(Self::from_uuid(uuid::Uuid::from_bytes(id.bytes))?)
    }
}

/// Whether the forms of orders before [`sale`] say all of this one: they know no grace and no discount.
pub const fn says_all_of_order(order: &domain::Order) -> bool {
    order.grace_seconds == 0 && order.discount.is_none()
}

/// The number of a status. A status that is added has none in this version: to write it is what a newer one is for.
pub const fn code_of(status: OrderStatus) -> u32 {
    match status {
        OrderStatus::Reserved => 0,
        OrderStatus::Confirmed => 1,
        OrderStatus::Paid => 2,
        OrderStatus::Cancelled => 3,
        OrderStatus::Expired => 4,
        OrderStatus::RefundDue => 5,
        OrderStatus::Refunded => 6,
    }
}

/// The status with that number.
pub fn status_of(code: u32) -> Result<OrderStatus, FormError> {
    let status = OrderStatus::ALL.into_iter().find(|status| code_of(*status) == code);
    status.ok_or_else(|| FormError::Unknown(format!("an order status of number {code}")))
}

/// The currency with that code. Countries make new ones, and a newer release may know them.
pub fn currency_of(code: &str) -> Result<Currency, FormError> {
    code.parse().map_err(|error: Invalid| {
        if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            FormError::Unknown(format!("the currency {code}"))
        } else {
            error.into()
        }
    })
}
