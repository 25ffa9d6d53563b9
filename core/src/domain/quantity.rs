//! Counts of units. Never zero where an order is meant, never above what the database's column holds.

use serde::{Deserialize, Serialize};

use super::Invalid;

/// How many units one order claims: 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(u32);

impl Quantity {
    /// One unit.
    pub const ONE: Quantity = Quantity(1);
    /// The most units one order can claim.
    pub const MAX: Quantity = Quantity(1_000_000);

    /// Takes a count.
    ///
    /// # Errors
    /// [`Invalid`] below 1 and above [`Quantity::MAX`].
    pub const fn new(count: i64) -> Result<Self, Invalid> {
        if count < 1 || count > Self::MAX.0 as i64 {
            return Err(Invalid("a quantity must be a whole number from 1 to 1000000"));
        }
        Ok(Self(count as u32))
    }

    /// The count, at least 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = Invalid;
    fn try_from(count: i64) -> Result<Self, Invalid> {
        Self::new(count)
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> i64 {
        i64::from(quantity.0)
    }
}

/// Units in stock: 0 to 1,000,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Units(u32);

impl Units {
    /// None.
    pub const ZERO: Units = Units(0);
    /// The most units one commodity can have in all.
    pub const MAX: Units = Units(1_000_000_000);

    /// Takes a count.
    ///
    /// # Errors
    /// [`Invalid`] below 0 and above [`Units::MAX`].
    pub const fn new(count: i64) -> Result<Self, Invalid> {
        if count < 0 || count > Self::MAX.0 as i64 {
            return Err(Invalid("units must be a whole number from 0 to 1000000000"));
        }
        Ok(Self(count as u32))
    }

    /// So many more; none above [`Units::MAX`].
    #[must_use]
    pub const fn plus(self, count: u32) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) if sum <= Self::MAX.0 => Some(Self(sum)),
            _ => None,
        }
    }

    /// So many fewer; none below zero.
    #[must_use]
    pub const fn minus(self, count: u32) -> Option<Self> {
        match self.0.checked_sub(count) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// The count.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Units {
    type Error = Invalid;
    fn try_from(count: i64) -> Result<Self, Invalid> {
        Self::new(count)
    }
}

impl From<Units> for i64 {
    fn from(units: Units) -> i64 {
        i64::from(units.0)
    }
}
