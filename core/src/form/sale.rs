//! A commodity and its terms as the log's version 5 and the peer link's version 7 write them, frozen.

use serde::{Deserialize, Serialize};

use super::offer::cancellation_of;
use super::{FormError, currency_of};
use crate::domain::{self, CommodityId, Price, Sku, Stock, Timestamp, Units};

/// A commodity, all of it.
#[derive(Serialize, Deserialize)]
pub struct Commodity<'a> {
    id: u64,
    #[serde(borrow)]
    terms: Terms<'a>,
    total: u32,
    available: u32,
    held: u32,
    sold: u32,
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
    price: u64,
    currency: &'a str,
    limit_per_user: Option<u32>,
    hold_seconds: Option<u32>,
    grace_seconds: u32,
    starts_at: i64,
    ends_at: i64,
    sku: Option<&'a str>,
    cancellation: u8,
}

impl<'a> From<&'a domain::Commodity> for Commodity<'a> {
    fn from(commodity: &'a domain::Commodity) -> Self {
        let stock = commodity.stock;
        Self {
            id: commodity.id.get().cast_unsigned(),
            terms: (&commodity.terms).into(),
            total: stock.total.get(),
            available: stock.available.get(),
            held: stock.held.get(),
            sold: stock.sold.get(),
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
            id: CommodityId::new(commodity.id.cast_signed())?,
            terms: commodity.terms.try_into()?,
            stock: Stock {
                total: Units::new(commodity.total.into())?,
                available: Units::new(commodity.available.into())?,
                held: Units::new(commodity.held.into())?,
                sold: Units::new(commodity.sold.into())?,
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
            price: terms.price.minor().cast_unsigned(),
            currency: terms.currency.code(),
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            grace_seconds: terms.grace_seconds,
            starts_at: terms.starts_at.millis(),
            ends_at: terms.ends_at.millis(),
            sku: terms.sku.as_ref().map(Sku::as_str),
            cancellation: terms.cancellation.code(),
        }
    }
}

impl TryFrom<Terms<'_>> for domain::Terms {
    type Error = FormError;

    fn try_from(terms: Terms<'_>) -> Result<Self, FormError> {
        Ok(Self {
            name: terms.name.to_owned(),
            description: terms.description.to_owned(),
            image_url: terms.image_url.map(str::to_owned),
            price: Price::new(terms.price.cast_signed())?,
            currency: currency_of(terms.currency)?,
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            grace_seconds: terms.grace_seconds,
            starts_at: Timestamp::from_millis(terms.starts_at)?,
            ends_at: Timestamp::from_millis(terms.ends_at)?,
            sku: terms.sku.map(str::parse).transpose()?,
            cancellation: cancellation_of(terms.cancellation)?,
        })
    }
}
