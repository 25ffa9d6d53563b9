//! Orders as CSV (RFC 4180), a page at a time: memory does not grow with the number of orders. A text never becomes a
//! formula: spreadsheets run what begins with `=`, `+`, `-` or `@`. It begins with a mark by which they read it as UTF-8.

use std::borrow::Cow;

use csv::{Terminator, WriterBuilder};
use unicode_normalization::UnicodeNormalization;

use crate::domain::text::is_unseen;
use crate::domain::{NamedOrder, Sku};

/// What spreadsheets tell UTF-8 by.
const MARK: &[u8] = "\u{feff}".as_bytes();

const FIELDS: [&str; 12] = [
    "order_id",
    "commodity_id",
    "sku",
    "commodity_name",
    "user_id",
    "quantity",
    "unit_price",
    "amount",
    "currency",
    "status",
    "placed_at",
    "pay_by",
];

/// Lines of an export, as bytes.
pub(super) struct Lines(csv::Writer<Vec<u8>>);

impl Lines {
    /// The beginning of an export: the mark and the line of names.
    pub(super) fn with_header() -> Self {
        Self::with_names(FIELDS)
    }

    /// The same with other names.
    pub(super) fn with_names<const N: usize>(names: [&'static str; N]) -> Self {
        let mut lines = Self::after(MARK.to_vec());
        lines.write(names.map(Cow::Borrowed));
        lines
    }

    /// More lines of one that has begun.
    pub(super) fn more() -> Self {
        Self::after(Vec::new())
    }

    fn after(bytes: Vec<u8>) -> Self {
        Self(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(bytes))
    }

    /// Adds the line of one order.
    pub(super) fn order(&mut self, named: &NamedOrder, sku: Option<&Sku>, commodity_name: &str) {
        let (order, buyer) = (&named.order, named.buyer().map(|buyer| buyer.to_string()).unwrap_or_default());
        self.write([
            order.id.to_string().into(),
            order.commodity.to_string().into(),
            defused(sku.map_or("", Sku::as_str)),
            defused(commodity_name),
            defused(&buyer),
            order.quantity.get().to_string().into(),
            order.unit_price.minor().to_string().into(),
            order.amount().to_string().into(),
            order.currency.to_string().into(),
            order.status.word().into(),
            order.id.placed_at().to_string().into(),
            order.pay_by.map(|at| at.to_string()).unwrap_or_default().into(),
        ]);
    }

    /// Adds a line.
    pub(super) fn write<const N: usize>(&mut self, fields: [Cow<'_, str>; N]) {
        self.0.write_record(fields.iter().map(|field| field.as_bytes())).expect("memory takes every line");
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory takes every line")
    }
}

/// A text that no spreadsheet runs. What is left out of account before its first sign is what it leaves out, and what nobody sees.
pub(super) fn defused(text: &str) -> Cow<'_, str> {
    if is_live(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The text that was written as this one.
pub(super) fn undone(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_live(rest)).unwrap_or(text)
}

/// Whether a spreadsheet may run it, or would take it for one that was defused.
fn is_live(text: &str) -> bool {
    let begins_a_formula = |c: char| std::iter::once(c).nfkc().next().is_some_and(|plain| "=+-@".contains(plain));
    let text = text.trim_start_matches('\'');
    text.chars().find(|c| !is_unseen(*c)).is_some_and(begins_a_formula) || text.starts_with(['\t', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, Foreign, Order, OrderStatus, Price, Quantity, UserId};

    fn order() -> NamedOrder {
        let order = Order {
            id: "01234567-89ab-8abc-9555-555123456789".parse().unwrap(),
            commodity: CommodityId::new(7).unwrap(),
            user: UserId::new(42).unwrap().into(),
            quantity: Quantity::new(2).unwrap(),
            unit_price: Price::new(4999).unwrap(),
            currency: "EUR".parse().unwrap(),
            status: OrderStatus::Confirmed,
            pay_by: None,
            grace_seconds: 0,
            discount: None,
        };
        NamedOrder { order, foreign: None }
    }

    /// The commodity's name as it stands in a line.
    fn written(name: &str) -> String {
        let mut lines = Lines::more();
        lines.order(&order(), None, name);
        let line = String::from_utf8(lines.into_bytes()).unwrap();
        line.strip_prefix(&format!("{},7,,", order().order.id)).unwrap().split_once(",42,2,4999,9998,EUR,confirmed,").unwrap().0.to_owned()
    }

    #[test]
    fn a_text_is_never_a_formula_and_never_breaks_its_field() {
        for (text, field) in [
            ("Keyboard", "Keyboard"),
            ("Größe 漢字", "Größe 漢字"),
            ("Keyboard, 75 %", "\"Keyboard, 75 %\""),
            ("19\" rack", "\"19\"\" rack\""),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1", "'+1"),
            (" -1", "' -1"),
            ("\u{200b}=1", "'\u{200b}=1"),
            ("\u{feff}\u{a0}\u{2060}+1", "'\u{feff}\u{a0}\u{2060}+1"),
            ("\u{202e}\u{ad}@x", "'\u{202e}\u{ad}@x"),
            ("＝1", "'＝1"),
            ("\u{3000}﹢1", "'\u{3000}﹢1"),
            ("\tx", "'\tx"),
            ("", ""),
            ("\u{200b}a=1", "\u{200b}a=1"),
        ] {
            assert_eq!(written(text), field, "{text:?}");
        }
    }

    #[test]
    fn what_was_defused_is_read_back_as_it_was() {
        for text in ["", "lamp", "'s-Hertogenbosch", "=1", "'=1", "''=1", "\u{200b}+1", "\t=", "'", "''"] {
            assert_eq!(undone(&defused(text)), text, "{text:?}");
        }
    }

    #[test]
    fn a_buyer_of_another_issuer_is_who_they_are_there_and_breaks_no_line() {
        let mut lines = Lines::more();
        let foreign: Foreign = "auth0:=1,\"2\"".parse().unwrap();
        let order = Order { user: foreign.key(), ..order().order };
        lines.order(&NamedOrder { order, foreign: Some(foreign) }, None, "Lamp");
        let line = String::from_utf8(lines.into_bytes()).unwrap();
        assert!(line.contains(",7,,Lamp,\"auth0:=1,\"\"2\"\"\",2,4999,"), "{line}");
    }

    #[test]
    fn an_export_begins_with_the_mark_of_utf_8_and_the_names_of_its_fields() {
        let mut lines = Lines::with_header();
        lines.order(&order(), "=KB-75".parse().ok().as_ref(), "Größe");
        let text = String::from_utf8(lines.into_bytes()).unwrap();
        let header =
            "\u{feff}order_id,commodity_id,sku,commodity_name,user_id,quantity,unit_price,amount,currency,status,placed_at,pay_by\r\n";
        let line = text.strip_prefix(header).unwrap();
        let expected = format!("{0},7,'=KB-75,Größe,42,2,4999,9998,EUR,confirmed,{1},\r\n", order().order.id, order().order.id.placed_at());
        assert_eq!(line, expected);
    }
}
