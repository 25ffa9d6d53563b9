//! How the domain's types look in OpenAPI, and helpers to describe operations. Never used while serving requests.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder, example::ExampleBuilder, header::HeaderBuilder};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::cursor::{Cursor, LIMIT_DEFAULT, LIMIT_MAX};
use super::problem::{Code, PROBLEM_JSON};
use crate::domain::{
    Actor, Cancellation, CommodityId, CommodityState, Currency, NodeId, OrderId, OrderStatus, PaymentId, PaymentStatus, Price, Principal,
    Quantity, Reach, Sku, Timestamp, Units, UserId,
};
use crate::payments::ProviderName;
use crate::store::{NodeState, Role};

macro_rules! described {
    ($($type:ty, $name:literal => $schema:expr;)+) => {
        $(impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        })+
    };
}

described! {
    CommodityId, "CommodityId" => integer(1, CommodityId::GIVEN_MAX, 1).description(Some("What is on sale"));
    UserId, "UserId" => text().pattern(Some("^[1-9][0-9]{0,18}$")).examples([json!("42")]).description(Some("An account of our own: the `sub` of its tokens"));
    Principal, "Principal" => text().pattern(Some("^([1-9][0-9]{0,18}|[a-z][a-z0-9_-]{0,31}:.{1,255})$")).examples([json!("42"), json!("auth0:auth0|5f7c8ec7c33c6c004bbafe82")])
        .description(Some("Who buys or operates: the number of an account of our own, or `<issuer's name>:<subject>` of another issuer's"));
    Quantity, "Quantity" => integer(1, i64::from(Quantity::MAX), 1).description(Some("Units of one order"));
    Units, "Units" => integer(0, i64::from(Units::MAX), 1000).description(Some("Units in stock"));
    Price, "Price" => integer(0, Price::MAX.minor(), 4999).description(Some("Minor units of the currency, such as cents"));
    OrderId, "OrderId" => text().format(Some(SchemaFormat::Custom("uuid".to_owned())))
        .examples([json!("01234567-89ab-8abc-9555-555123456789")]).description(Some("A UUID of version 8, given by the engine"));
    Timestamp, "Timestamp" => text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples([json!("2026-11-27T12:00:00.000Z")]).description(Some("RFC 3339; answers are in UTC with milliseconds; 1970 to 9999"));
    Currency, "Currency" => text().enum_values(Some(currencies())).examples([json!("EUR")]).description(Some("An ISO 4217 code"));
    OrderStatus, "OrderStatus" => text().enum_values(Some(OrderStatus::ALL.map(OrderStatus::word)))
        .description(Some("`reserved` until `pay_by`; `confirmed` needs no payment; `refund_due` until its money went back"));
    Actor, "Actor" => text().enum_values(Some(Actor::ALL.map(Actor::word)))
        .description(Some("`expiry`: its time was over; `provider`: what was heard of a payment; `system`: whatever else, and whoever it was before that was written down"));
    CommodityState, "CommodityState" => text().enum_values(Some(CommodityState::ALL.map(CommodityState::word)))
        .description(Some("`sold_out` may sell again while the sale lasts; `closed` is history: it is read, and nothing of it changes"));
    Sku, "Sku" => text().min_length(Some(1)).max_length(Some(Sku::CHARS_MAX)).pattern(Some("^[^\\s\\u0000-\\u001f\\u007f-\\u009f]+$"))
        .examples([json!("KB-75")]).description(Some("The shop's own number of a commodity: visible characters, each as it was sent, composed (NFC). No two commodities have the same"));
    Cancellation, "Cancellation" => text().enum_values(Some(Cancellation::ALL.map(Cancellation::word)))
        .description(Some("`none`: by operators alone, and as with `unpaid`; `unpaid`: as long as no money was taken, so confirmed orders that needed none too; `any`: paid ones too, which are `refund_due` then"));
    NodeId, "NodeId" => text().pattern(Some("^[A-Za-z0-9._-]{1,64}$")).examples([json!("node-1")]).description(Some("The configured id of a node"));
    NodeState, "NodeState" => text().enum_values(Some(NodeState::ALL.map(NodeState::word)))
        .description(Some("`joining` is starting, `draining` gives up its partitions, `gone` stopped in order"));
    Reach, "Reach" => text().enum_values(Some(Reach::ALL.map(Reach::word)))
        .description(Some("`up` has a session; `down` has none right now, or the broker's alarm is raised; `away` has had none for seconds: other nodes that have one take its partitions"));
    PaymentId, "PaymentId" => text().pattern(Some("^[0-9a-f-]{36}-([1-9]|[12][0-9]|3[0-2])$")).examples([json!("01234567-89ab-8abc-9555-555123456789-1")])
        .description(Some("The order's id, a dash, and which of its payments it is"));
    PaymentStatus, "PaymentStatus" => text().enum_values(Some(PaymentStatus::ALL.map(PaymentStatus::word)))
        .description(Some("`processing`: paid, and nobody knows yet whether the money comes; `authorized`: set aside; `captured`: taken; `refund_due` has to go back, or must not be taken"));
    ProviderName, "ProviderName" => text().pattern(Some("^[a-z][a-z0-9_-]{0,31}$")).examples([json!("sandbox")]).description(Some("The configured name of a payment provider"));
    Role, "Role" => text().enum_values(Some(Role::ALL.map(Role::word)))
        .description(Some("`operator` reads and runs sales; `admin` may do that, and change accounts and nodes; `service` is another system that calls on behalf of buyers"));
}

/// A field that has no other value yet.
pub(crate) fn only_null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}

/// Every code in use, found by trying all there could be.
fn currencies() -> Vec<String> {
    let letters = || b'A'..=b'Z';
    let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c].map(char::from).iter().collect())));
    codes.filter(|code: &String| code.parse::<Currency>().is_ok()).collect()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn integer(least: i64, most: i64, example: i64) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(least)).maximum(Some(most)).examples([json!(example)])
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
