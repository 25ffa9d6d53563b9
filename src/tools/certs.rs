//! `doorbuster certs`: an authority for one cluster, and certificates for its nodes and servers, as files. Never overwrites an authority, and
//! nothing else without being told to.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::domain::{NodeId, Timestamp};
use crate::tls::{Authority, Issued, NoAuthority, Validity, uri_of};

/// How long an authority is good, in days: ten years.
const AUTHORITY_DAYS: u32 = 3_652;

/// The authority's files.
const AUTHORITY: &str = "authority";

/// Somebody who gets a certificate, with the names and addresses it is found at: `ID` or `ID=HOST,HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The id of a node, or the name of the files of a server.
    pub id: NodeId,
    /// Names and addresses.
    pub hosts: Vec<String>,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, hosts) = text.split_once('=').unwrap_or((text, ""));
        let id: NodeId = id.parse().map_err(|error: crate::domain::Invalid| error.to_string())?;
        if id.as_str() == AUTHORITY || id.as_str().starts_with('.') {
            return Err(format!("{id} cannot be the name of its files"));
        }
        let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        Ok(Self { id, hosts })
    }
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder for the files.
    pub out: PathBuf,
    /// Nodes.
    pub nodes: Vec<Named>,
    /// Servers that are no nodes.
    pub servers: Vec<Named>,
    /// How long the certificates are good.
    pub days: u32,
    /// Whether certificates that are there are replaced.
    pub force: bool,
}

/// Why nothing, or not all of it, was made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// There is one already.
    #[error("{} exists already: --force makes a new certificate and key in its place", .0.display())]
    Exists(PathBuf),
    /// The authority in the folder cannot sign.
    #[error("the authority in {}: {why}", path.display())]
    Authority {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: NoAuthority,
    },
    /// A certificate cannot be made so.
    #[error("{id}: {why}")]
    Name {
        /// Whose.
        id: NodeId,
        /// What is wrong.
        why: NoAuthority,
    },
    /// A server is found by its names only.
    #[error("--server {0}: say where it is found, like --server {0}=rabbit.internal,10.0.0.5")]
    Nowhere(NodeId),
    /// A file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What was made cannot be told.
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

/// Makes what is asked for, and says what to put where.
///
/// # Errors
/// [`CertsError`]; before the first file is written, unless it is about writing one.
pub fn run(request: &Request, now: Timestamp, out: &mut impl Write) -> Result<(), CertsError> {
    let now = OffsetDateTime::from_unix_timestamp(now.millis() / 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let file = |id: &NodeId, end: &str| request.out.join(format!("{id}.{end}"));
    for named in request.nodes.iter().chain(&request.servers) {
        let there = ["pem", "key"].map(|end| file(&named.id, end)).into_iter().find(|path| path.exists());
        if let Some(path) = there.filter(|_| !request.force) {
            return Err(CertsError::Exists(path));
        }
    }
    let (authority, is_new) = authority(&request.out, now)?;
    let validity = Validity::days(now, request.days);
    let mut made = Vec::new();
    for named in &request.nodes {
        let issued = authority.issue(&named.id, &named.hosts, validity);
        made.push((&named.id, issued.map_err(|why| CertsError::Name { id: named.id.clone(), why })?));
    }
    for named in &request.servers {
        if named.hosts.is_empty() {
            return Err(CertsError::Nowhere(named.id.clone()));
        }
        let issued = authority.issue_for_server(&named.hosts, validity);
        made.push((&named.id, issued.map_err(|why| CertsError::Name { id: named.id.clone(), why })?));
    }
    fs::create_dir_all(&request.out).map_err(|cause| CertsError::File { path: request.out.clone(), cause })?;
    if is_new {
        write(&request.out.join("authority.key"), &authority.key_pem(), Access::Secret)?;
        write(&request.out.join("authority.pem"), &authority.certificate_pem(), Access::Public)?;
    }
    for (id, Issued { certificate_pem, key_pem, .. }) in made {
        write(&file(id, "key"), &key_pem, Access::Secret)?;
        write(&file(id, "pem"), &certificate_pem, Access::Public)?;
    }
    tell(request, is_new, validity, out).map_err(CertsError::Output)
}

/// The one in the folder, or a new one.
fn authority(folder: &Path, now: OffsetDateTime) -> Result<(Authority, bool), CertsError> {
    let [certificate, key] = ["authority.pem", "authority.key"].map(|name| folder.join(name));
    if !certificate.exists() && !key.exists() {
        let name = format!("Doorbuster authority of {}", now.date());
        return Ok((Authority::new(&name, Validity::days(now, AUTHORITY_DAYS)), true));
    }
    let text = |path: &Path| fs::read_to_string(path).map_err(|cause| CertsError::File { path: path.to_owned(), cause });
    let read = Authority::from_pem(&text(&certificate)?, &text(&key)?);
    Ok((read.map_err(|why| CertsError::Authority { path: certificate, why })?, false))
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Secret,
    Public,
}

/// Writes a file beside its place first: whoever reads it finds the whole of it, and a key is nobody else's at any moment.
fn write(path: &Path, text: &str, access: Access) -> Result<(), CertsError> {
    let beside = path.with_extension("new");
    let put = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if access == Access::Secret { 0o600 } else { 0o644 });
        // What an earlier run has left there may have other rights.
        drop(fs::remove_file(&beside));
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    put().map_err(|cause| CertsError::File { path: path.to_owned(), cause })
}

fn tell(request: &Request, is_new: bool, validity: Validity, out: &mut impl Write) -> io::Result<()> {
    let folder = request.out.display();
    if is_new {
        writeln!(out, "{folder}/authority.key signs for this cluster: keep it off the nodes. {folder}/authority.pem goes to all of them.")?;
    }
    for Named { id, .. } in &request.nodes {
        writeln!(out, "\nnode {id} ({}), until {}:", uri_of(id), validity.until().date())?;
        writeln!(out, "  DOORBUSTER__PEER__TLS__CA_FILE={folder}/authority.pem")?;
        writeln!(out, "  DOORBUSTER__PEER__TLS__CERTIFICATE_FILE={folder}/{id}.pem")?;
        writeln!(out, "  DOORBUSTER__PEER__TLS__KEY_FILE={folder}/{id}.key")?;
    }
    for Named { id, hosts } in &request.servers {
        writeln!(out, "\n{}, until {}: {folder}/{id}.pem and {folder}/{id}.key", hosts.join(", "), validity.until().date())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::peer::{Credential, Sources};

    fn request(out: &Path, nodes: &[&str]) -> Request {
        let nodes = nodes.iter().map(|text| text.parse().unwrap()).collect();
        Request { out: out.to_owned(), nodes, servers: Vec::new(), days: 30, force: false }
    }

    fn make(request: &Request) -> Result<String, String> {
        let mut told = Vec::new();
        run(request, crate::clock::system(), &mut told).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(told).unwrap())
    }

    fn node_starts(folder: &Path, id: &str) -> bool {
        let own = Some((folder.join(format!("{id}.pem")), folder.join(format!("{id}.key"))));
        let sources = Sources { authorities: Some(folder.join("authority.pem")), own, ..Sources::default() };
        Credential::new(&id.parse().unwrap(), sources).is_ok()
    }

    #[test]
    fn nodes_start_with_what_is_made_and_later_ones_have_the_same_authority() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("certs");
        let told = make(&request(&out, &["spike-1=10.0.0.1,spike-1.internal", "admin"])).unwrap();
        for part in ["spike-1.key", "admin.pem", "doorbuster://node/spike-1", "DOORBUSTER__PEER__TLS__CA_FILE"] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        let authority = std::fs::read(out.join("authority.pem")).unwrap();
        make(&request(&out, &["spike-2"])).unwrap();
        assert_eq!(std::fs::read(out.join("authority.pem")).unwrap(), authority);
        assert!(["spike-1", "spike-2", "admin"].iter().all(|id| node_starts(&out, id)));
        assert!(!node_starts(&out, "spike-3"));
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_their_owners_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        make(&request(folder.path(), &["a"])).unwrap();
        for name in ["authority.key", "a.key"] {
            assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn nothing_is_overwritten_without_being_told_to_and_an_authority_never() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        make(&request(folder.path(), &["a"])).unwrap();
        let (authority, certificate) = (read("authority.key"), read("a.pem"));
        let refusal = make(&request(folder.path(), &["b", "a"])).unwrap_err();
        assert!(refusal.contains("a.pem exists already") && !folder.path().join("b.pem").exists(), "{refusal}");
        make(&Request { force: true, ..request(folder.path(), &["a"]) }).unwrap();
        assert_eq!(read("authority.key"), authority);
        assert_ne!(read("a.pem"), certificate);
        assert!(node_starts(folder.path(), "a"));
        std::fs::remove_file(folder.path().join("authority.pem")).unwrap();
        assert!(make(&request(folder.path(), &["c"])).unwrap_err().contains("authority.pem"));
    }

    #[test]
    fn a_server_has_its_names_and_is_no_node() {
        let folder = tempfile::tempdir().unwrap();
        let servers = |text: &str| Request { servers: vec![text.parse().unwrap()], ..request(folder.path(), &[]) };
        assert!(make(&servers("rabbit")).unwrap_err().contains("--server rabbit="));
        make(&servers("rabbit=rabbit.internal,10.0.0.9")).unwrap();
        let pem = std::fs::read(folder.path().join("rabbit.pem")).unwrap();
        let certificate = crate::tls::certificates(Path::new("rabbit.pem"), &pem).unwrap().remove(0);
        assert_eq!(crate::tls::nodes_named_by(&certificate), []);
        let parsed = webpki::EndEntityCert::try_from(&certificate).unwrap();
        assert_eq!(parsed.valid_dns_names().collect::<Vec<_>>(), ["rabbit.internal"]);
        for wrong in ["authority", "", "a b", ".hidden"] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong:?}");
        }
    }
}
