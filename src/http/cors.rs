//! Pages of other origins. The browser asks for them before it sends what is not plain, and shows them an answer only if that says so: the
//! refusals too, since it is wrapped around everything else. Never lets cookies along: pages send a bearer token.

use actix_cors::Cors;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName};

use crate::config::Origin;

/// How long a browser may remember what it was told, in seconds.
const REMEMBERED_SECONDS: usize = 600;

/// Headers a page may send, beside those any may.
fn sent() -> [HeaderName; 8] {
    [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("last-event-id"),
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("x-request-id"),
    ]
}

/// Headers a page may see, beside those any may.
fn shown() -> [HeaderName; 4] {
    [header::ETAG, header::LOCATION, header::RETRY_AFTER, HeaderName::from_static("x-request-id")]
}

/// What answers the pages of these origins.
pub(crate) fn cors(origins: &[Origin]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
        .allowed_headers(sent())
        .expose_headers(shown())
        .max_age(REMEMBERED_SECONDS);
    // The library would take the last of them.
    if origins.contains(&Origin::Any) {
        return cors.allow_any_origin().send_wildcard();
    }
    origins.iter().fold(cors, |cors, origin| match origin {
        Origin::Any => cors.allow_any_origin().send_wildcard(),
        Origin::One(origin) => cors.allowed_origin(origin),
    })
}
