//! Answers of the sandbox's API. Never decides one.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::Sandbox;
use super::books::{BooksError, Payment, Refund};

/// An answer that is no good one.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({"error": {"code": code, "message": message}}))
}

/// The payment is not in a state for it; how it stands comes with that.
pub(super) fn unexpected_state(sandbox: &Sandbox, payment: &Payment) -> HttpResponse {
    let message = format!("the payment is {}", payment.state.word());
    HttpResponse::Conflict().json(json!({"error": {"code": "unexpected_state", "message": message, "payment": whole(sandbox, payment)}}))
}

pub(super) fn missing() -> HttpResponse {
    refusal(StatusCode::NOT_FOUND, "not_found", "there is no such object")
}

/// The books failed: the log has why.
pub(super) fn broken(error: &BooksError) -> HttpResponse {
    tracing::error!(%error, "the sandbox's books failed");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the books cannot be read or written")
}

/// A payment with its page's address.
pub(super) fn whole(sandbox: &Sandbox, payment: &Payment) -> Value {
    let mut facts = payment.facts();
    facts["checkout_url"] = sandbox.checkout_url(&payment.token).into();
    facts
}

pub(super) fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "payment_id": refund.payment,
        "reference": refund.reference,
        "amount": refund.amount,
        // Nothing that is given back here has far to go.
        "state": "succeeded",
        "created_at": refund.created_at,
    })
}
