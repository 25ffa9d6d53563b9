//! Whoever is no node: at the other end of a link, at the door of a node, or in between.

use std::path::Path;

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::tls::{Authority, Issued, Validity, provider};

/// The authority of everybody who knows the secret.
fn authority() -> Authority {
    Authority::of_secret(SECRET.as_bytes())
}

fn issue(authority: &Authority, name: &str) -> Issued {
    authority.issue(&name.parse().unwrap(), &[], Validity::ANY_TIME).unwrap()
}

/// Connects to a node with that certificate, or with none, and believes anybody. What it reads to the end when it has sent a request.
async fn knock(node: &Node, own: Option<Issued>, from: &str) -> Result<String, String> {
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority().certificate()).unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Gullible));
    let config = match own {
        Some(own) => config.with_client_auth_cert(vec![own.certificate], own.key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(node.peer.address).await.unwrap();
    let name = rustls::pki_types::ServerName::from(node.peer.address.ip());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    let request = format!(
        "GET /internal/v1/hello HTTP/1.1\r\nhost: b\r\nx-doorbuster-from: {from}\r\nx-doorbuster-to: b\r\nx-doorbuster-wire: 3\r\nconnection: close\r\n\r\n"
    );
    talk(stream, &request).await
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<String, String> {
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Believes whatever it is shown.
#[derive(Debug)]
struct Gullible;

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What came over connections, each with its number.
type Bytes = Vec<(usize, Vec<u8>)>;

/// Somebody who listens with a certificate, notes what is said after the handshake and by whom, and answers with these bytes.
struct Impostor {
    address: SocketAddr,
    /// What each caller has proved itself with and said.
    heard: Arc<Mutex<Bytes>>,
}

impl Impostor {
    async fn listen(own: Issued, answer: Option<&'static str>) -> Self {
        let key = CertifiedKey::from_der(vec![own.certificate], own.key, &provider()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority().certificate()).unwrap();
        let callers = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(callers).with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let heard_by = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let certificates = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                let mut said = vec![0; 4_096];
                let length = stream.read(&mut said).await.unwrap_or(0);
                said.truncate(length);
                heard_by.lock().unwrap().push((certificates, said));
                match answer {
                    Some(answer) => drop((stream.write_all(answer.as_bytes()).await, stream.shutdown().await)),
                    None => kept.push(stream),
                }
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<(usize, Vec<u8>)> {
        self.heard.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_answers_garbage_or_never_costs_bounded_time_and_leaves_the_outcome_open() {
    let garbage = [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwhat",
        "HTTP/1.1 200 OK\r\nx-doorbuster-node: b\r\ncontent-length: 4\r\n\r\n\u{7f}\u{7f}\u{7f}\u{7f}",
        "HTTP/1.1 200 OK\r\nx-doorbuster-node: b\r\ncontent-length: 400\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "",
    ];
    for answer in garbage.map(Some).into_iter().chain([None]) {
        let node = Impostor::listen(issue(&authority(), "b"), answer).await;
        let (reply, took) = ask(node.address, SECRET).await;
        assert_eq!(reply, Reply::Pending(None), "{answer:?}");
        assert!(took < Duration::from_millis(2_500), "{answer:?}: {took:?}");
    }
}

/// As somebody would who writes an address of their own into the table.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_to_somebody_else_is_given_nothing_and_proved_nothing() {
    let others = Authority::of_secret(ANOTHER_SECRET.as_bytes());
    let expired = authority().issue(&"b".parse().unwrap(), &[], Validity::days(time::macros::datetime!(2020-01-01 00:00 UTC), 1)).unwrap();
    for (what, own) in [
        ("of another authority", issue(&others, "b")),
        ("of another node", issue(&authority(), "c")),
        ("of a server", authority().issue_for_server(&["127.0.0.1".into()], Validity::ANY_TIME).unwrap()),
        ("expired", expired),
    ] {
        let impostor = Impostor::listen(own, Some("HTTP/1.1 200 OK\r\nx-doorbuster-node: b\r\ncontent-length: 0\r\n\r\n")).await;
        let (reply, took) = ask(impostor.address, SECRET).await;
        assert_eq!(reply, Reply::Busy(Busy::Unavailable), "{what}");
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
        assert_eq!(impostor.heard(), [], "{what}");
    }
    let node = Impostor::listen(issue(&authority(), "b"), Some("")).await;
    ask(node.address, SECRET).await;
    assert!(
        matches!(node.heard().as_slice(), [(1, said)] if said.starts_with(b"POST /internal/v1/commands")),
        "the one that is meant hears it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_at_the_door_is_not_heard() {
    let (_a, b) = pair(3).await;
    let others = Authority::of_secret(ANOTHER_SECRET.as_bytes());
    let expired = authority().issue(&"a".parse().unwrap(), &[], Validity::days(time::macros::datetime!(2020-01-01 00:00 UTC), 1)).unwrap();
    for (what, own) in [("nobody", None), ("of another authority", Some(issue(&others, "a"))), ("expired", Some(expired))] {
        let answer = knock(&b, own, "a").await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    let as_another = knock(&b, Some(issue(&authority(), "c")), "a").await.unwrap();
    assert!(as_another.starts_with("HTTP/1.1 401"), "{as_another}");
    let no_node = authority().issue_for_server(&["a".into()], Validity::ANY_TIME).unwrap();
    let as_server = knock(&b, Some(no_node), "a").await.unwrap();
    assert!(as_server.starts_with("HTTP/1.1 401"), "{as_server}");
    let friend = knock(&b, Some(issue(&authority(), "a")), "a").await.unwrap();
    assert!(friend.starts_with("HTTP/1.1 200"), "{friend}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_the_door_keeps_no_node_out() {
    let (a, b) = pair(100).await;
    let mut crowd = Vec::new();
    for _ in 0..600 {
        crowd.push(TcpStream::connect(b.peer.address).await.unwrap());
    }
    let credential = credential("c", SECRET, false);
    let greeting = greet(&"c".parse().unwrap(), &b.peer, &credential, PeerVersion::NEWEST).await;
    assert_eq!(greeting, Ok(Greeting::Friend { instance: 7, partitions: PARTITIONS }));
    assert!(matches!(a.buy(1).await, Reply::Done(Answer::Placed(_))));
    // Whoever never says anything is sent away all the same.
    for mut stream in crowd {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 16])).await;
        assert!(!matches!(read, Ok(Ok(1..))) && read.is_ok(), "{read:?}");
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Of a node with files in that folder.
fn from_files(name: &str, folder: &Path) -> Credential {
    let file = |end: &str| folder.join(format!("{name}{end}"));
    let sources = Sources { authorities: Some(folder.join("ca.pem")), own: Some((file(".pem"), file(".key"))), ..Sources::default() };
    Credential::new(&name.parse().unwrap(), sources).unwrap()
}

fn put(folder: &Path, authority: &Authority, name: &str) {
    let issued = issue(authority, name);
    // As whoever puts them there does: one after the other.
    write(folder, &format!("{name}.pem"), &issued.certificate_pem);
    write(folder, &format!("{name}.key"), &issued.key_pem);
}

async fn becomes(what: &str, is_so: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < Duration::from_secs(30), "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_and_certificates_are_exchanged_while_nodes_talk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (old, new) = (Authority::new("old", Validity::ANY_TIME), Authority::new("new", Validity::ANY_TIME));
    write(folder, "ca.pem", &old.certificate_pem());
    ["a", "b"].iter().for_each(|name| put(folder, &old, name));
    let locks = Arc::new(Locks::default());
    let stop = CancellationToken::new();
    let start = |name| {
        let credential = from_files(name, folder);
        tokio::spawn(credential.clone().follow(stop.clone()));
        Node::start_speaking((name, &locks, 100), PeerVersion::NEWEST, credential)
    };
    let (a, b) = introduce(start("a"), start("b")).await;
    let mut user = 0;
    let mut buy = async || {
        user += 1;
        let reply = a.buy(user).await;
        assert!(matches!(reply, Reply::Done(Answer::Placed(_))), "{reply:?}");
    };
    buy().await;
    let sets = |nodes: [&Node; 2]| nodes.map(|node| *node.local.credential.changes().borrow());
    let before = sets([&a, &b]);
    write(folder, "ca.pem", &(old.certificate_pem() + &new.certificate_pem()));
    becomes("both authorities are believed", async || sets([&a, &b]).iter().zip(before).all(|(now, before)| *now > before)).await;
    buy().await;
    let before = sets([&a, &b]);
    ["a", "b"].iter().for_each(|name| put(folder, &new, name));
    becomes("both have new certificates", async || sets([&a, &b]).iter().zip(before).all(|(now, before)| *now > before)).await;
    buy().await;
    // What was shown under the old authority is worth nothing from now on.
    let before = sets([&a, &b]);
    write(folder, "ca.pem", &new.certificate_pem());
    becomes("only the new one is believed", async || sets([&a, &b]).iter().zip(before).all(|(now, before)| *now > before)).await;
    becomes("they talk again", async || a.neighbours.contact(&b.peer.id).0 == peer::Contact::Live).await;
    buy().await;
    let old = knock(&b, Some(issue(&old, "a")), "a").await;
    assert!(old.is_err(), "{old:?}");
    stop.cancel();
}
