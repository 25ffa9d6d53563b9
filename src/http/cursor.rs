//! Cursors of lists: where the next page begins. Opaque to clients; never a number of rows, so that what is added or
//! removed between two pages neither repeats nor hides an item.

use serde::Serialize;

use super::problem::Fault;
use crate::domain::{Attempt, CommodityId, OrderId, PaymentId, UserId};

/// How many items a page has if nobody says otherwise.
pub const LIMIT_DEFAULT: u64 = 50;
/// How many items a page has at most.
pub const LIMIT_MAX: u64 = 200;

/// An id a page can end with.
pub trait Cursor: Sized + Copy {
    /// What [`Cursor::to_cursor`] writes, as a regular expression.
    const PATTERN: &'static str;

    /// The text for clients: letters, digits, nothing that needs escaping.
    fn to_cursor(self) -> String;

    /// Reads what [`Cursor::to_cursor`] wrote; none for anything else.
    fn from_cursor(text: &str) -> Option<Self>;
}

impl Cursor for OrderId {
    const PATTERN: &'static str = "^o[0-9a-f]{12}8[0-9a-f]{3}[89ab][0-9a-f]{15}$";

    fn to_cursor(self) -> String {
        format!("o{:032x}", self.uuid().as_u128())
    }

    fn from_cursor(text: &str) -> Option<Self> {
        let bits = u128::from_str_radix(hexadecimal(text, 'o', 32)?, 16).ok()?;
        Self::from_uuid(uuid::Uuid::from_u128(bits)).ok()
    }
}

impl Cursor for CommodityId {
    const PATTERN: &'static str = "^c[0-7][0-9a-f]{15}$";

    fn to_cursor(self) -> String {
        number_to_cursor('c', self.get())
    }

    fn from_cursor(text: &str) -> Option<Self> {
        number_from_cursor('c', text).and_then(|id| Self::new(id).ok())
    }
}

impl Cursor for UserId {
    const PATTERN: &'static str = "^u[0-7][0-9a-f]{15}$";

    fn to_cursor(self) -> String {
        number_to_cursor('u', self.get())
    }

    fn from_cursor(text: &str) -> Option<Self> {
        number_from_cursor('u', text).and_then(|id| Self::new(id).ok())
    }
}

impl Cursor for PaymentId {
    const PATTERN: &'static str = "^p[0-9a-f]{12}8[0-9a-f]{3}[89ab][0-9a-f]{15}(0[1-9a-f]|1[0-9a-f]|20)$";

    fn to_cursor(self) -> String {
        format!("p{:032x}{:02x}", self.order.uuid().as_u128(), self.attempt.get())
    }

    fn from_cursor(text: &str) -> Option<Self> {
        let (order, attempt) = hexadecimal(text, 'p', 34)?.split_at(32);
        let order = OrderId::from_uuid(uuid::Uuid::from_u128(u128::from_str_radix(order, 16).ok()?)).ok()?;
        Some(Self { order, attempt: Attempt::new(u8::from_str_radix(attempt, 16).ok()?).ok()? })
    }
}

/// Numbers count from zero here, so that nearly every text of the pattern is a cursor.
fn number_to_cursor(mark: char, id: i64) -> String {
    format!("{mark}{:016x}", id - 1)
}

fn number_from_cursor(mark: char, text: &str) -> Option<i64> {
    i64::from_str_radix(hexadecimal(text, mark, 16)?, 16).ok()?.checked_add(1)
}

fn hexadecimal(text: &str, mark: char, digits: usize) -> Option<&str> {
    text.strip_prefix(mark).filter(|rest| rest.len() == digits && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Which page is asked for: at most `limit` items after `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<Id> {
    /// 1 to 200.
    pub limit: u64,
    /// The last item of the page before; none for the first page.
    pub after: Option<Id>,
}

impl<Id: Cursor> PageRequest<Id> {
    /// Reads the query's `limit` and `cursor`; what is wrong goes to `faults`.
    pub(crate) fn read(query: &mut super::query::Query) -> Self {
        let limit = query.take("limit").map_or(Some(LIMIT_DEFAULT), |text| text.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n)));
        if limit.is_none() {
            query.fault(Fault::new("limit", "a limit must be a whole number from 1 to 200"));
        }
        let after = query.take("cursor").map(|text| Id::from_cursor(&text));
        if matches!(after, Some(None)) {
            query.fault(Fault::new("cursor", "not a cursor of this list: take it from next_cursor"));
        }
        Self { limit: limit.unwrap_or(LIMIT_DEFAULT), after: after.flatten() }
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items, at most `limit` of them.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    #[schema(required, examples("o0190163d8694839baea5966c26f8ad91"))]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of `found`, which holds one item more than the limit where there is a next page.
    pub(crate) fn of<S, Id: Cursor>(mut found: Vec<S>, limit: u64, id: impl Fn(&S) -> Id, show: impl FnMut(S) -> T) -> Self {
        let limit = limit as usize;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| id(last).to_cursor());
        Self { items: found.into_iter().map(show).collect(), next_cursor }
    }
}

impl<T, E> Page<Result<T, E>> {
    /// The same, if every item can be shown.
    pub(crate) fn transposed(self) -> Result<Page<T>, E> {
        Ok(Page { items: self.items.into_iter().collect::<Result<_, _>>()?, next_cursor: self.next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_gives_back_its_id_and_nothing_else_passes() {
        let order: OrderId = "01234567-89ab-8abc-9555-555123456789".parse().unwrap();
        assert_eq!(OrderId::from_cursor(&order.to_cursor()), Some(order));
        let user = UserId::new(i64::MAX).unwrap();
        assert_eq!(UserId::from_cursor(&user.to_cursor()), Some(user));
        let commodity = CommodityId::new(7).unwrap();
        assert_eq!(CommodityId::from_cursor(&commodity.to_cursor()), Some(commodity));
        for text in
            ["", "c", "u0000000000000007", "c7fffffffffffffff", "cffffffffffffffff", "c+00000000000007", "c000000000000007", "çççççççç"]
        {
            assert_eq!(CommodityId::from_cursor(text), None, "{text}");
        }
        assert_eq!(OrderId::from_cursor("o0190163d8694739baea5966c26f8ad91"), None, "a UUID of version 7");
        let payment = PaymentId { order, attempt: Attempt::LAST };
        assert_eq!(PaymentId::from_cursor(&payment.to_cursor()), Some(payment));
        assert_eq!(PaymentId::from_cursor(&payment.to_cursor().replace('p', "o")), None);
        assert_eq!(PaymentId::from_cursor(&format!("{}21", &payment.to_cursor()[..33])), None, "the 33rd payment");
    }

    #[test]
    fn a_page_names_the_next_only_if_there_is_one() {
        let ids = |count: i64| (1..=count).map(|id| CommodityId::new(id).unwrap()).collect::<Vec<_>>();
        let full = Page::of(ids(3), 2, |id| *id, |id| id.get());
        assert_eq!((full.items, full.next_cursor), (vec![1, 2], Some("c0000000000000001".to_owned())));
        let last = Page::of(ids(2), 2, |id| *id, |id| id.get());
        assert_eq!((last.items, last.next_cursor), (vec![1, 2], None));
    }
}
