//! Commodities for the tests of boards and bulletins. Never more than a test asks for.

use crate::domain::{Cancellation, Commodity, CommodityId, Price, Stock, Terms, Timestamp, Units};

/// One that is open at all times, ten units in all, with a description of so many bytes.
pub(crate) fn lamp(number: i64, available: i64, description: usize) -> Commodity {
    let terms = Terms {
        sku: None,
        name: "lamp".into(),
        description: "d".repeat(description),
        image_url: None,
        price: Price::new(100).unwrap(),
        currency: "EUR".parse().unwrap(),
        limit_per_user: None,
        hold_seconds: None,
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: Timestamp::ZERO,
        ends_at: Timestamp::MAX,
    };
    let units = |count| Units::new(count).unwrap();
    let stock = Stock { total: units(10), available: units(available), held: Units::ZERO, sold: units(10 - available) };
    let id = CommodityId::new(number).unwrap();
    Commodity { id, terms, stock, paused: false, ended_at: None, closed_at: None, version: 1 }
}
