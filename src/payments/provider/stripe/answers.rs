//! What Stripe answers: of each object what is used here, and nothing else, so that a field that is new or gone elsewhere does not matter.
//! Never trusts that an object is of the kind that was asked for.

use serde::Deserialize;

use super::super::{Amount, ProviderError, ProviderEvent, Refund, RefundState, State, View};
use super::money;
use crate::domain::Currency;

/// A Checkout Session, with its PaymentIntent where that was asked for.
#[derive(Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) url: Option<String>,
    status: SessionStatus,
    amount_total: Option<i64>,
    currency: Option<String>,
    client_reference_id: Option<String>,
    #[serde(default)]
    pub(super) payment_intent: Option<Expandable<Intent>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SessionStatus {
    Open,
    Complete,
    Expired,
}

/// An object, or its id.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Expandable<T> {
    Id(#[expect(dead_code, reason = "what is there when nobody asked for the object")] String),
    Object(Box<T>),
}

/// A PaymentIntent.
#[derive(Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: IntentStatus,
    amount: i64,
    #[serde(default)]
    amount_capturable: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    #[serde(default)]
    latest_charge: Option<Expandable<Charge>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
}

#[derive(Deserialize)]
struct Charge {
    #[serde(default)]
    amount_refunded: i64,
}

#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

#[derive(Deserialize)]
pub(super) struct RefundBody {
    id: String,
    amount: i64,
    currency: String,
    status: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// What we wrote on an object.
#[derive(Deserialize)]
struct Metadata {
    payment_id: Option<String>,
    refund_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    r#type: String,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    object: EventObject,
}

#[derive(Deserialize)]
struct EventObject {
    id: Option<String>,
    client_reference_id: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
pub(super) struct Failure {
    pub(super) error: FailureBody,
}

#[derive(Deserialize)]
pub(super) struct FailureBody {
    pub(super) r#type: String,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

impl Session {
    /// The PaymentIntent, if there is one: only a session that somebody has paid with has one.
    pub(super) fn intent(&self) -> Option<&Intent> {
        match &self.payment_intent {
            Some(Expandable::Object(intent)) => Some(intent),
            Some(Expandable::Id(_)) | None => None,
        }
    }

    pub(super) fn state(&self) -> Result<State, ProviderError> {
        match (self.status, self.intent().map(|intent| intent.status)) {
            // A session is open until somebody has paid with it, whatever they try.
            (SessionStatus::Open, _) => Ok(State::Open),
            (SessionStatus::Expired, _) => Ok(State::Cancelled),
            (SessionStatus::Complete, Some(status)) => Ok(status.state()),
            (SessionStatus::Complete, None) => Err(ProviderError::Unknown("a session is complete and has no payment intent".to_owned())),
        }
    }

    pub(super) fn view(&self) -> Result<View, ProviderError> {
        let state = self.state()?;
        let (total, code) = match (self.amount_total, &self.currency) {
            (Some(total), Some(code)) => (total, code.as_str()),
            _ => return Err(ProviderError::Unknown("a session has no amount".to_owned())),
        };
        let (mut authorized, mut captured, mut refunded) = (0, 0, 0);
        if let Some(intent) = self.intent() {
            let of = |number| minor(number, &intent.currency).map(|(minor, _)| minor);
            match intent.status {
                IntentStatus::RequiresCapture => authorized = of(intent.amount_capturable)?,
                IntentStatus::Succeeded => {
                    (authorized, captured) = (of(intent.amount)?, of(intent.amount_received)?);
                    // An authorisation that was let go is called refunded too, and never was money of ours.
                    if let Some(Expandable::Object(charge)) = &intent.latest_charge {
                        refunded = of(charge.amount_refunded)?;
                    }
                }
                IntentStatus::RequiresPaymentMethod
                | IntentStatus::RequiresConfirmation
                | IntentStatus::RequiresAction
                | IntentStatus::Processing
                | IntentStatus::Canceled => {}
            }
        }
        let (minor, currency) = minor(total, code)?;
        Ok(View {
            id: self.id.clone(),
            reference: self.client_reference_id.clone(),
            state,
            amount: Amount { minor, currency },
            authorized,
            captured,
            refunded,
        })
    }
}

impl IntentStatus {
    /// Of a session that is complete.
    fn state(self) -> State {
        match self {
            // What was to come later did not.
            Self::RequiresPaymentMethod => State::Failed,
            Self::RequiresConfirmation | Self::RequiresAction | Self::Processing => State::Processing,
            Self::RequiresCapture => State::Authorized,
            Self::Succeeded => State::Captured,
            Self::Canceled => State::Cancelled,
        }
    }
}

impl RefundBody {
    pub(super) fn refund(self) -> Result<Refund, ProviderError> {
        let state = match self.status.as_deref() {
            Some("succeeded") => RefundState::Done,
            Some("failed" | "canceled") => RefundState::Failed,
            // What is not known here is not done yet.
            _ => RefundState::Pending,
        };
        let (amount, _) = minor(self.amount, &self.currency)?;
        Ok(Refund { id: self.id, reference: self.metadata.and_then(|metadata| metadata.refund_id), amount, state })
    }
}

impl From<Event> for ProviderEvent {
    fn from(event: Event) -> Self {
        let object = event.data.object;
        let reference =
            object.client_reference_id.or_else(|| object.metadata.and_then(|metadata| metadata.payment_id.or(metadata.refund_id)));
        Self { id: event.id, kind: event.r#type, object: object.id, reference }
    }
}

fn minor(number: i64, code: &str) -> Result<(i64, Currency), ProviderError> {
    let code = code.to_ascii_uppercase();
    let currency: Currency = code.parse().map_err(|_| ProviderError::Unknown(format!("the currency {code} is not known here")))?;
    let minor = money::received(number, &code).ok_or_else(|| ProviderError::Unknown(format!("{number} is no amount of {code}")))?;
    Ok((minor, currency))
}
