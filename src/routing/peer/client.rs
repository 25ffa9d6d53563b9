//! Requests to one other node. Connections are kept for the next request, not for long: the other end does not wait for a request on one
//! that has been idle (see [`accept`](super::accept)).

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::dial::{DialError, Dialler};
use super::headers::{NODE, WIRE, headers, number};
use super::wire::PeerVersion;
use super::{Credential, Peer};
use crate::domain::NodeId;
use crate::tls;

/// For how long a connection is kept that nobody uses: well below the time after which the other end closes it.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It was not sent, or the other node cannot have read it.
    #[error("{0}")]
    NotSent(DialError),
    /// It may have been.
    #[error("{0}")]
    InDoubt(String),
}

/// The way to one node.
pub(super) struct Client {
    peer: Peer,
    credential: Credential,
    headers: HeaderMap,
    dialler: Dialler,
    pool: Mutex<Pool>,
}

/// Connections that were made with the same keys.
struct Pool {
    keys: u64,
    client: legacy::Client<Dialler, Full<Bytes>>,
}

/// The answer of the node that was meant, whatever it says.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
}

impl Client {
    /// Connects when the first request is sent. `newest` is the newest version this process speaks.
    pub(super) fn new(me: &NodeId, peer: &Peer, credential: &Credential, newest: PeerVersion) -> Self {
        let dialler = Dialler::new(peer, credential);
        Self {
            peer: peer.clone(),
            credential: credential.clone(),
            headers: headers(me, &peer.id, credential, newest),
            pool: Mutex::new(Pool::new(*credential.changes().borrow(), &dialler)),
            dialler,
        }
    }

    /// The node at the other end.
    pub(super) fn peer(&self) -> &NodeId {
        &self.peer.id
    }

    /// Asks for something that is understood in every version.
    pub(super) async fn get(&self, what: &str) -> Result<Response, SendError> {
        self.send(Method::GET, what, self.headers.clone(), Bytes::new()).await
    }

    /// Sends something that is of that version.
    pub(super) async fn post(&self, what: &str, version: PeerVersion, body: Vec<u8>) -> Result<Response, SendError> {
        let mut headers = self.headers.clone();
        headers.insert(WIRE, number(version));
        self.send(Method::POST, what, headers, body.into()).await
    }

    /// Whether the node at the other end of the last connection would still be believed.
    pub(super) fn is_believed(&self) -> bool {
        self.dialler.is_believed()
    }

    async fn send(&self, method: Method, what: &str, headers: HeaderMap, body: Bytes) -> Result<Response, SendError> {
        let uri = Uri::builder().scheme("http").authority(self.peer.address.to_string()).path_and_query(format!("/internal/v1/{what}"));
        let uri = uri.build().expect("an address and a word make a URI");
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        let answered = self.client().request(request).await.map_err(SendError::from)?;
        let (head, body) = answered.into_parts();
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// The connections to use: new ones, when other keys are in force.
    fn client(&self) -> legacy::Client<Dialler, Full<Bytes>> {
        let keys = *self.credential.changes().borrow();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.keys != keys {
            *pool = Pool::new(keys, &self.dialler);
        }
        pool.client.clone()
    }
}

impl Pool {
    fn new(keys: u64, dialler: &Dialler) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_MAX).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        Self { keys, client: builder.build(dialler.clone()) }
    }
}

impl Response {
    /// Whether the node says that it is the one.
    pub(super) fn is_of(&self, node: &NodeId) -> bool {
        self.headers.get(NODE).map(HeaderValue::as_bytes) == Some(node.as_str().as_bytes())
    }

    /// The next piece of the body; none at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.body.frame().await {
            // What is no data is of no use here.
            if let Ok(data) = frame.map_err(|error| describe(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body; none if it is longer than that.
    pub(super) async fn bytes(&mut self, most: usize) -> Result<Option<Vec<u8>>, String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }
}

impl From<legacy::Error> for SendError {
    fn from(error: legacy::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if let Some(dial) = inner.downcast_ref::<DialError>() {
                return Self::NotSent(dial.clone());
            }
            cause = inner.source();
        }
        match tls::find(&error) {
            // It says so instead of reading anything: whoever it does not accept has not been heard.
            Some(rustls::Error::AlertReceived(alert)) if is_about_certificates(*alert) => {
                Self::NotSent(DialError::NotAccepted(describe(&error)))
            }
            _ if error.is_connect() => Self::NotSent(DialError::Other(describe(&error))),
            _ => Self::InDoubt(describe(&error)),
        }
    }
}

fn is_about_certificates(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    [
        Alert::BadCertificate,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::UnknownCA,
        Alert::AccessDenied,
        Alert::CertificateRequired,
    ]
    .contains(&alert)
}

/// The innermost cause: what is around it only says that there is one.
fn describe(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    tls::why(error).unwrap_or_else(|| innermost.to_string())
}
