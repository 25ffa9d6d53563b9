//! The OpenAPI document, generated from the handlers: what each declares, and what every operation of its kind can answer.
//! Never written by hand where the code knows it.

use serde_json::json;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, RefOr, Required, Response, header::HeaderBuilder};
use utoipa::{Modify, OpenApi};

use super::Surface;
use crate::admin::openapi::Operators;
use crate::http::problem::Code;
use crate::http::schema::add_problem;
use crate::http::{accounts, commodities, health, metrics, orders, payments, timeline};

const DESCRIPTION: &str = "A flash-sale engine: a few units, a million buyers, one minute.

Accepted means sold: `201` is told only after the order is on stable storage. Money is in whole minor units of its \
currency, times are RFC 3339 in UTC. Lists are read page by page: send `next_cursor` back as `cursor`. What is refused is a \
problem document (RFC 9457) whose `code` never changes its meaning: see [the list](/docs/problems). `X-Request-Id` names a \
request in the server's log. Unknown routes answer `404 not_found`, other methods `405 method_not_allowed` with `Allow`.";

/// The buyers' calls.
#[derive(OpenApi)]
#[openapi(
    paths(commodities::list, commodities::read, orders::place, orders::list, orders::read, orders::cancel, timeline::read, payments::start, payments::list, payments::webhook,
        accounts::register),
    tags((name = "commodities", description = "What is on sale"), (name = "orders", description = "A buyer's orders"),
        (name = "payments", description = "How orders are paid"))
)]
struct Buyers;

/// Logging in: on every surface.
#[derive(OpenApi)]
#[openapi(paths(accounts::login, accounts::change_password, accounts::me), tags((name = "accounts", description = "Built-in accounts; tokens of another issuer work without one")))]
struct Sessions;

/// What machines ask.
#[derive(OpenApi)]
#[openapi(
    info(title = "Doorbuster", description = DESCRIPTION),
    paths(health::alive, health::ready, metrics::show),
    tags((name = "health", description = "How the process is")),
    security(("bearer" = []))
)]
struct Probes;

/// The document of a surface, as JSON.
pub(crate) fn document(surface: Surface) -> String {
    let mut document = match surface {
        Surface::Buyers => Buyers::openapi(),
        Surface::Operators => Operators::openapi(),
        Surface::Both => {
            let mut both = Buyers::openapi();
            both.merge(Operators::openapi());
            both
        }
    };
    let probes = Probes::openapi();
    document.info = probes.info.clone();
    document.security = probes.security.clone();
    document.merge(Sessions::openapi());
    document.merge(probes);
    Common.modify(&mut document);
    document.to_json().expect("a document has no type that JSON cannot write")
}

/// What every operation of its kind takes and can answer.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.schemas.insert("Problem".to_owned(), problem().into());
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(
            "A token of `POST /v1/auth/login`, or of an issuer that the configuration names; `503 unavailable` while the keys of that issuer are not here",
        ));
        let bearer = bearer.build();
        components.security_schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                complete(path, operation);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete, &mut item.put].into_iter().filter_map(Option::as_mut)
}

fn complete(path: &str, operation: &mut Operation) {
    let is_probe = matches!(path, "/healthz" | "/readyz" | "/metrics");
    let has = |place: ParameterIn| operation.parameters.iter().flatten().any(|found| is_in(found, &place));
    let (id_in_path, query) = (has(ParameterIn::Path), has(ParameterIn::Query));
    let checked_header = operation.parameters.iter().flatten().any(|found| is_named(found, &["Idempotency-Key", "If-Match"]));
    let is_public = operation.security.is_some();
    let responses = &mut operation.responses.responses;
    let mut can_answer = |condition: bool, codes: &[Code]| {
        if condition {
            codes.iter().for_each(|code| add_problem(responses, *code));
        }
    };
    can_answer(true, &[Code::Internal]);
    can_answer(!is_probe || path == "/metrics", &[Code::RateLimited]);
    can_answer(path == "/metrics" || path == "/admin/v1/audit", &[Code::Overloaded]);
    can_answer(path == "/readyz", &[Code::Unavailable]);
    // The keys of another issuer may be away.
    can_answer(!is_public, &[Code::Unauthenticated, Code::Unavailable]);
    let is_for_some_roles =
        path.starts_with("/admin/") || matches!(operation.operation_id.as_deref(), Some("place_order" | "cancel_order" | "start_payment"));
    can_answer(is_for_some_roles, &[Code::Forbidden]);
    can_answer(id_in_path, &[Code::NotFound]);
    can_answer(query || checked_header, &[Code::InvalidRequest]);
    can_answer(
        operation.request_body.is_some(),
        &[Code::InvalidRequest, Code::BodyTooLarge, Code::UnsupportedMediaType, Code::RequestTimeout],
    );
    responses.values_mut().for_each(complete_headers);
    operation.parameters.iter_mut().flatten().for_each(|parameter| {
        if let RefOr::T(parameter) = parameter {
            parameter.schema = parameter.schema.take().map(without_null);
        }
    });
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        let may_be_left_out = matches!(operation.operation_id.as_deref(), Some("place_order" | "start_payment"));
        body.required = Some(if may_be_left_out { Required::False } else { Required::True });
    }
    operation.parameters.get_or_insert_default().push(request_id_parameter());
}

fn is_in(parameter: &RefOr<Parameter>, place: &ParameterIn) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == *place)
}

fn is_named(parameter: &RefOr<Parameter>, names: &[&str]) -> bool {
    matches!(parameter, RefOr::T(parameter) if names.contains(&parameter.name.as_str()))
}

fn request_id_parameter() -> RefOr<Parameter> {
    ParameterBuilder::new()
        .name("X-Request-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The caller's name for the request: 1 to 64 of letters, digits, `.`, `_` and `-`; another one is made up for anything else",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
        .into()
}

/// An optional parameter or header is left out, never null: what `Option` says of its type is dropped.
fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let [kind, Type::Null] | [Type::Null, kind] = types.as_slice()
            {
                object.schema_type = SchemaType::Type(kind.clone());
            }
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::OneOf(mut one_of)) => {
            let is_null = |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
            one_of.items.retain(|item| !is_null(item));
            if one_of.items.len() == 1 { one_of.items.remove(0) } else { RefOr::T(Schema::OneOf(one_of)) }
        }
        other => other,
    }
}

fn complete_headers(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    for header in response.headers.values_mut() {
        if let RefOr::T(header) = header {
            header.schema = header.schema.take().map(without_null);
        }
    }
    let schema = ObjectBuilder::new().schema_type(Type::String);
    let header = HeaderBuilder::new().description(Some("The request's name in the server's log")).schema(Some(schema)).build();
    response.headers.insert("X-Request-Id".to_owned(), header.into());
}

/// A problem document, with every code there is.
fn problem() -> Schema {
    let text = |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    let fault = ObjectBuilder::new()
        .property("field", text("A field of the body or the query, or a header; `body` for a body that cannot be read"))
        .property("message", text("What is wrong with it"))
        .property("line", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).description(Some("Where it is in a file")))
        .required("field")
        .required("message");
    let errors = ArrayBuilder::new().items(fault).description(Some("With `invalid_request`: each field at fault"));
    let mut problem = ObjectBuilder::new()
        .description(Some("RFC 9457"))
        .property("type", text("Where the code is explained").examples([json!("/docs/problems#sold_out")]))
        .property("title", text("A few words, the same for every occurrence of the code"))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(400)).maximum(Some(599)))
        .property("detail", text("What this occurrence is about"))
        .property("code", text("What clients branch on").enum_values(Some(Code::ALL.iter().map(|code| code.word()))))
        .property("request_id", text("The request's name in the server's log"))
        .property("errors", errors);
    for name in ["type", "title", "status", "detail", "code", "request_id"] {
        problem = problem.required(name);
    }
    problem.build().into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed(surface: Surface) -> Value {
        serde_json::from_str(&document(surface)).unwrap()
    }

    #[test]
    fn placing_an_order_documents_every_status_and_code_of_the_contract() {
        let document = parsed(Surface::Both);
        let responses = &document["paths"]["/v1/commodities/{id}/orders"]["post"]["responses"];
        let statuses: Vec<&str> = responses.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(statuses, ["200", "201", "202", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "503"]);
        let codes = |status: &str| -> Vec<String> {
            let examples = &responses[status]["content"]["application/problem+json"]["examples"];
            examples.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(codes("409"), ["ended", "limit_reached", "not_started", "paused", "price_changed", "sold_out"]);
        assert_eq!(codes("404"), ["commodity_not_found", "not_found"]);
        assert_eq!(codes("422"), ["idempotency_mismatch", "invalid_request"]);
        assert_eq!(codes("503"), ["overloaded", "unavailable", "upgrade_unfinished"]);
        assert!(responses["429"]["headers"]["Retry-After"].is_object());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        for surface in [Surface::Buyers, Surface::Operators, Surface::Both] {
            let document = parsed(surface);
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() > 20, "{surface:?}");
            for reference in found {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{surface:?}: {reference}");
            }
        }
    }

    #[test]
    fn a_surface_documents_its_own_calls_only() {
        let paths = |surface| parsed(surface)["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert!(paths(Surface::Buyers).iter().all(|path| !path.starts_with("/admin/")));
        assert!(paths(Surface::Operators).iter().all(|path| !path.starts_with("/v1/orders") && !path.starts_with("/v1/commodities")));
        assert!(paths(Surface::Operators).contains(&"/readyz".to_owned()));
        let both = paths(Surface::Both);
        assert!(both.contains(&"/admin/v1/orders.csv".to_owned()) && both.contains(&"/v1/orders".to_owned()));
    }

    /// Whatever is asked for may be asked for again.
    #[test]
    fn every_post_takes_a_key() {
        let document = parsed(Surface::Both);
        let posts: Vec<_> = document["paths"].as_object().unwrap().iter().filter(|(_, item)| item["post"].is_object()).collect();
        assert!(posts.len() >= 11, "{posts:?}");
        for (path, item) in posts {
            // What a provider tells has an id of its own.
            if path.starts_with("/v1/payments/webhooks/") {
                continue;
            }
            let takes_key = |parameter: &Value| parameter["name"] == "Idempotency-Key" && parameter["in"] == "header";
            assert!(item["post"]["parameters"].as_array().is_some_and(|all| all.iter().any(takes_key)), "{path}");
        }
    }

    #[test]
    fn only_public_calls_need_no_token() {
        let document = parsed(Surface::Both);
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["security"], json!([{"bearer": []}]));
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let is_public = operation["security"] == json!([{}]);
                let examples = &operation["responses"]["401"]["content"]["application/problem+json"]["examples"];
                assert_eq!(is_public, examples["unauthenticated"].is_null(), "{method} {path}");
                let is_for_some_roles = path.starts_with("/admin/")
                    || path.ends_with("/orders") && method == "post"
                    || path.ends_with("/cancel")
                    || path.ends_with("/payments") && method == "post";
                assert_eq!(is_for_some_roles, operation["responses"]["403"].is_object(), "{method} {path}");
            }
        }
    }
}
