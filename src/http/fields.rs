//! The fields of a body, taken one by one or into a struct that derives what they are. Never stops at the first fault: a client learns of
//! every field at once. An unknown field is a fault, since one with a typing error would change nothing, silently; so is one that comes
//! twice.
//!
//! A crate that collects faults (deserr) gives no struct where there are some; here what is right is read all the same, and held against the
//! rules that are about several fields.

use std::cell::Cell;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
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

    /// What a struct takes of the fields. Each of its own is an `Option`, by one of [`integer`] to [`nullable_text`]: none where nothing was
    /// sent, or what was sent is at fault.
    pub(crate) fn read_into<T: DeserializeOwned>(&mut self) -> T {
        loop {
            let (at, names) = (Cell::new(""), Cell::new(&[][..]));
            match T::deserialize(Object { fields: &self.object, at: &at, names: &names }) {
                Ok(read) => {
                    names.get().iter().for_each(|name| drop(self.object.remove(*name)));
                    return read;
                }
                // Read once more without it: a struct has few fields.
                Err(why) => {
                    let name = at.get();
                    self.fault(Fault::new(name, why.to_string()));
                    assert!(self.object.remove(name).is_some(), "a struct of a body takes what it takes from its fields alone: {why}");
                }
            }
        }
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
        let value = self.take(name)?;
        self.told(name, text_from(&value))
    }

    /// As [`Fields::text`], where null is a value of its own.
    pub fn nullable_text<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<Option<T>> {
        match self.take(name)? {
            Value::Null => Some(None),
            value => self.told(name, text_from(&value)).map(Some),
        }
    }

    /// As [`Fields::nullable_text`], of any text.
    pub fn nullable_string(&mut self, name: &'static str) -> Option<Option<String>> {
        match self.take(name)? {
            Value::Null => Some(None),
            Value::String(text) => Some(Some(text)),
            _ => self.told(name, Err(NO_TEXT)),
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

/// A field of a struct: a whole number of a domain type.
pub(crate) fn integer<'de, D: Deserializer<'de>, T: TryFrom<i64, Error = Invalid>>(field: D) -> Result<Option<T>, D::Error> {
    sent(field, integer_from)
}

/// The same, where null is a value of its own.
pub(crate) fn nullable_integer<'de, D: Deserializer<'de>, T: TryFrom<i64, Error = Invalid>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    sent(field, |value| if value.is_null() { Ok(None) } else { integer_from(value).map(Some) })
}

/// A field of a struct: a text of a domain type, or any.
pub(crate) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(field: D) -> Result<Option<T>, D::Error> {
    sent(field, |value| match value {
        Value::String(text) => text.parse().map_err(|why: T::Err| why.to_string()),
        _ => Err(NO_TEXT.to_string()),
    })
}

/// The same, where null is a value of its own.
pub(crate) fn nullable_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(field: D) -> Result<Option<Option<T>>, D::Error> {
    sent(field, |value| match value {
        Value::Null => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(|why: T::Err| why.to_string()),
        _ => Err("must be a text or null".to_owned()),
    })
}

fn sent<'de, D: Deserializer<'de>, T, E: Display>(field: D, read: impl FnOnce(&Value) -> Result<T, E>) -> Result<Option<T>, D::Error> {
    read(&Value::deserialize(field)?).map(Some).map_err(D::Error::custom)
}

const NO_TEXT: Invalid = Invalid("must be a text");

fn text_from<T: FromStr<Err = Invalid>>(value: &Value) -> Result<T, Invalid> {
    value.as_str().ok_or(NO_TEXT)?.parse()
}

/// Fields for a struct, in its order.
struct Object<'a> {
    fields: &'a Map<String, Value>,
    /// The field that is being read.
    at: &'a Cell<&'static str>,
    /// Those that the struct has.
    names: &'a Cell<&'static [&'static str]>,
}

impl<'de> Deserializer<'de> for Object<'de> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.names.set(names);
        visitor.visit_map(Members { fields: self.fields, at: self.at, names: names.iter() })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("fields are read into a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

struct Members<'a> {
    fields: &'a Map<String, Value>,
    at: &'a Cell<&'static str>,
    names: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some(name) = self.names.find(|name| self.fields.contains_key(**name)) else { return Ok(None) };
        self.at.set(name);
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        seed.deserialize(&self.fields[self.at.get()])
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

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Read {
        #[serde(deserialize_with = "nullable_text")]
        a: Option<Option<String>>,
        #[serde(deserialize_with = "nullable_text")]
        b: Option<Option<String>>,
        #[serde(deserialize_with = "nullable_text")]
        c: Option<Option<String>>,
        #[serde(deserialize_with = "nullable_text")]
        d: Option<Option<String>>,
        #[serde(deserialize_with = "text")]
        currency: Option<Currency>,
        #[serde(deserialize_with = "integer")]
        quantity: Option<Quantity>,
        #[serde(deserialize_with = "nullable_integer")]
        most: Option<Option<Quantity>>,
    }

    #[test]
    fn absent_and_null_differ() {
        let mut found = fields("{\"b\":null,\"c\":\"x\",\"d\":7,\"most\":null}");
        let read: Read = found.read_into();
        assert_eq!(read, Read { b: Some(None), c: Some(Some("x".to_owned())), most: Some(None), ..Read::default() });
        assert!(found.is_at_fault("d") && !found.is_at_fault("a"));
    }

    #[test]
    fn a_struct_gets_what_is_right_and_every_fault_is_told() {
        let mut found = fields("{\"quantity\":3.0,\"e\":1,\"currency\":null,\"a\":true,\"c\":\"x\",\"most\":0}");
        let read: Read = found.read_into();
        assert_eq!(read, Read { c: Some(Some("x".to_owned())), quantity: Quantity::new(3).ok(), ..Read::default() });
        let Err(Problem::InvalidRequest(faults)) = found.finish() else { panic!("there are faults") };
        let told: Vec<_> = faults.iter().map(|fault| (fault.field.as_ref(), fault.message.as_ref())).collect();
        assert_eq!(told[0], ("a", "must be a text or null"));
        assert_eq!(told[1], ("currency", "must be a text"));
        assert_eq!((told[2].0, told[3]), ("most", ("e", "no such field")));
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
