//! The operators' API: what is on sale, whose orders there are, who may operate, whether the books balance. Everyone here
//! has the role `operator` or `admin`; accounts are for admins alone ([`crate::http::Admin`]). Never changes
//! stock itself: each change is a command to the engine that owns the commodity.

mod audit;
mod commodities;
mod csv;
pub(crate) mod import;
mod nodes;
pub(crate) mod openapi;
mod orders;
mod payments;
mod users;

pub(crate) use commodities::due_listings::{list_what_is_due, list_what_was_left};

use actix_web::http::Method;
use actix_web::web::ServiceConfig;

use commodities::{change, switch};

use crate::auth::Caller;
use crate::http::RequestId;
use crate::http::routes::{Traffic, compressed, get, on, resource};

/// The operators' routes.
pub fn operators(routes: &mut ServiceConfig) {
    let route = |pattern, operations| compressed(resource(pattern, Traffic::Ordinary, operations));
    routes
        .service(route("/admin/v1/commodities", vec![get(commodities::list), on(Method::POST, change::create)]))
        .service(route("/admin/v1/commodities.csv", vec![get(import::export)]))
        .service(route("/admin/v1/commodities/import", vec![on(Method::POST, import::import)]))
        .service(route("/admin/v1/commodities/imports/{id}", vec![get(import::read)]))
        .service(route(
            "/admin/v1/commodities/{id}",
            vec![get(commodities::read), on(Method::PATCH, change::change), on(Method::DELETE, change::remove)],
        ))
        .service(route("/admin/v1/commodities/{id}/restock", vec![on(Method::POST, change::restock)]))
        .service(route("/admin/v1/commodities/{id}/pause", vec![on(Method::POST, switch::pause)]))
        .service(route("/admin/v1/commodities/{id}/resume", vec![on(Method::POST, switch::resume)]))
        .service(route("/admin/v1/commodities/{id}/end", vec![on(Method::POST, switch::end)]))
        .service(route("/admin/v1/commodities/{id}/close", vec![on(Method::POST, switch::close)]))
        .service(route("/admin/v1/orders", vec![get(orders::list)]))
        .service(route("/admin/v1/orders.csv", vec![get(orders::export)]))
        .service(route("/admin/v1/orders/{id}", vec![get(orders::read)]))
        .service(route("/admin/v1/orders/{id}/timeline", vec![get(orders::read_timeline)]))
        .service(route("/admin/v1/orders/{id}/cancel", vec![on(Method::POST, orders::cancel)]))
        .service(route("/admin/v1/orders/{id}/refund", vec![on(Method::POST, orders::refund)]))
        .service(route("/admin/v1/payments", vec![get(payments::list)]))
        .service(route("/admin/v1/users", vec![get(users::list)]))
        .service(route("/admin/v1/users/{id}", vec![get(users::read), on(Method::PATCH, users::change)]))
        .service(route("/admin/v1/nodes", vec![get(nodes::list)]))
        .service(route("/admin/v1/nodes/{id}/drain", vec![on(Method::POST, nodes::drain)]))
        .service(route("/admin/v1/partitions", vec![get(nodes::partitions)]))
        .service(route("/admin/v1/audit", vec![get(audit::show)]));
}

/// Writes down who asked for a change: the answer and its status are in the access log, under the same request id.
fn note(operator: &Caller, request: &RequestId, what: &str, id: impl std::fmt::Display) {
    tracing::info!(
        target: "doorbuster::operators",
        request_id = request.as_str(),
        operator = %operator.principal,
        what,
        %id,
        "operator {} asks: {what} {id}",
        operator.principal,
    );
}
