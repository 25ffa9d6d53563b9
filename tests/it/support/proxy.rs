//! A TCP proxy that can cut its connections, and hold up or swallow what the server answers while what is asked goes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// The server's bytes wait.
    Hold,
    /// The server's bytes go nowhere.
    Mute,
    /// Every connection is reset.
    Cut,
}

/// A way to a server that a test can break.
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    accepted: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of that address.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let port = listener.local_addr().expect("its address").port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let accepted = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, server, modes.clone()));
            }
        });
        Self { port, mode, accepted, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a broker, through this proxy.
    pub fn amqp_url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// How many connections there were so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// From now on the server's answers wait until [`Proxy::mend`].
    pub fn hold(&self) {
        self.mode.send_replace(Mode::Hold);
    }

    /// From now on the server's answers are swallowed.
    pub fn mute(&self) {
        self.mode.send_replace(Mode::Mute);
    }

    /// Resets every connection, and new ones as well until [`Proxy::mend`].
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// From now on new connections go through, and what was held up.
    pub fn mend(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut modes: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Closed with this, a socket sends RST instead of FIN.
    drop(client.set_zero_linger());
    drop(server.set_zero_linger());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let of_answers = modes.clone();
    tokio::select! {
        () = pump(from_client, to_server, None) => {}
        () = pump(from_server, to_client, Some(of_answers)) => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut modes: Option<watch::Receiver<Mode>>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut muted = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // A stream that lost bytes can never be mended.
        if let Some(modes) = &mut modes {
            let mode = modes.wait_for(|mode| *mode != Mode::Hold).await;
            muted |= mode.is_ok_and(|mode| *mode == Mode::Mute);
        }
        if !muted && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
