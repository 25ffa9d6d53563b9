//! Orders as CSV (RFC 4180), a page at a time: memory does not grow with the number of orders. A text never becomes a
//! formula: spreadsheets run what begins with `=`, `+`, `-` or `@`.

use std::borrow::Cow;

use crate::domain::Order;

/// The first line.
pub(super) const HEADER: &str =
    "order_id,commodity_id,commodity_name,user_id,quantity,unit_price,amount,currency,status,placed_at,pay_by\r\n";

/// Adds the line of one order.
pub(super) fn write_order(text: &mut String, order: &Order, commodity_name: &str) {
    use std::fmt::Write;
    let pay_by = order.pay_by.map(|at| at.to_string()).unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = write!(
        text,
        "{},{},{},{},{},{},{},{},{},{},{}\r\n",
        order.id,
        order.commodity,
        field(commodity_name),
        order.user,
        order.quantity.get(),
        order.unit_price.minor(),
        order.amount(),
        order.currency,
        order.status.word(),
        order.id.placed_at(),
        pay_by
    );
}

/// A text as a field: defused, and quoted where it has to be.
fn field(text: &str) -> Cow<'_, str> {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
        || text.starts_with(['\t', '\r', '\n']);
    let defused = if is_formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    if defused.contains([',', '"', '\r', '\n']) { Cow::Owned(format!("\"{}\"", defused.replace('"', "\"\""))) } else { defused }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, OrderStatus, Price, Quantity, UserId};

    #[test]
    fn a_text_is_never_a_formula_and_never_breaks_its_field() {
        for (text, written) in [
            ("Keyboard", "Keyboard"),
            ("Keyboard, 75 %", "\"Keyboard, 75 %\""),
            ("19\" rack", "\"19\"\" rack\""),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1", "'+1"),
            (" -1", "' -1"),
            ("\tx", "'\tx"),
            ("", ""),
        ] {
            assert_eq!(field(text), written, "{text}");
        }
    }

    #[test]
    fn an_order_is_one_line_with_the_fields_of_the_header() {
        let order = Order {
            id: "01234567-89ab-8abc-9555-555123456789".parse().unwrap(),
            commodity: CommodityId::new(7).unwrap(),
            user: UserId::new(42).unwrap(),
            quantity: Quantity::new(2).unwrap(),
            unit_price: Price::new(4999).unwrap(),
            currency: "EUR".parse().unwrap(),
            status: OrderStatus::Confirmed,
            pay_by: None,
        };
        let mut text = String::new();
        write_order(&mut text, &order, "Keyboard");
        let line = "01234567-89ab-8abc-9555-555123456789,7,Keyboard,42,2,4999,9998,EUR,confirmed,2009-10-10T21:46:31.595Z,\r\n";
        let time = order.id.placed_at().to_string();
        assert_eq!(text, line.replace("2009-10-10T21:46:31.595Z", &time));
        assert_eq!(text.split(',').count(), HEADER.split(',').count());
    }
}
