//! The sandbox's routes: what whoever sells asks (with the secret), what tests and people look at, and the switches. The faults are met by
//! those alone who show the secret: whoever looks into the books finds them as they are. Never writes to the books itself.

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::books::{Change, Outcome, Payment, Refund, State};
use super::faults::{Fate, Faults};
use super::{Sandbox, pages, random_name, reply};
use crate::domain::{Currency, Timestamp};
use crate::http::routes::{Traffic, get, on, resource};

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The longest of all texts, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// The most that a payment may be about, in minor units.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000_000;

/// Events on a page.
const EVENTS_DEFAULT: u32 = 100;
const EVENTS_MAX: u32 = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    reference: Option<String>,
    order: Option<String>,
    amount: i64,
    currency: Currency,
    #[serde(default)]
    description: String,
    return_url: Option<String>,
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    reference: Option<String>,
    amount: i64,
    currency: Currency,
}

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    newest: bool,
}

/// The sandbox's routes, all under `/sandbox`.
pub(crate) fn routes(routes: &mut web::ServiceConfig, sandbox: &web::Data<Sandbox>) {
    let route = |pattern, operations| {
        resource(pattern, Traffic::Ordinary, operations).app_data(sandbox.clone()).app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
    };
    let post = Method::POST;
    routes
        .service(route("/sandbox/payments", vec![on(post.clone(), create)]))
        .service(route("/sandbox/payments/{id}", vec![get(read)]))
        .service(route("/sandbox/payments/{id}/capture", vec![on(post.clone(), capture)]))
        .service(route("/sandbox/payments/{id}/cancel", vec![on(post.clone(), cancel)]))
        .service(route("/sandbox/payments/{id}/void", vec![on(post.clone(), void)]))
        .service(route("/sandbox/payments/{id}/refunds", vec![get(refunds), on(post.clone(), refund)]))
        .service(route("/sandbox/events", vec![get(events)]))
        .service(route("/sandbox/faults", vec![get(read_faults), on(Method::PUT, set_faults)]))
        .service(route("/sandbox/checkout/{token}", vec![get(pages::show)]))
        .service(route("/sandbox/checkout/{token}/pay", vec![on(post.clone(), pages::pay)]))
        .service(route("/sandbox/checkout/{token}/decline", vec![on(post.clone(), pages::decline)]))
        .service(route("/sandbox/checkout/{token}/later", vec![on(post, pages::later)]))
        .service(route("/sandbox/style.css", vec![get(pages::style)]))
        .service(route("/sandbox", vec![get(pages::index)]));
}

type Shared = web::Data<Sandbox>;

async fn create(sandbox: Shared, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let key = match admitted(&sandbox, &request, &body) {
        Ok(key) => key,
        Err(refusal) => return refusal,
    };
    let new: CreateBody = match serde_json::from_slice(&body) {
        Ok(new) => new,
        Err(error) => return invalid(&error.to_string()),
    };
    let texts = [&new.reference, &new.order, &Some(new.description.clone()), &new.return_url];
    if texts.into_iter().flatten().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return invalid("a text is too long");
    }
    if !(1..=AMOUNT_MAX).contains(&new.amount) {
        return invalid("amount must be a whole number of minor units, 1 at least");
    }
    if new.return_url.as_deref().is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        return invalid("return_url must be an http or https URL");
    }
    let payment = Payment {
        id: random_name("pay_"),
        token: random_name(""),
        reference: new.reference,
        order: new.order,
        description: new.description,
        amount: new.amount,
        currency: new.currency,
        state: State::Open,
        authorized: 0,
        captured: 0,
        refunded: 0,
        return_url: new.return_url,
        created_at: (sandbox.clock)(),
        expires_at: new.expires_at,
        succeeds_at: None,
    };
    let work = async {
        let outcome = sandbox.books.create(payment, key, sandbox.told()).await;
        sandbox.wake.notify_one();
        match outcome {
            Ok(outcome) => answer(&sandbox, outcome, |payment| reply::whole(&sandbox, payment)),
            Err(error) => reply::broken(&error),
        }
    };
    with_faults(&sandbox, work).await
}

async fn read(sandbox: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        settle(&sandbox).await;
        match sandbox.books.payment(id.into_inner()).await {
            Ok(Some(payment)) => HttpResponse::Ok().json(reply::whole(&sandbox, &payment)),
            Ok(None) => reply::missing(),
            Err(error) => reply::broken(&error),
        }
    };
    looked_at(&sandbox, &request, work).await
}

async fn capture(sandbox: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    change(&sandbox, &request, id.into_inner(), Change::Capture).await
}

async fn cancel(sandbox: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    change(&sandbox, &request, id.into_inner(), Change::Cancel).await
}

async fn void(sandbox: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    change(&sandbox, &request, id.into_inner(), Change::Void).await
}

async fn change(sandbox: &Shared, request: &HttpRequest, id: String, change: Change) -> HttpResponse {
    if let Err(refusal) = admitted(sandbox, request, &[]) {
        return refusal;
    }
    let work = async {
        settle(sandbox).await;
        let outcome = sandbox.books.change(id, change, sandbox.told()).await;
        sandbox.wake.notify_one();
        match outcome {
            Ok(outcome) => answer(sandbox, outcome, |payment| reply::whole(sandbox, payment)),
            Err(error) => reply::broken(&error),
        }
    };
    with_faults(sandbox, work).await
}

async fn refund(sandbox: Shared, request: HttpRequest, id: web::Path<String>, body: web::Bytes) -> HttpResponse {
    let key = match admitted(&sandbox, &request, &body) {
        Ok(key) => key,
        Err(refusal) => return refusal,
    };
    let new: RefundBody = match serde_json::from_slice(&body) {
        Ok(new) => new,
        Err(error) => return invalid(&error.to_string()),
    };
    let (payment, created_at) = (id.into_inner(), (sandbox.clock)());
    let refund = Refund { id: random_name("ref_"), payment, reference: new.reference, amount: new.amount, created_at };
    let work = async {
        let outcome = sandbox.books.refund(refund, new.currency, key, sandbox.told()).await;
        sandbox.wake.notify_one();
        match outcome {
            Ok(outcome) => answer(&sandbox, outcome, reply::refund),
            Err(error) => reply::broken(&error),
        }
    };
    with_faults(&sandbox, work).await
}

async fn refunds(sandbox: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        match sandbox.books.refunds(id.into_inner()).await {
            Ok(Some(found)) => {
                HttpResponse::Ok().json(json!({"items": found.iter().map(reply::refund).collect::<Vec<_>>(), "has_more": false}))
            }
            Ok(None) => reply::missing(),
            Err(error) => reply::broken(&error),
        }
    };
    looked_at(&sandbox, &request, work).await
}

async fn events(sandbox: Shared, request: HttpRequest, query: web::Query<EventsQuery>) -> HttpResponse {
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT).clamp(1, EVENTS_MAX);
    let after = match query.after.as_deref().map(|id| sandbox.event_number(id)) {
        Some(None) => return reply::missing(),
        Some(Some(number)) => number,
        None => 0,
    };
    let work = async {
        settle(&sandbox).await;
        let found = match query.newest {
            true => sandbox.books.newest_events(limit).await,
            false => sandbox.books.events(after, limit + 1).await,
        };
        match found {
            Ok(mut found) => {
                let has_more = found.len() > limit as usize;
                found.truncate(limit as usize);
                let event = |event: &super::books::Event| {
                    let mut body: Value = serde_json::from_str(&event.body).unwrap_or_default();
                    body["id"] = sandbox.event_id(event.number).into();
                    body
                };
                HttpResponse::Ok().json(json!({"items": found.iter().map(event).collect::<Vec<_>>(), "has_more": has_more}))
            }
            Err(error) => reply::broken(&error),
        }
    };
    looked_at(&sandbox, &request, work).await
}

async fn read_faults(sandbox: Shared) -> HttpResponse {
    HttpResponse::Ok().json(sandbox.faults())
}

async fn set_faults(sandbox: Shared, body: web::Bytes) -> HttpResponse {
    let faults = serde_json::from_slice::<Faults>(&body).map_err(|error| error.to_string());
    match faults.and_then(|faults| faults.check().map(|()| faults)) {
        Ok(faults) => match sandbox.set_faults(faults).await {
            Ok(()) => HttpResponse::Ok().json(faults),
            Err(error) => reply::broken(&error),
        },
        Err(why) => invalid(&why),
    }
}

/// What was to have succeeded by now has.
pub(super) async fn settle(sandbox: &Shared) {
    let faults = sandbox.faults();
    let is_told = sandbox.deliveries.is_some();
    let copies = move || if is_told { faults.copies() } else { Vec::new() };
    match sandbox.books.settle((sandbox.clock)(), copies).await {
        Ok(0) => {}
        Ok(_) => sandbox.wake.notify_one(),
        Err(error) => tracing::error!(%error, "the sandbox's books failed"),
    }
}

fn answer<T>(sandbox: &Sandbox, outcome: Outcome<T>, show: impl Fn(&T) -> Value) -> HttpResponse {
    match outcome {
        Outcome::Made(made) => HttpResponse::Created().json(show(&made)),
        Outcome::Before(made) => HttpResponse::Ok().insert_header(("idempotent-replayed", "true")).json(show(&made)),
        Outcome::KeyReused => reply::refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "the Idempotency-Key was used before, for another request",
        ),
        Outcome::UnexpectedState(payment) => reply::unexpected_state(sandbox, &payment),
        Outcome::Missing => reply::missing(),
        Outcome::TooMuch => reply::refusal(StatusCode::BAD_REQUEST, "amount_too_large", "there is not so much left to give back"),
    }
}

fn invalid(why: &str) -> HttpResponse {
    reply::refusal(StatusCode::BAD_REQUEST, "invalid_request", why)
}

/// Whether whoever asks may change something, and the key of the request.
fn admitted(sandbox: &Sandbox, request: &HttpRequest, body: &[u8]) -> Result<Option<super::books::Key>, HttpResponse> {
    if !shows_secret(sandbox, request.headers()) {
        return Err(reply::refusal(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "an Authorization: Bearer header with the secret is needed",
        ));
    }
    let Some(key) = request.headers().get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(text) if (1..=255).contains(&text.len()) => Ok(Some(sandbox.key(text.to_owned(), request.path(), body))),
        _ => Err(invalid("an Idempotency-Key must be 1 to 255 visible ASCII characters")),
    }
}

fn shows_secret(sandbox: &Sandbox, headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| sandbox.is_secret(given))
}

/// Whoever sells meets the faults when it looks, too; everybody else does not.
async fn looked_at(sandbox: &Sandbox, request: &HttpRequest, work: impl Future<Output = HttpResponse>) -> HttpResponse {
    if shows_secret(sandbox, request.headers()) { with_faults(sandbox, work).await } else { work.await }
}

/// Answers as the switches say.
async fn with_faults(sandbox: &Sandbox, work: impl Future<Output = HttpResponse>) -> HttpResponse {
    let faults = sandbox.faults();
    let (before, after) = faults.hang();
    tokio::time::sleep(before).await;
    let failure = || reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a fault that was asked for");
    let response = match faults.fate() {
        Fate::Fine => work.await,
        Fate::NotDone => failure(),
        Fate::DoneAndNotTold => {
            work.await;
            failure()
        }
    };
    tokio::time::sleep(after).await;
    response
}
