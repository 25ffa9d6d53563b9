//! The driver of Stripe's API. A payment is a Checkout Session whose money is captured by us: a session can be expired as long as nobody has
//! paid with it and not after, which is what calling a payment off needs. Never asks for a card itself.
//!
//! A session cannot end by itself in less than 30 minutes, so a shorter hold is ended by a call; the time that is set is for the case that
//! nobody is left to make it.

mod answers;
mod form;
mod money;

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::transport::{self, Answer, Question, Transport};
use super::{
    Cancelling, Capturing, Created, EVENTS_MAX, Events, NewPayment, NewRefund, ProviderError, ProviderEvent, Refund, Settings, State, View,
    checked_id,
};
use answers::{Event, Failure, FailureBody, Intent, List, RefundBody, Session};
use form::Form;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// The version of the API that this driver was written for: whatever the account's default is, objects look like this.
const API_VERSION: &str = "2025-03-31.basil";

/// How long a session lasts that nobody ends, in milliseconds, from the time its payment was written down: it must be 30 minutes at least when
/// the request arrives, and a repetition must say the same.
const SESSION_MS: u64 = 45 * 60 * 1_000;

/// The longest that a session may last, in milliseconds: an hour less than Stripe allows.
const SESSION_MS_MAX: u64 = 23 * 60 * 60 * 1_000;

/// Events that say something about a payment of ours.
const EVENT_TYPES: [&str; 10] = [
    "checkout.session.completed",
    "checkout.session.expired",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "charge.refunded",
    "refund.updated",
    "refund.failed",
];

/// Stripe, or whoever speaks like it.
#[derive(Debug)]
pub(super) struct Stripe {
    transport: Transport,
    bearer: HeaderValue,
}

impl Stripe {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self { transport: settings.transport()?, bearer: transport::bearer(settings.secret.expose_secret())? })
    }

    pub(super) async fn create(&self, payment: &NewPayment) -> Result<Created, ProviderError> {
        let number = money::sent(payment.amount)?;
        let Some(return_url) = &payment.return_url else {
            return Err(ProviderError::Refused { code: "return_url".to_owned(), message: "Stripe needs a return_url".to_owned() });
        };
        let at_least = payment.started_at.plus_millis(SESSION_MS);
        let expires_at = payment.expires_at.max(at_least).min(payment.started_at.plus_millis(SESSION_MS_MAX));
        let form = Form::default()
            .with("mode", "payment")
            .with("client_reference_id", &payment.reference)
            .with("success_url", return_url)
            .with("cancel_url", return_url)
            .with("expires_at", &(expires_at.millis() / 1_000).to_string())
            .with("adaptive_pricing[enabled]", "false")
            .with("line_items[0][quantity]", "1")
            .with("line_items[0][price_data][currency]", &payment.amount.currency.code().to_ascii_lowercase())
            .with("line_items[0][price_data][unit_amount]", &number.to_string())
            .with("line_items[0][price_data][product_data][name]", &payment.description)
            .with("payment_intent_data[capture_method]", "manual")
            .with("payment_intent_data[metadata][payment_id]", &payment.reference)
            .with("payment_intent_data[metadata][order_id]", &payment.order)
            .with("metadata[payment_id]", &payment.reference)
            .with("metadata[order_id]", &payment.order);
        let session: Session = self.post("/v1/checkout/sessions", Some(&payment.key), form).await?;
        let state = session.state()?;
        let url = session.url.ok_or_else(|| ProviderError::Unknown("a session has no url".to_owned()));
        match (state, url) {
            (State::Open, url) => Ok(Created { id: session.id, checkout_url: url?, state }),
            // Asked for again, and somebody has paid or it has ended: there is no page any more.
            (state, url) => Ok(Created { id: session.id, checkout_url: url.unwrap_or_else(|_| return_url.clone()), state }),
        }
    }

    pub(super) async fn fetch(&self, id: &str) -> Result<View, ProviderError> {
        self.session(id).await?.view()
    }

    /// Without a key: the state of the intent lets it happen once, and a key would keep a failure of Stripe's for a day.
    pub(super) async fn capture(&self, id: &str) -> Result<Capturing, ProviderError> {
        let session = self.session(id).await?;
        match (session.state()?, session.intent()) {
            (State::Authorized, Some(intent)) => {
                let path = format!("/v1/payment_intents/{}/capture", checked_id(&intent.id)?);
                match self.post::<Intent>(&path, None, Form::default()).await {
                    // Whether by this or by another: the session says.
                    Ok(_) => {}
                    Err(error) if is_unexpected_state(&error) => {}
                    Err(error) => return Err(error),
                }
                let view = self.fetch(id).await?;
                Ok(if view.state == State::Captured { Capturing::Captured(view) } else { Capturing::Impossible(view) })
            }
            (State::Captured, _) => Ok(Capturing::Captured(session.view()?)),
            _ => Ok(Capturing::Impossible(session.view()?)),
        }
    }

    pub(super) async fn cancel(&self, id: &str) -> Result<Cancelling, ProviderError> {
        let path = format!("/v1/checkout/sessions/{}/expire", checked_id(id)?);
        match self.post::<Session>(&path, None, Form::default()).await {
            Ok(session) => session.view()?.cancelling(),
            // It is not open any more, says Stripe, in words that may change: the session says why.
            Err(ProviderError::Refused { code, message }) => match self.fetch(id).await? {
                View { state: State::Open, .. } => Err(ProviderError::Refused { code, message }),
                view => view.cancelling(),
            },
            Err(error) => Err(error),
        }
    }

    pub(super) async fn void(&self, id: &str) -> Result<Cancelling, ProviderError> {
        let session = self.session(id).await?;
        let (State::Authorized, Some(intent)) = (session.state()?, session.intent()) else {
            return match session.state()? {
                State::Open => self.cancel(id).await,
                _ => session.view()?.cancelling(),
            };
        };
        let path = format!("/v1/payment_intents/{}/cancel", checked_id(&intent.id)?);
        match self.post::<Intent>(&path, None, Form::default()).await {
            Ok(_) => {}
            Err(error) if is_unexpected_state(&error) => {}
            Err(error) => return Err(error),
        }
        self.fetch(id).await?.cancelling()
    }

    pub(super) async fn refund(&self, refund: &NewRefund) -> Result<Refund, ProviderError> {
        let form = Form::default()
            .with("payment_intent", &self.intent_of(&refund.payment).await?)
            .with("amount", &money::sent(refund.amount)?.to_string())
            .with("metadata[refund_id]", &refund.reference);
        self.post::<RefundBody>("/v1/refunds", Some(&refund.key), form).await?.refund()
    }

    pub(super) async fn refunds(&self, id: &str) -> Result<Vec<Refund>, ProviderError> {
        let query = Form::default().with("payment_intent", &self.intent_of(id).await?).with("limit", "100");
        let found: List<RefundBody> = self.get(&format!("/v1/refunds?{}", query.into_text())).await?;
        // A payment of ours has one refund, and a few that failed.
        if found.has_more {
            return Err(ProviderError::Unknown("a payment has more than 100 refunds".to_owned()));
        }
        found.data.into_iter().map(RefundBody::refund).collect()
    }

    /// Stripe lists the newest first; what is listed before an event is what came after it, and of many those that are next to it.
    pub(super) async fn events(&self, after: Option<&str>) -> Result<Events, ProviderError> {
        let mut query = Form::default().with("limit", &EVENTS_MAX.to_string());
        for name in EVENT_TYPES {
            query = query.with("types[]", name);
        }
        if let Some(id) = after {
            query = query.with("ending_before", checked_id(id)?);
        }
        let found: List<Event> = self.get(&format!("/v1/events?{}", query.into_text())).await?;
        let items = found.data.into_iter().rev().map(ProviderEvent::from).collect();
        Ok(Events { items, more: after.is_some() && found.has_more })
    }

    async fn session(&self, id: &str) -> Result<Session, ProviderError> {
        let query = Form::default().with("expand[]", "payment_intent.latest_charge").into_text();
        self.get(&format!("/v1/checkout/sessions/{}?{query}", checked_id(id)?)).await
    }

    /// The id of the PaymentIntent of a session that was paid.
    async fn intent_of(&self, id: &str) -> Result<String, ProviderError> {
        let session = self.session(id).await?;
        session.intent().map(|intent| intent.id.clone()).ok_or_else(|| ProviderError::Refused {
            code: "nothing_paid".to_owned(),
            message: "nobody has paid with this session".to_owned(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProviderError> {
        read(&self.asked(Method::GET, path, None, Bytes::new()).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, key: Option<&str>, form: Form) -> Result<T, ProviderError> {
        read(&self.asked(Method::POST, path, key, form.into_text().into()).await?)
    }

    async fn asked(&self, method: Method, path: &str, key: Option<&str>, body: Bytes) -> Result<Answer, ProviderError> {
        let mut headers = vec![(header::AUTHORIZATION, self.bearer.clone()), (VERSION, HeaderValue::from_static(API_VERSION))];
        if method == Method::POST {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")));
        }
        if let Some(key) = key {
            headers.push((KEY, transport::key(key)?));
        }
        self.transport.ask(Question { method, path, headers, body }).await
    }
}

/// Whether a PaymentIntent was not in the state for it.
fn is_unexpected_state(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Refused { code, .. } if code == "payment_intent_unexpected_state")
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, ProviderError> {
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|error| ProviderError::Unknown(format!("its answer cannot be read: {error}")));
    }
    if answer.is_replayed && answer.status.is_server_error() {
        return Err(ProviderError::KeySpent);
    }
    let Ok(Failure { error: FailureBody { r#type, code, message } }) = serde_json::from_slice(&answer.body) else {
        return Err(transport::failure(answer.status, answer.retry_after, answer.status.as_str(), ""));
    };
    match (r#type.as_str(), code.as_deref(), answer.status) {
        // Another request under the same key is under way: what it comes to is not known yet.
        (_, Some("idempotency_key_in_use"), _) | ("idempotency_error", _, StatusCode::CONFLICT) => {
            Err(ProviderError::Unknown("a request under the same key is under way".to_owned()))
        }
        ("idempotency_error", _, _) => Err(ProviderError::KeyReused),
        // Another request has the object for the moment.
        (_, Some("lock_timeout"), _) | (_, _, StatusCode::CONFLICT) => Err(ProviderError::Busy { retry_after: answer.retry_after }),
        // Something beyond Stripe failed.
        (_, _, StatusCode::FAILED_DEPENDENCY) => Err(ProviderError::Unknown("what the provider depends on failed".to_owned())),
        (kind, code, status) => {
            Err(transport::failure(status, answer.retry_after, code.unwrap_or(kind), message.as_deref().unwrap_or_default()))
        }
    }
}
