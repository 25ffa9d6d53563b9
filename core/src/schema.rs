//! How the domain's types look in OpenAPI. Compiled for whoever serves such a document; never used while serving requests.

use serde_json::json;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use crate::domain::{
    Actor, Cancellation, CommodityId, CommodityState, Currency, NodeId, OrderId, OrderStatus, PaymentId, PaymentStatus, Price, Principal,
    Quantity, Reach, Sku, Timestamp, Units, UserId,
};

/// Describes types that are not described by their fields.
#[macro_export]
macro_rules! described {
    ($($type:ty, $name:literal => $schema:expr;)+) => {
        $(impl ::utoipa::PartialSchema for $type {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                $schema.into()
            }
        }

        impl ::utoipa::ToSchema for $type {
            fn name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed($name)
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
        .description(Some("`reserved` until `pay_by`; `confirmed` needs no payment; `refund_due` was paid after it had ended"));
    CommodityState, "CommodityState" => text().enum_values(Some(CommodityState::ALL.map(CommodityState::word)))
        .description(Some("`sold_out` may sell again while the sale lasts; `closed` is history: it is read, and nothing of it changes"));
    Sku, "Sku" => text().min_length(Some(1)).max_length(Some(Sku::CHARS_MAX)).pattern(Some("^[^\\s\\u0000-\\u001f\\u007f-\\u009f]+$"))
        .examples([json!("KB-75")]).description(Some("The shop's own number of a commodity: visible characters, each as it was sent, composed (NFC). No two commodities have the same"));
    Cancellation, "Cancellation" => text().enum_values(Some(Cancellation::ALL.map(Cancellation::word)))
        .description(Some("`none`: by operators alone, and as with `unpaid`; `unpaid`: as long as no money was taken, so confirmed orders that needed none too; `any`: paid ones too, which are `refund_due` then"));
    Actor, "Actor" => text().enum_values(Some(Actor::ALL.map(Actor::word)))
        .description(Some("`expiry`: its time was over; `provider`: what was heard of a payment; `system`: whatever else, and whoever it was before that was written down"));
    PaymentId, "PaymentId" => text().pattern(Some("^[0-9a-f-]{36}-([1-9]|[12][0-9]|3[0-2])$")).examples([json!("01234567-89ab-8abc-9555-555123456789-1")])
        .description(Some("The order's id, a dash, and which of its payments it is"));
    PaymentStatus, "PaymentStatus" => text().enum_values(Some(PaymentStatus::ALL.map(PaymentStatus::word)))
        .description(Some("`processing`: paid, and nobody knows yet whether the money comes; `authorized`: set aside; `captured`: taken; `refund_due` has to go back, or must not be taken"));
    NodeId, "NodeId" => text().pattern(Some("^[A-Za-z0-9._-]{1,64}$")).examples([json!("node-1")]).description(Some("The configured id of a node"));
    Reach, "Reach" => text().enum_values(Some(Reach::ALL.map(Reach::word)))
        .description(Some("`up` has a session; `down` has none right now, or the broker's alarm is raised; `away` has had none for seconds: other nodes that have one take its partitions"));
}

/// A text.
#[must_use]
pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A whole number in a range.
#[must_use]
pub fn integer(least: i64, most: i64, example: i64) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(least)).maximum(Some(most)).examples([json!(example)])
}

/// Every code in use, found by trying all there could be.
fn currencies() -> Vec<String> {
    let letters = || b'A'..=b'Z';
    let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c].map(char::from).iter().collect())));
    codes.filter(|code: &String| code.parse::<Currency>().is_ok()).collect()
}
