//! One keep-alive HTTP/1.1 connection: one request at a time, each with a bound. Never retries and never follows redirects.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, FutureExt, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::loopback::Target;

/// The largest response body that is read, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer. What the server did with the request is not known, except for `Connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportError {
    /// No connection: the request was never sent.
    Connect,
    /// The connection broke before the answer was whole, or its end was announced in place of one: `408` without a body and with
    /// `Connection: close`.
    Broken,
    /// No whole answer within the bound.
    TimedOut,
    /// The answer is longer than [`BODY_BYTES_MAX`].
    TooLong,
}

impl TransportError {
    /// The words for tables.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Broken => "connection broke",
            Self::TimedOut => "timed out",
            Self::TooLong => "answer too long",
        }
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// Whether it answers no request, but a connection on which none came in time: it was on its way when the request was. The request
    /// may be sent again over a new connection (RFC 9110, section 15.5.9).
    fn is_of_a_silent_connection(&self) -> bool {
        self.status == StatusCode::REQUEST_TIMEOUT && self.body.is_empty() && self.asks_to_close()
    }

    /// Whether the server asks to go elsewhere with the next request: it is about to stop.
    #[must_use]
    pub fn asks_to_close(&self) -> bool {
        self.headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
    }
}

/// A request without its connection: the parts are shared, so a copy costs a few reference counts.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: Uri,
    /// The JSON body; empty = none.
    pub body: Bytes,
}

impl Shape {
    /// A POST of JSON.
    ///
    /// # Panics
    /// If `path` is no path.
    #[must_use]
    pub fn post(path: &str, body: Bytes) -> Self {
        Self { method: Method::POST, path: path.parse().expect("a path"), body }
    }

    /// A GET.
    ///
    /// # Panics
    /// If `path` is no path.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.parse().expect("a path"), body: Bytes::new() }
    }
}

/// A client that keeps one connection and makes it anew after it broke.
#[derive(Debug)]
pub struct Client {
    target: Target,
    link: Option<Link>,
}

impl Client {
    /// A client of that server. Nothing is connected yet.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self { target, link: None }
    }

    /// Makes the connection now, if there is none.
    ///
    /// # Errors
    /// [`TransportError::Connect`] if nobody listens, or not within the bound.
    pub async fn connect(&mut self, bound: Duration) -> Result<(), TransportError> {
        if self.link.is_none() {
            let made = tokio::time::timeout(bound, Link::open(&self.target)).await;
            self.link = Some(made.ok().flatten().ok_or(TransportError::Connect)?);
        }
        Ok(())
    }

    /// Sends one request and reads the whole answer, both within the bound. A connection that failed is not used again.
    ///
    /// # Errors
    /// [`TransportError`]; the next call connects anew.
    pub async fn send(
        &mut self,
        shape: &Shape,
        authorization: Option<&HeaderValue>,
        key: Option<&HeaderValue>,
        bound: Duration,
    ) -> Result<Response, TransportError> {
        // Closed while nothing was asked: that request was not sent, so it goes over a new connection.
        if self.link.as_mut().is_some_and(Link::was_closed) {
            self.link = None;
        }
        self.connect(bound).await?;
        let request = self.request(shape, authorization, key);
        let mut link = self.link.take().expect("connected just now");
        let answer = tokio::time::timeout(bound, link.exchange(request)).await.unwrap_or(Err(TransportError::TimedOut))?;
        if answer.is_of_a_silent_connection() {
            return Err(TransportError::Broken);
        }
        if link.is_open() {
            self.link = Some(link);
        }
        Ok(answer)
    }

    fn request(&self, shape: &Shape, authorization: Option<&HeaderValue>, key: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(shape.body.clone()));
        *request.method_mut() = shape.method.clone();
        *request.uri_mut() = shape.path.clone();
        let headers = request.headers_mut();
        headers.reserve(4);
        headers.insert(header::HOST, self.target.host().clone());
        if !shape.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(key) = key {
            headers.insert("idempotency-key", key.clone());
        }
        request
    }
}

/// What moves bytes between a socket and a sender.
type Driver = Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// An open connection. Its driver is polled by whoever exchanges: no task and no channel hop of its own.
struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Link {
    async fn open(target: &Target) -> Option<Self> {
        let stream = TcpStream::connect(target.address()).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        Some(Self { sender, driver: Some(Box::pin(driver)) })
    }

    const fn is_open(&self) -> bool {
        self.driver.is_some()
    }

    /// Whether the server has closed it since the last answer.
    fn was_closed(&mut self) -> bool {
        self.driver.as_mut().is_none_or(|driver| driver.now_or_never().is_some())
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response, TransportError> {
        let Some(driver) = &mut self.driver else { return Err(TransportError::Broken) };
        let answer = pin!(read(&mut self.sender, request));
        match select(answer, driver).await {
            Either::Left((answer, _)) => answer,
            // The server closed behind its answer, or instead of one: the other half knows which.
            Either::Right((_, answer)) => {
                // It goes now: a request that it had not taken yet would wait for it for ever.
                self.driver = None;
                answer.await
            }
        }
    }
}

async fn read(sender: &mut http1::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Response, TransportError> {
    sender.ready().await.map_err(|_| TransportError::Broken)?;
    let (parts, body) = sender.send_request(request).await.map_err(|_| TransportError::Broken)?.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| if error.is::<http_body_util::LengthLimitError>() { TransportError::TooLong } else { TransportError::Broken })?;
    Ok(Response { status: parts.status, headers: parts.headers, body: body.to_bytes() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a client makes of that answer, given to its request by a server that closes the connection then.
    async fn told(answer: &'static str) -> Result<Response, TransportError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::new(Target::new(listener.local_addr().unwrap()).unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let shape = Shape::get("/");
        let (told, ()) = tokio::join!(client.send(&shape, None, None, Duration::from_secs(60)), server);
        told
    }

    #[tokio::test]
    async fn the_end_of_a_silent_connection_is_no_answer() {
        let ended = told("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        assert_eq!(ended.map(|response| response.status), Err(TransportError::Broken));
    }

    #[tokio::test]
    async fn any_other_timeout_of_a_request_is_an_answer() {
        for answer in [
            "HTTP/1.1 408 Request Timeout\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(told(answer).await.map(|response| response.status), Ok(StatusCode::REQUEST_TIMEOUT), "{answer}");
        }
    }
}
