//! Identifiers. Never random: an order id is a position in a partition's log (R6).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{Invalid, Timestamp};

macro_rules! positive_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// Takes a number from 1 to 2^63 - 1.
            ///
            /// # Errors
            /// [`Invalid`] for zero and for negative numbers.
            pub const fn new(value: i64) -> Result<Self, Invalid> {
                if value < 1 {
                    return Err(Invalid(concat!($what, " must be a whole number from 1 to 9223372036854775807")));
                }
                Ok(Self(value))
            }

            /// The number itself, at least 1.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Invalid;
            fn try_from(value: i64) -> Result<Self, Invalid> {
                Self::new(value)
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> i64 {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                const WRONG: Invalid = Invalid(concat!($what, " must be a whole number from 1 to ", $most));
                text.parse().ok().filter(|value| (1..=$most).contains(value)).and_then(|value| Self::new(value).ok()).ok_or(WRONG)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

positive_id!(
    /// What is on sale. Positive, given by the database's sequence, never used twice.
    CommodityId,
    "a commodity id",
    9_007_199_254_740_991
);

impl CommodityId {
    /// The highest id that is given and taken: 2^53 - 1, the last whole number before which a browser's arithmetic skips none.
    pub const GIVEN_MAX: i64 = (1 << 53) - 1;
}

/// As a number.
impl Serialize for CommodityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for CommodityId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

positive_id!(
    /// What takes something off a price. Positive, never used twice.
    CouponId,
    "a coupon id",
    9_007_199_254_740_991
);

positive_id!(
    /// An account of our own: the `sub` of its tokens.
    UserId,
    "a user id",
    9_223_372_036_854_775_807
);

/// As text, like every principal.
impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How many partitions the schema was created with: 1 to 4,096, fixed for the life of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions(u16);

impl Partitions {
    /// The count a new schema gets when nobody says otherwise.
    pub const DEFAULT: Partitions = Partitions(16);

    /// Takes a count from 1 to 4,096 (an order id has 12 bits for the partition).
    ///
    /// # Errors
    /// [`Invalid`] outside that range.
    pub const fn new(count: u16) -> Result<Self, Invalid> {
        if count == 0 || count > 4096 {
            return Err(Invalid("partitions must be from 1 to 4096"));
        }
        Ok(Self(count))
    }

    /// The count, 1 to 4,096.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Every partition, in order.
    pub fn iter(self) -> impl Iterator<Item = PartitionId> {
        (0..self.0).map(PartitionId)
    }
}

/// A slice of the commodities: the unit of ownership, of order and of recovery. 0 to 4,095.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PartitionId(u16);

impl PartitionId {
    /// Takes an index from 0 to 4,095.
    ///
    /// # Errors
    /// [`Invalid`] above that.
    pub const fn new(index: u16) -> Result<Self, Invalid> {
        if index > 0xFFF {
            return Err(Invalid("a partition must be from 0 to 4095"));
        }
        Ok(Self(index))
    }

    /// The index, 0 to 4,095.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for PartitionId {
    type Error = Invalid;
    fn try_from(index: u16) -> Result<Self, Invalid> {
        Self::new(index)
    }
}

impl From<PartitionId> for u16 {
    fn from(partition: PartitionId) -> u16 {
        partition.0
    }
}

impl std::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Grows by one each time a partition gets an owner. 0 is "never owned"; 26 bits travel in an order id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Epoch(u32);

impl Epoch {
    /// The last epoch an order id has room for: 2^26 - 1 (a claim every second lasts two years).
    pub const MAX: Epoch = Epoch((1 << 26) - 1);

    /// Takes an epoch from 0 to [`Epoch::MAX`].
    ///
    /// # Errors
    /// [`Invalid`] above that.
    pub const fn new(value: u32) -> Result<Self, Invalid> {
        if value > Self::MAX.0 {
            return Err(Invalid("an epoch must be below 2^26"));
        }
        Ok(Self(value))
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Epoch {
    type Error = Invalid;
    fn try_from(value: u32) -> Result<Self, Invalid> {
        Self::new(value)
    }
}

impl From<Epoch> for u32 {
    fn from(epoch: Epoch) -> u32 {
        epoch.0
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of a batch in its epoch: the fence is 0, the first batch of events 1, and so on without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence of a fence.
    pub const FENCE: Sequence = Sequence(0);

    /// The sequence after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The sequence before this one; the fence has none before it.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The system a batch belongs to: a database with all that work on it. 128 bits that are drawn when its schema is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemId([u8; 16]);

impl SystemId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Display for SystemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An order id: a UUID of version 8 (RFC 9562, section 5.8) that says where in which log the order stands.
///
/// Layout, from the most significant bit: 48 bits of Unix milliseconds, 4 bits version, 12 bits partition, 2 bits
/// variant, 26 bits epoch, 36 bits number of the order in that epoch. Ids sort by time; any node can route by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Uuid", into = "Uuid")]
pub struct OrderId(Uuid);

impl OrderId {
    /// The most orders one epoch can number: 2^36.
    pub const NUMBER_MAX: u64 = (1 << 36) - 1;

    /// Puts an id together. `number` counts the orders of the epoch and must not exceed [`OrderId::NUMBER_MAX`].
    #[must_use]
    pub fn new(placed_at: Timestamp, partition: PartitionId, epoch: Epoch, number: u64) -> Self {
        assert!(number <= Self::NUMBER_MAX, "an epoch numbers at most 2^36 orders");
        let high = (placed_at.millis() as u64) << 16 | u64::from(partition.get());
        let low = u64::from(epoch.get()) << 36 | number;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        Self(Uuid::new_v8(bytes))
    }

    /// Reads an id that came from outside.
    ///
    /// # Errors
    /// [`Invalid`] for a UUID of another version or variant, or of a time after [`Timestamp::MAX`]: such an id was
    /// never given by an engine.
    pub fn from_uuid(uuid: Uuid) -> Result<Self, Invalid> {
        let in_range = uuid.as_u128() >> 80 <= Timestamp::MAX.millis() as u128;
        if uuid.get_version_num() != 8 || uuid.get_variant() != uuid::Variant::RFC4122 || !in_range {
            return Err(Invalid("not an order id"));
        }
        Ok(Self(uuid))
    }

    /// The id as a plain UUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// When the order was placed, on its owner's clock.
    #[must_use]
    pub fn placed_at(self) -> Timestamp {
        let millis = self.0.as_u128() >> 80;
        Timestamp::from_millis(millis as i64).expect("48 bits of milliseconds are in range")
    }

    /// The partition the order belongs to.
    #[must_use]
    pub fn partition(self) -> PartitionId {
        PartitionId((self.0.as_u128() >> 64) as u16 & 0xFFF)
    }

    /// The epoch in which it was placed.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch((self.0.as_u128() >> 36) as u32 & Epoch::MAX.0)
    }

    /// Its number in that epoch.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.as_u128() as u64 & Self::NUMBER_MAX
    }
}

impl TryFrom<Uuid> for OrderId {
    type Error = Invalid;
    fn try_from(uuid: Uuid) -> Result<Self, Invalid> {
        Self::from_uuid(uuid)
    }
}

impl From<OrderId> for Uuid {
    fn from(id: OrderId) -> Uuid {
        id.0
    }
}

impl std::fmt::Display for OrderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for OrderId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Uuid::try_parse(text).map_err(|_| Invalid("not an order id")).and_then(Self::from_uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_gives_back_its_parts() {
        let at = Timestamp::from_millis(1_795_600_000_123).unwrap();
        let id = OrderId::new(at, PartitionId(4095), Epoch::MAX, OrderId::NUMBER_MAX);
        assert_eq!((id.placed_at(), id.partition(), id.epoch(), id.number()), (at, PartitionId(4095), Epoch::MAX, OrderId::NUMBER_MAX));
        assert_eq!(OrderId::from_uuid(id.uuid()), Ok(id));
    }

    #[test]
    fn the_layout_of_an_order_id_is_pinned() {
        let at = Timestamp::from_millis(0x0123_4567_89AB).unwrap();
        let id = OrderId::new(at, PartitionId(0xABC), Epoch(0x155_5555), 0x1_2345_6789);
        assert_eq!(id.to_string(), "01234567-89ab-8abc-9555-555123456789");
    }

    #[test]
    fn a_system_is_shown_as_its_bytes() {
        assert_eq!(SystemId::from_bytes([0x0A; 16]).to_string(), "0a".repeat(16));
    }

    #[test]
    fn a_commodity_id_is_a_number_that_every_browser_can_count_to() {
        assert_eq!("9007199254740991".parse::<CommodityId>().map(CommodityId::get), Ok(CommodityId::GIVEN_MAX));
        assert!("9007199254740992".parse::<CommodityId>().unwrap_err().0.ends_with("from 1 to 9007199254740991"));
        for text in ["0", "-1", "9223372036854775808", "x"] {
            assert!(text.parse::<CommodityId>().is_err() && text.parse::<UserId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_uuid_of_another_version_is_no_order_id() {
        assert!("0190163d-8694-739b-aea5-966c26f8ad91".parse::<OrderId>().is_err());
        assert!("words".parse::<OrderId>().is_err());
    }

    #[test]
    fn an_order_id_of_a_time_after_9999_is_refused() {
        assert!("e677d21f-dbff-8000-8000-000000000000".parse::<OrderId>().is_ok());
        assert!("e677d21f-dc00-8000-8000-000000000000".parse::<OrderId>().is_err());
        assert!("ffffffff-ffff-8fff-bfff-ffffffffffff".parse::<OrderId>().is_err());
    }
}
