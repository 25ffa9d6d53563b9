//! The internal listener: who is let in. Whoever comes proves by a certificate which node it is, within a bound of time, before anything is
//! read of what it wants; strangers can neither use up the places nor hold up a node.
//!
//! What is held up on its way is not carried out long after: a connection on which nothing comes for [`IDLE_MAX`] is closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credential::Chain;
use super::doors::Doors;
use super::listener::{Caller, answer};
use super::local::Local;
use crate::tls::{nodes_named_by, why};

/// Those who have not proved yet that they are nodes, at most.
const STRANGERS_MAX: usize = 256;
/// Those of one address.
const STRANGERS_OF_ADDRESS_MAX: usize = 32;
/// How long somebody may take to prove it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections of nodes, at most; and as many without TLS, while nodes of the release before are let in.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a connection may be idle, and how long the head of a request may take.
const IDLE_MAX: Duration = Duration::from_secs(6);
/// The first byte of whatever speaks TLS.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long connections may take to end when the listener stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// When the system gives no connection: it has no file descriptors left, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long whoever was refused may take to read why.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// The server on the internal address. Runs until it is stopped.
#[derive(Debug)]
pub struct PeerServer {
    address: SocketAddr,
    /// No more come, and those that are there end.
    stop: CancellationToken,
    /// They end at once.
    end: CancellationToken,
    tasks: TaskTracker,
}

impl PeerServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what is in flight, for a second at most, and takes no more.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            self.end.cancel();
            self.tasks.wait().await;
        }
    }
}

/// Answers peers at that listener from now on.
///
/// # Errors
/// What the operating system says about the listener.
pub fn serve(listener: std::net::TcpListener, local: Arc<Local>) -> std::io::Result<PeerServer> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let (stop, end, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let entrance = Entrance {
        local,
        doors: Doors::new(STRANGERS_MAX, STRANGERS_OF_ADDRESS_MAX),
        nodes: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        plain: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        stop: stop.clone(),
        end: end.clone(),
    };
    tasks.spawn(accept(listener, Arc::new(entrance), tasks.clone()));
    Ok(PeerServer { address, stop, end, tasks })
}

struct Entrance {
    local: Arc<Local>,
    doors: Arc<Doors>,
    nodes: Arc<Semaphore>,
    plain: Arc<Semaphore>,
    stop: CancellationToken,
    end: CancellationToken,
}

async fn accept(listener: TcpListener, entrance: Arc<Entrance>, tasks: TaskTracker) {
    let stop = entrance.stop.clone();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, from)) => {
                let entrance = Arc::clone(&entrance);
                tasks.spawn(async move {
                    let end = entrance.end.clone();
                    end.run_until_cancelled(entrance.meet(stream, from)).await
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the internal listener gets no connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Somebody who was let in.
struct Admitted {
    stream: Either<TlsStream<TcpStream>, TcpStream>,
    caller: Caller,
    chain: Chain,
    _permit: OwnedSemaphorePermit,
}

impl Entrance {
    async fn meet(&self, stream: TcpStream, from: SocketAddr) {
        let place = self.doors.enter(from.ip().to_canonical());
        let admitted = tokio::select! {
            admitted = timeout(HANDSHAKE_TIMEOUT, self.admit(stream)) => admitted.unwrap_or(Err(Refusal::Late)),
            () = place.sent_away.cancelled() => Err(Refusal::Crowded),
            () = self.stop.cancelled() => return,
        };
        drop(place);
        match admitted {
            Ok(admitted) => self.serve(admitted).await,
            Err(refusal) => refusal.tell(from).await,
        }
    }

    async fn admit(&self, stream: TcpStream) -> Result<Admitted, Refusal> {
        // An answer goes out in pieces: without this each would wait for the peer's delayed acknowledgement of the one before.
        stream.set_nodelay(true)?;
        if self.local.credential.proof().is_some() && is_plain(&stream).await? {
            let permit = Arc::clone(&self.plain).try_acquire_owned().map_err(|_| Refusal::Full)?;
            return Ok(Admitted { stream: Either::Right(stream), caller: Caller::Plain, chain: Chain::new(), _permit: permit });
        }
        let keys = Arc::clone(&self.local.credential.keys());
        let handshake = TlsAcceptor::from(keys.server()).accept(stream).into_fallible().await;
        let stream = handshake.map_err(|(error, stream)| Refusal::Handshake(error, stream))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let nodes = chain.first().map(nodes_named_by).unwrap_or_default();
        let permit = Arc::clone(&self.nodes).try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Admitted { stream: Either::Left(stream), caller: Caller::Nodes(nodes), chain, _permit: permit })
    }

    /// Answers requests until either end has had enough, or the caller's certificate is not believed any more.
    async fn serve(&self, Admitted { stream, caller, chain, _permit }: Admitted) {
        let (local, caller) = (Arc::clone(&self.local), Arc::new(caller));
        let credential = local.credential.clone();
        let mut changes = credential.changes();
        let service = service_fn(move |request| {
            let (local, caller) = (Arc::clone(&local), Arc::clone(&caller));
            async move { Ok::<_, Infallible>(answer(request, &caller, local).await) }
        });
        let mut connection = pin!(
            http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).serve_connection(TokioIo::new(stream), service)
        );
        let mut is_ending = false;
        loop {
            tokio::select! {
                // How it ended is the other end's business: it asks again.
                _ = connection.as_mut() => return,
                () = self.stop.cancelled(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = changes.changed() => {
                    if !chain.is_empty() && !credential.keys().admits(&chain) {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether somebody begins with anything but TLS.
async fn is_plain(stream: &TcpStream) -> Result<bool, Refusal> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(Refusal::Other(std::io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(first[0] != TLS_HANDSHAKE),
    }
}

/// Why somebody is not let in.
enum Refusal {
    /// The handshake came to nothing.
    Handshake(std::io::Error, TcpStream),
    /// It took too long.
    Late,
    /// Others came, and it had been there longest.
    Crowded,
    /// There are as many nodes as there may be.
    Full,
    /// The connection is gone.
    Other(std::io::Error),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error)
    }
}

impl Refusal {
    async fn tell(self, from: SocketAddr) {
        let (label, why) = match &self {
            Self::Handshake(error, _) => match why(error) {
                Some(why) => ("handshake", why),
                None => ("gone", error.to_string()),
            },
            Self::Late => ("late", format!("it has not proved who it is within {HANDSHAKE_TIMEOUT:?}")),
            Self::Crowded => ("crowded", "too many others came".into()),
            Self::Full => ("full", format!("{CONNECTIONS_MAX} nodes are connected")),
            Self::Other(error) => ("gone", error.to_string()),
        };
        metrics::counter!("doorbuster_peer_refused_total", "reason" => label).increment(1);
        if label != "gone" {
            tracing::warn!(%from, why, "{from} was not let in at the internal listener: {why}");
        }
        if let Self::Handshake(_, stream) = self {
            // Closed with something unread, the connection would be reset, and the alert that says why with it.
            drop(timeout(FAREWELL_TIMEOUT, farewell(stream)).await);
        }
    }
}

async fn farewell(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}
