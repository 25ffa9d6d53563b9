//! The file of an embedded server's database is deleted or replaced while it sells: nothing that would be gone after a restart is
//! promised to anybody.

use std::path::{Path, PathBuf};

use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::support::Backend;
use crate::support::app::TestApp;
use crate::support::cluster::eventually;

/// What somebody does to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    DeleteFile,
    DeleteLogOfCommits,
    DeleteIndexOfCommits,
    PutAnotherInItsPlace,
}

fn file_of(app: &TestApp) -> PathBuf {
    app.database_url().strip_prefix("sqlite:").expect("a file").into()
}

fn beside(file: &Path, end: &str) -> PathBuf {
    format!("{}{end}", file.display()).into()
}

async fn is_ready(app: &TestApp) -> bool {
    app.get("/readyz").await.status == 200
}

#[rstest]
#[tokio::test]
async fn nothing_is_accepted_once_the_file_is_not_what_it_was(
    #[values(Harm::DeleteFile, Harm::DeleteLogOfCommits, Harm::DeleteIndexOfCommits, Harm::PutAnotherInItsPlace)] harm: Harm,
) {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(1_000, json!({})).await;
    assert_eq!(app.place(1, commodity, &json!({"quantity": 1})).await.status, 201);
    let file = file_of(&app);
    match harm {
        Harm::DeleteFile => std::fs::remove_file(&file).expect("it is there"),
        Harm::DeleteLogOfCommits => std::fs::remove_file(beside(&file, "-wal")).expect("it is there"),
        Harm::DeleteIndexOfCommits => std::fs::remove_file(beside(&file, "-shm")).expect("it is there"),
        Harm::PutAnotherInItsPlace => {
            let other = beside(&file, ".other");
            std::fs::copy(&file, &other).expect("it can be read");
            std::fs::rename(&other, &file).expect("it can be replaced");
        }
    }
    let ready = app.get("/readyz").await;
    assert_eq!(ready.refusal(), (503, "unavailable"));
    assert!(ready.body["detail"].as_str().expect("a text").contains("deleted or replaced"), "{:?}", ready.body);
    // The batch that finds out is in doubt; from then on there is no owner.
    let first = app.place(2, commodity, &json!({"quantity": 1})).await;
    assert_ne!(first.status, 201, "{:?}", first.body);
    eventually("nothing is served", async || app.place(3, commodity, &json!({"quantity": 1})).await.refusal() == (503, "unavailable"))
        .await;
    let account = json!({"username": "somebody", "password": "a long enough password"});
    let registered = app.send(app.request(Method::POST, "/v1/auth/register").json(&account)).await;
    assert_eq!(registered.refusal(), (503, "unavailable"), "no account either");
    assert_eq!(app.get("/healthz").await.status, 200, "a restart would not help: whoever knows where the file is has to");
}

#[tokio::test]
async fn a_file_that_is_put_back_is_sold_from_again() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(1_000, json!({})).await;
    let (file, aside) = (file_of(&app), beside(&file_of(&app), ".aside"));
    std::fs::rename(&file, &aside).expect("it is there");
    assert_ne!(app.place(1, commodity, &json!({"quantity": 1})).await.status, 201);
    assert!(!is_ready(&app).await);
    std::fs::rename(&aside, &file).expect("nothing is in its place");
    eventually("it serves again", async || is_ready(&app).await).await;
    assert_eq!(app.place(2, commodity, &json!({"quantity": 1})).await.status, 201);
    let app = app.restart().await;
    app.assert_balanced().await;
    assert_eq!(app.books(commodity).await[3], 1, "what was accepted is there, and what was in doubt is not");
}
