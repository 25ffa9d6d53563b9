//! Connections to other nodes: to the address that is known of one, and with nobody else but that node. Whoever else answers there gets
//! nothing from us and learns nothing of us: they have to prove who they are first.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::Peer;
use super::credential::{Chain, Credential, Stranger, stranger};
use crate::tls;

/// How long a connection may take: one that is not made at once means that nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long both may take to prove who they are. Together with the above it is less than a link waits for an answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(750);

/// Why there is no connection. Nothing that was to be sent over it has left this process.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum DialError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// Nobody answers.
    #[error("no answer in time")]
    Silent,
    /// What answers there does not speak TLS.
    #[error("what answers there does not speak TLS")]
    NotTls,
    /// Somebody else is there.
    #[error("{0}")]
    Stranger(Stranger),
    /// The node that was meant does not believe that we are who we are.
    #[error("{0}")]
    NotAccepted(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match tls::find(&error) {
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(found) => match stranger(found) {
                Some(stranger) => Self::Stranger(stranger.clone()),
                None => Self::Other(tls::why(found).unwrap_or_default()),
            },
            None if error.kind() == io::ErrorKind::ConnectionRefused => Self::Refused,
            None => Self::Other(error.to_string()),
        }
    }
}

/// A connection to the node that was meant; without TLS to one of the release before, while those are spoken to.
pub(super) struct Stream(Either<TlsStream<TcpStream>, TcpStream>);

/// Makes connections to one node. Clones share what was shown last.
#[derive(Clone)]
pub(super) struct Dialler {
    peer: Peer,
    credential: Credential,
    /// What the node has shown on the last connection.
    shown: Arc<Mutex<Chain>>,
}

impl Dialler {
    pub(super) fn new(peer: &Peer, credential: &Credential) -> Self {
        Self { peer: peer.clone(), credential: credential.clone(), shown: Arc::default() }
    }

    /// Whether the node would still be believed that showed what was shown last. (One that showed nothing is of the release before.)
    pub(super) fn is_believed(&self) -> bool {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.is_empty() || self.credential.keys().believes(&self.peer.id, &shown)
    }

    async fn dial(self) -> Result<TokioIo<Stream>, DialError> {
        match self.secure().await {
            Ok(stream) => Ok(TokioIo::new(Stream(Either::Left(stream)))),
            Err(DialError::NotTls) if self.credential.proof().is_some() => {
                let stream = self.connect().await?;
                self.show(Chain::new());
                Ok(TokioIo::new(Stream(Either::Right(stream))))
            }
            Err(error) => Err(error),
        }
    }

    async fn connect(&self) -> Result<TcpStream, DialError> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.peer.address)).await.map_err(|_| DialError::Silent)??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn secure(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let stream = self.connect().await?;
        let connector = TlsConnector::from(self.credential.keys().client(&self.peer.id));
        let name = ServerName::from(self.peer.address.ip());
        let stream = timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await.map_err(|_| DialError::Silent)??;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        self.show(shown.iter().map(|certificate| certificate.clone().into_owned()).collect());
        Ok(stream)
    }

    fn show(&self, chain: Chain) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = chain;
    }
}

/// As the HTTP client asks for connections. What it wants to connect to does not matter: there is one node.
impl tower_service::Service<Uri> for Dialler {
    type Response = TokioIo<Stream>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
