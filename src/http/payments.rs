//! Payments of a buyer's orders, and what providers tell of them. A payment is started by the engine and made possible by its provider; what a
//! webhook says is a reason to ask the provider, and nothing of it is believed.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{Body, RawBody};
use super::client_address::ClientAddress;
use super::cursor::{Page, PageRequest};
use super::extract::{Caller, CountedCaller, Id};
use super::key::{GivenKey, KeyHeader};
use super::orders::unexpected;
use super::problem::{Fault, Problem};
use super::query::Query;
use super::schema::{PageParameters, problems};
use super::state::AppState;
use super::traces::traced;
use crate::config;
use crate::domain::{Attempt, Currency, NamedOrder, Order, OrderId, PaymentId, PaymentStatus, Timestamp};
use crate::engine::{Answer, Command, Refusal};
use crate::payments::meters::{self, Outcome};
use crate::payments::provider::{Amount, ProviderError};
use crate::payments::webhook::Headers;
use crate::payments::{self, Begun, NotBegun, ProviderName};
use crate::routing::{OrderLookup, Reply};
use crate::store::{Asked, FullPayment, Heard, Remembered};

/// One try to pay an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentBody {
    payment_id: PaymentId,
    order_id: OrderId,
    /// Minor units: what the order costs.
    #[schema(minimum = 0)]
    amount: i64,
    currency: Currency,
    /// Who takes the money; null until they have been asked.
    #[schema(required)]
    provider: Option<ProviderName>,
    status: PaymentStatus,
    /// Where the buyer pays; null when there is nothing to be paid any more.
    #[schema(required)]
    checkout_url: Option<String>,
    /// Up to when it can be paid: the order's `pay_by`.
    expires_at: Timestamp,
}

/// How a payment is to be made.
#[derive(Debug, ToSchema)]
#[schema(as = StartPayment)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct StartBody {
    /// Where the provider's page leads back to: an http or https URL. What is configured, if left out.
    #[schema(max_length = 2000)]
    return_url: Option<String>,
}

/// Pay an order.
///
/// One payment of an order is open at a time: while there is one, that is the answer. The buyer pays at `checkout_url`; what came of it is the
/// order's status. Nothing is charged by this call, and nothing that comes too late for an order is kept.
#[utoipa::path(post, path = "/v1/orders/{id}/payments", operation_id = "start_payment", tag = "payments",
    params(("id" = OrderId, Path, description = "The order"), KeyHeader),
    request_body(content = StartBody, description = "May be left out", example = json!({"return_url": "https://shop.example/thanks"})),
    responses(
        (status = 201, description = "It can be paid now", body = PaymentBody),
        (status = 200, description = "The payment that is open; or that was started before, under the same key", body = PaymentBody),
        StartProblems))]
pub(crate) async fn start(
    state: web::Data<AppState>,
    caller: CountedCaller,
    id: Id<OrderId>,
    key: GivenKey,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields_if_any()?;
    let return_url = fields.nullable_string("return_url").flatten();
    if return_url.as_deref().is_some_and(|url| !config::is_page(url)) {
        fields.fault(Fault::new("return_url", "must be an http or https URL of at most 2000 characters"));
    }
    fields.finish()?;
    let buyer = caller.0.principal;
    let operation = key.operation(&buyer, &("pay", &return_url));
    if let Some(operation) = operation {
        match state.store.remembered(operation, (state.clock)()).await? {
            Some(Remembered::Before(number)) => return before(&state, id.0, number).await,
            Some(Remembered::Mismatch) => return Err(Refusal::IdempotencyMismatch.into()),
            Some(Remembered::New) | None => {}
        }
    }
    if state.providers.chosen().is_none() {
        return Err(Problem::ProviderUnavailable(None));
    }
    let command = Command::StartPayment { order: id.0, user: Some(buyer.key()), row: None };
    let traced = traced(&state.tracer, &request, command);
    let (mut order, mut attempt, mut is_new) = opened(state.router.about_order(id.0, traced.clone()).await)?;
    if !is_new && look_again(&state, PaymentId { order: id.0, attempt }).await? {
        (order, attempt, is_new) = opened(state.router.about_order(id.0, traced).await)?;
    }
    let payment = PaymentId { order: id.0, attempt };
    let begun = begin(&state, payment, &order, return_url).await?;
    if let Some(operation) = operation {
        state.store.remember(operation, i64::from(attempt.get()), (state.clock)()).await?;
    }
    let expires_at = order.pay_by.ok_or(Refusal::NotPayable)?;
    if (state.clock)() >= expires_at {
        // It took so long that it is to be called off, and so it is.
        state.store.wake_payment(payment, (state.clock)()).await?;
        return Err(Refusal::NotPayable.into());
    }
    let body = PaymentBody {
        payment_id: payment,
        order_id: id.0,
        amount: order.amount(),
        currency: order.currency,
        provider: Some(begun.provider),
        status: begun.status,
        checkout_url: begun.checkout_url,
        expires_at,
    };
    let mut response = if is_new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header((header::LOCATION, format!("/v1/orders/{}/payments", id.0))).json(body))
}

problems!(StartProblems: OrderNotFound, NotPayable, IdempotencyMismatch, ProviderUnavailable, UpgradeUnfinished, Unavailable, Overloaded);

/// The payments of one of the caller's orders, newest first.
#[utoipa::path(get, path = "/v1/orders/{id}/payments", operation_id = "list_order_payments", tag = "payments",
    params(("id" = OrderId, Path, description = "The order"), PageParameters<PaymentId>),
    responses((status = 200, description = "A page of payments", body = Page<PaymentBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, caller: Caller, id: Id<OrderId>, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<PaymentId>::read(&mut query);
    query.finish()?;
    match state.router.order(id.0).await {
        OrderLookup::Known(NamedOrder { order, .. }) if order.user == caller.0.principal.key() => {}
        OrderLookup::Unavailable => return Err(Problem::Unavailable { what: "What is known of the order", cause: None }),
        OrderLookup::Known(_) | OrderLookup::Refused | OrderLookup::Pending | OrderLookup::NotFound => {
            return Err(Refusal::OrderNotFound.into());
        }
    }
    let mut found = state.store.full_payments(id.0).await?;
    found.reverse();
    found.retain(|payment| page.after.is_none_or(|after| payment.stored.id < after));
    found.truncate(usize::try_from(page.limit + 1).unwrap_or(usize::MAX));
    Ok(HttpResponse::Ok().json(Page::of(found, page.limit, |payment| payment.stored.id, PaymentBody::from)))
}

problems!(ListProblems: OrderNotFound, Unavailable);

/// What a payment provider tells.
///
/// Signed by the provider's scheme over the bytes as they are sent: Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`) or
/// Stripe's (`Stripe-Signature`). It is a reason to ask the provider; nothing of the body is believed.
#[utoipa::path(post, path = "/v1/payments/webhooks/{provider}", operation_id = "payment_webhook", tag = "payments", security(()),
    params(("provider" = ProviderName, Path, description = "The configured name of the provider")),
    request_body(content = String, content_type = "application/json", description = "As the provider signed it"),
    responses((status = 200, description = "It is heard, by this or before", body = String, content_type = "text/plain"), WebhookProblems))]
pub(crate) async fn webhook(
    state: web::Data<AppState>,
    client: ClientAddress,
    name: web::Path<String>,
    request: HttpRequest,
    body: RawBody,
) -> Result<HttpResponse, Problem> {
    let (name, known) = state.providers.find(&name).ok_or(Problem::NotFound)?;
    let now = (state.clock)();
    let tell = |outcome| meters::message(name, outcome);
    let Ok(notice) = known.verifier.verify(&RequestHeaders(&request), &body.0, now) else {
        tell(Outcome::BadSignature);
        // Whoever is good at it comes without limit, and whoever is not has those of everybody.
        state.limiter.check_address(client.0)?;
        return Err(Problem::BadSignature);
    };
    let Some(notice) = notice else {
        tell(Outcome::Nothing);
        return Ok(heard());
    };
    let payment = payments::payment_meant(&state.store, name, &notice).await?;
    match (state.store.hear(name, &notice, payment, now).await?, payment) {
        (Heard::News, Some(_)) => {
            tell(Outcome::News);
            state.providers.wake();
        }
        (Heard::News, None) => tell(Outcome::Nothing),
        (Heard::Before, _) => tell(Outcome::Before),
    }
    Ok(heard())
}

fn heard() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok")
}

problems!(WebhookProblems: NotFound, BadSignature, BodyTooLarge, Unavailable);

impl From<FullPayment> for PaymentBody {
    fn from(payment: FullPayment) -> Self {
        let (status, stored) = (payment.status(), payment.stored);
        let (provider, checkout_url) = payment.provider.map(|row| (row.provider, row.checkout_url)).unzip();
        Self {
            payment_id: stored.id,
            order_id: stored.id.order,
            amount: stored.amount,
            currency: stored.currency,
            provider,
            status,
            checkout_url: checkout_url.flatten().filter(|_| status == PaymentStatus::Open),
            expires_at: stored.expires_at,
        }
    }
}

/// Calls off the payment of an order at its provider, or finds that it has succeeded: then the engine knows that too.
///
/// # Errors
/// 409 while nobody knows whether it succeeds, 503 while the provider cannot be asked.
pub(super) async fn call_off(state: &AppState, payment: PaymentId) -> Result<(), Problem> {
    let unknown = || Problem::Unavailable { what: "What is known of the order's payment", cause: None };
    let found = state.store.full_payment(payment).await?.ok_or_else(unknown)?;
    state.worker.settle(&found.stored, true).await?;
    match state.store.provider_payment(payment).await? {
        Some(row) if row.status == PaymentStatus::Processing => Err(Refusal::NotCancellable.into()),
        Some(row) if row.failures > 0 => Err(Problem::ProviderUnavailable(None)),
        Some(_) | None => Ok(()),
    }
}

/// What was started before, under the same key.
async fn before(state: &AppState, order: OrderId, number: i64) -> Result<HttpResponse, Problem> {
    let corrupt = || Problem::Internal(format!("payment {number} of order {order} was remembered"));
    let attempt = u8::try_from(number).ok().and_then(|number| Attempt::new(number).ok()).ok_or_else(corrupt)?;
    let payment = state.store.full_payment(PaymentId { order, attempt }).await?;
    // It was answered before, and the tables will have it.
    let payment = payment.ok_or(Problem::Unavailable { what: "What is known of the payment", cause: None })?;
    Ok(HttpResponse::Ok().json(PaymentBody::from(payment)))
}

/// The payment that is open now.
fn opened(reply: Reply) -> Result<(Order, Attempt, bool), Problem> {
    match reply {
        Reply::Done(Answer::Payment { order, attempt, is_new }) => Ok((order, attempt, is_new)),
        Reply::Done(other) => Err(unexpected(&other)),
        Reply::Refused(refusal) => Err(refusal.into()),
        // Asked again, it is the one that is open.
        Reply::Pending(_) => Err(Problem::Unavailable { what: "What came of it", cause: None }),
        Reply::Busy(busy) => Err(busy.into()),
    }
}

/// Whoever comes back may have been declined: their provider knows it sooner than the engine. Whether it is to be asked again.
async fn look_again(state: &AppState, payment: PaymentId) -> Result<bool, Problem> {
    let Some(FullPayment { stored, provider: Some(_) }) = state.store.full_payment(payment).await? else { return Ok(false) };
    state.worker.settle(&stored, (state.clock)() >= stored.expires_at).await?;
    Ok(true)
}

async fn begin(state: &AppState, payment: PaymentId, order: &Order, return_url: Option<String>) -> Result<Begun, Problem> {
    let name = state.router.board().get(order.commodity).map(|listing| listing.terms.name.clone());
    let description = match name {
        Some(name) if order.quantity.get() > 1 => format!("{} × {name}", order.quantity.get()),
        Some(name) => name,
        None => payments::description(payment),
    };
    let asked = Asked { description, return_url, at: (state.clock)() };
    let amount = Amount { minor: order.amount(), currency: order.currency };
    let expires_at = order.pay_by.ok_or(Refusal::NotPayable)?;
    let begun = payments::begin((&state.store, &state.providers), payment, (amount, expires_at), asked).await;
    match begun {
        Ok(begun) => Ok(begun),
        Err(NotBegun::Store(error)) => Err(error.into()),
        Err(NotBegun::NoProvider) => Err(Problem::ProviderUnavailable(None)),
        Err(NotBegun::Provider(error)) => {
            if let ProviderError::Refused { .. } = &error {
                // It never will be: the order can be tried to be paid otherwise.
                state.worker.give_up(payment).await;
            }
            Err(Problem::ProviderUnavailable(Some(error.to_string())))
        }
    }
}

struct RequestHeaders<'a>(&'a HttpRequest);

impl Headers for RequestHeaders<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.0.headers().get_all(name);
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}
