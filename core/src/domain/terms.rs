//! A commodity: its terms and its stock. Never decides anything: the engine does.

use serde::Serialize;

use super::{CommodityId, Currency, Invalid, OrderStatus, Price, Sku, Timestamp, Units};

/// What is offered, to whom and when. All fields are checked by [`Terms::faults`]; the shell builds it from JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The shop's own number of it; no other commodity has the same, and that is seen to before the engine is asked.
    pub sku: Option<Sku>,
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
    /// How long after that money on its way still counts as in time, in seconds, 0 to 604,800.
    pub grace_seconds: u32,
    /// Which orders can be cancelled.
    pub cancellation: Cancellation,
    /// From when on it sells.
    pub starts_at: Timestamp,
    /// Up to when it sells, this instant excluded; after `starts_at`.
    pub ends_at: Timestamp,
}

impl Terms {
    /// `grace_seconds` where nothing else is said.
    pub const GRACE_SECONDS: u32 = 30;
    /// The longest grace.
    pub const GRACE_SECONDS_MAX: u32 = 604_800;

    /// Checks every field and the pair of times; returns each field at fault with the sentence to show.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, Invalid)> {
        let checks = [
            (
                "name",
                !self.name.trim().is_empty() && self.name.chars().count() <= 200 && !self.name.chars().any(char::is_control),
                "a name must have 1 to 200 characters and no control characters",
            ),
            ("description", self.description.chars().count() <= 10_000, "a description must have at most 10000 characters"),
            ("image_url", self.image_url.as_deref().is_none_or(is_image_url), IMAGE_URL),
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
            ("grace_seconds", self.grace_seconds <= Self::GRACE_SECONDS_MAX, "grace seconds must be from 0 to 604800"),
            ("ends_at", self.starts_at < self.ends_at, "a sale must end after it starts"),
        ];
        checks.into_iter().filter(|(_, ok, _)| !ok).map(|(field, _, why)| (field, Invalid(why))).collect()
    }
}

/// What an image URL must be.
const IMAGE_URL: &str =
    "an image URL must be http or https with a host and without a user, of at most 2000 characters, visible ASCII alone, or null";

/// Whether a text is fit for an image's URL: whoever shows it sends its readers nowhere with somebody's password.
fn is_image_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    !authority.is_empty() && !authority.contains('@') && text.len() <= 2_000 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Which orders of a commodity can be cancelled. Codes are append-only: logs and tables have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancellation {
    /// None by their buyers; operators cancel as with `unpaid`.
    None,
    /// Those that no money was taken for: reserved ones, and confirmed ones, which needed no payment.
    #[default]
    Unpaid,
    /// Paid ones too: their money is due back then.
    Any,
}

impl Cancellation {
    /// Every one, by its code.
    pub const ALL: [Cancellation; 3] = [Self::None, Self::Unpaid, Self::Any];

    /// The word used in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unpaid => "unpaid",
            Self::Any => "any",
        }
    }

    /// The number in tables and logs.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Unpaid => 1,
            Self::Any => 2,
        }
    }

    /// The one with that code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cancellation| cancellation.code() == code)
    }
}

impl std::str::FromStr for Cancellation {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|cancellation| cancellation.word() == word);
        found.ok_or(Invalid("must be none, unpaid or any"))
    }
}

/// Changes to a commodity's terms: what is `Some` changes. The inner options of limit and hold are the new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermsChange {
    /// New number, or none from now on.
    pub sku: Option<Option<Sku>>,
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
    /// New grace, for orders placed from now on.
    pub grace_seconds: Option<u32>,
    /// Which orders can be cancelled from now on, those placed before too.
    pub cancellation: Option<Cancellation>,
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
            sku: self.sku.clone().unwrap_or(old.sku),
            name: self.name.clone().unwrap_or(old.name),
            description: self.description.clone().unwrap_or(old.description),
            image_url: self.image_url.clone().unwrap_or(old.image_url),
            price: self.price.unwrap_or(old.price),
            currency: self.currency.unwrap_or(old.currency),
            limit_per_user: self.limit_per_user.unwrap_or(old.limit_per_user),
            hold_seconds: self.hold_seconds.unwrap_or(old.hold_seconds),
            grace_seconds: self.grace_seconds.unwrap_or(old.grace_seconds),
            cancellation: self.cancellation.unwrap_or(old.cancellation),
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

    /// The units in a column.
    pub(crate) const fn column_mut(&mut self, column: StockColumn) -> &mut Units {
        match column {
            StockColumn::Available => &mut self.available,
            StockColumn::Held => &mut self.held,
            StockColumn::Sold => &mut self.sold,
        }
    }
}

/// Where the units of an order are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockColumn {
    /// On sale: the order has ended.
    Available,
    /// Held for it.
    Held,
    /// Sold to it.
    Sold,
}

impl StockColumn {
    /// Of an order in that status.
    #[must_use]
    pub const fn of(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Reserved => Self::Held,
            OrderStatus::Confirmed | OrderStatus::Paid => Self::Sold,
            OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::RefundDue | OrderStatus::Refunded => Self::Available,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_url_is_a_web_address_and_carries_no_password() {
        for text in ["https://example.org/a.png", "http://example.org", "https://[::1]:8080/a?b=c@d#e", "https://example.org/@1x.png"] {
            assert!(is_image_url(text), "{text}");
        }
        let long = format!("https://example.org/{}", "x".repeat(2_000));
        for text in [
            "",
            "javascript:alert(1)",
            "//example.org/a.png",
            "https://",
            "https:///a.png",
            "https://user:password@example.org/a.png",
            "https://user@example.org",
            "https://example.org/a b.png",
            "https://example.org/\n",
            "https://exämple.org/a.png",
            long.as_str(),
        ] {
            assert!(!is_image_url(text), "{text}");
        }
    }

    #[test]
    fn each_cancellation_has_a_word_and_a_code_of_its_own() {
        for cancellation in Cancellation::ALL {
            assert_eq!(cancellation.word().parse(), Ok(cancellation));
            assert_eq!(Cancellation::from_code(cancellation.code()), Some(cancellation));
        }
        assert!("Any".parse::<Cancellation>().is_err() && Cancellation::from_code(3).is_none());
    }
}
