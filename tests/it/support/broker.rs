//! Queues for one test on a shared broker, gone when the test is over; and a broker of its own for a test that hurts one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use doorbuster::broker::Broker;
use doorbuster::config::Config;
use doorbuster::domain::{PartitionId, Partitions};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::TestDatabase;
use super::tls::Shown;

/// Names on the broker that no other test has.
pub struct TestBroker {
    url: String,
    prefix: String,
    partitions: Partitions,
}

impl TestBroker {
    /// On the shared broker, at `DOORBUSTER_TEST_AMQP_URL` or on this machine.
    pub fn new(partitions: Partitions) -> Self {
        Self::at(std::env::var("DOORBUSTER_TEST_AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into()), partitions)
    }

    /// On some broker.
    pub fn at(url: String, partitions: Partitions) -> Self {
        Self { url, prefix: unique_name(), partitions }
    }

    /// What `AMQP_URL` would be.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// The configuration of a process on this broker and that database, impatient.
    pub fn config(&self, database: &TestDatabase) -> Config {
        let mut config = Config::load(None).expect("the defaults are good");
        config.database.url = Some(database.url().to_owned().into());
        config.broker.url = Some(self.url.clone().into());
        config.broker.vhost = None;
        config.broker.prefix.clone_from(&self.prefix);
        config.broker.reconnect_delay_min_ms = 20;
        config.broker.reconnect_delay_max_ms = 200;
        config.consumer.stopped_retry_ms = 200;
        config
    }

    /// The queues as the program knows them.
    pub fn broker(&self, database: &TestDatabase) -> Broker {
        Broker::new(&self.config(database).broker).expect("a broker's URL")
    }

    /// The name of a partition's log.
    pub fn log(&self, partition: PartitionId) -> ShortString {
        format!("{}.partition.{partition}.log", self.prefix).into()
    }

    /// The name of a partition's lock.
    pub fn lock(&self, partition: PartitionId) -> ShortString {
        format!("{}.partition.{partition}.owner", self.prefix).into()
    }

    /// The name of the dead-letter queue.
    pub fn dead(&self) -> ShortString {
        format!("{}.dead", self.prefix).into()
    }

    /// A connection behind the program's back.
    pub async fn raw(&self) -> Raw {
        let connection = connect(&self.url).await;
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Raw { channel, _connection: connection }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let (url, prefix, partitions) = (self.url.clone(), self.prefix.clone(), self.partitions);
        // The test's own runtime may be going down with a panic: this needs one of its own, on a thread of its own.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                // A broker that the test has killed has nothing to clean up.
                let Ok(connection) = open(&url).await else { return };
                for partition in partitions.iter() {
                    delete(&connection, format!("{prefix}.partition.{partition}.log")).await;
                }
                delete(&connection, format!("{prefix}.dead")).await;
                if let Ok(channel) = connection.create_channel().await {
                    drop(channel.exchange_delete(prefix.as_str().into(), ExchangeDeleteOptions::default()).await);
                }
            });
        });
        drop(dropper.join());
    }
}

/// A queue that is not there is what is wanted.
async fn delete(connection: &Connection, queue: String) {
    if let Ok(channel) = connection.create_channel().await {
        drop(channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await);
    }
}

/// Straight to the broker.
pub struct Raw {
    pub channel: Channel,
    _connection: Connection,
}

impl Raw {
    /// Puts a message into a queue.
    pub async fn publish(&self, queue: ShortString, body: &[u8]) {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let confirm = self.channel.basic_publish("".into(), queue, BasicPublishOptions::default(), body, properties).await;
        confirm.expect("published").await.expect("confirmed");
    }

    /// Makes a queue that lives until something ends it.
    pub async fn declare(&self, queue: &str) {
        self.channel.queue_declare(queue.into(), QueueDeclareOptions::default(), FieldTable::default()).await.expect("a queue");
    }

    /// Messages that wait in a queue and are not on their way.
    pub async fn depth(&self, queue: ShortString) -> u32 {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        self.channel.queue_declare(queue, options, FieldTable::default()).await.expect("a queue").message_count()
    }

    /// Puts many messages into a queue, without waiting for each.
    pub async fn publish_all(&self, queue: ShortString, bodies: impl IntoIterator<Item = Vec<u8>>) {
        let mut confirms = Vec::new();
        for body in bodies {
            let properties = BasicProperties::default().with_delivery_mode(2);
            let confirm = self.channel.basic_publish("".into(), queue.clone(), BasicPublishOptions::default(), &body, properties).await;
            confirms.push(confirm.expect("published"));
        }
        for confirm in confirms {
            confirm.await.expect("confirmed");
        }
    }

    /// Takes everything out of a queue: what its readers of before held too, when they are gone.
    pub async fn drain(&self, queue: ShortString) -> Vec<Vec<u8>> {
        const END: &[u8] = b"the end of it";
        self.publish(queue.clone(), END).await;
        let options = BasicConsumeOptions::default();
        let mut consumer = self.channel.basic_consume(queue, "drainer".into(), options, FieldTable::default()).await.expect("a consumer");
        let mut drained = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
            let delivery = next.expect("the end comes").expect("the consumer lives").expect("a delivery");
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
            if delivery.data == END {
                break;
            }
            drained.push(delivery.data);
        }
        self.channel.basic_cancel("drainer".into(), Default::default()).await.expect("cancelled");
        drained
    }

    /// Takes that many messages out of a queue.
    pub async fn take(&self, queue: ShortString, count: usize) -> Vec<lapin::message::Delivery> {
        let options = BasicConsumeOptions::default();
        let mut consumer = self.channel.basic_consume(queue, "taker".into(), options, FieldTable::default()).await.expect("a consumer");
        let mut taken = Vec::new();
        while taken.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
            let delivery = next.unwrap_or_else(|_| panic!("only {} of {count} messages came", taken.len()));
            let delivery = delivery.expect("the consumer lives").expect("a delivery");
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
            taken.push(delivery);
        }
        self.channel.basic_cancel("taker".into(), Default::default()).await.expect("cancelled");
        taken
    }
}

/// How often a private broker is started, at most.
const STARTS_MAX: u32 = 3;

/// A broker of the test's own, on spare ports, with its data in a temporary folder.
pub struct PrivateBroker {
    server: Child,
    port: u16,
    folder: tempfile::TempDir,
    /// What it shows, if it speaks nothing but TLS; it wants a certificate of the same authority.
    tls: Option<Shown>,
}

impl PrivateBroker {
    /// Starts one and waits until it speaks AMQP.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, with TLS and nothing else.
    pub async fn start_with_tls(shown: Shown) -> Self {
        Self::start_with(Some(shown)).await
    }

    async fn start_with(tls: Option<Shown>) -> Self {
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let port = spare_port();
            let server = launch(folder.path(), port, tls.as_ref());
            let mut broker = Self { server, port, folder, tls: tls.clone() };
            // Between the choice of a port and its use somebody else may have taken it: then the server ends at once.
            if broker.is_listening().await {
                return broker;
            }
        }
        panic!("no private broker started in {STARTS_MAX} tries, on other ports each time");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        match &self.tls {
            None => format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port),
            Some(shown) => format!("amqps://guest:guest@127.0.0.1:{}/%2f?{}", self.port, shown.amqp_parameters()),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it without a word, as `kill -9` does.
    pub fn kill(&mut self) {
        kill(&mut self.server, self.folder.path());
    }

    /// Starts it again on the same data, after a kill.
    pub async fn restart(&mut self) {
        self.server = launch(self.folder.path(), self.port, self.tls.as_ref());
        assert!(self.is_listening().await, "the private broker on port {} did not start again", self.port);
    }

    /// Runs a command of `rabbitmqctl` against it, and gives what that prints.
    pub async fn control(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new(tool("rabbitmqctl"));
        environment(command.as_std_mut(), self.folder.path(), self.port);
        let output = command.args(["--node", &node(self.port)]).args(arguments).output().await.expect("rabbitmqctl runs");
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until it speaks AMQP; false if it has ended instead.
    async fn is_listening(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(120);
        while open(&self.url()).await.is_err() {
            if self.server.try_wait().expect("it is our child").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "the private broker on port {} did not start: see {:?}", self.port, self.folder.path());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        true
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        kill(&mut self.server, self.folder.path());
    }
}

/// The script that was started, and the machine it started.
fn kill(server: &mut Child, folder: &Path) {
    if let Ok(pid) = std::fs::read_to_string(folder.join("pid")) {
        drop(Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status());
        drop(std::fs::remove_file(folder.join("pid")));
    }
    drop(server.kill());
    drop(server.wait());
}

fn launch(folder: &Path, port: u16, tls: Option<&Shown>) -> Child {
    let mut command = Command::new(tool("rabbitmq-server"));
    environment(&mut command, folder, port);
    std::fs::write(folder.join("plugins"), "[].").expect("a file");
    let mut settings = "disk_free_limit.absolute = 10MB\n".to_owned();
    if let Some(Shown { authority, certificate, key }) = tls {
        // Set in the environment, it would be a port without TLS.
        command.env_remove("RABBITMQ_NODE_IP_ADDRESS").env_remove("RABBITMQ_NODE_PORT");
        let [authority, certificate, key] = [authority, certificate, key].map(|path| path.display());
        settings += &format!(
            "listeners.tcp = none\nlisteners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {authority}\n\
             ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n"
        );
    }
    std::fs::write(folder.join("rabbitmq.conf"), settings).expect("a file");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rabbitmq-server can be started")
}

fn environment(command: &mut Command, folder: &Path, port: u16) {
    for (key, path) in [
        ("HOME", ""),
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_PID_FILE", "pid"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
    ] {
        command.env(key, folder.join(path));
    }
    command
        // A crash dump of the server would be left in the folder it was started in.
        .current_dir(folder)
        .env("RABBITMQ_NODENAME", node(port))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", (port + 1).to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_ERLANG_COOKIE", "doorbuster-test");
}

fn node(port: u16) -> String {
    format!("doorbuster-test-{port}@localhost")
}

/// The server's own scripts, not the distribution's wrappers: those change the user.
fn tool(name: &str) -> std::path::PathBuf {
    let own = Path::new("/usr/lib/rabbitmq/bin").join(name);
    if own.exists() { own } else { name.into() }
}

/// Two ports in a row that nobody listens on now.
fn spare_port() -> u16 {
    loop {
        let first = std::net::TcpListener::bind("127.0.0.1:0").expect("a spare port");
        let port = first.local_addr().expect("its address").port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos();
    format!("doorbuster-test-{}-{nanos}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A connection to a broker, with TLS as its URL says.
async fn open(url: &str) -> lapin::Result<Connection> {
    let uri: AMQPUri = url.parse().expect("a broker's URL");
    let parameter = |name: &str| {
        let path = url.split(['?', '&']).find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='));
        path.map(|path| std::fs::read(path).expect("its file is there"))
    };
    let cert_chain = parameter("cacertfile").map(|pem| String::from_utf8(pem).expect("it is PEM"));
    let identity = parameter("certfile").zip(parameter("keyfile")).map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key });
    let tls = OwnedTLSConfig { identity, cert_chain };
    Connection::connect_uri_with_config(uri, ConnectionProperties::default(), tls, lapin::runtime::default_runtime()?).await
}

async fn connect(url: &str) -> Connection {
    match open(url).await {
        Ok(connection) => connection,
        Err(error) => panic!("no broker at {url}: start RabbitMQ or set AMQP_URL (script/test does): {error}"),
    }
}
