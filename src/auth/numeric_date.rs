//! A time as tokens have it (RFC 7519). Never checks it against a clock.

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Seconds since 1970, whole or with a fraction, kept as milliseconds. One beyond all time is the end of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumericDate(i64);

impl NumericDate {
    pub(super) fn millis(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;
        impl Visitor<'_> for DateVisitor {
            type Value = NumericDate;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds.saturating_mul(1000)))
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
                self.visit_i64(i64::try_from(seconds).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
                // The cast saturates, and JSON has no NaN.
                Ok(NumericDate((seconds * 1000.0) as i64))
            }
        }
        deserializer.deserialize_any(DateVisitor)
    }
}
