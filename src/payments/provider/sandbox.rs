//! The driver of the sandbox's own API, which is JSON over HTTP. Never knows where the sandbox keeps its books.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::transport::{self, Answer, Question, Transport};
use super::{
    Amount, Cancelling, Capturing, Created, EVENTS_MAX, Events, NewPayment, NewRefund, ProviderError, ProviderEvent, Refund, RefundState,
    Settings, State, View, checked_id,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the sandbox says to a change that the payment's state does not allow; how it stands comes with it.
const UNEXPECTED_STATE: &str = "unexpected_state";

/// What it says to a key that was used for something else.
const KEY_REUSED: &str = "idempotency_key_reused";

/// A sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    transport: Transport,
    bearer: HeaderValue,
}

/// A payment as the sandbox writes it.
#[derive(Deserialize)]
struct PaymentBody {
    id: String,
    reference: Option<String>,
    state: StateBody,
    amount: i64,
    currency: crate::domain::Currency,
    authorized: i64,
    captured: i64,
    refunded: i64,
    checkout_url: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateBody {
    Open,
    Processing,
    Authorized,
    Captured,
    Failed,
    Cancelled,
}

#[derive(Deserialize)]
struct RefundBody {
    id: String,
    reference: Option<String>,
    amount: i64,
    state: RefundStateBody,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefundStateBody {
    Pending,
    Succeeded,
    Failed,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct EventBody {
    id: String,
    r#type: String,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    id: String,
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    code: String,
    message: String,
    payment: Option<PaymentBody>,
}

/// What a change came to: the payment as it is now, or as it stood when it could not be changed.
enum Changed {
    Done(View),
    Not(View),
}

impl Sandbox {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self { transport: settings.transport()?, bearer: transport::bearer(settings.secret.expose_secret())? })
    }

    pub(super) async fn create(&self, payment: &NewPayment) -> Result<Created, ProviderError> {
        let body = json!({
            "reference": payment.reference,
            "order": payment.order,
            "amount": payment.amount.minor,
            "currency": payment.amount.currency,
            "description": payment.description,
            "return_url": payment.return_url,
            "expires_at": payment.expires_at,
        });
        let answer = self.post("/payments", Some(&payment.key), &body).await?;
        let found: PaymentBody = read(&answer)?;
        Ok(Created { checkout_url: found.checkout_url.clone(), state: found.state.into(), id: found.id })
    }

    pub(super) async fn fetch(&self, id: &str) -> Result<View, ProviderError> {
        let answer = self.get(&format!("/payments/{}", checked_id(id)?)).await?;
        read::<PaymentBody>(&answer).map(View::from)
    }

    pub(super) async fn capture(&self, id: &str) -> Result<Capturing, ProviderError> {
        match self.change(id, "capture").await? {
            Changed::Done(view) => Ok(Capturing::Captured(view)),
            Changed::Not(view) if view.state == State::Captured => Ok(Capturing::Captured(view)),
            Changed::Not(view) => Ok(Capturing::Impossible(view)),
        }
    }

    pub(super) async fn cancel(&self, id: &str) -> Result<Cancelling, ProviderError> {
        match self.change(id, "cancel").await? {
            Changed::Done(view) | Changed::Not(view) => view.cancelling(),
        }
    }

    pub(super) async fn void(&self, id: &str) -> Result<Cancelling, ProviderError> {
        match self.change(id, "void").await? {
            Changed::Done(view) | Changed::Not(view) => view.cancelling(),
        }
    }

    pub(super) async fn refund(&self, refund: &NewRefund) -> Result<Refund, ProviderError> {
        let path = format!("/payments/{}/refunds", checked_id(&refund.payment)?);
        let body = json!({"reference": refund.reference, "amount": refund.amount.minor, "currency": refund.amount.currency});
        let answer = self.post(&path, Some(&refund.key), &body).await?;
        read::<RefundBody>(&answer).map(Refund::from)
    }

    pub(super) async fn refunds(&self, id: &str) -> Result<Vec<Refund>, ProviderError> {
        let answer = self.get(&format!("/payments/{}/refunds", checked_id(id)?)).await?;
        Ok(read::<Items<RefundBody>>(&answer)?.items.into_iter().map(Refund::from).collect())
    }

    pub(super) async fn events(&self, after: Option<&str>) -> Result<Events, ProviderError> {
        let path = match after {
            Some(id) => format!("/events?limit={EVENTS_MAX}&after={}", checked_id(id)?),
            None => format!("/events?limit={EVENTS_MAX}&newest=true"),
        };
        let found: Items<EventBody> = read(&self.get(&path).await?)?;
        let event = |event: EventBody| ProviderEvent {
            id: event.id,
            kind: event.r#type,
            object: Some(event.data.id),
            reference: event.data.reference,
        };
        Ok(Events { items: found.items.into_iter().map(event).collect(), more: found.has_more })
    }

    async fn change(&self, id: &str, what: &str) -> Result<Changed, ProviderError> {
        let path = format!("/payments/{}/{what}", checked_id(id)?);
        let answer = self.asked(Method::POST, &path, None, Bytes::new()).await?;
        if answer.status == StatusCode::CONFLICT
            && let Ok(Refusal { error: RefusalBody { code, payment: Some(payment), .. } }) = serde_json::from_slice(&answer.body)
            && code == UNEXPECTED_STATE
        {
            return Ok(Changed::Not(payment.into()));
        }
        read::<PaymentBody>(&answer).map(|payment| Changed::Done(payment.into()))
    }

    async fn get(&self, path: &str) -> Result<Answer, ProviderError> {
        self.asked(Method::GET, path, None, Bytes::new()).await
    }

    async fn post(&self, path: &str, key: Option<&str>, body: &serde_json::Value) -> Result<Answer, ProviderError> {
        self.asked(Method::POST, path, key, body.to_string().into()).await
    }

    async fn asked(&self, method: Method, path: &str, key: Option<&str>, body: Bytes) -> Result<Answer, ProviderError> {
        let mut headers = vec![(header::AUTHORIZATION, self.bearer.clone())];
        if !body.is_empty() {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        if let Some(key) = key {
            headers.push((KEY, transport::key(key)?));
        }
        self.transport.ask(Question { method, path, headers, body }).await
    }
}

/// What a good answer says.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, ProviderError> {
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|error| ProviderError::Unknown(format!("its answer cannot be read: {error}")));
    }
    let (code, message) = match serde_json::from_slice(&answer.body) {
        Ok(Refusal { error }) => (error.code, error.message),
        Err(_) => (answer.status.as_str().to_owned(), String::new()),
    };
    match code.as_str() {
        KEY_REUSED => Err(ProviderError::KeyReused),
        _ => Err(transport::failure(answer.status, answer.retry_after, &code, &message)),
    }
}

impl From<PaymentBody> for View {
    fn from(body: PaymentBody) -> Self {
        Self {
            id: body.id,
            reference: body.reference,
            state: body.state.into(),
            amount: Amount { minor: body.amount, currency: body.currency },
            authorized: body.authorized,
            captured: body.captured,
            refunded: body.refunded,
        }
    }
}

impl From<StateBody> for State {
    fn from(state: StateBody) -> Self {
        match state {
            StateBody::Open => Self::Open,
            StateBody::Processing => Self::Processing,
            StateBody::Authorized => Self::Authorized,
            StateBody::Captured => Self::Captured,
            StateBody::Failed => Self::Failed,
            StateBody::Cancelled => Self::Cancelled,
        }
    }
}

impl From<RefundBody> for Refund {
    fn from(body: RefundBody) -> Self {
        let state = match body.state {
            RefundStateBody::Pending => RefundState::Pending,
            RefundStateBody::Succeeded => RefundState::Done,
            RefundStateBody::Failed => RefundState::Failed,
        };
        Self { id: body.id, reference: body.reference, amount: body.amount, state }
    }
}
