//! What an answer to an order means. Judged by the code in the problem document, never by the status alone.

use doorbuster::domain::{OrderId, OrderStatus, UserId};
use hyper::{StatusCode, header};
use serde::Deserialize;

use crate::client::Response;

/// One buyer's claim as the server confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The id the server gave.
    pub order: OrderId,
    /// Whose order the server says it is.
    pub user: UserId,
    /// How many units the server says it claims.
    pub quantity: i64,
    /// Where the server says it stands.
    pub status: OrderStatus,
}

/// What became of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `201`, or `200` for a repeated key: sold.
    Accepted(Acceptance),
    /// `202`: ask again with this id, or under the answer's `retry_key`.
    Pending(Option<OrderId>),
    /// A problem document, whose code is in the answer.
    Refused,
    /// Not what the contract allows; the sentence says how.
    Malformed(String),
}

/// An answer, reduced to what is counted and audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The problem's code; `accepted`, `replayed` and `pending` where there is no problem.
    pub code: String,
    /// What it means.
    pub verdict: Verdict,
    /// Of a `202`: what the request is repeated under.
    pub retry_key: Option<String>,
    /// Whole seconds of `Retry-After`, where it was given.
    pub retry_after_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct OrderBody {
    order_id: OrderId,
    user_id: UserId,
    quantity: i64,
    status: OrderStatus,
}

#[derive(Deserialize)]
struct PendingBody {
    order_id: Option<OrderId>,
    retry_key: String,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Answer {
    /// Reads a response to `POST .../orders`.
    #[must_use]
    pub fn to_order(response: &Response) -> Self {
        let mut retry_key = None;
        let (code, verdict) = match response.status {
            StatusCode::CREATED => accepted(response, "accepted"),
            StatusCode::OK => accepted(response, "replayed"),
            StatusCode::ACCEPTED => match serde_json::from_slice::<PendingBody>(&response.body) {
                Ok(body) => {
                    retry_key = Some(body.retry_key);
                    ("pending".to_owned(), Verdict::Pending(body.order_id))
                }
                Err(error) => ("pending".to_owned(), Verdict::Malformed(format!("202 with another body: {error}"))),
            },
            status => problem(response, status),
        };
        let retry_after_seconds =
            response.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        Self { status: response.status.as_u16(), code, verdict, retry_key, retry_after_seconds }
    }

    /// Whether the server asks to come again later: nothing happened.
    #[must_use]
    pub fn asks_to_come_again(&self) -> bool {
        matches!(self.status, 429 | 503) && self.verdict == Verdict::Refused
    }
}

fn accepted(response: &Response, code: &str) -> (String, Verdict) {
    let verdict = match serde_json::from_slice::<OrderBody>(&response.body) {
        Ok(OrderBody { order_id: order, user_id: user, quantity, status }) => {
            Verdict::Accepted(Acceptance { order, user, quantity, status })
        }
        Err(error) => Verdict::Malformed(format!("{} without an order: {error}", response.status.as_u16())),
    };
    (code.to_owned(), verdict)
}

fn problem(response: &Response, status: StatusCode) -> (String, Verdict) {
    let kind = response.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing");
    match serde_json::from_slice::<Problem>(&response.body) {
        Ok(problem) if kind.starts_with("application/problem+json") => (problem.code, Verdict::Refused),
        _ => (String::new(), Verdict::Malformed(format!("{} with {kind} in place of a problem document", status.as_u16()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "01234567-89ab-8abc-9555-555123456789";

    fn response(status: u16, content_type: &'static str, body: String) -> Response {
        let mut headers = hyper::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        headers.insert(header::RETRY_AFTER, "3".parse().unwrap());
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    #[test]
    fn an_accepted_order_is_read_with_its_owner() {
        let body = format!(r#"{{"order_id":"{ORDER}","user_id":"7","quantity":2,"status":"confirmed"}}"#);
        let answer = Answer::to_order(&response(201, "application/json", body.clone()));
        let acceptance =
            Acceptance { order: ORDER.parse().unwrap(), user: UserId::new(7).unwrap(), quantity: 2, status: OrderStatus::Confirmed };
        assert_eq!((answer.status, answer.code.as_str(), answer.verdict), (201, "accepted", Verdict::Accepted(acceptance)));
        assert_eq!(Answer::to_order(&response(200, "application/json", body)).code, "replayed");
    }

    #[test]
    fn a_refusal_is_known_by_its_code_and_media_type() {
        let body = r#"{"code":"sold_out","status":409}"#.to_owned();
        let answer = Answer::to_order(&response(409, "application/problem+json", body.clone()));
        assert_eq!((answer.code.as_str(), answer.verdict), ("sold_out", Verdict::Refused));
        let answer = Answer::to_order(&response(409, "application/json", body));
        assert!(matches!(answer.verdict, Verdict::Malformed(_)));
    }

    #[test]
    fn a_success_without_a_valid_order_id_is_malformed() {
        let body = r#"{"order_id":"0190163d-8694-739b-aea5-966c26f8ad91","user_id":"7","quantity":1}"#.to_owned();
        let answer = Answer::to_order(&response(201, "application/json", body));
        assert!(matches!(answer.verdict, Verdict::Malformed(_)));
    }

    #[test]
    fn a_pending_answer_without_a_key_to_repeat_it_under_is_malformed() {
        let answer =
            Answer::to_order(&response(202, "application/json", r#"{"order_id":null,"status":"pending","retry_key":"k"}"#.to_owned()));
        assert_eq!((answer.verdict, answer.retry_key.as_deref()), (Verdict::Pending(None), Some("k")));
        let answer = Answer::to_order(&response(202, "application/json", r#"{"order_id":null,"status":"pending"}"#.to_owned()));
        assert!(matches!(answer.verdict, Verdict::Malformed(_)));
    }

    #[test]
    fn overload_asks_to_come_again_and_a_refusal_does_not() {
        let overloaded = Answer::to_order(&response(503, "application/problem+json", r#"{"code":"overloaded"}"#.to_owned()));
        assert!(overloaded.asks_to_come_again());
        assert_eq!(overloaded.retry_after_seconds, Some(3));
        let sold_out = Answer::to_order(&response(409, "application/problem+json", r#"{"code":"sold_out"}"#.to_owned()));
        assert!(!sold_out.asks_to_come_again());
    }
}
