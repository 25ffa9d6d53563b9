//! What a node refuses to start with, and what it does with files that change.

use super::*;
use crate::tls::Authority;

const SECRET: &str = "an internal secret of 32 bytes or more";

fn me() -> NodeId {
    "spike-1".parse().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Puts a certificate and its key there.
    fn issue(&self, authority: &Authority, node: &str, validity: Validity) {
        let issued = authority.issue(&node.parse().unwrap(), &[], validity).unwrap();
        self.write("node.pem", &issued.certificate_pem);
        self.write("node.key", &issued.key_pem);
    }

    fn sources(&self) -> Sources {
        let own = Some((self.path("node.pem"), self.path("node.key")));
        Sources { authorities: Some(self.path("ca.pem")), own, ..Sources::default() }
    }

    /// Why a node does not start with what is there.
    fn refusal(&self) -> String {
        let told = Credential::new(&me(), self.sources()).map(drop).unwrap_err().to_string();
        assert!(!told.contains('\n') && !told.contains("PRIVATE"), "{told}");
        told
    }
}

fn with_authority() -> (Folder, Authority) {
    let (folder, authority) = (Folder::new(), Authority::new("a test", Validity::ANY_TIME));
    folder.write("ca.pem", &authority.certificate_pem());
    (folder, authority)
}

#[test]
fn a_short_secret_is_refused_and_so_is_nothing_at_all() {
    let of = |secret: Option<&str>, plain| {
        let secret = secret.map(|secret| secret.to_owned().into());
        Credential::new(&me(), Sources { secret, plain, ..Sources::default() }).map(drop)
    };
    assert_eq!(of(Some("short"), false), Err(CredentialError::SecretTooShort(5)));
    assert_eq!(of(None, false), Err(CredentialError::Nothing));
    assert_eq!(of(Some(SECRET), true), Ok(()));
    let (folder, authority) = with_authority();
    folder.issue(&authority, "spike-1", Validity::ANY_TIME);
    let plain = Credential::new(&me(), Sources { plain: true, ..folder.sources() });
    assert_eq!(plain.map(drop), Err(CredentialError::PlainWithoutSecret));
}

#[test]
fn a_certificate_that_nobody_would_believe_is_refused_with_the_reason() {
    let (folder, authority) = with_authority();
    assert!(folder.refusal().contains("node.pem cannot be read"));
    folder.issue(&authority, "spike-2", Validity::ANY_TIME);
    let told = folder.refusal();
    assert!(told.contains("names node spike-2") && told.contains("doorbuster://node/spike-1"), "{told}");
    folder.issue(&authority, "spike-1", Validity::days(time::macros::datetime!(2020-01-01 00:00 UTC), 1));
    assert!(folder.refusal().contains("has expired"));
    folder.issue(&Authority::new("another", Validity::ANY_TIME), "spike-1", Validity::ANY_TIME);
    assert!(folder.refusal().contains("signed by no authority"));
    folder.issue(&authority, "spike-1", Validity::ANY_TIME);
    folder.write("node.key", &authority.key_pem());
    assert!(folder.refusal().contains("node.key is not that of the certificate in"));
    folder.write("node.key", "no key");
    assert!(folder.refusal().contains("node.key holds no private key"));
    folder.issue(&authority, "spike-1", Validity::ANY_TIME);
    folder.write("ca.pem", &authority.key_pem());
    assert!(folder.refusal().contains("ca.pem holds no certificate"));
    folder.write("ca.pem", &authority.certificate_pem());
    assert!(Credential::new(&me(), folder.sources()).is_ok());
}

#[test]
fn whoever_knows_the_secret_is_believed_beside_whoever_has_a_certificate_while_both_are_set() {
    let (folder, authority) = with_authority();
    folder.issue(&authority, "spike-1", Validity::ANY_TIME);
    let node: NodeId = "spike-2".parse().unwrap();
    let of = |authority: &Authority| vec![authority.issue(&node, &[], Validity::ANY_TIME).unwrap().certificate];
    let (by_secret, by_authority) = (of(&Authority::of_secret(SECRET.as_bytes())), of(&authority));
    let secret = || Some(SECRET.to_owned().into());
    let only_ca = Sources { own: None, secret: secret(), ..folder.sources() };
    for (sources, believes) in [
        (Sources { secret: secret(), ..Sources::default() }, [true, false]),
        (only_ca, [true, true]),
        (Sources { secret: secret(), ..folder.sources() }, [true, true]),
        (folder.sources(), [false, true]),
    ] {
        let credential = Credential::new(&me(), sources).unwrap();
        for (chain, believes) in [&by_secret, &by_authority].into_iter().zip(believes) {
            assert_eq!((credential.keys().admits(chain), credential.keys().believes(&node, chain)), (believes, believes));
        }
        assert!(!credential.keys().believes(&me(), &by_authority), "it is another node");
    }
}

fn end_of(credential: &Credential) -> Option<u64> {
    credential.keys().not_after.map(|end| end.as_secs())
}

#[test]
fn files_that_change_are_taken_when_they_fit_together_and_the_last_good_ones_stay() {
    let (folder, authority) = with_authority();
    let now = time::OffsetDateTime::now_utc();
    let (first, second) = (Validity::days(now, 1), Validity::days(now, 2));
    folder.issue(&authority, "spike-1", first);
    let credential = Credential::new(&me(), folder.sources()).unwrap();
    let mut seen = Files::read(&folder.sources());
    let mut look = || {
        let before = std::mem::replace(&mut seen, Ok(Files::default()));
        seen = credential.look(before);
        end_of(&credential).unwrap()
    };
    let ends = |validity: Validity| validity.until().unix_timestamp() as u64;
    assert_eq!(look(), ends(first));
    let before = std::fs::read_to_string(folder.path("node.key")).unwrap();
    folder.issue(&authority, "spike-1", second);
    let after = std::fs::read_to_string(folder.path("node.key")).unwrap();
    folder.write("node.key", &before);
    assert_eq!(look(), ends(first), "only half of it is there");
    folder.write("node.key", &after);
    assert_eq!(look(), ends(second));
    for spoil in ["", "no certificate"] {
        folder.write("node.pem", spoil);
        assert_eq!(look(), ends(second), "{spoil:?}");
    }
    std::fs::remove_file(folder.path("ca.pem")).unwrap();
    assert_eq!(look(), ends(second));
    assert_eq!(*credential.changes().borrow(), 1);
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let credential = Credential::of_secret(&me(), &SECRET.to_owned().into()).unwrap();
    assert_eq!(format!("{credential:?}"), "Credential(..)");
    assert!(end_of(&credential).is_some_and(|end| end > 60_000_000_000), "a certificate of a secret ends with the process");
}
