//! HTTP itself: routes, methods, request ids, entity tags, limits, documentation, slow clients.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, TestApp};
use crate::support::cluster::eventually;

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_route_is_not_found_and_another_method_is_told_which_there_are() {
    let app = TestApp::start(Backend::Sqlite).await;
    for path in ["/", "/v1", "/v2/commodities", "/v1/commodities/", "/v1/orders/x/y/z", "/v1/commodities/1/orders/", "/docs/nothing.js"] {
        let answer = app.get(path).await;
        assert_eq!(answer.refusal(), (404, "not_found"), "{path}");
        assert_eq!(header(&answer, "content-type"), Some("application/problem+json"), "{path}");
    }
    for (method, path, allow) in [
        ("PUT", "/v1/commodities", "GET, HEAD"),
        ("TRACE", "/v1/commodities/1", "GET, HEAD"),
        ("GET", "/v1/commodities/1/orders", "POST"),
        ("OPTIONS", "/v1/commodities/1/orders", "POST"),
        ("BREW", "/healthz", "GET, HEAD"),
        ("PUT", "/admin/v1/commodities/1", "GET, HEAD, PATCH, DELETE"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
    ] {
        let answer = app.send(app.request(Method::from_bytes(method.as_bytes()).expect("a token"), path)).await;
        assert_eq!(answer.refusal(), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(header(&answer, "allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_request_gets_the_head_alone() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(1, json!({})).await;
    let path = format!("/v1/commodities/{id}");
    let (got, head) = (app.get(&path).await, app.send(app.request(Method::HEAD, &path)).await);
    assert_eq!((head.status.as_u16(), header(&head, "etag"), &head.body), (200, header(&got, "etag"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_and_the_answer_share_a_request_id() {
    let app = TestApp::start(Backend::Sqlite).await;
    let named = app.send(app.request(Method::GET, "/v1/nothing").header("X-Request-Id", "checkout-7")).await;
    assert_eq!((header(&named, "x-request-id"), named.body["request_id"].as_str()), (Some("checkout-7"), Some("checkout-7")));
    let forged = app.send(app.request(Method::GET, "/healthz").header("X-Request-Id", "a b")).await;
    let (one, other) = (header(&forged, "x-request-id").expect("an id").to_owned(), app.get("/healthz").await);
    assert!(one != "a b" && header(&other, "x-request-id") != Some(one.as_str()), "{one}");
    for name in ["x-content-type-options", "content-security-policy", "referrer-policy", "cache-control"] {
        assert!(header(&other, name).is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commodity_is_sent_again_only_if_a_buyer_would_see_a_change() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    for path in [format!("/v1/commodities/{id}"), "/v1/commodities".to_owned()] {
        let tag = header(&app.get(&path).await, "etag").expect("a tag").to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let again = |tag: String| app.send(app.request(Method::GET, &path).header("If-None-Match", tag));
        assert_eq!(again(tag.clone()).await.status.as_u16(), 304);
        assert_eq!(app.place(1, id, &json!({})).await.status.as_u16(), 201);
        let changed = again(tag).await;
        assert_eq!(changed.status.as_u16(), 200);
        assert_eq!(header(&changed, "cache-control"), Some("no-cache"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_read_page_by_page() {
    let app = TestApp::start(Backend::Sqlite).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(app.list(5, json!({})).await);
    }
    for _ in 0..3 {
        assert_eq!(app.place(7, ids[0], &json!({})).await.status.as_u16(), 201);
    }
    let (buyer, operator) = (app.buyer(7), app.operator());
    for (token, path, field, count) in [
        (&buyer, "/v1/commodities", "id", 5),
        (&operator, "/admin/v1/commodities", "id", 5),
        (&buyer, "/v1/orders", "order_id", 3),
        (&operator, "/admin/v1/orders", "order_id", 3),
    ] {
        let whole = app.get_as(token, path).await.body;
        assert_eq!((whole["items"].as_array().map(Vec::len), &whole["next_cursor"]), (Some(count), &Value::Null), "{path}");
        let mut found = Vec::new();
        let mut next = format!("{path}?limit=2");
        loop {
            let page = app.get_as(token, &next).await.body;
            let items = page["items"].as_array().expect("a page").clone();
            assert!(!items.is_empty() && items.len() <= 2, "{path}");
            found.extend(items.into_iter().map(|item| item[field].clone()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("{path}?limit=2&cursor={cursor}");
        }
        let expected: Vec<Value> = whole["items"].as_array().expect("a list").iter().map(|item| item[field].clone()).collect();
        assert_eq!(found, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_told_when_to_come_back() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.per_user_per_second = 1;
        config.limits.per_user_burst = 2;
        config.limits.per_address_per_second = 1;
        config.limits.per_address_burst = 12;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let id = app.list(100, json!({})).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(app.place(5, id, &json!({})).await);
    }
    let limited = statuses.iter().filter(|answer| answer.refusal() == (429, "rate_limited")).collect::<Vec<_>>();
    assert!(limited.len() >= 2 && header(limited[0], "retry-after").is_some_and(|after| after.parse::<u32>().is_ok_and(|n| n >= 1)));
    assert_eq!(app.place(6, id, &json!({})).await.status.as_u16(), 201, "another user has a limit of their own");

    let from = |address: &'static str| app.send(app.request(Method::GET, "/v1/commodities").header("X-Forwarded-For", address));
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(from("203.0.113.9").await.status.as_u16());
    }
    assert!(answers.contains(&429) && answers.contains(&200), "{answers:?}");
    assert_eq!(from("203.0.113.10").await.status.as_u16(), 200, "another address has a limit of its own");
    assert_eq!(app.get("/healthz").await.status.as_u16(), 200, "probes are not limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_tells_how_it_is() {
    let app = TestApp::start_with(Backend::Sqlite, |config| config.http.stock_in_metrics = true).await;
    let id = app.list(3, json!({})).await;
    assert_eq!(app.place(1, id, &json!({"quantity": 2})).await.status.as_u16(), 201);
    assert_eq!(app.place(2, id, &json!({"quantity": 2})).await.refusal(), (409, "sold_out"));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(app.get(path).await.body, json!({"status": "ok"}), "{path}");
    }
    let response = app.request(Method::GET, "/metrics").send().await.expect("an answer");
    assert!(response.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
    let text = response.text().await.expect("text");
    for line in [
        format!("doorbuster_commodity_units{{commodity=\"{id}\",units=\"available\"}} 1"),
        format!("doorbuster_commodity_units{{commodity=\"{id}\",units=\"sold\"}} 2"),
        "doorbuster_refusals_total{code=\"sold_out\"}".to_owned(),
        "doorbuster_orders_accepted_total".to_owned(),
        "doorbuster_http_requests_total{route=\"/v1/commodities/{id}/orders\",method=\"POST\",status=\"201\"}".to_owned(),
        "doorbuster_http_request_duration_seconds_bucket{route=\"/v1/commodities/{id}/orders\",le=".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

/// Who may buy is not told how a sale goes, and cannot keep the server busy with counting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stock_of_commodities_is_not_in_everybodys_metrics() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.per_address_per_second = 1;
        config.limits.per_address_burst = 10;
    })
    .await;
    app.list(3, json!({})).await;
    let text = app.request(Method::GET, "/metrics").send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("doorbuster_inbox_depth") && !text.contains("doorbuster_commodity_units"), "{text}");
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(app.get("/metrics").await.status.as_u16());
    }
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

/// One too many is closed before a word; when another goes there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_only_so_many_connections() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.connections_per_address_max = 3;
    })
    .await;
    let address = app.address();
    let open = move || {
        let stream = std::net::TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        stream
    };
    let answered = |stream: &mut std::net::TcpStream| {
        let mut answer = [0; 12];
        let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        sent.is_ok() && stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
    };
    let tried = tokio::task::spawn_blocking(move || {
        let mut three: Vec<_> = (0..3).map(|_| open()).collect();
        assert!(three.iter_mut().all(answered));
        for _ in 0..20 {
            assert!(!answered(&mut open()));
        }
        three.pop();
        let began = Instant::now();
        while !answered(&mut open()) {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody else is let in");
        }
    });
    tried.await.expect("it holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_answers_are_compressed_for_whoever_takes_them_so() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(3, json!({"description": "a lamp ".repeat(1_000)})).await;
    let operator = app.operator();
    for path in ["/v1/commodities", &format!("/v1/commodities/{id}"), "/admin/v1/commodities", "/admin/v1/orders.csv", "/openapi.json"] {
        let fetch = async |coding: Option<&str>| {
            let request = app.request(Method::GET, path).bearer_auth(&operator);
            let request = coding.map_or(request.try_clone().expect("no body"), |coding| request.header("Accept-Encoding", coding));
            let answer = request.send().await.expect("an answer");
            let coding = answer.headers().get("content-encoding").map(|coding| coding.to_str().expect("text").to_owned());
            (coding, answer.bytes().await.expect("the body arrives"))
        };
        let (plain, whole) = fetch(None).await;
        let (coding, sent) = fetch(Some("gzip, br")).await;
        assert_eq!((plain.as_deref(), coding.as_deref()), (None, Some("gzip")), "{path}");
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(sent.as_ref()), &mut text).expect("it is compressed");
        // The time in it is another one.
        assert_eq!(text.len(), whole.len(), "{path}");
    }
    for nothing in ["identity;q=0", "br, *;q=0"] {
        let request = app.request(Method::GET, "/v1/commodities").header("Accept-Encoding", nothing);
        let answer = request.send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.headers().get("content-encoding")), (200, None), "{nothing}");
    }
    let refusal = app.request(Method::GET, "/v1/orders").header("Accept-Encoding", "gzip").send().await.expect("an answer");
    assert_eq!((refusal.status().as_u16(), refusal.headers()["content-type"].to_str().ok()), (401, Some("application/problem+json")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_stopped_is_told_to_everybody_in_a_word_and_without_its_books() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(3, json!({})).await;
    let troubles = async || {
        let rows = app.get_as(&app.operator(), "/admin/v1/partitions").await.body;
        let items = rows["items"].as_array().expect("a list").clone();
        items.into_iter().filter(|row| !row["trouble"].is_null()).collect::<Vec<_>>()
    };
    assert!(troubles().await.is_empty());
    app.execute("UPDATE commodities SET available = available - 1, held = held + 1").await;
    // As if somebody had taken the partitions over, and gone: the next batch does not count, and its owner starts over.
    app.execute("UPDATE partitions SET epoch = epoch + 1, applied_epoch = applied_epoch + 1, applied_sequence = 0").await;
    assert_eq!(app.place(1, id, &json!({})).await.status.as_u16(), 202);
    eventually("it is not ready", async || app.get("/readyz").await.status.as_u16() == 503).await;
    eventually("the partition is stopped", async || !troubles().await.is_empty()).await;
    let stopped = troubles().await;
    assert_eq!((stopped.len(), &stopped[0]["served"], &stopped[0]["trouble"]), (1, &json!(false), &json!("tables_contradict")));
    let (answer, partition) = (app.get("/readyz").await, &stopped[0]["id"]);
    let detail = format!("Partition {partition} is stopped: its tables contradict themselves: try again after `Retry-After` seconds.");
    assert_eq!((answer.refusal(), &answer.body["detail"]), ((503, "unavailable"), &json!(detail)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_is_served_from_the_binary() {
    let app = TestApp::start(Backend::Sqlite).await;
    assert_eq!(app.get("/openapi.json").await.body["openapi"], json!("3.1.0"));
    for (path, part) in
        [("/docs", "swagger-ui"), ("/docs/", "swagger-ui"), ("/docs/swagger-ui.css", ".swagger-ui"), ("/docs/problems", "sold_out")]
    {
        let response = app.request(Method::GET, path).send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert!(response.text().await.expect("text").contains(part), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_does_not_keep_its_connection() {
    let app = TestApp::start_with(Backend::Sqlite, |config| config.http.client_request_timeout_ms = 300).await;
    let (address, token) = (app.address(), app.buyer(1));
    let slow_head = "GET /healthz HTTP/1.1\r\nHost: x\r\n".to_owned();
    let slow_body = format!(
        "POST /v1/commodities/1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: 20\r\n\r\n{{"
    );
    for begun in [slow_head, slow_body] {
        let answer = tokio::task::spawn_blocking(move || {
            let begin = Instant::now();
            let mut stream = std::net::TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
            stream.write_all(begun.as_bytes()).expect("the beginning is sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the server ends the connection");
            (answer, begin.elapsed())
        });
        let (answer, took) = answer.await.expect("the client does not panic");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}
