//! A commodity: its terms and its stock. Never decides anything: the engine does.

use serde::Serialize;

use super::{CommodityId, Currency, Invalid, Price, Timestamp, Units};

/// What is offered, to whom and when. All fields are checked by [`Terms::faults`]; the shell builds it from JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// 1 to 200 characters.
    pub name: String,
    /// At most 10,000 characters.
    pub description: String,
    /// An http(s) URL of at most 2,000 characters.
    pub image_url: Option<String>,
    /// What one unit costs.
    pub price: Price,
    /// The currency of the price.
    pub currency: Currency,
    /// The most units one buyer may have in live orders, 1 to 1,000,000; none = no limit.
    pub limit_per_user: Option<u32>,
    /// How long a buyer has to pay, in seconds, 1 to 31,536,000; none = no payment needed.
    pub hold_seconds: Option<u32>,
    /// From when on it sells.
    pub starts_at: Timestamp,
    /// Up to when it sells, this instant excluded; after `starts_at`.
    pub ends_at: Timestamp,
}

impl Terms {
    /// Checks every field and the pair of times; returns each field at fault with the sentence to show.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, Invalid)> {
        let url = |text: &String| {
            (text.starts_with("https://") || text.starts_with("http://"))
                && text.len() <= 2_000
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let checks = [
            (
                "name",
                !self.name.trim().is_empty() && self.name.chars().count() <= 200 && !self.name.chars().any(char::is_control),
                "a name must have 1 to 200 characters and no control characters",
            ),
            ("description", self.description.chars().count() <= 10_000, "a description must have at most 10000 characters"),
            ("image_url", self.image_url.as_ref().is_none_or(url), "an image URL must be http or https, of at most 2000 characters"),
            (
                "limit_per_user",
                self.limit_per_user.is_none_or(|n| (1..=1_000_000).contains(&n)),
                "a limit per user must be from 1 to 1000000, or null",
            ),
            (
                "hold_seconds",
                self.hold_seconds.is_none_or(|n| (1..=31_536_000).contains(&n)),
                "hold seconds must be from 1 to 31536000, or null",
            ),
            ("ends_at", self.starts_at < self.ends_at, "a sale must end after it starts"),
        ];
        checks.into_iter().filter(|(_, ok, _)| !ok).map(|(field, _, why)| (field, Invalid(why))).collect()
    }
}

/// Changes to a commodity's terms: what is `Some` changes. The inner options of limit and hold are the new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermsChange {
    /// New name.
    pub name: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New image, or none from now on.
    pub image_url: Option<Option<String>>,
    /// New price, for orders placed from now on.
    pub price: Option<Price>,
    /// New currency, for orders placed from now on.
    pub currency: Option<Currency>,
    /// New limit, or none from now on.
    pub limit_per_user: Option<Option<u32>>,
    /// New hold time, or none from now on; for orders placed from now on.
    pub hold_seconds: Option<Option<u32>>,
    /// New start.
    pub starts_at: Option<Timestamp>,
    /// New end.
    pub ends_at: Option<Timestamp>,
    /// New total; below what is held and sold it is refused.
    pub total: Option<Units>,
}

impl TermsChange {
    /// The terms with these changes made. `total` is not part of the terms; the engine sees to it.
    #[must_use]
    pub fn onto(&self, old: &Terms) -> Terms {
        let old = old.clone();
        Terms {
            name: self.name.clone().unwrap_or(old.name),
            description: self.description.clone().unwrap_or(old.description),
            image_url: self.image_url.clone().unwrap_or(old.image_url),
            price: self.price.unwrap_or(old.price),
            currency: self.currency.unwrap_or(old.currency),
            limit_per_user: self.limit_per_user.unwrap_or(old.limit_per_user),
            hold_seconds: self.hold_seconds.unwrap_or(old.hold_seconds),
            starts_at: self.starts_at.unwrap_or(old.starts_at),
            ends_at: self.ends_at.unwrap_or(old.ends_at),
        }
    }
}

/// Where the units of a commodity are. `total = available + held + sold`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// All there ever was to sell.
    pub total: Units,
    /// On sale now.
    pub available: Units,
    /// In reserved orders.
    pub held: Units,
    /// In confirmed and paid orders.
    pub sold: Units,
}

impl Stock {
    /// A fresh stock: everything is on sale.
    #[must_use]
    pub const fn fresh(total: Units) -> Self {
        Self { total, available: total, held: Units::ZERO, sold: Units::ZERO }
    }

    /// Whether the equation holds.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.total.get() as u64 == self.available.get() as u64 + self.held.get() as u64 + self.sold.get() as u64
    }
}

/// What a buyer may expect of a commodity now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommodityState {
    /// The sale begins later.
    NotStarted,
    /// On sale.
    Open,
    /// Nothing is available now; units may come back while the sale lasts.
    SoldOut,
    /// An operator paused the sale.
    Paused,
    /// The sale is over.
    Ended,
    /// Sale and money are over: it is history.
    Closed,
}

impl CommodityState {
    /// Every state.
    pub const ALL: [CommodityState; 6] = [Self::NotStarted, Self::Open, Self::SoldOut, Self::Paused, Self::Ended, Self::Closed];

    /// The word used in JSON and in filters of lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Open => "open",
            Self::SoldOut => "sold_out",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Closed => "closed",
        }
    }
}

/// A commodity: its id, terms, stock, and what operators did to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commodity {
    /// The id.
    pub id: CommodityId,
    /// What is offered.
    pub terms: Terms,
    /// Where the units are.
    pub stock: Stock,
    /// Whether an operator paused the sale.
    pub paused: bool,
    /// When an operator ended the sale before its window did.
    pub ended_at: Option<Timestamp>,
    /// When it became history.
    pub closed_at: Option<Timestamp>,
    /// Grows by one with each change an operator makes (not with orders): the ETag.
    pub version: u32,
}

impl Commodity {
    /// Whether the sale is over now, by its window or by an operator. What an operator ended stays ended when the clock goes back.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ended_at.is_some() || now >= self.terms.ends_at
    }

    /// Whether it was over at that time already.
    #[must_use]
    pub fn had_ended_by(&self, time: Timestamp) -> bool {
        self.ended_at.is_some_and(|at| at <= time) || time >= self.terms.ends_at
    }

    /// What a buyer may expect at that time: closed, ended, then paused, then not started, then sold out, then open.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> CommodityState {
        if self.closed_at.is_some() {
            CommodityState::Closed
        } else if self.has_ended(now) {
            CommodityState::Ended
        } else if self.paused {
            CommodityState::Paused
        } else if now < self.terms.starts_at {
            CommodityState::NotStarted
        } else if self.stock.available == Units::ZERO {
            CommodityState::SoldOut
        } else {
            CommodityState::Open
        }
    }
}
