//! Bodies that are more, or mean more, than they look like.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::json;

use crate::support::Backend;
use crate::support::app::{Answer, TestApp};
use crate::support::program::Program;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn fields(answer: &Answer) -> Vec<&str> {
    answer.body["errors"].as_array().into_iter().flatten().filter_map(|fault| fault["field"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_comes_twice_is_refused_in_every_body() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(10, json!({})).await;
    let (buyer, operator) = (app.buyer(7), app.operator());
    let commodity = format!("/admin/v1/commodities/{id}");
    let name = r#""name":"a","name":"b","price":1,"currency":"EUR","total":1"#;
    let window = r#""starts_at":"2020-01-01T00:00:00Z","ends_at":"2099-01-01T00:00:00Z""#;
    for (method, path, token, body, field) in [
        (Method::POST, format!("/v1/commodities/{id}/orders"), &buyer, r#"{"quantity":1,"quantity":5}"#.to_owned(), "quantity"),
        (Method::POST, format!("/v1/commodities/{id}/orders"), &buyer, r#"{"quantity":1,"qu\u0061ntity":1}"#.to_owned(), "quantity"),
        (
            Method::POST,
            "/v1/auth/register".to_owned(),
            &buyer,
            r#"{"username":"alice","username":"bob","password":"correct horse"}"#.to_owned(),
            "username",
        ),
        (
            Method::POST,
            "/v1/auth/login".to_owned(),
            &buyer,
            r#"{"username":"alice","password":"correct horse","password":"x"}"#.to_owned(),
            "password",
        ),
        (Method::POST, "/admin/v1/commodities".to_owned(), &operator, format!("{{{name},{window}}}"), "name"),
        (Method::PATCH, commodity.clone(), &operator, r#"{"price":1,"price":2}"#.to_owned(), "price"),
        (Method::POST, format!("{commodity}/restock"), &operator, r#"{"units":1,"units":1}"#.to_owned(), "units"),
        (Method::PATCH, "/admin/v1/users/1".to_owned(), &operator, r#"{"role":"buyer","role":"admin"}"#.to_owned(), "role"),
    ] {
        let request = app.request(method, &path).bearer_auth(token).header("content-type", "application/json").body(body.clone());
        let answer = app.send(request).await;
        assert_eq!(answer.refusal(), (422, "invalid_request"), "{path} {body}");
        assert_eq!(fields(&answer), [field], "{path} {body}");
    }
    assert_eq!(app.books(id).await, [10, 10, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_may_be_compressed_and_is_held_against_the_same_limit() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(10, json!({})).await;
    let send = async |coding: &'static str, body: Vec<u8>| {
        let request = app.request(Method::POST, &format!("/v1/commodities/{id}/orders")).bearer_auth(app.buyer(7));
        app.send(request.header("content-type", "application/json").header("content-encoding", coding).body(body)).await
    };
    let placed = send("gzip", gzip(br#"{"quantity":2}"#)).await;
    assert_eq!((placed.status.as_u16(), &placed.body["quantity"]), (201, &json!(2)), "{:?}", placed.body);
    assert_eq!(send("identity", br#"{"quantity":1}"#.to_vec()).await.status.as_u16(), 201);
    assert_eq!(send("gzip", gzip(&vec![b' '; 1 << 20])).await.refusal(), (413, "body_too_large"));
    let garbled = send("gzip", br#"{"quantity":1}"#.to_vec()).await;
    assert_eq!((garbled.refusal(), fields(&garbled)), ((422, "invalid_request"), vec!["body"]));
    for coding in ["br", "gzip, gzip", "nonsense"] {
        let answer = send(coding, gzip(br#"{"quantity":2}"#)).await;
        assert_eq!(answer.refusal(), (415, "unsupported_media_type"), "{coding}");
        assert_eq!(answer.headers["accept-encoding"], "gzip, deflate", "{coding}");
    }
    assert_eq!(app.books(id).await, [10, 7, 0, 3]);
}

/// 60 MB of zeros are 60 KB when they are sent. Twenty-four at once, by nobody in particular.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_grow_when_they_are_read_take_no_memory() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = Program::start(data.path(), &[]);
    let bomb = gzip(&vec![0; 60 << 20]);
    assert!(bomb.len() < 65_536, "it is within the limit as it is sent");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{}/v1/auth/login", server.address());
    let send =
        |body: Vec<u8>| client.post(&url).header("content-type", "application/json").header("content-encoding", "gzip").body(body).send();
    // Whatever a first request makes for all others is there then.
    assert_eq!(send(gzip(b"{}")).await.expect("an answer").status().as_u16(), 422);
    let before = server.memory_peak_kib();
    let answers = futures_util::future::join_all((0..24).map(|_| send(bomb.clone()))).await;
    for answer in answers {
        let status = answer.expect("an answer").status().as_u16();
        assert!(status == 413 || status == 429, "{status}");
    }
    // The kernel adds up its counts of several processors only now and then: a peak may be told a little lower than before.
    let grown = server.memory_peak_kib().saturating_sub(before);
    assert!(grown < 20 * 1_024, "{grown} KiB more than before");
}
