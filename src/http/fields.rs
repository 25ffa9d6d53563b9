//! The fields of a body, taken apart one by one. Never stops at the first fault: a client learns of every field at once. An unknown field
//! is a fault, since one with a typing error would change nothing, silently; so is one that comes twice.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::json;
use super::problem::{Fault, Problem};
use crate::domain::Invalid;

/// Unknown fields that are told, at most.
const UNKNOWN_MAX: usize = 32;

/// The fields of a JSON object and what is wrong with them so far.
#[derive(Debug, Default)]
pub struct Fields {
    object: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Fields {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let document = json::read(bytes).map_err(|error| Problem::field("body", format!("not JSON: {error}")))?;
        let Value::Object(object) = document.value else { return Err(Problem::field("body", "a JSON object is needed")) };
        let faults = document.repeated.into_iter().map(|name| Fault::new(name, "given more than once")).collect();
        Ok(Self { object, faults })
    }

    /// Fields that come from elsewhere than a JSON body.
    pub(crate) fn of(object: Map<String, Value>) -> Self {
        Self { object, faults: Vec::new() }
    }

    /// A field as it is, if it is there at all.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name)
    }

    /// A whole number of a domain type; absent or at fault gives none.
    pub fn integer<T: TryFrom<i64, Error = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        let value = self.take(name)?;
        self.told(name, integer_from(&value))
    }

    /// As [`Fields::integer`], where null is a value of its own.
    pub fn nullable_integer<T: TryFrom<i64, Error = Invalid>>(&mut self, name: &'static str) -> Option<Option<T>> {
        match self.take(name)? {
            Value::Null => Some(None),
            value => self.told(name, integer_from(&value)).map(Some),
        }
    }

    /// A text of a domain type; absent or at fault gives none.
    pub fn text<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        let parsed = self.string(name)?.parse();
        self.told(name, parsed)
    }

    /// A text; absent or at fault gives none.
    pub fn string(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => self.told(name, Err(Invalid("must be a text"))),
        }
    }

    /// As [`Fields::string`], where null is a value of its own.
    pub fn nullable_string(&mut self, name: &'static str) -> Option<Option<String>> {
        match self.take(name)? {
            Value::Null => Some(None),
            Value::String(text) => Some(Some(text)),
            _ => self.told(name, Err(Invalid("must be a text or null"))),
        }
    }

    /// Yes or no; absent or at fault gives none.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _ => self.told(name, Err(Invalid("must be true or false"))),
        }
    }

    /// A field that must be there: adds the fault if it neither is nor has one already.
    pub fn required<T>(&mut self, name: &'static str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.fault(Fault::new(name, "is needed"));
        }
        found
    }

    /// As [`Fields::text`], where null is a value of its own.
    pub fn nullable_text<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<Option<T>> {
        match self.nullable_string(name)? {
            Some(text) => self.told(name, text.parse()).map(Some),
            None => Some(None),
        }
    }

    /// Adds a fault, unless the field has one already.
    pub fn fault(&mut self, fault: Fault) {
        if !self.is_at_fault(&fault.field) {
            self.faults.push(fault);
        }
    }

    /// Whether this field has a fault already.
    #[must_use]
    pub fn is_at_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.field == name)
    }

    /// Whether all was well: no fault, and no field that nobody took.
    ///
    /// # Errors
    /// 422 with every fault; of very many unknown fields with the first.
    pub fn finish(mut self) -> Result<(), Problem> {
        let unknown = std::mem::take(&mut self.object);
        unknown.into_iter().take(UNKNOWN_MAX).for_each(|(name, _)| self.fault(Fault::new(name, "no such field")));
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::InvalidRequest(self.faults)) }
    }

    fn told<T>(&mut self, name: &'static str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|why| self.fault(Fault::new(name, why.0))).ok()
    }
}

/// A whole number, also one that is written `1.0` (JSON and its schemas know no difference). Anything else gets the
/// sentence of the type's range.
fn integer_from<T: TryFrom<i64, Error = Invalid>>(value: &Value) -> Result<T, Invalid> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    let number = value.as_i64().or_else(|| value.as_f64().filter(whole).map(|number| number as i64));
    T::try_from(number.unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, Quantity};

    fn fields(text: &str) -> Fields {
        Fields::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_quantity_is_a_whole_number_in_range_and_nothing_else() {
        for text in ["0", "-1", "1.5", "1e-1", "\"1\"", "9223372036854775808", "1e300", "1000001", "null", "true", "[1]", "{}"] {
            let mut found = fields(&format!("{{\"quantity\":{text}}}"));
            assert_eq!(found.integer::<Quantity>("quantity"), None, "{text}");
            assert!(found.is_at_fault("quantity"), "{text}");
        }
        for text in ["1000000", "1000000.0", "1e6"] {
            let mut found = fields(&format!("{{\"quantity\":{text}}}"));
            assert_eq!(found.integer::<Quantity>("quantity"), Some(Quantity::MAX), "{text}");
            found.finish().unwrap();
        }
    }

    #[test]
    fn absent_and_null_differ() {
        let mut found = fields("{\"b\":null,\"c\":\"x\",\"d\":7}");
        assert_eq!(found.nullable_string("a"), None);
        assert_eq!(found.nullable_string("b"), Some(None));
        assert_eq!(found.nullable_string("c"), Some(Some("x".to_owned())));
        assert_eq!(found.nullable_string("d"), None);
        assert!(found.is_at_fault("d") && !found.is_at_fault("a"));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut found = fields("{\"currency\":\"XYZ\",\"qantity\":1}");
        found.text::<Currency>("currency");
        let quantity = found.integer::<Quantity>("quantity");
        found.required("quantity", quantity);
        let Err(Problem::InvalidRequest(faults)) = found.finish() else { panic!("there are faults") };
        assert_eq!(faults.iter().map(|fault| fault.field.as_ref()).collect::<Vec<_>>(), ["currency", "quantity", "qantity"]);
    }

    #[test]
    fn a_field_that_comes_twice_is_one_fault_whatever_it_says() {
        let mut found = fields("{\"quantity\":1,\"quantity\":\"x\",\"y\":1,\"y\":2}");
        assert_eq!(found.integer::<Quantity>("quantity"), Some(Quantity::ONE));
        let Err(Problem::InvalidRequest(faults)) = found.finish() else { panic!("there are faults") };
        let told: Vec<_> = faults.iter().map(|fault| (fault.field.as_ref(), fault.message.as_ref())).collect();
        assert_eq!(told, [("quantity", "given more than once"), ("y", "given more than once")]);
    }

    #[test]
    fn what_is_no_object_is_refused_without_a_panic() {
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "1", "{", "{\"a\":1}x", "\u{feff}{}", deep.as_str()] {
            assert!(matches!(Fields::read(text.as_bytes()), Err(Problem::InvalidRequest(_))), "{}", &text[..text.len().min(9)]);
        }
    }
}
