//! Commodities from a file: all of them or none, whatever is wrong with it and whoever is killed when.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::domain::UserId;
use doorbuster::engine::Command;
use doorbuster::store::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, SECRET, TestApp, commodity_body, config};
use crate::support::cluster::eventually;
use crate::support::program::Program;

const HEADER: &str = "sku,name,price,currency,total,starts_at,ends_at\n";

fn line(sku: &str) -> String {
    format!("{sku},lamp,4999,EUR,100,2020-01-01T00:00:00Z,2099-01-01T00:00:00Z\n")
}

fn file(count: usize) -> String {
    (0..count).fold(HEADER.to_owned(), |mut file, number| {
        write!(file, "{}", line(&format!("sku-{number}"))).expect("memory takes it");
        file
    })
}

async fn import(app: &TestApp, file: impl Into<reqwest::Body>) -> Answer {
    let request = app.request(Method::POST, "/admin/v1/commodities/import").bearer_auth(app.operator());
    app.send(request.header("Content-Type", "text/csv").body(file)).await
}

/// Each commodity's sku, with its id.
fn on_sale(app: &TestApp) -> Vec<(i64, String)> {
    app.router()
        .board()
        .walk(None)
        .map(|listing| (listing.id.get(), listing.terms.sku.as_ref().map(ToString::to_string).unwrap_or_default()))
        .collect()
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_commodities_are_listed_from_one_file(#[case] backend: Backend) {
    const ALL: usize = 10_000;
    let app = TestApp::start(backend).await;
    let answer = import(&app, file(ALL)).await;
    assert!(matches!(answer.status.as_u16(), 201 | 202), "{:?}", answer.body);
    let (first, last) = (answer.body["first_id"].as_i64().expect("an id"), answer.body["last_id"].as_i64().expect("an id"));
    assert_eq!((last - first + 1, &answer.body["commodities"]), (ALL as i64, &json!(ALL)));
    let path = answer.headers["location"].to_str().expect("a path").to_owned();
    let operator = app.operator();
    eventually("all are listed", async || app.get_as(&operator, &path).await.body["status"] == json!("listed")).await;
    let expected: Vec<(i64, String)> = (0..ALL).map(|number| (first + number as i64, format!("sku-{number}"))).collect();
    assert!(on_sale(&app) == expected, "each is there once, in the order of the file");
    let shown = app.get("/v1/commodities?sku=sku-4711").await;
    assert_eq!((shown.body["items"][0]["id"].as_i64(), &shown.body["items"][0]["state"]), (Some(first + 4711), &json!("open")));
    assert_eq!(app.place(7, first + 4711, &json!({})).await.status.as_u16(), 201);

    let again = import(&app, file(ALL)).await;
    assert_eq!(again.refusal(), (422, "invalid_request"));
    let errors = again.body["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 100, "the first ones");
    assert!(errors.iter().all(|error| error["field"] == json!("sku") && error["line"].as_u64().is_some_and(|line| line > 1)));
    assert_eq!(on_sale(&app).len(), ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_file_with_a_fault_nothing_is_listed_and_each_faulty_line_is_named() {
    let app = TestApp::start(Backend::Sqlite).await;
    let taken = app.list(5, json!({"sku": "taken"})).await;
    let text =
        format!("\u{feff}{HEADER}{}{}{}{}", line("a"), line("b").replace("EUR", "XYZ"), line("a"), line("taken")).replace('\n', "\r\n");
    let answer = import(&app, text).await;
    assert_eq!(answer.refusal(), (422, "invalid_request"));
    let told: BTreeSet<(u64, &str)> = answer.body["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| (error["line"].as_u64().expect("a line"), error["field"].as_str().expect("a field")))
        .collect();
    assert_eq!(told, BTreeSet::from([(3, "currency"), (4, "sku"), (5, "sku")]), "{:?}", answer.body);
    let answer = import(&app, format!("{HEADER}{}{}", line("fresh"), line("taken"))).await;
    assert_eq!((answer.refusal(), &answer.body["errors"][0]["line"]), ((422, "invalid_request"), &json!(3)));
    assert_eq!(on_sale(&app), [(taken, "taken".to_owned())]);
    // Nothing of a refused file is kept from others.
    let listed = import(&app, format!("{HEADER}{}{}{}", line("a"), line("fresh"), line(""))).await;
    assert_eq!(listed.status.as_u16(), 201, "{:?}", listed.body);
    assert_eq!(on_sale(&app).len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_a_bound_of_its_own_and_says_what_it_is() {
    let app = TestApp::start_with(Backend::Sqlite, |config| config.http.body_bytes_max = 1_024).await;
    assert_eq!(import(&app, file(100)).await.status.as_u16(), 201, "it is longer than other bodies may be");
    let long = format!("{HEADER}{}", "x".repeat(10 * 1_024 * 1_024));
    assert_eq!(import(&app, long).await.refusal(), (413, "body_too_large"));
    let send = |kind: &'static str, token: String| {
        app.send(app.request(Method::POST, "/admin/v1/commodities/import").bearer_auth(token).header("Content-Type", kind).body(file(1)))
    };
    for kind in ["application/json", "text/plain", "text/csv; charset=iso-8859-1"] {
        assert_eq!(send(kind, app.operator()).await.refusal(), (415, "unsupported_media_type"), "{kind}");
    }
    assert_eq!(send("text/csv", app.buyer(7)).await.refusal(), (403, "forbidden"));
    let other = file(1).replace("sku-0", "other");
    let request = app.request(Method::POST, "/admin/v1/commodities/import").bearer_auth(app.operator());
    assert_eq!(app.send(request.header("Content-Type", "text/csv; charset=UTF-8").body(other)).await.status.as_u16(), 201);
    assert_eq!(app.get_as(&app.operator(), "/admin/v1/commodities/imports/999999").await.refusal(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_exported_is_imported_elsewhere_as_it_was() {
    let app = TestApp::start(Backend::Sqlite).await;
    let fields = json!({"sku": "=KB-75", "name": "Größe, \"75 %\"", "description": "two\nlines", "image_url": "https://example.org/a.png",
        "limit_per_user": 2, "hold_seconds": 60, "grace_seconds": 0, "cancellation": "any"});
    app.list(5, fields).await;
    for _ in 0..600 {
        app.list(1, json!({})).await;
    }
    let export = async |app: &TestApp| {
        let request = app.request(Method::GET, "/admin/v1/commodities.csv").bearer_auth(app.operator());
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
        response.text().await.expect("text")
    };
    let text = export(&app).await;
    assert!(text.contains("'=KB-75,"), "no spreadsheet runs it");
    let other = TestApp::start(Backend::Sqlite).await;
    let answer = import(&other, text.clone()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["listed"]), (201, &json!(601)), "{:?}", answer.body);
    let without_id =
        |app: &TestApp| app.router().board().walk(None).map(|listing| (listing.terms.clone(), listing.stock)).collect::<Vec<_>>();
    assert!(without_id(&app) == without_id(&other));
    assert!(export(&other).await == text);
}

/// What a process leaves that is killed in the middle of an import: everything is written down, a part is listed, of a part that is
/// noted.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_cut_short_is_finished_by_whoever_comes_next(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    // What is asked for and not waited for.
    let request = app.request(Method::POST, "/admin/v1/commodities/import").bearer_auth(app.operator());
    let request = request.header("Content-Type", "text/csv").body(file(2_000)).timeout(Duration::from_millis(1));
    drop(request.send().await);
    let store = app.store().await;
    let first = store.next_commodity_ids(300).await.expect("the database is there");
    let offers: Vec<_> = (0..300)
        .map(|number| {
            let sku = Some(format!("left-{number}").parse().expect("a sku"));
            (doorbuster::domain::Terms { sku, ..crate::support::history::terms("lamp") }, doorbuster::domain::Units::MAX)
        })
        .collect();
    let reserved = store.reserve_listings(first, offers, Default::default(), Some(clock::system())).await.expect("the database is there");
    let doorbuster::store::Reserved::Due(due) = reserved else { panic!("{reserved:?}") };
    for (number, due) in due.iter().take(200).enumerate() {
        let absent_at = store.applied(doorbuster::ring::partition_of(due.commodity, store.partitions())).await.expect("it is there");
        let list = Command::ListOnce { commodity: due.commodity, terms: Box::new(due.terms.clone()), total: due.total, absent_at };
        app.router().about_commodity(due.commodity, list).await;
        if number < 100 {
            store.note_listed(&[due.commodity]).await.expect("it is there");
        }
    }
    // One of those is gone again before anybody looks.
    let gone = due[150].commodity;
    let removed = app.delete_as(&app.operator(), &format!("/admin/v1/commodities/{gone}")).await;
    assert_eq!(removed.status.as_u16(), 204);
    store.close().await.expect("nothing is under way");
    let app = app.restart().await;
    let operator = app.operator();
    let path = format!("/admin/v1/commodities/imports/{first}");
    eventually("all are listed", async || app.get_as(&operator, &path).await.body["status"] == json!("listed")).await;
    let mut left: Vec<i64> = on_sale(&app).into_iter().filter(|(_, sku)| sku.starts_with("left-")).map(|(id, _)| id).collect();
    left.dedup();
    assert_eq!((left.len(), left.contains(&gone.get())), (299, false), "each once, and what was removed stays so");
    app.assert_balanced().await;
}

/// `kill -9` at any time of an import: nothing of the file is there afterwards, or all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_file_all_or_nothing_is_there_whenever_the_server_is_killed() {
    const ALL: usize = 3_000;
    let authenticator = Authenticator::new(&config("sqlite:unused").auth, &SECRET.to_owned().into()).expect("the secret is long enough");
    let operator = authenticator.mint(UserId::new(1).expect("an id"), Role::Admin, clock::system());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let variables =
        [("DOORBUSTER__AUTH__JWT_SECRET", SECRET), ("DOORBUSTER__LIMITS__ENABLED", "false"), ("DOORBUSTER__ACCOUNTS__DEMO", "false")];
    let mut seen = BTreeSet::new();
    for after_ms in [Some(5), Some(40), Some(120), Some(250), Some(400), None] {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut server = Program::start(data.path(), &variables);
        let url = format!("http://{}/admin/v1/commodities/import", server.address());
        let request = client.post(url).bearer_auth(&operator).header("Content-Type", "text/csv").body(file(ALL));
        let sent = tokio::spawn(request.send());
        match after_ms {
            Some(after_ms) => tokio::time::sleep(Duration::from_millis(after_ms)).await,
            // As soon as there is no way back.
            None => {
                let url = format!("http://{}/admin/v1/commodities/imports/2", server.address());
                let is_there =
                    async || client.get(&url).bearer_auth(&operator).send().await.is_ok_and(|answer| answer.status().is_success());
                eventually("the file was taken", is_there).await;
            }
        }
        server.signal("KILL");
        server.ended();
        let answered = sent.await.expect("no panic").is_ok_and(|response| response.status().as_u16() == 201);
        let server = Program::start(data.path(), &variables);
        let get = async |path: &str| -> Value {
            let response =
                client.get(format!("http://{}{path}", server.address())).bearer_auth(&operator).send().await.expect("it answers");
            serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default()
        };
        // The first commodity is the demo's; what follows it is the file's, or nothing is.
        let import = get("/admin/v1/commodities/imports/2").await;
        let is_there = import["import_id"] == json!(2);
        if is_there {
            eventually("all are listed", async || get("/admin/v1/commodities/imports/2").await["status"] == json!("listed")).await;
        }
        let response = client.get(format!("http://{}/admin/v1/commodities.csv", server.address())).bearer_auth(&operator).send().await;
        let text = response.expect("it answers").text().await.expect("text");
        let count = text.lines().filter(|line| line.starts_with("sku-")).count();
        assert_eq!(count, if is_there { ALL } else { 0 }, "killed after {after_ms:?} ms");
        assert!(is_there || !answered, "what was answered is there");
        seen.insert(is_there);
    }
    assert!(seen.contains(&true), "one was killed late enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_one_commodity_means_what_a_line_does() {
    let app = TestApp::start(Backend::Sqlite).await;
    let one = app.post_as(&app.operator(), "/admin/v1/commodities", &commodity_body(100, json!({"sku": "one", "description": ""}))).await;
    assert_eq!(one.status.as_u16(), 201);
    let text = file(1).replace("4999", " 4999 ");
    assert_eq!(import(&app, text).await.status.as_u16(), 201);
    let listings: Vec<_> = app.router().board().walk(None).collect();
    let bare = |index: usize| doorbuster::domain::Terms { sku: None, ..listings[index].terms.clone() };
    assert_eq!((bare(0), listings[0].stock), (bare(1), listings[1].stock));
}
