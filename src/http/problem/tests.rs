//! Problems as clients get them.

use actix_web::body::to_bytes;
use serde_json::{Value, json};

use super::*;

async fn answer(problem: &Problem) -> (HttpResponse<()>, Value) {
    answer_from(problem, false).await
}

async fn answer_from(problem: &Problem, is_leaving: bool) -> (HttpResponse<()>, Value) {
    let (response, body) = problem.respond("request-1", is_leaving).into_parts();
    let bytes = to_bytes(body).await.unwrap_or_else(|_| panic!("a problem's body is at hand"));
    (response, serde_json::from_slice(&bytes).unwrap())
}

fn header_of<'a>(response: &'a HttpResponse<()>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[actix_web::test]
async fn a_refusal_is_a_problem_document_with_its_code() {
    let (response, body) = answer(&Problem::Refused(Refusal::SoldOut)).await;
    assert_eq!(response.status(), 409);
    assert_eq!(header_of(&response, "content-type"), Some(PROBLEM_JSON));
    let expected = json!({
        "type": "/docs/problems#sold_out", "title": "Sold out", "status": 409, "code": "sold_out", "request_id": "request-1",
        "detail": "Fewer units are available than the order asks for. Units may come back while the sale lasts.",
    });
    assert_eq!(body, expected);
}

#[actix_web::test]
async fn the_fields_at_fault_are_listed() {
    let (response, body) = answer(&Problem::InvalidRequest(vec![Fault::new("quantity", "too few"), Fault::new("coupon", "unknown")])).await;
    assert_eq!(response.status(), 422);
    assert_eq!(body["errors"], json!([{"field": "quantity", "message": "too few"}, {"field": "coupon", "message": "unknown"}]));
    let (response, body) = answer(&Problem::Refused(Refusal::TermsConflict)).await;
    assert_eq!((response.status().as_u16(), body["errors"][0]["field"].as_str()), (422, Some("ends_at")));
}

#[actix_web::test]
async fn a_fault_of_ours_is_opaque() {
    let (response, body) = answer(&Problem::Internal("the secret cause".to_owned())).await;
    assert_eq!((response.status().as_u16(), body["code"].as_str()), (500, Some("internal")));
    assert!(!body.to_string().contains("secret"), "{body}");
    let (response, body) = answer(&StoreError::Database(sea_orm::DbErr::Custom("host secret is away".to_owned())).into()).await;
    assert_eq!((response.status().as_u16(), body["code"].as_str()), (503, Some("unavailable")));
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[actix_web::test]
async fn what_may_be_tried_again_says_when() {
    let limited = Problem::RateLimited(Limited { retry_after: Duration::from_secs(7) });
    for (problem, status, after) in [
        (limited, 429, "7"),
        (Problem::Busy(Busy::Overloaded), 503, "1"),
        (Problem::Busy(Busy::Unavailable), 503, "1"),
        (Problem::Refused(Refusal::EpochExhausted), 503, "1"),
        (Problem::Unavailable { what: "The database", cause: None }, 503, "1"),
    ] {
        let (response, _) = answer(&problem).await;
        assert_eq!((response.status().as_u16(), header_of(&response, "retry-after")), (status, Some(after)), "{problem}");
    }
}

#[actix_web::test]
async fn a_missing_token_is_challenged() {
    let (response, _) = answer(&Problem::NoToken).await;
    assert_eq!(header_of(&response, "www-authenticate"), Some("Bearer realm=\"doorbuster\""));
    let (response, body) = answer(&Problem::BadToken(Unauthenticated::Expired)).await;
    assert_eq!(header_of(&response, "www-authenticate"), Some("Bearer realm=\"doorbuster\", error=\"invalid_token\""));
    assert_eq!((response.status().as_u16(), body["code"].as_str()), (401, Some("unauthenticated")));
}

#[actix_web::test]
async fn another_method_is_told_which_ones_there_are() {
    let (response, _) = answer(&Problem::MethodNotAllowed(HeaderValue::from_static("GET, HEAD"))).await;
    assert_eq!((response.status().as_u16(), header_of(&response, "allow")), (405, Some("GET, HEAD")));
}

#[actix_web::test]
async fn what_is_unavailable_at_a_node_that_leaves_says_that_it_leaves() {
    for problem in [
        Problem::NotReady("At least one partition is not served yet".to_owned()),
        Problem::Busy(Busy::Unavailable),
        Problem::Busy(Busy::Overloaded),
        Problem::Unavailable { what: "The database", cause: None },
    ] {
        let ((_, before), (response, leaving)) = (answer(&problem).await, answer_from(&problem, true).await);
        assert_eq!((response.status().as_u16(), &leaving["code"]), (503, &before["code"]), "{problem}");
        assert!(leaving["detail"].as_str().unwrap().contains("This node is leaving"), "{leaving}");
        assert!(!before["detail"].as_str().unwrap().contains("leaving"), "{before}");
    }
    let refusal = Problem::Refused(Refusal::SoldOut);
    assert_eq!(answer_from(&refusal, true).await.1, answer(&refusal).await.1, "what is no matter of the node is the same");
}
