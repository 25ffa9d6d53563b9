//! Points in time. Never read from a clock here: the shell supplies them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::Invalid;

/// Whole milliseconds since 1970-01-01T00:00:00Z, from 0 to the end of the year 9999.
///
/// In the log and in the database it is the number; in JSON it is RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of 1970.
    pub const ZERO: Timestamp = Timestamp(0);
    /// 9999-12-31T23:59:59.999Z, the last time RFC 3339 can write.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// Takes Unix milliseconds.
    ///
    /// # Errors
    /// [`Invalid`] before 1970 and after 9999.
    pub const fn from_millis(millis: i64) -> Result<Self, Invalid> {
        if millis < 0 || millis > Self::MAX.0 {
            return Err(Invalid("a time must be from 1970 to 9999"));
        }
        Ok(Self(millis))
    }

    /// Unix milliseconds, 0 or more.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This time and so many milliseconds, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        let sum = self.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX));
        Self(sum.min(Self::MAX.0))
    }

    /// This time less so many milliseconds, at least [`Timestamp::ZERO`].
    #[must_use]
    pub fn minus_millis(self, millis: u64) -> Self {
        let rest = self.0.saturating_sub(i64::try_from(millis).unwrap_or(i64::MAX));
        Self(rest.max(Self::ZERO.0))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).map_err(|_| std::fmt::Error)?;
        let (date, time) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        )
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| Invalid("a time must be RFC 3339, like 2026-11-27T12:00:00.000Z"))?;
        let nanos = at.to_offset(UtcOffset::UTC).unix_timestamp_nanos();
        Self::from_millis(i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(-1))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        let at: Timestamp = "2026-11-27T13:00:00.5+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-27T12:00:00.500Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_time_outside_the_range_is_refused() {
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
        assert!("noon".parse::<Timestamp>().is_err());
    }
}
