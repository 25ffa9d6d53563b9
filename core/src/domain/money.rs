//! Money: whole minor units and the currency they count. Never a floating-point number, never converted.

use serde::{Deserialize, Serialize};

use super::{Invalid, Quantity};

/// An ISO 4217 alphabetic code that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The three letters, as ASCII.
    #[must_use]
    pub const fn letters(&self) -> &[u8; 3] {
        &self.0
    }

    /// The three letters.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency code is ASCII")
    }
}

impl std::str::FromStr for Currency {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("a currency must be an ISO 4217 code, like EUR");
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| WRONG)?;
        iso_currency::Currency::from_code(text).ok_or(WRONG)?;
        Ok(Self(letters))
    }
}

impl TryFrom<String> for Currency {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// What one unit costs, in minor units (cents): 0 to 10^12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Price(i64);

impl Price {
    /// The highest price: 10^12 minor units. Times [`Quantity::MAX`] it still fits 63 bits.
    pub const MAX: Price = Price(1_000_000_000_000);

    /// Takes minor units.
    ///
    /// # Errors
    /// [`Invalid`] below 0 and above [`Price::MAX`].
    pub const fn new(minor: i64) -> Result<Self, Invalid> {
        if minor < 0 || minor > Self::MAX.0 {
            return Err(Invalid("a price must be from 0 to 1000000000000 minor units"));
        }
        Ok(Self(minor))
    }

    /// Minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// The amount for so many units, in minor units.
    #[must_use]
    pub fn times(self, quantity: Quantity) -> i64 {
        self.0 * i64::from(quantity.get())
    }
}

impl TryFrom<i64> for Price {
    type Error = Invalid;
    fn try_from(minor: i64) -> Result<Self, Invalid> {
        Self::new(minor)
    }
}

impl From<Price> for i64 {
    fn from(price: Price) -> i64 {
        price.0
    }
}
