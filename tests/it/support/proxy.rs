//! A TCP proxy that can cut its connections, and hold up or swallow what the server answers while what is asked goes through: of all of
//! them, or of the one over which a client says something.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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
    /// Whoever says this hears nothing from then on.
    deafened_by: Arc<Mutex<Option<Vec<u8>>>>,
    accepted: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
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
        let deafened_by = Arc::<Mutex<Option<Vec<u8>>>>::default();
        let words = Arc::clone(&deafened_by);
        let held = Arc::<AtomicUsize>::default();
        let holds = Arc::clone(&held);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, server, modes.clone(), (Arc::clone(&words), Arc::clone(&holds))));
            }
        });
        Self { port, mode, deafened_by, accepted, held, _accepting: AbortOnDropHandle::new(accepting) }
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

    /// How many connections have something of the server's that is held up.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// From now on the server's answers wait until [`Proxy::mend`].
    pub fn hold(&self) {
        self.mode.send_replace(Mode::Hold);
    }

    /// From now on the server's answers are swallowed.
    pub fn mute(&self) {
        self.mode.send_replace(Mode::Mute);
    }

    /// From now on the server's answers are swallowed on each connection over which a client sends that text, whole in one piece.
    pub fn mute_whoever_says(&self, text: &str) {
        *self.deafened_by.lock().expect("nobody panicked") = Some(text.as_bytes().to_vec());
    }

    /// From now on nobody is muted for what they say; whoever was, stays so.
    pub fn mute_nobody_else(&self) {
        *self.deafened_by.lock().expect("nobody panicked") = None;
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

type Watched = (Arc<Mutex<Option<Vec<u8>>>>, Arc<AtomicUsize>);

async fn carry(client: TcpStream, server: SocketAddr, mut modes: watch::Receiver<Mode>, (deafened_by, held): Watched) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Closed with this, a socket sends RST instead of FIN.
    drop(client.set_zero_linger());
    drop(server.set_zero_linger());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (of_answers, muted) = (modes.clone(), AtomicBool::new(false));
    tokio::select! {
        () = ask(from_client, to_server, &deafened_by, &muted) => {}
        () = answer(from_server, to_client, of_answers, (&muted, &held)) => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, deafened_by: &Mutex<Option<Vec<u8>>>, muted: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let said = &buffer[..length];
        let is_heard = |text: &Vec<u8>| said.windows(text.len()).any(|window| window == text);
        if deafened_by.lock().expect("nobody panicked").as_ref().is_some_and(is_heard) {
            muted.store(true, Ordering::SeqCst);
        }
        if to.write_all(said).await.is_err() {
            return;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    (muted, held): (&AtomicBool, &AtomicUsize),
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let holds = Holds::count(held, *modes.borrow() == Mode::Hold);
        // A stream that lost bytes can never be mended.
        let mode = modes.wait_for(|mode| *mode != Mode::Hold).await;
        if mode.is_ok_and(|mode| *mode == Mode::Mute) {
            muted.store(true, Ordering::SeqCst);
        }
        if !muted.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        drop(holds);
    }
}

/// Counts a connection for as long as something of it is held up.
struct Holds<'a>(&'a AtomicUsize, usize);

impl<'a> Holds<'a> {
    fn count(held: &'a AtomicUsize, is_held: bool) -> Self {
        held.fetch_add(usize::from(is_held), Ordering::SeqCst);
        Self(held, usize::from(is_held))
    }
}

impl Drop for Holds<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}
