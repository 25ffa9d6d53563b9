//! Pages of other origins, as their browsers ask for them.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::support::Backend;
use crate::support::app::TestApp;

const SHOP: &str = "https://shop.example";

async fn app(origins: &str) -> TestApp {
    let origins = origins.split_whitespace().map(|origin| origin.parse().expect("an origin")).collect();
    TestApp::start_with(Backend::Sqlite, |config| config.http.cors_origins = origins).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

async fn preflight(app: &TestApp, path: &str, method: &str, origin: &str) -> (u16, HeaderMap) {
    let sent = "authorization,content-type,idempotency-key,if-match,if-none-match,last-event-id,x-request-id";
    let request = app
        .request(Method::OPTIONS, path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", sent);
    let answer = app.send(request).await;
    (answer.status.as_u16(), answer.headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_asks_first_is_told_what_a_page_may_send() {
    let app = app("https://shop.example http://localhost:3000").await;
    let document = app.get("/openapi.json").await.body;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys().map(|method| method.to_uppercase()) {
            let path = path.replace("{id}", "1");
            let (status, headers) = preflight(&app, &path, &method, SHOP).await;
            assert!(status == 200 || status == 204, "{method} {path}: {status}");
            assert_eq!(header(&headers, "access-control-allow-origin"), Some(SHOP), "{method} {path}");
            assert!(header(&headers, "access-control-allow-methods").is_some_and(|methods| methods.contains(&method)), "{method} {path}");
            let allowed = header(&headers, "access-control-allow-headers").expect("some").to_lowercase();
            assert!(["authorization", "if-match", "last-event-id"].iter().all(|name| allowed.contains(name)), "{allowed}");
            assert!(header(&headers, "vary").is_some_and(|vary| vary.to_lowercase().contains("origin")), "{method} {path}");
        }
    }
    let (_, headers) = preflight(&app, "/v1/commodities", "GET", "http://localhost:3000").await;
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("http://localhost:3000"));
    for stranger in ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null"] {
        let (_, headers) = preflight(&app, "/v1/commodities", "GET", stranger).await;
        assert_eq!(header(&headers, "access-control-allow-origin"), None, "{stranger}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_sees_answers_and_refusals_alike() {
    let origins = vec![SHOP.parse().expect("an origin")];
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.http.cors_origins = origins;
        config.limits.enabled = true;
        config.limits.per_user_per_second = 1;
        config.limits.per_user_burst = 3;
        config.limits.per_address_per_second = 1;
        config.limits.per_address_burst = 12;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let id = app.list(10, json!({})).await;
    let orders = format!("/v1/commodities/{id}/orders");
    let from_shop = |method, path: &str| app.request(method, path).header("Origin", SHOP);
    let place =
        |body: String| from_shop(Method::POST, &orders).bearer_auth(app.buyer(7)).header("content-type", "application/json").body(body);
    let mut seen = Vec::new();
    for request in [
        place("{}".to_owned()),
        place("{\"quantity\":0}".to_owned()),
        place(format!("{{\"coupon\":\"{}\"}}", "x".repeat(70_000))),
        place("{}".to_owned()),
        from_shop(Method::POST, &orders),
        from_shop(Method::GET, "/v1/nothing"),
        from_shop(Method::PUT, "/v1/commodities"),
        from_shop(Method::GET, "/v1/commodities"),
    ] {
        let answer = app.send(request).await;
        assert_eq!(header(&answer.headers, "access-control-allow-origin"), Some(SHOP), "{:?}", answer.body);
        let shown = header(&answer.headers, "access-control-expose-headers").expect("some").to_lowercase();
        assert!(["etag", "location", "retry-after", "x-request-id"].iter().all(|name| shown.contains(name)), "{shown}");
        assert!(answer.headers.contains_key("x-request-id"));
        seen.push(answer.status.as_u16());
    }
    assert_eq!(seen, [201, 422, 413, 429, 401, 404, 405, 200]);
    let mut last = app.send(from_shop(Method::GET, "/v1/commodities").header("X-Forwarded-For", "203.0.113.9")).await;
    for _ in 0..20 {
        last = app.send(from_shop(Method::GET, "/v1/commodities").header("X-Forwarded-For", "203.0.113.9")).await;
    }
    assert_eq!(last.refusal(), (429, "rate_limited"));
    assert_eq!(header(&last.headers, "access-control-allow-origin"), Some(SHOP), "who is limited by address learns it too");
    let stranger = app.send(app.request(Method::GET, &format!("/v1/commodities/{id}")).header("Origin", "https://evil.example")).await;
    assert_eq!((stranger.status.as_u16(), header(&stranger.headers, "access-control-allow-origin")), (200, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_let_in_where_that_is_wanted_and_none_by_default() {
    let open = app("*").await;
    let (_, headers) = preflight(&open, "/v1/orders", "GET", "https://any.example").await;
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&headers, "access-control-allow-credentials"), None);
    let closed = app("").await;
    let (status, headers) = preflight(&closed, "/v1/orders", "GET", SHOP).await;
    assert_eq!((status, header(&headers, "access-control-allow-origin")), (405, None));
}
