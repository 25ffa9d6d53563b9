//! How types of this crate look in OpenAPI (those of the domain: [`doorbuster_core::schema`]), and helpers to describe operations. Never used while serving requests.

use std::collections::BTreeMap;

use doorbuster_core::described;
use doorbuster_core::schema::{integer, text};
use serde_json::json;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder, example::ExampleBuilder, header::HeaderBuilder};

use super::cursor::{Cursor, LIMIT_DEFAULT, LIMIT_MAX};
use super::problem::{Code, PROBLEM_JSON};
use crate::payments::ProviderName;
use crate::store::{NodeState, Role};

described! {
    NodeState, "NodeState" => text().enum_values(Some(NodeState::ALL.map(NodeState::word)))
        .description(Some("`joining` is starting, `draining` gives up its partitions, `gone` stopped in order"));
    ProviderName, "ProviderName" => text().pattern(Some("^[a-z][a-z0-9_-]{0,31}$")).examples([json!("sandbox")]).description(Some("The configured name of a payment provider"));
    Role, "Role" => text().enum_values(Some(Role::ALL.map(Role::word)))
        .description(Some("`operator` reads and runs sales; `admin` may do that, and change accounts and nodes; `service` is another system that calls on behalf of buyers"));
}

/// A field that has no other value yet.
pub(crate) fn only_null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}

/// The `limit` and `cursor` of every list.
pub(crate) struct PageParameters<Id>(std::marker::PhantomData<Id>);

impl<Id: Cursor> IntoParams for PageParameters<Id> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = integer(1, LIMIT_MAX as i64, 50).format(None).default(Some(json!(LIMIT_DEFAULT)));
        vec![
            query_parameter("limit", "Items in a page, at most", limit),
            query_parameter("cursor", "`next_cursor` of the page before", text().pattern(Some(Id::PATTERN))),
        ]
    }
}

fn query_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// Declares a type that stands for the problems an operation has beside those that every operation has.
macro_rules! problems {
    ($name:ident: $($code:ident),+ $(,)?) => {
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                let mut responses = std::collections::BTreeMap::new();
                $($crate::http::schema::add_problem(&mut responses, $crate::http::problem::Code::$code);)+
                responses
            }
        }
    };
}
pub(crate) use problems;

/// Adds a problem to an operation's responses: to those of its status, if there are some.
pub(crate) fn add_problem(responses: &mut BTreeMap<String, RefOr<Response>>, code: Code) {
    let status = code.status();
    let response = responses.entry(status.as_str().to_owned()).or_insert_with(|| problem_response(code).into());
    let RefOr::T(response) = response else { return };
    let content = response
        .content
        .entry(PROBLEM_JSON.to_owned())
        .or_insert_with(|| ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build().into());
    let RefOr::T(content) = content else { return };
    let example = ExampleBuilder::new().summary(code.title()).value(Some(example(code))).build();
    content.examples.insert(code.word().to_owned(), example.into());
}

fn problem_response(code: Code) -> Response {
    let mut response = ResponseBuilder::new().description(code.status().canonical_reason().unwrap_or("A problem"));
    let header = |description: &str, kind| {
        HeaderBuilder::new().description(Some(description)).schema(Some(ObjectBuilder::new().schema_type(kind))).build()
    };
    match code.status().as_u16() {
        429 | 503 => response = response.header("Retry-After", header("Seconds to wait before trying again", Type::Integer)),
        405 => response = response.header("Allow", header("The methods the route takes", Type::String)),
        401 => response = response.header("WWW-Authenticate", header("What kind of token is needed", Type::String)),
        _ => {}
    }
    response.build()
}

fn example(code: Code) -> serde_json::Value {
    let mut example = json!({
        "type": code.type_uri(),
        "title": code.title(),
        "status": code.status().as_u16(),
        "detail": code.meaning(),
        "code": code.word(),
        "request_id": "9f86d081884c7d65-2a",
    });
    if code == Code::InvalidRequest {
        example["errors"] = json!([{"field": "quantity", "message": "a quantity must be a whole number from 1 to 1000000"}]);
    }
    example
}
