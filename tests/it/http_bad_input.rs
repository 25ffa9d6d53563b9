//! The table of bad input: each gets its documented status and code, and changes nothing.

use doorbuster::clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, SECRET, TestApp, commodity_body};

const PLACE: &str = "/v1/commodities/{id}/orders";
const CREATE: &str = "/admin/v1/commodities";
const CHANGE: &str = "/admin/v1/commodities/{id}";

/// The app with a commodity of ten units and one order on it, and all that must not change.
struct Stage {
    app: TestApp,
    document: Value,
    commodity: i64,
    order: String,
    before: Value,
}

impl Stage {
    async fn set() -> Self {
        let app = TestApp::start(Backend::Sqlite).await;
        let commodity = app.list(10, json!({"limit_per_user": 2})).await;
        let placed = app.place(10, commodity, &json!({"quantity": 1})).await;
        assert_eq!(placed.status.as_u16(), 201, "{:?}", placed.body);
        let order = placed.body["order_id"].as_str().expect("an id").to_owned();
        let document = app.get("/openapi.json").await.body;
        let mut stage = Self { app, document, commodity, order, before: Value::Null };
        stage.before = stage.everything().await;
        stage
    }

    /// Commodities and orders as an operator sees them, but for the time.
    async fn everything(&self) -> Value {
        let operator = self.app.operator();
        let mut commodities = self.app.get_as(&operator, "/admin/v1/commodities").await.body;
        for item in commodities["items"].as_array_mut().expect("a list") {
            item["server_time"] = Value::Null;
        }
        let orders = self.app.get_as(&operator, "/admin/v1/orders").await.body;
        json!([commodities, orders])
    }

    fn path(&self, template: &str, id: &str) -> String {
        template.replace("{id}", id).replace("{commodity}", &self.commodity.to_string())
    }

    /// Asserts status and code, that the operation documents them, and that a problem document says so.
    fn assert_refused(&self, case: &str, answer: &Answer, operation: (&str, &str), expected: (u16, &str)) {
        assert_eq!(answer.refusal(), expected, "{case}: {:?}", answer.body);
        let (method, template) = operation;
        let documented = &self.document["paths"][template][method]["responses"][expected.0.to_string()]["content"]["application/problem+json"]
            ["examples"][expected.1];
        assert!(documented.is_object(), "{case}: {method} {template} does not document {expected:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{case}");
        assert_eq!(answer.body["status"], json!(expected.0), "{case}");
        assert_eq!(answer.body["type"], json!(format!("/docs/problems#{}", expected.1)), "{case}");
        assert_eq!(answer.body["request_id"].as_str(), answer.headers["x-request-id"].to_str().ok(), "{case}");
    }

    async fn assert_unchanged(&self) {
        assert_eq!(self.everything().await, self.before);
        self.app.assert_balanced().await;
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: &str) -> Answer {
        let request = self.app.request(method, path).bearer_auth(token).header("content-type", "application/json").body(body.to_owned());
        self.app.send(request).await
    }

    async fn place_with_token(&self, token: &str) -> Answer {
        self.send(Method::POST, &self.path(PLACE, &self.commodity.to_string()), token, "{}").await
    }
}

fn fields(answer: &Answer) -> Vec<&str> {
    answer.body["errors"].as_array().into_iter().flatten().filter_map(|fault| fault["field"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_order_is_refused_by_field_and_takes_no_unit() {
    let stage = Stage::set().await;
    let path = stage.path(PLACE, &stage.commodity.to_string());
    for (body, field) in [
        (r#"{"quantity":0}"#, "quantity"),
        (r#"{"quantity":-1}"#, "quantity"),
        (r#"{"quantity":1.5}"#, "quantity"),
        (r#"{"quantity":"1"}"#, "quantity"),
        (r#"{"quantity":9223372036854775808}"#, "quantity"),
        (r#"{"quantity":1e400}"#, "body"),
        (r#"{"quantity":1000001}"#, "quantity"),
        (r#"{"quantity":null}"#, "quantity"),
        (r#"{"qantity":1}"#, "qantity"),
        (r#"{"coupon":"HALF"}"#, "coupon"),
        ("[1]", "body"),
        ("null", "body"),
        ("{", "body"),
        ("\u{0}", "body"),
    ] {
        let answer = stage.send(Method::POST, &path, &stage.app.buyer(11), body).await;
        stage.assert_refused(body, &answer, ("post", PLACE), (422, "invalid_request"));
        assert_eq!(fields(&answer), [field], "{body}");
    }
    let key = "k".repeat(256);
    for key in ["two words", "", key.as_str()] {
        let answer = stage.app.place_under_key(11, stage.commodity, key, &json!({})).await;
        stage.assert_refused(key, &answer, ("post", PLACE), (422, "invalid_request"));
        assert_eq!(fields(&answer), ["Idempotency-Key"], "{key}");
    }
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_limit_or_the_stock_is_refused() {
    let stage = Stage::set().await;
    let above_limit = stage.app.place(11, stage.commodity, &json!({"quantity": 3})).await;
    stage.assert_refused("limit below quantity", &above_limit, ("post", PLACE), (409, "limit_reached"));
    let second = stage.app.place(10, stage.commodity, &json!({"quantity": 2})).await;
    stage.assert_refused("limit over two orders", &second, ("post", PLACE), (409, "limit_reached"));
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_none_is_not_found_and_an_unknown_one_says_of_what() {
    let stage = Stage::set().await;
    let buyer = stage.app.buyer(10);
    for id in ["0", "-1", "words", "1.5", "+1", "01", "9223372036854775808", "%00", "1%20"] {
        let placed = stage.send(Method::POST, &stage.path(PLACE, id), &buyer, "{}").await;
        stage.assert_refused(id, &placed, ("post", PLACE), (404, "not_found"));
        let read = stage.app.get(&format!("/v1/commodities/{id}")).await;
        stage.assert_refused(id, &read, ("get", "/v1/commodities/{id}"), (404, "not_found"));
        let changed = stage.send(Method::PATCH, &stage.path(CHANGE, id), &stage.app.operator(), "{}").await;
        stage.assert_refused(id, &changed, ("patch", CHANGE), (404, "not_found"));
    }
    for id in ["0", "words", "0190163d-8694-739b-aea5-966c26f8ad91"] {
        let read = stage.app.get_as(&buyer, &format!("/v1/orders/{id}")).await;
        stage.assert_refused(id, &read, ("get", "/v1/orders/{id}"), (404, "not_found"));
    }
    let placed = stage.app.place(10, 999_999, &json!({})).await;
    stage.assert_refused("unknown commodity", &placed, ("post", PLACE), (404, "commodity_not_found"));
    let keyed = stage.app.place_under_key(10, 999_999, "k", &json!({})).await;
    stage.assert_refused("unknown commodity, with a key", &keyed, ("post", PLACE), (404, "commodity_not_found"));
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_buyers_order_is_not_found_and_stays_as_it_is() {
    let stage = Stage::set().await;
    let (path, stranger) = (format!("/v1/orders/{}", stage.order), stage.app.buyer(11));
    let read = stage.app.get_as(&stranger, &path).await;
    stage.assert_refused("read", &read, ("get", "/v1/orders/{id}"), (404, "order_not_found"));
    let cancelled = stage.app.post_as(&stranger, &format!("{path}/cancel"), &Value::Null).await;
    stage.assert_refused("cancel", &cancelled, ("post", "/v1/orders/{id}/cancel"), (404, "order_not_found"));
    assert_eq!(stage.app.get_as(&stranger, "/v1/orders").await.body["items"], json!([]));
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_convince_buys_nothing() {
    let stage = Stage::set().await;
    let now = clock::system().millis() / 1_000;
    let signed = |secret: &str, claims: &Value| {
        encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("claims can be signed")
    };
    let good = stage.app.buyer(11);
    let payload = good.split('.').nth(1).expect("a token has three parts");
    let (head, signature) = good.rsplit_once('.').expect("a token has three parts");
    let tampered = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let tokens = [
        ("alg none", format!("eyJhbGciOiJub25lIn0.{payload}.")),
        ("expired one second ago", signed(SECRET, &json!({"sub": "11", "exp": now - 1}))),
        ("other key", signed("another secret that is long enough too", &json!({"sub": "11", "exp": now + 60}))),
        ("no exp", signed(SECRET, &json!({"sub": "11"}))),
        ("no sub", signed(SECRET, &json!({"exp": now + 60}))),
        ("sub 0", signed(SECRET, &json!({"sub": "0", "exp": now + 60}))),
        ("unknown role", signed(SECRET, &json!({"sub": "11", "exp": now + 60, "role": "root"}))),
        ("tampered", tampered),
        ("no token", "words".to_owned()),
        ("empty", String::new()),
    ];
    for (case, token) in tokens {
        let answer = stage.place_with_token(&token).await;
        stage.assert_refused(case, &answer, ("post", PLACE), (401, "unauthenticated"));
        assert!(answer.headers["www-authenticate"].to_str().expect("text").starts_with("Bearer "), "{case}");
    }
    let path = stage.path(PLACE, &stage.commodity.to_string());
    let without = stage.app.send(stage.app.request(Method::POST, &path)).await;
    stage.assert_refused("no header", &without, ("post", PLACE), (401, "unauthenticated"));
    let basic = stage.app.send(stage.app.request(Method::POST, &path).basic_auth("11", Some("x"))).await;
    stage.assert_refused("another scheme", &basic, ("post", PLACE), (401, "unauthenticated"));
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let stage = Stage::set().await;
    let (path, buyer) = (stage.path(PLACE, &stage.commodity.to_string()), stage.app.buyer(11));
    let large = format!("{{\"coupon\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
    let answer = stage.send(Method::POST, &path, &buyer, &large).await;
    stage.assert_refused("10 MB", &answer, ("post", PLACE), (413, "body_too_large"));
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"] {
        let request = stage.app.request(Method::POST, &path).bearer_auth(&buyer).header("content-type", content_type).body("{}");
        let answer = stage.app.send(request).await;
        stage.assert_refused(content_type, &answer, ("post", PLACE), (415, "unsupported_media_type"));
    }
    let untyped = stage.app.send(stage.app.request(Method::POST, &path).bearer_auth(&buyer).body("{}")).await;
    stage.assert_refused("no content type", &untyped, ("post", PLACE), (415, "unsupported_media_type"));
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_terms_are_refused_by_field_and_list_nothing() {
    let stage = Stage::set().await;
    let operator = stage.app.operator();
    for (change, field) in [
        (json!({"ends_at": "2019-01-01T00:00:00Z"}), "ends_at"),
        (json!({"ends_at": "2020-01-01T00:00:00Z"}), "ends_at"),
        (json!({"price": -1}), "price"),
        (json!({"price": 1.5}), "price"),
        (json!({"price": 1_000_000_000_001_i64}), "price"),
        (json!({"currency": "XYZ"}), "currency"),
        (json!({"currency": "eur"}), "currency"),
        (json!({"total": -1}), "total"),
        (json!({"total": 1_000_000_001}), "total"),
        (json!({"limit_per_user": 0}), "limit_per_user"),
        (json!({"hold_seconds": 0}), "hold_seconds"),
        (json!({"hold_seconds": 31_536_001}), "hold_seconds"),
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!({"image_url": "javascript:alert(1)"}), "image_url"),
        (json!({"image_url": "https://user:password@example.org/a.png"}), "image_url"),
        (json!({"sku": "a b"}), "sku"),
        (json!({"sku": 7}), "sku"),
        (json!({"cancellation": "never"}), "cancellation"),
        (json!({"cancellation": null}), "cancellation"),
        (json!({"starts_at": "noon"}), "starts_at"),
        (json!({"starts_at": 1}), "starts_at"),
        (json!({"discount": 1}), "discount"),
    ] {
        let created = stage.app.post_as(&operator, CREATE, &commodity_body(5, change.clone())).await;
        stage.assert_refused(&change.to_string(), &created, ("post", CREATE), (422, "invalid_request"));
        assert_eq!(fields(&created), [field], "{change}");
        let changed = stage.app.patch_as(&operator, &stage.path(CHANGE, &stage.commodity.to_string()), &change).await;
        stage.assert_refused(&change.to_string(), &changed, ("patch", CHANGE), (422, "invalid_request"));
        assert_eq!(fields(&changed), [field], "{change}");
    }
    let empty = stage.app.post_as(&operator, CREATE, &json!({})).await;
    assert_eq!(fields(&empty), ["name", "price", "currency", "starts_at", "ends_at", "total"]);
    for body in [json!({}), json!({"units": 0}), json!({"units": -5}), json!({"units": 1.5}), json!({"units": 1_000_000_001})] {
        let template = "/admin/v1/commodities/{id}/restock";
        let answer = stage.app.post_as(&operator, &stage.path(template, &stage.commodity.to_string()), &body).await;
        stage.assert_refused(&body.to_string(), &answer, ("post", template), (422, "invalid_request"));
        assert_eq!(fields(&answer), ["units"], "{body}");
    }
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_with_a_typing_error_shows_no_rows() {
    let stage = Stage::set().await;
    let operator = stage.app.operator();
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=words", "cursor"),
        ("status=lost", "status"),
        ("user_id=0", "user_id"),
        ("comodity_id=1", "comodity_id"),
        ("placed_from=noon", "placed_from"),
    ] {
        let answer = stage.app.get_as(&operator, &format!("/admin/v1/orders?{query}")).await;
        stage.assert_refused(query, &answer, ("get", "/admin/v1/orders"), (422, "invalid_request"));
        assert_eq!(fields(&answer), [field], "{query}");
    }
    stage.assert_unchanged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_is_forbidden_what_operators_may() {
    let stage = Stage::set().await;
    let (buyer, id) = (stage.app.buyer(10), stage.commodity.to_string());
    for (method, template, body) in [
        (Method::GET, CREATE, ""),
        (Method::POST, CREATE, "{}"),
        (Method::PATCH, CHANGE, r#"{"price":1}"#),
        (Method::DELETE, CHANGE, ""),
        (Method::POST, "/admin/v1/commodities/{id}/restock", r#"{"units":1}"#),
        (Method::POST, "/admin/v1/commodities/{id}/pause", ""),
        (Method::POST, "/admin/v1/commodities/{id}/resume", ""),
        (Method::POST, "/admin/v1/commodities/{id}/end", ""),
        (Method::GET, "/admin/v1/commodities.csv", ""),
        (Method::POST, "/admin/v1/commodities/import", "{}"),
        (Method::GET, "/admin/v1/commodities/imports/{id}", ""),
        (Method::GET, "/admin/v1/orders", ""),
        (Method::GET, "/admin/v1/orders.csv", ""),
        (Method::GET, "/admin/v1/users", ""),
        (Method::GET, "/admin/v1/audit", ""),
    ] {
        let name = method.as_str().to_lowercase();
        let answer = stage.send(method.clone(), &stage.path(template, &id), &buyer, body).await;
        stage.assert_refused(template, &answer, (&name, template), (403, "forbidden"));
        let anonymous = stage.app.send(stage.app.request(method, &stage.path(template, &id))).await;
        stage.assert_refused(template, &anonymous, (&name, template), (401, "unauthenticated"));
    }
    let path = format!("/admin/v1/orders/{}/cancel", stage.order);
    assert_eq!(stage.app.post_as(&buyer, &path, &Value::Null).await.refusal(), (403, "forbidden"));
    stage.assert_unchanged().await;
}
