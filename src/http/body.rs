//! Request bodies: read within a size and a time, then taken apart field by field. Never stops at the first fault: a client
//! learns of every field at once. An unknown field is a fault, since one with a typing error would change nothing, silently.

use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use serde_json::{Map, Value};

use super::problem::{Fault, Problem};
use super::state::AppState;
use crate::domain::Invalid;

/// A request's body as it came, at most `http.body_bytes_max` bytes.
#[derive(Debug)]
pub struct Body {
    bytes: web::Bytes,
    media_type: MediaType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Absent,
    Json,
    Other,
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = media_type_of(request);
        let config = &request.app_data::<web::Data<AppState>>().expect("the state is part of the app").config;
        let (limit, time) = (config.body_bytes_max, Duration::from_millis(config.client_request_timeout_ms));
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let read = tokio::time::timeout(time, bytes).await.map_err(|_| Problem::RequestTimeout)?;
            let bytes = read.map_err(|error| match error.as_error::<PayloadError>() {
                Some(PayloadError::Overflow) => Problem::BodyTooLarge(limit),
                _ => Problem::field("body", "the body could not be read to its end"),
            })?;
            Ok(Self { bytes, media_type })
        })
    }
}

impl Body {
    /// The body's fields.
    ///
    /// # Errors
    /// 415 for a body that is no JSON by its own word, 422 for one that is not a JSON object.
    pub fn fields(&self) -> Result<Fields, Problem> {
        match self.media_type {
            MediaType::Json => Fields::read(&self.bytes),
            MediaType::Absent if self.bytes.is_empty() => Err(Problem::field("body", "a JSON object is needed")),
            MediaType::Absent | MediaType::Other => Err(Problem::UnsupportedMediaType),
        }
    }

    /// The body's fields; no fields for no body.
    ///
    /// # Errors
    /// As [`Body::fields`].
    pub fn fields_if_any(&self) -> Result<Fields, Problem> {
        if self.bytes.is_empty() { Ok(Fields::default()) } else { self.fields() }
    }
}

/// `application/json`, or another type with the suffix `+json`; parameters do not matter.
fn media_type_of(request: &HttpRequest) -> MediaType {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return MediaType::Absent };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.contains('/') && essence.to_ascii_lowercase().ends_with("+json"));
    if is_json { MediaType::Json } else { MediaType::Other }
}

/// The fields of a JSON object and what is wrong with them so far.
#[derive(Debug, Default)]
pub struct Fields {
    object: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Fields {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self { object, faults: Vec::new() }),
            Ok(_) => Err(Problem::field("body", "a JSON object is needed")),
            Err(error) => Err(Problem::field("body", format!("not JSON: {error}"))),
        }
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

    /// A field that must be there: adds the fault if it neither is nor has one already.
    pub fn required<T>(&mut self, name: &'static str, found: Option<T>) -> Option<T> {
        if found.is_none() && !self.is_at_fault(name) {
            self.fault(Fault::new(name, "is needed"));
        }
        found
    }

    /// Adds a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Whether this field has a fault already.
    #[must_use]
    pub fn is_at_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.field == name)
    }

    /// Whether all was well: no fault, and no field that nobody took.
    ///
    /// # Errors
    /// 422 with every fault.
    pub fn finish(self) -> Result<(), Problem> {
        let Self { object, mut faults } = self;
        faults.extend(object.into_iter().map(|(name, _)| Fault::new(name, "no such field")));
        if faults.is_empty() { Ok(()) } else { Err(Problem::InvalidRequest(faults)) }
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
    fn what_is_no_object_is_refused_without_a_panic() {
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "1", "{", "{\"a\":1}x", "\u{feff}{}", deep.as_str()] {
            assert!(matches!(Fields::read(text.as_bytes()), Err(Problem::InvalidRequest(_))), "{}", &text[..text.len().min(9)]);
        }
    }
}
