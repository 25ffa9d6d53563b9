//! An order as everyone outside the engine sees it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CommodityId, CouponId, Currency, Foreign, Invalid, OrderId, Price, Principal, PrincipalKey, Quantity, Timestamp};

/// Where an order stands. `pending` and `refused` are answers about ids, never states of an order that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Its units are held until `pay_by`.
    Reserved,
    /// Accepted without a payment: sold.
    Confirmed,
    /// Paid in time: sold.
    Paid,
    /// Called off by its buyer or an operator; its units are on sale again.
    Cancelled,
    /// Not paid by `pay_by`; its units are on sale again.
    Expired,
    /// Paid after it had ended: the money has to go back.
    RefundDue,
    /// The money went back.
    Refunded,
}

impl OrderStatus {
    /// Every status, in the order of their codes.
    pub const ALL: [OrderStatus; 7] =
        [Self::Reserved, Self::Confirmed, Self::Paid, Self::Cancelled, Self::Expired, Self::RefundDue, Self::Refunded];

    /// The word used in JSON, in lists and in the audit.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Confirmed => "confirmed",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::RefundDue => "refund_due",
            Self::Refunded => "refunded",
        }
    }

    /// The number in the database's column. Append-only.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The status with that number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether its units are off sale: held or sold.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Reserved | Self::Confirmed | Self::Paid)
    }
}

/// One buyer's claim on some units of one commodity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The id, which also tells when and where it was placed.
    pub id: OrderId,
    /// What was ordered.
    pub commodity: CommodityId,
    /// Who ordered it, by their key.
    pub user: PrincipalKey,
    /// How many units.
    pub quantity: Quantity,
    /// What one unit cost when the order was placed.
    pub unit_price: Price,
    /// The currency of `unit_price`.
    pub currency: Currency,
    /// Where it stands.
    pub status: OrderStatus,
    /// Up to when it is to be paid; none for an order that needs no payment.
    pub pay_by: Option<Timestamp>,
    /// How long after `pay_by` its units are still held, in seconds.
    pub grace_seconds: u32,
    /// What a coupon takes off.
    pub discount: Option<Discount>,
}

/// What a coupon takes off the price of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discount {
    /// The coupon.
    pub coupon: CouponId,
    /// Minor units of the order's currency: from 0 to all that its units cost.
    pub amount: i64,
}

/// An order as lists show it: with who ordered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedOrder {
    /// The order, which knows its buyer by their key.
    pub order: Order,
    /// The buyer, if they are no account of our own, and whoever tells of the order knows who they are: the tables do.
    pub foreign: Option<Foreign>,
}

impl NamedOrder {
    /// Who ordered it; none where their key is all that is known.
    #[must_use]
    pub fn buyer(&self) -> Option<Principal> {
        self.order.user.account().map(Principal::Own).or_else(|| self.foreign.clone().map(Principal::Foreign))
    }
}

impl Order {
    /// What the whole order costs, in minor units.
    #[must_use]
    pub fn amount(&self) -> i64 {
        let discount = self.discount.map_or(0, |discount| discount.amount);
        (self.unit_price.times(self.quantity) - discount).max(0)
    }

    /// When its hold is let go, if it is not paid by then.
    #[must_use]
    pub fn held_until(&self) -> Option<Timestamp> {
        self.pay_by.map(|pay_by| pay_by.plus_millis(u64::from(self.grace_seconds) * 1_000))
    }
}

/// What a client sent as `Idempotency-Key`, reduced to 128 bits: its scope is one buyer and one commodity.
///
/// The text (1 to 255 visible ASCII characters) of an account of our own is hashed with XXH3-128: a buyer who forges a collision meets
/// only keys of their own, so a cryptographic hash would add nothing. Of another issuer's account it is hashed with SHA-256, together with
/// the buyer's own key. So 64 bits of the buyer beside it are enough wherever keys are kept: two buyers who share those share no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey(u128);

impl IdempotencyKey {
    /// Reduces a header's text of that buyer.
    ///
    /// # Errors
    /// [`Invalid`] for an empty text, more than 255 characters, or anything but visible ASCII.
    pub fn of(buyer: &Principal, text: &str) -> Result<Self, Invalid> {
        let own = Self::from_text(text)?;
        Ok(match buyer {
            Principal::Own(_) => own,
            Principal::Foreign(foreign) => {
                let digest = Sha256::new().chain_update(foreign.key().get().to_be_bytes()).chain_update(text).finalize();
                let (first, _) = digest.split_first_chunk::<16>().expect("a SHA-256 digest has 32 bytes");
                Self::from_bytes(*first)
            }
        })
    }

    /// Reduces a header's text of an account of our own.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn from_text(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > 255 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Invalid("an Idempotency-Key must be 1 to 255 visible ASCII characters"));
        }
        Ok(Self(xxhash_rust::xxh3::xxh3_128(text.as_bytes())))
    }

    /// The 128 bits, as the database keeps them.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The key with those bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// What a request asked for beside its commodity and buyer, in 64 bits: a key that comes again must bring the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestFingerprint(pub i64);

impl RequestFingerprint {
    /// The fingerprint of a request: XXH3-64 over the quantity (little-endian u32) and the coupon's bytes.
    #[must_use]
    pub fn of(quantity: Quantity, coupon: Option<&str>) -> Self {
        let mut bytes = quantity.get().to_le_bytes().to_vec();
        if let Some(coupon) = coupon {
            bytes.push(1);
            bytes.extend_from_slice(coupon.as_bytes());
        }
        Self::of_bytes(&bytes)
    }

    /// The same of a request that names the price its buyer saw, where it does: XXH3-64 over the fingerprint and the price, both as
    /// little-endian i64.
    #[must_use]
    pub fn at_price(self, unit_price: Option<Price>) -> Self {
        let Some(unit_price) = unit_price else { return self };
        let [this, price] = [self.0, unit_price.minor()].map(i64::to_le_bytes);
        Self::of_bytes(&[this, price].concat())
    }

    /// XXH3-64 of what a request asked for.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(bytes) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_was_seen_is_part_of_what_was_asked_for() {
        let price = |minor| Price::new(minor).ok();
        let plain = RequestFingerprint::of(Quantity::ONE, None);
        let all = [
            plain,
            plain.at_price(price(0)),
            plain.at_price(price(1)),
            RequestFingerprint::of(Quantity::ONE, Some("x")).at_price(price(1)),
        ];
        assert_eq!(plain.at_price(None), plain, "as in releases that knew of none");
        assert!((0..all.len()).all(|one| !all[..one].contains(&all[one])));
    }
}
