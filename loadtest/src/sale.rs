//! What buyers race for, put on sale through the operators' API. Never touches the database.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use doorbuster::domain::{CommodityId, OrderId};
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Acceptance, Answer, Verdict};
use crate::client::{Client, Response, Shape};
use crate::loopback::Target;
use crate::plan::Buyer;
use crate::tokens::{Mint, now};

/// How long one of these calls may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a commodity may be pending, and the pause between two looks.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// How often a call that was not answered, or answered 503, is tried.
const ATTEMPTS: u32 = 20;

/// The terms of a sale.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Units.
    pub stock: u32,
    /// Units one buyer may have; none = no limit.
    pub limit_per_user: Option<u32>,
    /// Seconds to pay; none = no payment needed.
    pub hold_seconds: Option<u32>,
}

/// An operator and the buyers' questions that are no race: a connection for each, one call at a time.
#[derive(Debug)]
pub struct Desk {
    operators: Client,
    buyers: Client,
    operator: HeaderValue,
}

/// What is known of an order, as its buyer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It stands.
    Order(Acceptance),
    /// Ask again.
    Pending,
    /// It never was, and never will be.
    Refused,
    /// There is no such id.
    Nothing,
}

#[derive(Deserialize)]
struct CommodityBody {
    id: CommodityId,
}

#[derive(Deserialize)]
struct PendingBody {
    commodity_id: CommodityId,
}

#[derive(Deserialize)]
struct StatusBody {
    status: String,
}

impl Desk {
    /// A desk at a server that answers operators and buyers.
    ///
    /// # Errors
    /// If no token can be minted.
    pub fn new(target: Target, mint: &Mint) -> anyhow::Result<Self> {
        Self::of(target.clone(), target, mint)
    }

    /// A desk of a cluster, whose operators are answered by a process of their own.
    ///
    /// # Errors
    /// If no token can be minted.
    pub fn of(operators: Target, buyers: Target, mint: &Mint) -> anyhow::Result<Self> {
        Ok(Self { operators: Client::new(operators), buyers: Client::new(buyers), operator: mint.operator()? })
    }

    /// Puts a commodity on sale, from an hour ago to a day from now.
    ///
    /// # Errors
    /// If the server does not answer `201`, or `202` and has it a while later.
    pub async fn open_sale(&mut self, offer: Offer) -> anyhow::Result<CommodityId> {
        let now = now()?;
        let hour = 3_600_000;
        let starts_at = doorbuster::domain::Timestamp::from_millis(now.millis() - hour)?;
        let body = json!({
            "name": format!("Load test of {now}"), "description": "", "image_url": null,
            "price": 1999, "currency": "EUR", "total": offer.stock,
            "limit_per_user": offer.limit_per_user, "hold_seconds": offer.hold_seconds,
            "starts_at": starts_at, "ends_at": now.plus_millis(24 * hour as u64),
        });
        let shape = Shape::post("/admin/v1/commodities", serde_json::to_vec(&body)?.into());
        let response = self.operate(&shape).await?;
        match response.status {
            StatusCode::CREATED => {
                let commodity: CommodityBody = serde_json::from_slice(&response.body).context("the new commodity has no id")?;
                Ok(commodity.id)
            }
            StatusCode::ACCEPTED => {
                let pending: PendingBody = serde_json::from_slice(&response.body).context("the pending commodity has no id")?;
                self.settled(pending.commodity_id).await
            }
            _ => bail!("the sale could not be opened: {} {}", response.status, String::from_utf8_lossy(&response.body)),
        }
    }

    /// Asks for a commodity whose listing was pending until it is there.
    async fn settled(&mut self, commodity: CommodityId) -> anyhow::Result<CommodityId> {
        let shape = Shape::get(&format!("/admin/v1/commodities/{commodity}"));
        let (began, mut pause) = (Instant::now(), tokio::time::interval(SETTLE_PAUSE));
        while began.elapsed() < SETTLE_TIMEOUT {
            pause.tick().await;
            if self.operate(&shape).await?.status == StatusCode::OK {
                return Ok(commodity);
            }
        }
        bail!("commodity {commodity} was pending, and is not there after {} s", SETTLE_TIMEOUT.as_secs())
    }

    /// Does something as the operator, whatever comes of it.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn operate(&mut self, shape: &Shape) -> anyhow::Result<Response> {
        let operator = self.operator.clone();
        call(&mut self.operators, shape, &operator).await
    }

    /// Buys one unit.
    ///
    /// # Errors
    /// If it is not accepted.
    pub async fn buy(&mut self, commodity: CommodityId, buyer: &Buyer) -> anyhow::Result<Acceptance> {
        match Answer::to_order(&call(&mut self.buyers, &order_shape(commodity, 1), &buyer.authorization).await?).verdict {
            Verdict::Accepted(acceptance) => Ok(acceptance),
            verdict => bail!("a unit of commodity {commodity} could not be bought: {verdict:?}"),
        }
    }

    /// Asks for an order as its buyer.
    ///
    /// # Errors
    /// If the server does not answer, or not what the contract allows.
    pub async fn order(&mut self, id: OrderId, buyer: &Buyer) -> anyhow::Result<Known> {
        let response = call(&mut self.buyers, &Shape::get(&format!("/v1/orders/{id}")), &buyer.authorization).await?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(Known::Nothing);
        }
        if response.status != StatusCode::OK {
            bail!("order {id}: {} {}", response.status, String::from_utf8_lossy(&response.body));
        }
        let status: StatusBody = serde_json::from_slice(&response.body).with_context(|| format!("order {id} has no status"))?;
        match status.status.as_str() {
            "pending" => Ok(Known::Pending),
            "refused" => Ok(Known::Refused),
            _ => match Answer::to_order(&response).verdict {
                Verdict::Accepted(acceptance) => Ok(Known::Order(acceptance)),
                verdict => bail!("order {id}: {verdict:?}"),
            },
        }
    }
}

/// What each buyer sends.
#[must_use]
pub fn order_shape(commodity: CommodityId, quantity: u32) -> Shape {
    Shape::post(&format!("/v1/commodities/{commodity}/orders"), format!(r#"{{"quantity":{quantity}}}"#).into())
}

/// One call, tried again while the server is not there or says 503. Opening or closing a sale twice does no harm either:
/// a sale nobody knows the id of sells nothing, and one that is closed stays so.
async fn call(client: &mut Client, shape: &Shape, authorization: &HeaderValue) -> anyhow::Result<Response> {
    let mut pause = tokio::time::interval(Duration::from_millis(250));
    for attempt in 1.. {
        pause.tick().await;
        match client.send(shape, Some(authorization), None, CALL_TIMEOUT).await {
            Ok(response) if response.status != StatusCode::SERVICE_UNAVAILABLE || attempt == ATTEMPTS => return Ok(response),
            Err(error) if attempt == ATTEMPTS => bail!("{} {}: {}", shape.method, shape.path, error.words()),
            Ok(_) | Err(_) => {}
        }
    }
    unreachable!("the last attempt returned")
}
