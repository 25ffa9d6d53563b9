//! Rows to domain values. Every field is checked: what no release writes is a corrupt row, never a default.

use super::entity::{commodity, listing, order, user};
use super::{Account, DueListing, Role, StoreError};
use crate::domain::{
    Cancellation, Commodity, CommodityId, CouponId, Currency, Discount, Foreign, IdempotencyKey, Invalid, NamedOrder, Order, OrderId,
    OrderStatus, Price, PrincipalKey, Quantity, RequestFingerprint, Sku, Stock, Terms, Timestamp, Units, UserId,
};

impl order::Model {
    /// The key it was placed under, and what the request asked for.
    pub(super) fn key(&self) -> Option<(IdempotencyKey, RequestFingerprint)> {
        self.idempotency_key.map(|key| (IdempotencyKey::from_bytes(key.into_bytes()), RequestFingerprint(self.fingerprint)))
    }

    /// When its status last changed.
    pub(super) fn changed_at(&self) -> Result<Timestamp, StoreError> {
        Timestamp::from_millis(self.changed_at).map_err(|error| self.corrupt("changed_at", error))
    }

    pub(super) fn order(&self) -> Result<Order, StoreError> {
        Ok(Order {
            id: OrderId::from_uuid(self.id).map_err(|error| self.corrupt("id", error))?,
            commodity: CommodityId::new(self.commodity_id).map_err(|error| self.corrupt("commodity_id", error))?,
            user: PrincipalKey::from_halves(self.user_high, self.user_id).map_err(|error| self.corrupt("user_id", error))?,
            quantity: Quantity::new(self.quantity.into()).map_err(|error| self.corrupt("quantity", error))?,
            unit_price: Price::new(self.unit_price).map_err(|error| self.corrupt("unit_price", error))?,
            currency: currency(&self.currency).map_err(|error| self.corrupt("currency", error))?,
            status: OrderStatus::from_code(self.status).ok_or_else(|| self.corrupt("status", Invalid("an unknown code")))?,
            pay_by: self.pay_by.map(Timestamp::from_millis).transpose().map_err(|error| self.corrupt("pay_by", error))?,
            grace_seconds: u32::try_from(self.grace_seconds)
                .ok()
                .filter(|seconds| *seconds <= Terms::GRACE_SECONDS_MAX)
                .ok_or_else(|| self.corrupt("grace_seconds", Invalid("out of range")))?,
            discount: self.discount_of().map_err(|error| self.corrupt("discount", error))?,
        })
    }

    /// The same, with who ordered it.
    pub(super) fn named(&self) -> Result<NamedOrder, StoreError> {
        let (order, foreign) = (self.order()?, self.user_text.as_deref().map(str::parse::<Foreign>).transpose());
        let foreign = foreign.map_err(|error| self.corrupt("user_text", error))?;
        if foreign.as_ref().map_or(order.user.account().is_some(), |foreign| foreign.key() == order.user) {
            return Ok(NamedOrder { order, foreign });
        }
        Err(self.corrupt("user_text", Invalid("it is not whose key the order has")))
    }

    fn discount_of(&self) -> Result<Option<Discount>, Invalid> {
        match (self.coupon_id, self.discount) {
            (None, 0) => Ok(None),
            (Some(coupon), amount) if amount >= 0 => Ok(Some(Discount { coupon: CouponId::new(coupon)?, amount })),
            _ => Err(Invalid("a discount is a coupon's and not negative")),
        }
    }

    fn corrupt(&self, column: &str, error: Invalid) -> StoreError {
        StoreError::Corrupt(format!("orders.{column} of {}: {error}", self.id))
    }
}

impl commodity::Model {
    pub(super) fn commodity(self) -> Result<Commodity, StoreError> {
        let id = self.id;
        self.convert().map_err(|(column, error)| StoreError::Corrupt(format!("commodities.{column} of {id}: {error}")))
    }

    fn convert(self) -> Result<Commodity, (&'static str, Invalid)> {
        let time = |column, millis| Timestamp::from_millis(millis).map_err(|error| (column, error));
        let units = |column, count| Units::new(count).map_err(|error| (column, error));
        let positive = |column, value: Option<i32>| {
            value.map(|value| u32::try_from(value).map_err(|_| (column, Invalid("a negative number")))).transpose()
        };
        Ok(Commodity {
            id: CommodityId::new(self.id).map_err(|error| ("id", error))?,
            terms: Terms {
                sku: self.sku.map(|sku| sku.parse::<Sku>()).transpose().map_err(|error| ("sku", error))?,
                cancellation: u8::try_from(self.cancellation)
                    .ok()
                    .and_then(Cancellation::from_code)
                    .ok_or(("cancellation", Invalid("an unknown code")))?,
                price: Price::new(self.price).map_err(|error| ("price", error))?,
                currency: currency(&self.currency).map_err(|error| ("currency", error))?,
                limit_per_user: positive("limit_per_user", self.limit_per_user)?,
                hold_seconds: positive("hold_seconds", self.hold_seconds)?,
                grace_seconds: u32::try_from(self.grace_seconds).map_err(|_| ("grace_seconds", Invalid("a negative number")))?,
                starts_at: time("starts_at", self.starts_at)?,
                ends_at: time("ends_at", self.ends_at)?,
                name: self.name,
                description: self.description,
                image_url: self.image_url,
            },
            stock: Stock {
                total: units("total", self.total)?,
                available: units("available", self.available)?,
                held: units("held", self.held)?,
                sold: units("sold", self.sold)?,
            },
            paused: self.paused,
            ended_at: self.ended_at.map(|at| time("ended_at", at)).transpose()?,
            closed_at: self.closed_at.map(|at| time("closed_at", at)).transpose()?,
            version: u32::try_from(self.version).map_err(|_| ("version", Invalid("out of range")))?,
        })
    }
}

impl listing::Model {
    pub(super) fn due(self) -> Result<DueListing, StoreError> {
        let id = self.commodity_id;
        let fresh = commodity::Model {
            id,
            partition_id: 0,
            sku: self.sku,
            name: self.name,
            description: self.description,
            image_url: self.image_url,
            price: self.price,
            currency: self.currency,
            limit_per_user: self.limit_per_user,
            hold_seconds: self.hold_seconds,
            grace_seconds: self.grace_seconds,
            cancellation: self.cancellation,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            total: self.total,
            available: self.total,
            held: 0,
            sold: 0,
            paused: false,
            ended_at: None,
            version: 1,
            removed_at: None,
            closed_at: None,
            sealed_at: None,
        };
        let fresh = fresh.convert().map_err(|(column, error)| StoreError::Corrupt(format!("listings.{column} of {id}: {error}")))?;
        Ok(DueListing { commodity: fresh.id, terms: fresh.terms, total: fresh.stock.total })
    }
}

impl user::Model {
    pub(super) fn account(self) -> Result<Account, StoreError> {
        let corrupt = |column: &str| StoreError::Corrupt(format!("users.{column} of {}", self.id));
        Ok(Account {
            id: UserId::new(self.id).map_err(|_| corrupt("id"))?,
            role: Role::from_code(self.role).ok_or_else(|| corrupt("role"))?,
            created_at: Timestamp::from_millis(self.created_at).map_err(|_| corrupt("created_at"))?,
            username: self.username,
            password_hash: self.password_hash,
            generation: self.generation,
        })
    }
}

/// Loading a partition reads the same code for every order: the last one is not looked up again.
fn currency(code: &str) -> Result<Currency, Invalid> {
    thread_local!(static LAST: std::cell::Cell<Option<Currency>> = const { std::cell::Cell::new(None) });
    if let Some(last) = LAST.get().filter(|last| last.code() == code) {
        return Ok(last);
    }
    let parsed: Currency = code.parse()?;
    LAST.set(Some(parsed));
    Ok(parsed)
}
