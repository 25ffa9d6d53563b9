//! Terms and changes of terms as operators send them: every field at fault is told at once. Never fills in what an operator
//! must decide.

use serde::Serialize;
use serde_json::json;

use super::bodies::{ChangeBody, NewBody};
use crate::domain::{Cancellation, Price, Sku, Terms, TermsChange, Timestamp, Units};
use crate::http::Fields;
use crate::http::problem::{Fault, Problem};

/// A new commodity's terms and total, from the fields of a body.
pub(in crate::admin) fn new_commodity(mut fields: Fields) -> Result<(Terms, Units), Problem> {
    let change = TermsChange::from(fields.read_into::<NewBody>());
    fields.required("name", change.name.as_ref());
    fields.required("price", change.price);
    fields.required("currency", change.currency);
    fields.required("starts_at", change.starts_at);
    fields.required("ends_at", change.ends_at);
    let total = fields.required("total", change.total);
    let terms = change.onto(&faultless());
    tell(&mut fields, &change, &terms);
    fields.finish()?;
    total.map(|total| (terms, total)).ok_or_else(|| Problem::field("total", "is needed"))
}

/// What a request for a new commodity asks for, as its key remembers it: the same whatever is left out or said in so many words.
pub(in crate::admin) fn asked(terms: &Terms, total: Units) -> impl Serialize + use<> {
    let Terms {
        sku,
        name,
        description,
        image_url,
        price,
        currency,
        limit_per_user,
        hold_seconds,
        grace_seconds,
        cancellation,
        starts_at,
        ends_at,
    } = terms;
    let mut asked = vec![
        json!(sku.as_ref().map(Sku::as_str)),
        json!(name),
        json!(description),
        json!(image_url),
        json!(price.minor()),
        json!(currency.code()),
        json!(limit_per_user),
        json!(hold_seconds),
        json!(cancellation),
        json!(starts_at.millis()),
        json!(ends_at.millis()),
        json!(total.get()),
    ];
    // Said last, and only where it is not the usual: a key that was given before there was one stays the same request's.
    asked.extend((*grace_seconds != Terms::GRACE_SECONDS).then(|| json!(grace_seconds)));
    asked
}

/// A change of terms. What only the pair of old and new terms can tell is checked against `old`, where that is at hand.
pub(super) fn change(mut fields: Fields, old: Option<&Terms>) -> Result<TermsChange, Problem> {
    let change = TermsChange::from(fields.read_into::<ChangeBody>());
    let terms = old.map_or_else(|| change.onto(&faultless()), |old| change.onto(old));
    tell(&mut fields, &change, &terms);
    fields.finish()?;
    Ok(change)
}

/// Adds what is wrong with the terms, under the field that was sent.
fn tell(fields: &mut Fields, change: &TermsChange, terms: &Terms) {
    for (field, why) in terms.faults() {
        let field = if field == "ends_at" && change.ends_at.is_none() { "starts_at" } else { field };
        if !fields.is_at_fault(field) {
            fields.fault(Fault::new(field, why.0));
        }
    }
}

/// Terms with no faults of their own, to hold a body's fields against.
fn faultless() -> Terms {
    Terms {
        sku: None,
        name: "-".to_owned(),
        description: String::new(),
        image_url: None,
        price: Price::MAX,
        currency: "EUR".parse().expect("the euro is in use"),
        limit_per_user: None,
        hold_seconds: None,
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: Timestamp::ZERO,
        ends_at: Timestamp::MAX,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({"name": "Keyboard", "price": 4999, "currency": "EUR", "total": 100,
            "starts_at": "2026-11-27T12:00:00Z", "ends_at": "2026-11-28T12:00:00Z"})
    }

    fn with(changes: Value) -> Fields {
        let mut body = good();
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        Fields::read(body.to_string().as_bytes()).unwrap()
    }

    fn faults<T: std::fmt::Debug>(result: Result<T, Problem>) -> Vec<String> {
        match result {
            Err(Problem::InvalidRequest(faults)) => faults.into_iter().map(|fault| fault.field.into_owned()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_an_operator_may_leave_out_has_a_plain_meaning() {
        let (terms, total) = new_commodity(with(json!({}))).unwrap();
        assert_eq!((terms.description.as_str(), terms.image_url, terms.limit_per_user, terms.hold_seconds), ("", None, None, None));
        assert_eq!((terms.price.minor(), total.get()), (4999, 100));
    }

    #[test]
    fn every_field_at_fault_is_told_at_once() {
        let empty = Fields::read(b"{}").unwrap();
        assert_eq!(faults(new_commodity(empty)), ["name", "price", "currency", "starts_at", "ends_at", "total"]);
        let wrong = json!({"name": " ", "price": -1, "currency": "XYZ", "total": -1, "limit_per_user": 0, "hold_seconds": 1.5,
            "image_url": "javascript:alert(1)", "sku": "a b", "cancellation": "never", "starts_at": "noon", "ends_at": 5, "descripton": ""});
        let told = faults(new_commodity(with(wrong)));
        for field in [
            "sku",
            "name",
            "price",
            "currency",
            "total",
            "limit_per_user",
            "hold_seconds",
            "cancellation",
            "image_url",
            "starts_at",
            "ends_at",
            "descripton",
        ] {
            assert_eq!(told.iter().filter(|name| *name == field).count(), 1, "{field}: {told:?}");
        }
    }

    #[test]
    fn a_window_that_ends_before_it_starts_is_refused() {
        assert_eq!(faults(new_commodity(with(json!({"ends_at": "2026-11-27T12:00:00Z"})))), ["ends_at"]);
        let (old, _) = new_commodity(with(json!({}))).unwrap();
        let later = Fields::read(b"{\"starts_at\":\"2026-11-29T12:00:00Z\"}").unwrap();
        assert_eq!(faults(change(later, Some(&old))), ["starts_at"]);
    }

    #[test]
    fn a_change_tells_absent_from_null() {
        let (old, _) = new_commodity(with(json!({"limit_per_user": 2, "hold_seconds": 60}))).unwrap();
        let found = change(Fields::read(b"{\"limit_per_user\":null,\"price\":1}").unwrap(), Some(&old)).unwrap();
        assert_eq!((found.limit_per_user, found.hold_seconds, found.price.map(Price::minor)), (Some(None), None, Some(1)));
        assert_eq!(faults(change(Fields::read(b"{\"name\":null,\"price\":null}").unwrap(), Some(&old))), ["name", "price"]);
        assert_eq!(change(Fields::read(b"{\"sku\":null}").unwrap(), Some(&old)).unwrap().sku, Some(None));
        let sku = change(Fields::read(b"{\"sku\":\"KB-75\"}").unwrap(), Some(&old)).unwrap().sku;
        assert_eq!(sku.flatten().as_ref().map(Sku::as_str), Some("KB-75"));
    }
}
