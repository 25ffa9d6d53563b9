//! Certificates for one test, in files of a temporary folder, with an authority of their own.

use std::path::{Path, PathBuf};

use doorbuster::config::PeerTls;
use doorbuster::tls::{Authority, Issued, Validity};

/// An authority and a folder for what it signs.
pub struct Certificates {
    authority: Authority,
    folder: tempfile::TempDir,
}

/// Where the files of one certificate are.
#[derive(Clone)]
pub struct Shown {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// Of a new authority.
    pub fn new() -> Self {
        let (authority, folder) = (Authority::new("a test", Validity::ANY_TIME), tempfile::tempdir().expect("a temporary folder"));
        std::fs::write(folder.path().join("authority.pem"), authority.certificate_pem()).expect("a file");
        Self { authority, folder }
    }

    /// The file of the authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The certificate of a node.
    pub fn node(&self, id: &str) -> PeerTls {
        let shown = self.put(id, self.authority.issue(&id.parse().expect("an id"), &[], Validity::ANY_TIME).expect("a certificate"));
        PeerTls { ca_file: Some(shown.authority), certificate_file: Some(shown.certificate), key_file: Some(shown.key) }
    }

    /// The certificate of a server on this machine, which clients can show too.
    pub fn server(&self, name: &str, validity: Validity) -> Shown {
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        self.put(name, self.authority.issue_for_server(&hosts, validity).expect("a certificate"))
    }

    fn put(&self, name: &str, issued: Issued) -> Shown {
        let path = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        let (certificate, key) = (path("pem"), path("key"));
        std::fs::write(&certificate, issued.certificate_pem).expect("a file");
        std::fs::write(&key, issued.key_pem).expect("a file");
        Shown { authority: self.authority(), certificate, key }
    }
}

impl Shown {
    /// What the URL of a broker that wants this says.
    pub fn amqp_parameters(&self) -> String {
        let [authority, certificate, key] = self.files();
        format!("cacertfile={authority}&certfile={certificate}&keyfile={key}")
    }

    /// What the URL of a database that wants this says.
    pub fn mysql_parameters(&self) -> String {
        let [authority, certificate, key] = self.files();
        format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={authority}&ssl-cert={certificate}&ssl-key={key}")
    }

    fn files(&self) -> [std::path::Display<'_>; 3] {
        [&self.authority, &self.certificate, &self.key].map(|path: &PathBuf| Path::display(path))
    }
}
