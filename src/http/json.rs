//! JSON read strictly: a name that comes twice in one object is noted. Most readers take the last of them without a word, some the first,
//! so that what one checks is not what the other does.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Names that are noted, at most.
const REPEATED_MAX: usize = 32;

/// A document, and the names that come twice in it.
#[derive(Debug)]
pub(super) struct Document {
    /// With the first of each.
    pub(super) value: Value,
    /// Where they are: `quantity`, or `items[2].price` further inside. Each once, and not all of very many.
    pub(super) repeated: Vec<String>,
}

/// Reads one document and nothing behind it.
pub(super) fn read(bytes: &[u8]) -> serde_json::Result<Document> {
    let mut repeated = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Place { above: None, repeated: &mut repeated }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Document { value, repeated })
}

/// Where a value is read. The way there is put into words only for a name that is noted: a long name over a long list would cost its length for
/// each item.
struct Place<'a> {
    above: Option<&'a Above<'a>>,
    repeated: &'a mut Vec<String>,
}

/// A step of the way to a value, and the steps before it.
struct Above<'a> {
    above: Option<&'a Above<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

impl Above<'_> {
    fn words(&self) -> String {
        let before = self.above.map(Above::words).unwrap_or_default();
        match self.step {
            Step::Member(name) if before.is_empty() => name.to_owned(),
            Step::Member(name) => format!("{before}.{name}"),
            Step::Item(number) => format!("{before}[{number}]"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let above = Above { above: self.above, step: Step::Item(items.len()) };
            let Some(item) = array.next_element_seed(Place { above: Some(&above), repeated: &mut *self.repeated })? else { break };
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let above = Above { above: self.above, step: Step::Member(&name) };
            let value = object.next_value_seed(Place { above: Some(&above), repeated: &mut *self.repeated })?;
            if members.contains_key(&name) {
                if self.repeated.len() < REPEATED_MAX {
                    let words = above.words();
                    if !self.repeated.contains(&words) {
                        self.repeated.push(words);
                    }
                }
            } else {
                members.insert(name, value);
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_read_as_everybody_reads_it() {
        for text in
            ["null", "true", "-7", "18446744073709551615", "1.5e3", "\"a\\u0062\"", "[1,[],{}]", " {\"a\":{\"b\":[null,{\"c\":1}]}} "]
        {
            let document = read(text.as_bytes()).unwrap();
            assert_eq!(document.value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
            assert_eq!(document.repeated, [""; 0], "{text}");
        }
        for text in ["", "{", "{}x", "[1,]", "1e400", "\"\u{0}\""] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read("[".repeat(100_000).as_bytes()).is_err(), "how deep it may be is bounded");
    }

    #[test]
    fn a_name_that_comes_twice_is_noted_wherever_it_is_and_however_it_is_written() {
        let document = read(br#"{"a":1,"\u0061":2,"a":3,"b":[{"c":1,"c":1}],"d":{"a":1,"e":{"f":1,"f":2}}}"#).unwrap();
        assert_eq!(document.repeated, ["a", "b[0].c", "d.e.f"]);
        assert_eq!(document.value["a"], json!(1));
        let many: String = (0..1_000).map(|n| format!("\"{n}\":1,\"{n}\":1,")).collect();
        assert_eq!(read(format!("{{{}}}", many.trim_end_matches(',')).as_bytes()).unwrap().repeated.len(), REPEATED_MAX);
    }
}
