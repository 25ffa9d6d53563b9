//! The `Idempotency-Key` of a request: what it may look like, and what it makes of a change. Never remembers anything.

use std::fmt::Display;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpRequest};
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::problem::{Fault, Problem};
use crate::domain::{IdempotencyKey, Operation, OperationKey, RequestFingerprint};
use crate::engine::Command;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const FIELD: &str = "Idempotency-Key";

/// The key of a request, if it has one, and the path it is for.
#[derive(Clone, Debug)]
pub(crate) struct GivenKey {
    text: Option<String>,
    path: String,
}

impl FromRequest for GivenKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let given = given(request).map_err(|fault| Problem::InvalidRequest(vec![fault]));
        // An order's id may be spelled with capitals.
        ready(given.map(|text| Self { text, path: request.path().to_ascii_lowercase() }))
    }
}

impl GivenKey {
    /// What this is when `who` asks for it: none without a key. The same request has the same `asked`.
    pub(crate) fn operation(&self, who: impl Display, asked: &impl Serialize) -> Option<Operation> {
        let key = OperationKey::of(&who.to_string(), &self.path, self.text.as_deref()?);
        let asked = serde_json::to_vec(asked).expect("numbers and texts can be written");
        Some(Operation { key, fingerprint: RequestFingerprint::of_bytes(&asked) })
    }

    /// That command, under the key if there is one.
    pub(crate) fn command(&self, who: impl Display, asked: &impl Serialize, command: Command) -> Command {
        under(self.operation(who, asked), command)
    }
}

/// That command, as that operation if it is one.
pub(crate) fn under(operation: Option<Operation>, command: Command) -> Command {
    match operation {
        Some(operation) => Command::Keyed { operation, command: Box::new(command) },
        None => command,
    }
}

/// The text of a request's key, if it has one.
pub(super) fn given(request: &HttpRequest) -> Result<Option<String>, Fault> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::new(FIELD, "given more than once"));
    }
    let text = unquoted(value.to_str().unwrap_or_default());
    IdempotencyKey::from_text(&text).map_err(|why| Fault::new(FIELD, why.0))?;
    Ok(Some(text))
}

/// The text of a key that may be given as a quoted string, as `draft-ietf-httpapi-idempotency-key-header` has it: `"a"` and `a` are one key.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return text.to_owned() };
    let mut unescaped = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some(escaped @ ('"' | '\\'))) => {
                unescaped.push(escaped);
                letters.next();
            }
            _ => unescaped.push(letter),
        }
    }
    unescaped
}

/// The `Idempotency-Key` of every call that changes something once.
pub(crate) struct KeyHeader;

impl IntoParams for KeyHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema =
            ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!-~]{1,255}$"));
        let header = ParameterBuilder::new()
            .name(FIELD)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "1 to 255 visible ASCII characters, bare or as a quoted string; remembered per caller and path for at least 24 hours: the same \
                 request again is done once and gets the same outcome",
            ))
            .schema(Some(schema));
        vec![header.build()]
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn operation(key: &str, path: &str, who: &str, asked: u32) -> Option<Operation> {
        let request = TestRequest::with_uri(path).insert_header(("idempotency-key", key)).to_http_request();
        GivenKey::from_request(&request, &mut Payload::None).into_inner().unwrap().operation(who, &asked)
    }

    #[test]
    fn a_key_is_its_callers_and_its_paths_and_bare_or_quoted_the_same() {
        let one = operation("a", "/x/1", "7", 5).unwrap();
        assert_eq!(operation("\"a\"", "/x/1", "7", 5), Some(one));
        for other in [operation("b", "/x/1", "7", 5), operation("a", "/x/2", "7", 5), operation("a", "/x/1", "8", 5)] {
            assert_ne!(other.unwrap().key, one.key);
        }
        let another = operation("a", "/x/1", "7", 6).unwrap();
        assert!(another.key == one.key && another.fingerprint != one.fingerprint);
    }

    #[test]
    fn a_request_without_a_key_has_no_operation_and_one_with_a_bad_key_is_at_fault() {
        let of = |request: TestRequest| GivenKey::from_request(&request.to_http_request(), &mut Payload::None).into_inner();
        assert_eq!(of(TestRequest::default()).unwrap().operation("7", &()), None);
        let long = "a".repeat(256);
        for key in ["", "a b", "\"\"", &long] {
            let wrong = of(TestRequest::default().insert_header(("idempotency-key", key)));
            assert!(matches!(wrong, Err(Problem::InvalidRequest(faults)) if faults[0].field == FIELD), "{key}");
        }
        let twice = TestRequest::default().append_header(("idempotency-key", "a")).append_header(("idempotency-key", "a"));
        assert!(of(twice).is_err());
    }

    #[test]
    fn a_quoted_key_is_the_one_inside_and_all_else_is_as_it_is() {
        for (given, meant) in [("\"a\"", "a"), ("a", "a"), ("\"a", "\"a"), ("\"", "\""), (r#""a\"b\\c\d""#, r#"a"b\c\d"#), ("\"\"", "")] {
            assert_eq!(unquoted(given), meant, "{given}");
        }
    }
}
