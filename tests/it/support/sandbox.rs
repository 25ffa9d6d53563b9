//! `doorbuster sandbox` itself, in a process of its own; and somebody who gets its messages.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use doorbuster::payments::provider::{Provider, Scheme, Settings};
use serde_json::Value;

/// A sandbox that runs. Dropped, it is killed.
pub struct SandboxProgram {
    process: Child,
    url: String,
    folder: PathBuf,
}

impl SandboxProgram {
    /// Runs it on that folder until it says that it listens.
    pub fn start(data: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_doorbuster"))
            .current_dir(data)
            .arg("--data")
            .arg(data)
            .arg("sandbox")
            .env("DOORBUSTER__SANDBOX__LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(process.stdout.take().expect("it is a pipe")).lines();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            Some(format!("http://{}", rest.trim_end_matches("/sandbox")))
        });
        let url = url.unwrap_or_else(|| panic!("it does not say where it listens: {:?}", process.wait()));
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url, folder: data.join("sandbox") }
    }

    /// Where it is, like `http://127.0.0.1:4711`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What whoever sells shows it.
    pub fn secret(&self) -> String {
        std::fs::read_to_string(self.folder.join("provider.secret")).expect("it has one").trim().to_owned()
    }

    /// What its messages are signed with.
    pub fn webhook_secret(&self) -> String {
        std::fs::read_to_string(self.folder.join("webhook.secret")).expect("it has one").trim().to_owned()
    }

    /// How it is asked.
    pub fn provider(&self) -> Provider {
        Provider::new(&settings(Scheme::Standard, &format!("{}/sandbox", self.url), &self.secret())).expect("good settings")
    }

    /// Kills it, as a machine that loses its power would.
    pub fn kill(mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }
}

impl Drop for SandboxProgram {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// How a provider is asked in tests.
pub fn settings(scheme: Scheme, url: &str, secret: &str) -> Settings {
    Settings { scheme, url: url.to_owned(), secret: secret.into(), timeout: Duration::from_secs(5), in_flight_max: 64, ca_file: None }
}

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Headers of it, by name.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Message {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body, read.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("it is JSON")
    }
}

impl doorbuster::payments::webhook::Headers for Message {
    fn header(&self, name: &str) -> Option<&str> {
        Self::header(self, name)
    }
}

/// Somebody who gets messages.
#[derive(Clone)]
pub struct Mailbox {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    refusals: Arc<Mutex<u32>>,
}

impl Mailbox {
    /// Takes messages from now on, after having refused so many.
    pub fn open(refusals: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let this = Self { address, messages: Arc::default(), refusals: Arc::new(Mutex::new(refusals)) };
        let shared = web::Data::new(this.clone());
        let factory = move || App::new().app_data(shared.clone()).default_service(web::to(take));
        tokio::spawn(HttpServer::new(factory).workers(1).disable_signals().listen(listener).expect("it listens").run());
        this
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/here", self.address)
    }

    /// What came.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().expect("nobody panics with it").clone()
    }

    /// Waits until so many are there.
    pub async fn wait_for(&self, count: usize) -> Vec<Message> {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let messages = self.messages();
                if messages.len() >= count {
                    break messages;
                }
                pause.tick().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{count} messages were to come, and these did: {:?}", self.messages()))
    }
}

async fn take(mailbox: web::Data<Mailbox>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let mut refusals = mailbox.refusals.lock().expect("nobody panics with it");
    if *refusals > 0 {
        *refusals -= 1;
        return HttpResponse::ServiceUnavailable().finish();
    }
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    mailbox.messages.lock().expect("nobody panics with it").push(Message { headers, body: body.to_vec() });
    HttpResponse::Ok().finish()
}
