//! An id that is nearly an order's is nobody's.

use serde_json::json;

use crate::support::Backend;
use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_differs_in_one_bit_is_not_found_and_cancels_nothing() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(10, json!({"hold_seconds": 600})).await;
    let placed = app.place(7, id, &json!({})).await;
    let order = placed.body["order_id"].as_str().expect("an id").to_owned();
    let number = order.parse::<uuid::Uuid>().expect("a UUID").as_u128();
    let (buyer, operator) = (app.buyer(7), app.operator());
    for bit in 0..128 {
        let other = uuid::Uuid::from_u128(number ^ (1 << bit));
        for (token, prefix) in [(&buyer, "/v1/orders"), (&operator, "/admin/v1/orders")] {
            let read = app.get_as(token, &format!("{prefix}/{other}")).await;
            assert_eq!(read.status.as_u16(), 404, "{prefix}, bit {bit}: {:?}", read.body);
            let cancelled = app.post_as(token, &format!("{prefix}/{other}/cancel"), &json!({})).await;
            assert_eq!(cancelled.status.as_u16(), 404, "{prefix}, bit {bit}: {:?}", cancelled.body);
        }
    }
    assert_eq!(app.get_as(&buyer, &format!("/v1/orders/{order}")).await.body["status"], json!("reserved"));
    assert_eq!(app.books(id).await, [10, 9, 1, 0]);
}
