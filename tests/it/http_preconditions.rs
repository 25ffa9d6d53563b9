//! `If-Match`: what an operator asks of a version that is gone changes nothing, whatever it is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, TestApp};

async fn ask(app: &TestApp, (method, action, body): &(Method, &str, Value), id: i64, tag: &str) -> Answer {
    let request = app.request(method.clone(), &format!("/admin/v1/commodities/{id}{action}")).bearer_auth(app.operator());
    app.send(request.header("If-Match", tag).json(body)).await
}

fn every_change() -> [(Method, &'static str, Value); 7] {
    [
        (Method::PATCH, "", json!({"price": 7})),
        (Method::POST, "/restock", json!({"units": 3})),
        (Method::POST, "/pause", json!({})),
        (Method::POST, "/resume", json!({})),
        (Method::POST, "/end", json!({})),
        (Method::POST, "/close", json!({})),
        (Method::DELETE, "", json!({})),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_another_version_changes_nothing() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let read = async || {
        let mut body = app.get_as(&app.operator(), &format!("/admin/v1/commodities/{id}")).await.body;
        body["server_time"] = Value::Null;
        body
    };
    let before = read().await;
    for change in &every_change() {
        for tag in ["\"99\"", "\"0\"", "W/\"1\"", "\"01\"", "\"99\", W/\"1\", \"x\"", "\"a,b\""] {
            assert_eq!(ask(&app, change, id, tag).await.refusal(), (412, "version_mismatch"), "{change:?} {tag}");
        }
        for tag in ["1", "\"1", "", "*, \"1\""] {
            assert_eq!(ask(&app, change, id, tag).await.refusal(), (422, "invalid_request"), "{change:?} {tag}");
        }
        assert_eq!(ask(&app, change, 999_999, "\"1\"").await.refusal(), (404, "commodity_not_found"), "{change:?}");
    }
    assert_eq!(read().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_the_version_that_is_there_is_done_once() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let [change, restock, pause, resume, end, close, remove] = every_change();
    for (version, step) in (1..).zip([change, restock, pause, resume, end]) {
        let tag = format!("\"99\", W/\"4\", \"{version}\"");
        let done = ask(&app, &step, id, &tag).await;
        assert_eq!((done.status.as_u16(), &done.body["version"]), (200, &json!(version + 1)), "{step:?}: {:?}", done.body);
        assert_eq!(done.headers["etag"], format!("\"{}\"", version + 1).as_str());
        assert_eq!(ask(&app, &step, id, &tag).await.refusal(), (412, "version_mismatch"), "{step:?}");
    }
    let other = app.list(5, json!({})).await;
    assert_eq!(ask(&app, &remove, other, "\"1\"").await.status.as_u16(), 204);
    assert_eq!(ask(&app, &remove, id, "\"5\", *").await.refusal(), (422, "invalid_request"));
    assert_eq!(ask(&app, &close, id, "*").await.status.as_u16(), 200);
    // It is history, and has a version all the same.
    assert_eq!(ask(&app, &close, id, "\"6\"").await.refusal(), (412, "version_mismatch"));
    assert_eq!(ask(&app, &close, id, "\"7\"").await.status.as_u16(), 200);
}
