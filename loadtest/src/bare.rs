//! What durable accepts are compared with: a bare actix endpoint that verifies the same token, parses the same path and
//! body and answers `201` with a body of the same shape. It never limits, decides or stores anything.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::web::{Data, Json, Path};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::Server, web};
use doorbuster::auth::Authenticator;
use doorbuster::domain::{CommodityId, Epoch, OrderId, PartitionId, Quantity, Timestamp, UserId};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderRequest {
    #[serde(default = "one")]
    quantity: Quantity,
    #[serde(default)]
    #[expect(dead_code, reason = "parsed because the real endpoint parses it")]
    coupon: Option<String>,
}

#[derive(Serialize)]
struct OrderBody {
    order_id: OrderId,
    commodity_id: CommodityId,
    user_id: UserId,
    quantity: Quantity,
    unit_price: i64,
    amount: i64,
    currency: &'static str,
    status: &'static str,
    placed_at: Timestamp,
    pay_by: Option<Timestamp>,
}

const fn one() -> Quantity {
    Quantity::ONE
}

/// Serves on `listener` with one worker per core, as the real server does, until SIGTERM.
///
/// # Errors
/// If the socket cannot be served.
pub fn serve(listener: TcpListener, authenticator: Arc<Authenticator>) -> std::io::Result<Server> {
    let authenticator = Data::from(authenticator);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(authenticator.clone())
            .route("/readyz", web::get().to(|| async { HttpResponse::Ok().finish() }))
            .route("/v1/commodities/{id}/orders", web::post().to(order))
    });
    Ok(server.workers(std::thread::available_parallelism().map_or(1, usize::from)).listen(listener)?.run())
}

async fn order(
    request: HttpRequest,
    authenticator: Data<Authenticator>,
    path: Path<CommodityId>,
    body: Json<OrderRequest>,
) -> HttpResponse {
    let Some(user_id) = user(request.headers(), &authenticator) else { return HttpResponse::Unauthorized().finish() };
    let quantity = body.quantity;
    let placed_at = Timestamp::ZERO.plus_millis(1_800_000_000_000);
    HttpResponse::Created().json(OrderBody {
        order_id: OrderId::new(placed_at, PartitionId::new(0).expect("zero is a partition"), Epoch::default(), 1),
        commodity_id: path.into_inner(),
        user_id,
        quantity,
        unit_price: 1999,
        amount: 1999 * i64::from(quantity),
        currency: "EUR",
        status: "confirmed",
        placed_at,
        pay_by: None,
    })
}

fn user(headers: &HeaderMap, authenticator: &Authenticator) -> Option<UserId> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    authenticator.verify(token).ok()?.principal.account()
}
