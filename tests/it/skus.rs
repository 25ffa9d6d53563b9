//! Article numbers: each is one commodity's, whoever wants it when, and whatever is cut short.

use std::collections::BTreeMap;

use doorbuster::store::{Reserved, SkuClaimed, Store};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Answer, TestApp, commodity_body};
use crate::support::cluster::eventually;
use crate::support::history::terms;
use crate::support::{Backend, commodity};

async fn create(app: &TestApp, sku: &str) -> Answer {
    app.post_as(&app.operator(), "/admin/v1/commodities", &commodity_body(5, json!({"sku": sku}))).await
}

async fn created(app: &TestApp, sku: &str) -> i64 {
    let answer = create(app, sku).await;
    assert_eq!((answer.status.as_u16(), &answer.body["sku"]), (201, &json!(sku)), "{:?}", answer.body);
    answer.body["id"].as_i64().expect("an id")
}

async fn change(app: &TestApp, id: i64, body: Value) -> Answer {
    app.patch_as(&app.operator(), &format!("/admin/v1/commodities/{id}"), &body).await
}

async fn act(app: &TestApp, id: i64, action: &str) {
    let answer = app.post_as(&app.operator(), &format!("/admin/v1/commodities/{id}/{action}"), &Value::Null).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
}

/// The commodities that both lists have under that query.
async fn listed(app: &TestApp, query: &str) -> Vec<i64> {
    let ids = |list: &Answer| -> Vec<i64> {
        assert_eq!(list.status.as_u16(), 200, "{:?}", list.body);
        list.body["items"].as_array().expect("a list").iter().filter_map(|item| item["id"].as_i64()).collect()
    };
    let operators = ids(&app.get_as(&app.operator(), &format!("/admin/v1/commodities?{query}")).await);
    assert_eq!(ids(&app.get(&format!("/v1/commodities?{query}")).await), operators);
    operators
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_one_commoditys_from_the_day_it_gets_it_until_it_gives_it_up(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let (first, other) = (created(&app, "KB-75").await, app.list(5, json!({})).await);
    assert_eq!(listed(&app, "sku=KB-75").await, [first]);
    assert_eq!(app.get(&format!("/v1/commodities/{first}")).await.body["sku"], json!("KB-75"));
    assert_eq!(app.get(&format!("/v1/commodities/{other}")).await.body["sku"], Value::Null);

    assert_eq!(create(&app, "KB-75").await.refusal(), (409, "sku_taken"));
    assert_eq!(change(&app, other, json!({"sku": "KB-75"})).await.refusal(), (409, "sku_taken"));
    assert_eq!(change(&app, first, json!({"sku": "KB-75", "price": 1})).await.body["price"], json!(1), "it is its own");
    // Another case is another number, and what is composed of two characters is the same.
    let composed = created(&app, "größe").await;
    assert_eq!(create(&app, "gro\u{308}ße").await.refusal(), (409, "sku_taken"));
    assert_eq!(listed(&app, "sku=gro%CC%88%C3%9Fe").await, [composed]);
    created(&app, "kb-75").await;

    // It goes from one to the other.
    assert_eq!(change(&app, first, json!({"sku": "KB-80"})).await.body["sku"], json!("KB-80"));
    assert_eq!(change(&app, other, json!({"sku": "KB-75"})).await.body["sku"], json!("KB-75"));
    assert_eq!((listed(&app, "sku=KB-75").await, listed(&app, "sku=KB-80").await), (vec![other], vec![first]));
    assert_eq!(change(&app, other, json!({"sku": null})).await.body["sku"], Value::Null);
    let third = created(&app, "KB-75").await;
    assert_eq!(change(&app, other, json!({"sku": "KB-75"})).await.refusal(), (409, "sku_taken"));

    let removed = app.delete_as(&app.operator(), &format!("/admin/v1/commodities/{third}")).await;
    assert_eq!(removed.status.as_u16(), 204);
    created(&app, "KB-75").await;

    let app = app.restart().await;
    assert_eq!(listed(&app, "sku=KB-80").await, [first]);
    assert_eq!(create(&app, "KB-80").await.refusal(), (409, "sku_taken"));
    assert_eq!(listed(&app, "sku=nobody").await, Vec::<i64>::new());
    assert_eq!(app.get("/v1/commodities?sku=a%20b").await.refusal(), (422, "invalid_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_commodity_keeps_its_number_and_is_found_by_it() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = created(&app, "KB-75").await;
    act(&app, id, "end").await;
    act(&app, id, "close").await;
    assert_eq!(create(&app, "KB-75").await.refusal(), (409, "sku_taken"));
    assert_eq!((listed(&app, "sku=KB-75").await, listed(&app, "sku=KB-75&state=closed").await), (vec![], vec![id]));
    let app = app.restart().await;
    assert_eq!(create(&app, "KB-75").await.refusal(), (409, "sku_taken"), "its engine does not know it any more");
    assert_eq!(listed(&app, "sku=KB-75&state=closed").await, [id]);
    assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.body["sku"], json!("KB-75"));
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_a_number_at_once_one_gets_it(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(app.list(5, json!({})).await);
    }
    for round in 0..5 {
        let sku = format!("wanted-{round}");
        let creates = (0..8).map(|_| create(&app, &sku));
        let changes = others.iter().map(|id| change(&app, *id, json!({"sku": sku})));
        let (created, changed) = futures_util::join!(futures_util::future::join_all(creates), futures_util::future::join_all(changes));
        let statuses: Vec<u16> = created.iter().chain(&changed).map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| matches!(status, 200 | 201)).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 201 | 409)), "{statuses:?}");
        assert_eq!(listed(&app, &format!("sku={sku}")).await.len(), 1);
    }
    app.assert_balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_to_a_number_knows_of_versions() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = created(&app, "a").await;
    let with_tag = |tag: &'static str, body: Value| {
        app.send(
            app.request(Method::PATCH, &format!("/admin/v1/commodities/{id}"))
                .bearer_auth(app.operator())
                .header("If-Match", tag)
                .json(&body),
        )
    };
    assert_eq!(with_tag("\"9\"", json!({"sku": "b"})).await.refusal(), (412, "version_mismatch"));
    assert_eq!(with_tag("\"1\", \"2\"", json!({"sku": "b"})).await.body["version"], json!(2));
    // A refused change leaves the number to others.
    assert_eq!(
        change(&app, id, json!({"sku": "c", "total": 0, "ends_at": "2000-01-01T00:00:00Z"})).await.refusal(),
        (422, "invalid_request")
    );
    let placed = app.place(1, id, &json!({})).await;
    assert_eq!(placed.status.as_u16(), 201);
    assert_eq!(change(&app, id, json!({"sku": "c", "total": 0})).await.refusal(), (409, "total_too_low"));
    created(&app, "c").await;
    assert_eq!(change(&app, 999_999, json!({"sku": "d"})).await.refusal(), (404, "commodity_not_found"));
    created(&app, "d").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_tell_the_number_of_what_was_ordered() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = created(&app, "KB-75").await;
    let placed = app.place_under_key(7, id, "mine", &json!({})).await;
    assert_eq!((placed.status.as_u16(), &placed.body["sku"]), (201, &json!("KB-75")));
    assert_eq!(app.place_under_key(7, id, "mine", &json!({})).await.body["sku"], json!("KB-75"));
    let (buyer, operator) = (app.buyer(7), app.operator());
    let order = placed.body["order_id"].as_str().expect("an id").to_owned();
    let everywhere = async |app: &TestApp| {
        assert_eq!(app.get_as(&buyer, "/v1/orders").await.body["items"][0]["sku"], json!("KB-75"));
        assert_eq!(app.get_as(&buyer, &format!("/v1/orders/{order}")).await.body["sku"], json!("KB-75"));
        assert_eq!(app.get_as(&operator, "/admin/v1/orders").await.body["items"][0]["sku"], json!("KB-75"));
        assert_eq!(app.get_as(&operator, &format!("/admin/v1/orders/{order}")).await.body["sku"], json!("KB-75"));
        let csv = app.request(Method::GET, "/admin/v1/orders.csv").bearer_auth(&operator).send().await.expect("an answer");
        let csv = csv.text().await.expect("text");
        assert!(
            csv.starts_with("\u{feff}order_id,commodity_id,sku,commodity_name,") && csv.contains(&format!(",{id},KB-75,lamp,")),
            "{csv}"
        );
    };
    everywhere(&app).await;
    act(&app, id, "end").await;
    act(&app, id, "close").await;
    let app = app.restart().await;
    // Of what is closed the tables have it.
    everywhere(&app).await;
    let other = app.list(5, json!({})).await;
    let placed = app.place(7, other, &json!({})).await;
    assert_eq!(placed.body["sku"], Value::Null);
    let cancelled =
        app.post_as(&buyer, &format!("/v1/orders/{}/cancel", placed.body["order_id"].as_str().expect("an id")), &Value::Null).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.body.get("sku")), (200, Some(&Value::Null)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_cancelled_is_said_by_the_commodity() {
    let app = TestApp::start(Backend::Sqlite).await;
    let cancel = async |order: &Answer, token: &str, path: &str| {
        let order = order.body["order_id"].as_str().expect("an id");
        app.post_as(token, &format!("{path}/{order}/cancel"), &json!({})).await
    };
    let (buyer, operator) = (app.buyer(7), app.operator());
    let id = app.list(5, json!({})).await;
    assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.body["cancellation"], json!("unpaid"));
    let order = app.place(7, id, &json!({})).await;
    assert_eq!(cancel(&order, &buyer, "/v1/orders").await.body["status"], json!("cancelled"));

    assert_eq!(change(&app, id, json!({"cancellation": "never"})).await.refusal(), (422, "invalid_request"));
    assert_eq!(change(&app, id, json!({"cancellation": "none"})).await.body["cancellation"], json!("none"));
    let app_restarted = app.restart().await;
    let app = app_restarted;
    let cancel = async |order: &Answer, token: &str, path: &str| {
        let order = order.body["order_id"].as_str().expect("an id");
        app.post_as(token, &format!("{path}/{order}/cancel"), &json!({})).await
    };
    let order = app.place(7, id, &json!({})).await;
    assert_eq!(cancel(&order, &buyer, "/v1/orders").await.refusal(), (409, "not_cancellable"));
    assert_eq!(cancel(&order, &operator, "/admin/v1/orders").await.body["status"], json!("cancelled"));
    app.assert_balanced().await;
}

async fn reserved(store: &Store, sku: &str) -> i64 {
    let offer = (doorbuster::domain::Terms { sku: Some(sku.parse().expect("a sku")), ..terms("lamp") }, doorbuster::domain::Units::MAX);
    let first = store.next_commodity_ids(1).await.expect("the database is there");
    match store.reserve_listings(first, vec![offer], BTreeMap::new(), None).await.expect("the database is there") {
        Reserved::Due(due) => due[0].commodity.get(),
        other => panic!("{other:?}"),
    }
}

/// A process was killed when it had written a commodity down, and before it had asked an engine.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commodity_that_was_written_down_is_listed_by_whoever_comes_next(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let store = app.store().await;
    let left = reserved(&store, "left").await;
    let answer = create(&app, "left").await;
    assert_eq!(answer.refusal(), (409, "sku_taken"), "it will be that one's");
    eventually("it is listed", async || listed(&app, "sku=left").await == [left]).await;
    eventually("nothing is left to do", async || !store.is_due(commodity(left)).await.expect("the database is there")).await;
    assert_eq!(app.get(&format!("/v1/commodities/{left}")).await.body["sku"], json!("left"));
    store.close().await.expect("nothing is under way");
}

/// An owner that was stopped for a while and overtaken says once more how its commodity was: of an earlier version than a later owner gave the
/// number to.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_word_of_an_owner_that_was_overtaken_gives_no_number_away(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let store = app.store().await;
    let (id, other) = (app.list(5, json!({})).await, app.list(5, json!({})).await);
    // What a later owner was asked for and did, in its second version; this one knows the first.
    let sku = "wanted".parse().expect("a sku");
    assert_eq!(store.claim_sku(&sku, (commodity(id), 1), None).await.expect("it is there"), SkuClaimed::Made);
    store.settle_sku(&sku, commodity(id), Some(2)).await.expect("it is there");
    for _ in 0..2 {
        assert_eq!(create(&app, "wanted").await.refusal(), (503, "unavailable"), "its word does not count");
        assert_eq!(change(&app, other, json!({"sku": "wanted"})).await.refusal(), (503, "unavailable"));
        let file = "sku,name,price,currency,total,starts_at,ends_at\nwanted,lamp,4999,EUR,5,2020-01-01T00:00:00Z,2099-01-01T00:00:00Z\n";
        let request = app.request(Method::POST, "/admin/v1/commodities/import").bearer_auth(app.operator());
        assert_eq!(app.send(request.header("Content-Type", "text/csv").body(file)).await.refusal(), (503, "unavailable"));
    }
    // As late as that version it counts, and says that the number was given up again.
    assert_eq!(change(&app, id, json!({"price": 7})).await.body["version"], json!(2));
    let taken = created(&app, "wanted").await;
    assert_eq!(listed(&app, "sku=wanted").await, [taken]);

    // What came of each change is in its claim.
    assert_eq!(change(&app, other, json!({"sku": "another"})).await.body["version"], json!(2));
    let claim = store.sku_claims(&["another".parse().expect("a sku")]).await.expect("it is there").pop().expect("a claim");
    assert_eq!((claim.commodity, claim.open, claim.since), (commodity(other), 0, 2));
    assert_eq!(change(&app, other, json!({"sku": "another", "price": 7})).await.body["version"], json!(3));
    assert_eq!(change(&app, other, json!({"sku": "KB-80"})).await.body["version"], json!(4));
    assert_eq!(change(&app, other, json!({"sku": "another"})).await.body["version"], json!(5));
    let claim = store.sku_claims(&["another".parse().expect("a sku")]).await.expect("it is there").pop().expect("a claim");
    assert_eq!((claim.open, claim.since), (0, 5));
    // One that was refused says nothing of the kind.
    assert_eq!(app.place(1, other, &json!({})).await.status.as_u16(), 201);
    assert_eq!(change(&app, other, json!({"sku": "refused", "total": 0})).await.refusal(), (409, "total_too_low"));
    let claim = store.sku_claims(&["refused".parse().expect("a sku")]).await.expect("it is there").pop().expect("a claim");
    assert_eq!((claim.open, claim.since), (0, 0));
    created(&app, "refused").await;
    // Whoever takes a claim over begins anew.
    assert_eq!(change(&app, other, json!({"sku": null})).await.status.as_u16(), 200);
    created(&app, "another").await;
    let claim = store.sku_claims(&["another".parse().expect("a sku")]).await.expect("it is there").pop().expect("a claim");
    assert_eq!((claim.open, claim.since), (0, 0));
    store.close().await.expect("nothing is under way");
}

/// A process was killed when it had claimed a number for a change, and before it was known what came of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_left_behind_is_over_with_the_next_change_of_its_commodity() {
    let app = TestApp::start(Backend::Sqlite).await;
    let store = app.store().await;
    let id = app.list(5, json!({})).await;
    let sku = "wanted".parse().expect("a sku");
    assert_eq!(store.claim_sku(&sku, (commodity(id), 1), None).await.expect("it is there"), SkuClaimed::Made);
    assert_eq!(create(&app, "wanted").await.refusal(), (409, "sku_taken"), "the change may be on its way still");
    assert_eq!(change(&app, id, json!({"price": 7})).await.body["version"], json!(2));
    created(&app, "wanted").await;
    // The other way round: whoever is repeated gets it.
    let sku = "again".parse().expect("a sku");
    assert_eq!(store.claim_sku(&sku, (commodity(id), 2), None).await.expect("it is there"), SkuClaimed::Made);
    assert_eq!(change(&app, id, json!({"sku": "again"})).await.body["sku"], json!("again"));
    store.close().await.expect("nothing is under way");
}
