//! HTTP to another system: one question, one answer, within a time and a size. Tells what certainly was not sent from what may have been. Never
//! repeats a request, never follows a redirect, never shows a secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use super::ProviderError;
use crate::tls;

/// The largest answer that is read, in bytes: a list of a hundred events with all that is in them.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an unused connection is kept: shorter than servers usually keep theirs.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// What marks an answer that was kept for its key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How another system is reached.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// What paths follow.
    pub(crate) url: String,
    /// How long one question may take, from the connection to the last byte.
    pub(crate) timeout: Duration,
    /// Questions at the same time, at most.
    pub(crate) in_flight_max: usize,
    /// The authorities (PEM) that its certificate is checked against, instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// A way to another system.
pub(crate) struct Transport {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    turns: Semaphore,
}

/// A question.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    /// What follows the provider's URL.
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<Duration>,
    /// Whether it says that it was given before, under the same key.
    pub(crate) is_replayed: bool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(reach: &Reach) -> Result<Self, String> {
        let base = reach.url.trim_end_matches('/').to_owned();
        base.parse::<Uri>().map_err(|_| "url is no URL like https://api.example.com".to_owned())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(reach.timeout));
        let config = client_config(reach.ca_file.as_deref(), base.starts_with("https:"))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_MAX).build(connector);
        Ok(Self { base, client, timeout: reach.timeout, turns: Semaphore::new(reach.in_flight_max) })
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Answer, ProviderError> {
        let Ok(_turn) = self.turns.try_acquire() else { return Err(ProviderError::Busy { retry_after: None }) };
        let mut request = Request::builder()
            .method(question.method)
            .uri(format!("{}{}", self.base, question.path))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("doorbuster/", env!("CARGO_PKG_VERSION")));
        for (name, value) in question.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(question.body)).map_err(|error| ProviderError::Away(error.to_string()))?;
        match tokio::time::timeout(self.timeout, self.answer(request)).await {
            Ok(answer) => answer,
            // It may have been sent, and is not waited for any more.
            Err(_) => Err(ProviderError::Unknown(format!("no whole answer within {} ms", self.timeout.as_millis()))),
        }
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answer, ProviderError> {
        let response = self.client.request(request).await.map_err(|error| {
            let why = innermost(&error);
            if error.is_connect() { ProviderError::Away(why) } else { ProviderError::Unknown(why) }
        })?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let is_replayed = response.headers().get(REPLAYED).is_some_and(|value| value.as_bytes() == b"true");
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| ProviderError::Unknown(innermost(&*error)))?.to_bytes();
        Ok(Answer { status, body, retry_after: retry_after.map(Duration::from_secs), is_replayed })
    }
}

/// What an answer without the thing asked for means where the provider's own words say nothing more.
pub(super) fn failure(status: StatusCode, retry_after: Option<Duration>, code: &str, message: &str) -> ProviderError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Credentials,
        StatusCode::NOT_FOUND => ProviderError::Missing,
        StatusCode::TOO_MANY_REQUESTS => ProviderError::Busy { retry_after },
        // Another request under the same key is under way.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => ProviderError::Unknown(format!("it answers {status}")),
        status if status.is_client_error() => ProviderError::Refused { code: cut(code, 64), message: cut(message, 500) },
        status if status.is_redirection() => ProviderError::Unknown(format!("it answers {status}, and redirects are not followed")),
        status => ProviderError::Unknown(format!("it answers {status}")),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// For a provider that is not asked over TLS the authorities do not matter.
fn client_config(ca_file: Option<&Path>, is_https: bool) -> Result<ClientConfig, String> {
    let versions = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| error.to_string())?;
    let trusting = match ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            let pem = tls::read(file).map_err(|error| error.to_string())?;
            for certificate in tls::certificates(file, &pem).map_err(|error| error.to_string())? {
                roots.add(certificate).map_err(|_| format!("the file {} holds a certificate that cannot be used", file.display()))?;
            }
            versions.with_root_certificates(roots)
        }
        None if !is_https => versions.with_root_certificates(RootCertStore::empty()),
        None => versions
            .with_native_roots()
            .map_err(|_| "this machine has no certificates of authorities: install ca-certificates, or set ca_file".to_owned())?,
    };
    Ok(trusting.with_no_client_auth())
}

/// What it comes down to: the outer errors say only that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map_or_else(String::new, ToString::to_string)
}

/// A header's value of a secret: no log shows it.
pub(super) fn bearer(secret: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| "secret must be visible ASCII".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A header's value of a key.
pub(super) fn key(key: &str) -> Result<HeaderValue, ProviderError> {
    HeaderValue::from_str(key).map_err(|_| ProviderError::Away("an idempotency key must be visible ASCII".to_owned()))
}

/// Percent-encodes what is not unreserved (RFC 3986).
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
