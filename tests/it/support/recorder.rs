//! Somebody on the line between two nodes: records what is said, changes it, holds it up, and says it again to whom they like.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What the recorder does with what is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meddling {
    /// Passes it on.
    None,
    /// Changes a bit in every piece of so many bytes or more, to the server and back.
    Flip(usize),
    /// Keeps it until told otherwise.
    Hold,
}

/// The recorder. It passes everything on to one server.
pub struct Recorder {
    address: SocketAddr,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
    meddling: watch::Sender<Meddling>,
    _accepting: AbortOnDropHandle<()>,
}

impl Recorder {
    /// Between whoever comes and that server.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
        let (address, meddling) = (listener.local_addr().expect("its address"), watch::Sender::new(Meddling::None));
        let said = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (record, modes) = (Arc::clone(&said), meddling.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server, Arc::clone(&record), modes.subscribe()));
            }
        });
        Self { address, said, meddling, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does from now on.
    pub fn meddle(&self, meddling: Meddling) {
        self.meddling.send_replace(meddling);
    }

    /// What whoever came has said so far, by connection.
    pub fn said(&self) -> Vec<Vec<u8>> {
        self.said.lock().expect("nobody panicked").clone()
    }
}

/// An address where nobody listens.
pub fn spare_address() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a spare port")
}

/// Says to a server what somebody has said before; what it answers until it closes the connection, or says nothing for a while.
pub async fn replay(server: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).await.expect("it listens");
    // It may hang up in the middle of it.
    drop(stream.write_all(said).await);
    let mut answer = vec![0; 64 * 1024];
    let mut length = 0;
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut answer[length..])).await {
        length += read;
    }
    answer.truncate(length);
    answer
}

type Record = Arc<Mutex<Vec<Vec<u8>>>>;

async fn pass_on(client: TcpStream, server: SocketAddr, record: Record, modes: watch::Receiver<Meddling>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let index = {
        let mut record = record.lock().expect("nobody panicked");
        record.push(Vec::new());
        record.len() - 1
    };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = carry(from_client, to_server, Some((record, index)), modes.clone()) => {}
        () = carry(from_server, to_client, None, modes) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, record: Option<(Record, usize)>, mut modes: watch::Receiver<Meddling>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some((record, index)) = &record {
            record.lock().expect("nobody panicked")[*index].extend_from_slice(&buffer[..length]);
        }
        if modes.wait_for(|mode| *mode != Meddling::Hold).await.is_err() {
            return;
        }
        if let Meddling::Flip(least) = *modes.borrow()
            && length >= least
        {
            buffer[length / 2] ^= 1;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
