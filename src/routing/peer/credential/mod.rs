//! What a node proves itself with, and how it knows others: certificates, of its own files or made from the secret that all nodes share.
//!
//! A secret is turned into an authority ([`Authority::of_secret`]) that signs a certificate for this process alone. So there is one way to
//! talk between nodes, whatever they know each other by: TLS with both certificates checked. A secret never travels, never is logged, and
//! nothing on the wire is of use to whoever records it.
//!
//! Files are looked at again and again, so that certificates are renewed and authorities exchanged without a restart. Whatever is wrong
//! with them then leaves the last good ones in force.

mod keys;
mod proof;
#[cfg(test)]
mod tests;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(in crate::routing) use keys::{Chain, Keys};
pub(in crate::routing) use proof::Proof;
pub(in crate::routing) use verify::{Stranger, stranger};

use crate::domain::NodeId;
use crate::tls::{self, Authority, FileError, Validity};
use crate::upkeep::keep_going;

/// The shortest internal secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A certificate that ends sooner is warned of.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often.
const WARN_AGAIN: Duration = Duration::from_secs(6 * 60 * 60);

/// Why a node has nothing to prove itself with: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The internal secret is easily guessed.
    #[error(
        "the internal secret has {0} bytes and needs at least {SECRET_BYTES_MIN}: set DOORBUSTER__AUTH__INTERNAL_SECRET to a longer random text"
    )]
    SecretTooShort(usize),
    /// There is neither a secret nor a certificate, or what plain connections need is missing.
    #[error(
        "set DOORBUSTER__AUTH__INTERNAL_SECRET to at least 32 random bytes, the same on all nodes, or give this node a certificate (DOORBUSTER__PEER__TLS__CA_FILE, ..CERTIFICATE_FILE and ..KEY_FILE; docs/security.md)"
    )]
    Nothing,
    /// Nodes of the release before know nothing but the secret.
    #[error("release.peer_plain needs DOORBUSTER__AUTH__INTERNAL_SECRET: nodes of the release before know nothing else")]
    PlainWithoutSecret,
    /// A file cannot be read, or is not what it should be.
    #[error("peer.tls: {0}")]
    File(#[from] FileError),
    /// The files of the certificate and its key do not belong together.
    #[error("peer.tls: the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    KeyOfAnother {
        /// The certificate's.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// A key of a kind that is not known.
    #[error("peer.tls: the key in {} cannot be used: {why}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// An authority that is none.
    #[error("peer.tls.ca_file: {0}")]
    Authority(String),
    /// The own certificate is another node's.
    #[error(
        "peer.tls.certificate_file names {} and this is node {me}: it must have the URI doorbuster://node/{me} among its alternative names",
        names(named)
    )]
    OtherNode {
        /// This node.
        me: NodeId,
        /// Whom the certificate names.
        named: Vec<NodeId>,
    },
    /// No other node would believe the own certificate.
    #[error(
        "no other node would believe this one, with the certificate in peer.tls.certificate_file and the authorities in peer.tls.ca_file: {0}"
    )]
    Own(String),
}

fn names(named: &[NodeId]) -> String {
    if named.is_empty() { "no node".into() } else { named.iter().map(|id| format!("node {id}")).collect::<Vec<_>>().join(", ") }
}

/// Where certificates come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What all nodes share: whoever knows it is believed.
    pub secret: Option<SecretString>,
    /// The authorities whose nodes are believed.
    pub authorities: Option<PathBuf>,
    /// This node's certificate (and those between it and the authority), and its key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Whether nodes of the release before are let in, and spoken to, without TLS.
    pub plain: bool,
}

/// What lets nodes talk to each other. Clones share it.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    me: NodeId,
    authority: Option<Authority>,
    sources: Sources,
    provider: Arc<CryptoProvider>,
    keys: ArcSwap<Keys>,
    /// Counts the sets of keys there were.
    changes: watch::Sender<u64>,
    proof: Option<Proof>,
}

/// The files as they were read.
#[derive(Clone, PartialEq, Eq, Default)]
struct Files {
    authorities: Option<Vec<u8>>,
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Credential {
    /// Of a node of that id.
    ///
    /// # Errors
    /// [`CredentialError`], when there is nothing or something is wrong with it.
    pub fn new(me: &NodeId, sources: Sources) -> Result<Self, CredentialError> {
        let secret = sources.secret.as_ref().map(|secret| secret.expose_secret().as_bytes());
        match secret {
            Some(secret) if secret.len() < SECRET_BYTES_MIN => return Err(CredentialError::SecretTooShort(secret.len())),
            None if sources.own.is_none() => return Err(CredentialError::Nothing),
            None if sources.plain => return Err(CredentialError::PlainWithoutSecret),
            Some(_) | None => {}
        }
        let (authority, provider) = (secret.map(Authority::of_secret), tls::provider());
        let proof = secret.filter(|_| sources.plain).map(Proof::new);
        let files = Files::read(&sources)?;
        let keys = assemble(me, &sources, authority.as_ref(), &files, &provider)?;
        let (keys, changes) = (ArcSwap::from_pointee(keys), watch::Sender::new(0));
        Ok(Self(Arc::new(Inner { me: me.clone(), authority, sources, provider, keys, changes, proof })))
    }

    /// Of a node whose cluster shares that secret.
    ///
    /// # Errors
    /// [`CredentialError`] for one that is too short.
    pub fn of_secret(me: &NodeId, secret: &SecretString) -> Result<Self, CredentialError> {
        Self::new(me, Sources { secret: Some(secret.clone()), ..Sources::default() })
    }

    /// What is in force now.
    pub(in crate::routing) fn keys(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.0.keys.load()
    }

    /// Tells when other keys are in force.
    pub(in crate::routing) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// How nodes of the release before are known, while they are let in.
    pub(in crate::routing) fn proof(&self) -> Option<&Proof> {
        self.0.proof.as_ref()
    }

    /// Looks at the files again and again, until it is stopped, and says when the own certificate is about to end.
    pub async fn follow(self, stop: CancellationToken) {
        keep_going("the look-out for certificates", &stop, || self.look_again(&stop)).await;
    }

    async fn look_again(&self, stop: &CancellationToken) {
        metrics::describe_gauge!("doorbuster_peer_certificate_end_seconds", "When this node's certificate ends, in seconds since 1970");
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let (mut seen, mut warned) = (Files::read(&self.0.sources), None);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            self.tell_end(&mut warned);
            let (credential, before) = (self.clone(), seen);
            // Files may be on a disk that is slow or far away.
            let looked = tokio::task::spawn_blocking(move || credential.look(before)).await;
            seen = looked.unwrap_or_else(|_| Ok(Files::default()));
        }
    }

    /// Takes what is in the files if it is not what was in them before.
    fn look(&self, before: Result<Files, FileError>) -> Result<Files, FileError> {
        let found = Files::read(&self.0.sources);
        if found == before {
            return found;
        }
        match found.clone().map_err(CredentialError::from).and_then(|files| self.take(&files)) {
            Ok(()) => tracing::info!("the certificates of the peer link were read again"),
            Err(error) => tracing::warn!(%error, "the certificates that were read last stay in force: {error}"),
        }
        found
    }

    fn take(&self, files: &Files) -> Result<(), CredentialError> {
        let Inner { me, sources, authority, provider, .. } = &*self.0;
        let keys = assemble(me, sources, authority.as_ref(), files, provider)?;
        self.0.keys.store(Arc::new(keys));
        self.0.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    fn tell_end(&self, warned: &mut Option<tokio::time::Instant>) {
        let Some(end) = self.keys().not_after.filter(|_| self.0.sources.own.is_some()) else { return };
        metrics::gauge!("doorbuster_peer_certificate_end_seconds").set(end.as_secs() as f64);
        let left = Duration::from_secs(end.as_secs().saturating_sub(UnixTime::now().as_secs()));
        if left < ENDS_SOON && warned.is_none_or(|warned| warned.elapsed() > WARN_AGAIN) {
            *warned = Some(tokio::time::Instant::now());
            let hours = left.as_secs() / 3_600;
            tracing::warn!(hours, "the certificate of this node ends in {hours} hours: put a new one into its file, no restart is needed");
        }
    }
}

impl Files {
    fn read(sources: &Sources) -> Result<Self, FileError> {
        let authorities = sources.authorities.as_deref().map(tls::read).transpose()?;
        let own = sources.own.as_ref().map(|(certificate, key)| Ok::<_, FileError>((tls::read(certificate)?, tls::read(key)?)));
        Ok(Self { authorities, own: own.transpose()? })
    }
}

/// Whom to believe, and what to be believed by.
fn assemble(
    me: &NodeId,
    sources: &Sources,
    authority: Option<&Authority>,
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<Keys, CredentialError> {
    let mut believed: Vec<CertificateDer<'static>> = authority.map(Authority::certificate).into_iter().collect();
    if let (Some(path), Some(pem)) = (&sources.authorities, &files.authorities) {
        believed.extend(tls::certificates(path, pem)?);
    }
    let own = match (&sources.own, &files.own, authority) {
        (Some(paths), Some(pems), _) => from_files(paths, pems, provider)?,
        (_, _, Some(authority)) => {
            let issued = authority.issue(me, &[], Validity::ANY_TIME).map_err(|error| CredentialError::Own(error.to_string()))?;
            let key = CertifiedKey::from_der(vec![issued.certificate], issued.key, provider);
            key.map_err(|error| CredentialError::Own(error.to_string()))?
        }
        (_, _, None) => return Err(CredentialError::Nothing),
    };
    Keys::new(me, &believed, own, Arc::clone(provider))
}

fn from_files(
    (certificate, key): &(PathBuf, PathBuf),
    (certificate_pem, key_pem): &(Vec<u8>, Vec<u8>),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CredentialError> {
    let chain = tls::certificates(certificate, certificate_pem)?;
    let der = tls::private_key(key, key_pem)?;
    CertifiedKey::from_der(chain, der, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => CredentialError::KeyOfAnother { certificate: certificate.clone(), key: key.clone() },
        other => CredentialError::Key { path: key.clone(), why: other.to_string() },
    })
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}
