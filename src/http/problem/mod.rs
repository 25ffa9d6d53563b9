//! Refusals and errors as `application/problem+json` (RFC 9457). The only place that knows which status, title and code an
//! outcome gets. Never tells a client the cause of a fault of ours: that is logged, once, with the request id.

mod code;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

pub use code::Code;

use crate::auth::Unauthenticated;
use crate::domain::{CommodityId, Sku};
use crate::engine::Refusal;
use crate::limits::Limited;
use crate::routing::Busy;
use crate::single_flight::NotShared;
use crate::store::StoreError;

/// The media type of every refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What a client is told by a node that leaves and cannot help it any more.
const LEAVING: &str = "This node is leaving: try again after `Retry-After` seconds, on a new connection.";

/// When to try again while there is no room for another key: some are free again after a day.
const RETRY_LATE: Duration = Duration::from_secs(60);

/// When to try again while a part is away.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// When to try again while the payment provider is away.
const RETRY_PROVIDER: Duration = Duration::from_secs(5);

/// When to try again what a cluster can't do before its upgrade is finished.
const RETRY_AFTER_UPGRADE: Duration = Duration::from_secs(60);

/// One field at fault: a body's or a query's field, or a header, and the sentence to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The line of a file it is in, counted from 1; none elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The field's, column's or header's name; `body` for a body that cannot be read at all.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub message: Cow<'static, str>,
}

impl Fault {
    /// A fault of that field.
    pub fn new(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { line: None, field: field.into(), message: message.into() }
    }

    /// The same, in that line of a file.
    #[must_use]
    pub fn in_line(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }
}

/// Why a request was not carried out, with the data its answer needs.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No such route, or an id that is no id.
    #[error("not found")]
    NotFound,
    /// No account has this id.
    #[error("no such user")]
    UserNotFound,
    /// No node has this id.
    #[error("no such node")]
    NodeNotFound,
    /// The node has stopped.
    #[error("node gone")]
    NodeGone,
    /// The route takes other methods: the value of `Allow`.
    #[error("method not allowed")]
    MethodNotAllowed(HeaderValue),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    RequestTimeout,
    /// The body is larger than so many bytes.
    #[error("body over {0} bytes")]
    BodyTooLarge(usize),
    /// The body is not JSON by its own word.
    #[error("unsupported media type")]
    UnsupportedMediaType,
    /// The body is compressed in a way this server does not read.
    #[error("unsupported content coding")]
    UnsupportedCoding,
    /// What is wrong with the request, field by field; at least one.
    #[error("invalid request: {0:?}")]
    InvalidRequest(Vec<Fault>),
    /// There is no `Authorization: Bearer` header.
    #[error("no bearer token")]
    NoToken,
    /// There is one and it does not convince.
    #[error("{0}")]
    BadToken(Unauthenticated),
    /// No account has this name and this password.
    #[error("wrong name or password")]
    InvalidCredentials,
    /// The role may not do this.
    #[error("forbidden")]
    Forbidden,
    /// The engine's refusal.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The body is not CSV by its own word.
    #[error("no CSV")]
    NotCsv,
    /// Another commodity has this article number.
    #[error("sku {sku} is that of commodity {commodity}")]
    SkuTaken {
        /// The number.
        sku: Sku,
        /// Whose it is.
        commodity: CommodityId,
    },
    /// An account with this name exists.
    #[error("name taken")]
    UsernameTaken,
    /// An operator's own role.
    #[error("own role")]
    OwnRole,
    /// Too many requests.
    #[error("{0}")]
    RateLimited(#[from] Limited),
    /// The partition did not even try.
    #[error("busy: {0:?}")]
    Busy(Busy),
    /// A part is away: what to tell the client of it.
    #[error("{what} is not available")]
    Unavailable {
        /// The part, as clients know it.
        what: &'static str,
        /// Why, for the log; none where that is logged already or is no fault.
        cause: Option<String>,
    },
    /// What a payment provider is said to have told is not signed as it would have.
    #[error("bad signature")]
    BadSignature,
    /// The payment provider does not help, or there is none: why, for the log.
    #[error("no payment provider helps")]
    ProviderUnavailable(Option<String>),
    /// This process is not fit for requests; why.
    #[error("not ready: {0}")]
    NotReady(String),
    /// A fault of ours, with its cause for the log.
    #[error("internal: {0}")]
    Internal(String),
}

impl Problem {
    /// One field at fault.
    pub fn field(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidRequest(vec![Fault::new(field, message)])
    }

    /// Its code, which decides status, title and type.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::UserNotFound => Code::UserNotFound,
            Self::NodeNotFound => Code::NodeNotFound,
            Self::NodeGone => Code::NodeGone,
            Self::MethodNotAllowed(_) => Code::MethodNotAllowed,
            Self::RequestTimeout => Code::RequestTimeout,
            Self::BodyTooLarge(_) => Code::BodyTooLarge,
            Self::UnsupportedMediaType | Self::UnsupportedCoding | Self::NotCsv => Code::UnsupportedMediaType,
            Self::InvalidRequest(_) => Code::InvalidRequest,
            Self::NoToken | Self::BadToken(_) => Code::Unauthenticated,
            Self::InvalidCredentials => Code::InvalidCredentials,
            Self::Forbidden => Code::Forbidden,
            Self::Refused(refusal) => code_of(*refusal),
            Self::SkuTaken { .. } => Code::SkuTaken,
            Self::UsernameTaken => Code::UsernameTaken,
            Self::OwnRole => Code::OwnRole,
            Self::RateLimited(_) => Code::RateLimited,
            Self::Busy(Busy::Overloaded) => Code::Overloaded,
            Self::Busy(Busy::Unavailable | Busy::LogAway) | Self::Unavailable { .. } | Self::NotReady(_) => Code::Unavailable,
            Self::BadSignature => Code::BadSignature,
            Self::ProviderUnavailable(_) => Code::ProviderUnavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// When to try again, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(limited) => Some(limited.retry_after),
            Self::Busy(busy) => Some(busy.retry_after()),
            Self::ProviderUnavailable(_) => Some(RETRY_PROVIDER),
            Self::Unavailable { .. } | Self::NotReady(_) | Self::Refused(Refusal::EpochExhausted) => Some(RETRY_SOON),
            Self::Refused(Refusal::UpgradeUnfinished) => Some(RETRY_AFTER_UPGRADE),
            Self::Refused(Refusal::TooManyKeys) => Some(RETRY_LATE),
            _ => None,
        }
    }

    /// What the log must hold of it, once; none for what is no fault of ours.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Internal(cause) => Some(cause),
            Self::Unavailable { cause, .. } | Self::ProviderUnavailable(cause) => cause.as_deref(),
            _ => None,
        }
    }

    /// What this occurrence is about, for people; the code's meaning where there is nothing to add.
    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::BodyTooLarge(limit) => format!("The request's body is larger than {limit} bytes.").into(),
            Self::UnsupportedCoding => "The request's body is compressed in another way than gzip or deflate.".into(),
            Self::NotCsv => "The body must be sent as `text/csv`, in UTF-8.".into(),
            Self::SkuTaken { sku, commodity } => format!("Commodity {commodity} has the sku `{sku}`, or is about to get it.").into(),
            Self::NoToken => "An `Authorization: Bearer` header with a token is needed.".into(),
            Self::BadToken(why) => why.to_string().into(),
            Self::Unavailable { what, .. } => format!("{what} is not available: try again after `Retry-After` seconds.").into(),
            Self::NotReady(why) => format!("{why}: try again after `Retry-After` seconds.").into(),
            _ => self.code().meaning().into(),
        }
    }

    /// The same from a node that is leaving, if it is: a `503` of such a one passes only elsewhere.
    fn detail_from(&self, is_leaving: bool) -> Cow<'static, str> {
        match self {
            _ if !is_leaving || self.code().status() != StatusCode::SERVICE_UNAVAILABLE => self.detail(),
            // Whatever it is not ready for, this is why.
            Self::NotReady(_) => LEAVING.into(),
            _ => format!("{} {LEAVING}", self.detail()).into(),
        }
    }

    /// The whole answer, from a node that is leaving or not. Built here and nowhere else.
    #[must_use]
    pub fn respond(&self, request_id: &str, is_leaving: bool) -> HttpResponse {
        let code = self.code();
        let mut response = HttpResponseBuilder::new(code.status());
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON)));
        if let Some(after) = self.retry_after() {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1))));
        }
        match self {
            Self::MethodNotAllowed(allow) => {
                response.insert_header((header::ALLOW, allow.clone()));
            }
            Self::UnsupportedCoding => {
                response.insert_header((header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate")));
            }
            Self::NoToken | Self::InvalidCredentials => {
                response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorbuster\"")));
            }
            Self::BadSignature => {
                response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature realm=\"doorbuster\"")));
            }
            Self::BadToken(_) => {
                let challenge = "Bearer realm=\"doorbuster\", error=\"invalid_token\"";
                response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
            }
            _ => {}
        }
        response.body(serde_json::to_vec(&self.body(request_id, is_leaving)).expect("a problem has no type that JSON cannot write"))
    }

    fn body<'a>(&'a self, request_id: &'a str, is_leaving: bool) -> Body<'a> {
        let code = self.code();
        let errors = match self {
            Self::InvalidRequest(faults) => Cow::Borrowed(faults.as_slice()),
            Self::Refused(Refusal::TermsConflict) => {
                Cow::Owned(vec![Fault::new("ends_at", "a sale must end after it starts, and its terms must not contradict each other")])
            }
            Self::Refused(Refusal::IdempotencyMismatch) => {
                Cow::Owned(vec![Fault::new("Idempotency-Key", "was used before, with another request")])
            }
            _ => Cow::Borrowed([].as_slice()),
        };
        let status = code.status().as_u16();
        let detail = self.detail_from(is_leaving);
        Body { r#type: code.type_uri(), title: code.title(), status, detail, code: code.word(), request_id, errors }
    }
}

/// The members of a problem document.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: Cow<'a, [Fault]>,
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    /// The status alone: the middleware, which knows the request id, makes the answer with [`Problem::respond`].
    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::new(self.status_code())
    }
}

impl From<Unauthenticated> for Problem {
    fn from(why: Unauthenticated) -> Self {
        match why {
            // Nothing is said against the token; the log has why the keys cannot be had.
            Unauthenticated::KeysAway => Self::Unavailable { what: "What the token is to be checked with", cause: None },
            why => Self::BadToken(why),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}

impl From<NotShared> for Problem {
    fn from(reason: NotShared) -> Self {
        match reason {
            NotShared::Busy => Busy::Overloaded.into(),
            NotShared::Failed => Self::Internal(reason.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_refusal() {
            return Self::Internal(error.to_string());
        }
        match error {
            StoreError::Database(_) | StoreError::Connect(_) => Self::Unavailable { what: "The database", cause: Some(error.to_string()) },
            StoreError::Schema(_) | StoreError::Corrupt(_) | StoreError::Refused(_) => Self::Internal(error.to_string()),
        }
    }
}

fn code_of(refusal: Refusal) -> Code {
    match refusal {
        Refusal::CommodityNotFound => Code::CommodityNotFound,
        Refusal::OrderNotFound => Code::OrderNotFound,
        Refusal::CommodityExists => Code::CommodityExists,
        Refusal::NotStarted => Code::NotStarted,
        Refusal::Ended => Code::Ended,
        Refusal::Paused => Code::Paused,
        Refusal::SoldOut => Code::SoldOut,
        Refusal::LimitReached => Code::LimitReached,
        Refusal::IdempotencyMismatch => Code::IdempotencyMismatch,
        Refusal::NotCancellable => Code::NotCancellable,
        Refusal::NotPayable => Code::NotPayable,
        Refusal::NotRefundable => Code::NotRefundable,
        Refusal::TotalTooLow => Code::TotalTooLow,
        Refusal::TotalTooHigh => Code::TotalTooHigh,
        Refusal::TermsConflict => Code::InvalidRequest,
        Refusal::VersionMismatch => Code::VersionMismatch,
        Refusal::HasOrders => Code::HasOrders,
        Refusal::NotEnded => Code::NotEnded,
        Refusal::HasOpenOrders => Code::HasOpenOrders,
        Refusal::Closed => Code::Closed,
        Refusal::UpgradeUnfinished => Code::UpgradeUnfinished,
        Refusal::PriceChanged => Code::PriceChanged,
        Refusal::TooManyKeys => Code::TooManyKeys,
        Refusal::PaymentOpen(_) => Code::NotCancellable,
        Refusal::PaymentNotFound => Code::PaymentNotFound,
        // Whoever asks the engine reads the row again, so many times.
        Refusal::StaleRow | Refusal::EpochExhausted => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests;
