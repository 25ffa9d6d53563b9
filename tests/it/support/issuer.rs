//! An issuer's endpoint with its keys: a real server, which counts how often it is asked, and can be away, slow or wrong. With TLS, its
//! certificate is of an authority of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::issuer_keys::{IssuerKey, jwks};

/// What the endpoint answers.
#[derive(Clone, Debug)]
pub enum Says {
    /// `200` with this body.
    Body(String),
    /// This status line and these header lines, each with its end, and no body.
    Head(&'static str),
    /// Nothing, while the connection stays open.
    Nothing,
}

/// The endpoint.
pub struct IssuerEndpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The authority's certificate, in PEM.
    authority: Option<String>,
    serving: Option<JoinHandle<()>>,
}

struct Shared {
    says: Mutex<Says>,
    fetches: AtomicUsize,
    tls: Option<TlsAcceptor>,
}

impl IssuerEndpoint {
    /// Listens, and has these keys.
    pub async fn start(keys: &[&IssuerKey]) -> Self {
        Self::listening(keys, None).await
    }

    /// The same with TLS, as `localhost`.
    pub async fn start_with_tls(keys: &[&IssuerKey]) -> Self {
        let (authority, tls) = certified();
        Self::listening(keys, Some((authority, tls))).await
    }

    async fn listening(keys: &[&IssuerKey], tls: Option<(String, TlsAcceptor)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (authority, tls) = tls.unzip();
        let shared = Arc::new(Shared { says: Mutex::new(body(keys)), fetches: AtomicUsize::new(0), tls });
        let serving = Some(tokio::spawn(serve(listener, Arc::clone(&shared))));
        Self { address, shared, authority, serving }
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        match self.authority {
            None => format!("http://{}/jwks.json", self.address),
            Some(_) => format!("https://localhost:{}/jwks.json", self.address.port()),
        }
    }

    /// The certificate that who asks has to know, in PEM.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().expect("it speaks TLS")
    }

    /// Has these keys from now on.
    pub fn publish(&self, keys: &[&IssuerKey]) {
        self.say(body(keys));
    }

    /// Says this from now on.
    pub fn say(&self, says: Says) {
        *self.shared.says.lock().expect("nobody panics with it") = says;
    }

    /// How often it was asked.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// Nobody listens there any more.
    pub async fn go_away(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            drop(serving.await);
        }
    }

    /// It listens where it did.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is still free");
        self.serving = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
    }
}

impl Drop for IssuerEndpoint {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

fn body(keys: &[&IssuerKey]) -> Says {
    Says::Body(jwks(keys).to_string())
}

/// A certificate for `localhost`, and the one of its authority.
fn certified() -> (String, TlsAcceptor) {
    let key = || KeyPair::generate().expect("there is randomness");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("it signs itself");
    let (params, own) = (CertificateParams::new(vec!["localhost".to_owned()]).expect("a name"), key());
    let certificate = params.signed_by(&own, &authority).expect("the authority signs");
    let private = PrivateKeyDer::try_from(own.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("the key is the certificate's");
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.expect("it listens");
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            match shared.tls.clone() {
                None => answer(stream, &shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        answer(stream, &shared).await;
                    }
                }
            }
        });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let says = shared.says.lock().expect("nobody panics with it").clone();
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let text = match says {
        Says::Body(body) => {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
        }
        Says::Head(head) => format!("HTTP/1.1 {head}content-length: 0\r\nconnection: close\r\n\r\n"),
        Says::Nothing => return std::future::pending().await,
    };
    // Who asks may have gone away.
    drop(stream.write_all(text.as_bytes()).await);
    drop(stream.shutdown().await);
}
