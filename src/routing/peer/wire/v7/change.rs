//! A change of a commodity, to and from version 7.

use serde::{Deserialize, Serialize};

use crate::domain::{Cancellation, CommodityId, Price, Sku, TermsChange, Timestamp, Units};
use crate::engine;
use crate::form::currency_of;
use crate::form::offer::cancellation_of;
use crate::routing::peer::wire::Garbage;

/// What changes; an inner none is a value that is none from now on.
#[derive(Serialize, Deserialize)]
pub(super) struct Change<'a> {
    commodity: i64,
    #[serde(borrow)]
    sku: Option<Option<&'a str>>,
    name: Option<&'a str>,
    description: Option<&'a str>,
    #[serde(borrow)]
    image_url: Option<Option<&'a str>>,
    price: Option<i64>,
    currency: Option<&'a str>,
    limit_per_user: Option<Option<u32>>,
    hold_seconds: Option<Option<u32>>,
    grace_seconds: Option<u32>,
    cancellation: Option<u8>,
    starts_at: Option<i64>,
    ends_at: Option<i64>,
    total: Option<i64>,
}

impl<'a> Change<'a> {
    pub(super) fn of(commodity: CommodityId, change: &'a TermsChange) -> Self {
        Self {
            commodity: commodity.get(),
            sku: change.sku.as_ref().map(|sku| sku.as_ref().map(Sku::as_str)),
            name: change.name.as_deref(),
            description: change.description.as_deref(),
            image_url: change.image_url.as_ref().map(Option::as_deref),
            price: change.price.map(Price::minor),
            currency: change.currency.as_ref().map(|currency| currency.code()),
            limit_per_user: change.limit_per_user,
            hold_seconds: change.hold_seconds,
            grace_seconds: change.grace_seconds,
            cancellation: change.cancellation.map(Cancellation::code),
            starts_at: change.starts_at.map(Timestamp::millis),
            ends_at: change.ends_at.map(Timestamp::millis),
            total: change.total.map(Into::into),
        }
    }
}

impl TryFrom<Change<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(change: Change<'_>) -> Result<Self, Garbage> {
        let changes = TermsChange {
            sku: change.sku.map(|sku| sku.map(str::parse::<Sku>).transpose()).transpose()?,
            name: change.name.map(str::to_owned),
            description: change.description.map(str::to_owned),
            image_url: change.image_url.map(|url| url.map(str::to_owned)),
            price: change.price.map(Price::new).transpose()?,
            currency: change.currency.map(currency_of).transpose()?,
            limit_per_user: change.limit_per_user,
            hold_seconds: change.hold_seconds,
            grace_seconds: change.grace_seconds,
            cancellation: change.cancellation.map(cancellation_of).transpose()?,
            starts_at: change.starts_at.map(Timestamp::from_millis).transpose()?,
            ends_at: change.ends_at.map(Timestamp::from_millis).transpose()?,
            total: change.total.map(Units::new).transpose()?,
        };
        Ok(Self::Change { commodity: CommodityId::new(change.commodity)?, change: Box::new(changes) })
    }
}
