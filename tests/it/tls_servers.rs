//! A broker and a database that take nothing but TLS, with an authority of their own: a whole sale, and what a process says that was told
//! something wrong of them.

use doorbuster::broker::Broker;
use doorbuster::cluster::{SpikeNode, StartError};
use doorbuster::config::{self, Config};
use doorbuster::domain::Partitions;
use doorbuster::engine::{Answer, Refusal};
use doorbuster::routing::Reply;
use doorbuster::store::Store;
use doorbuster::tls::Validity;

use crate::spikes::{Spikes, buy};
use crate::support::TestDatabase;
use crate::support::broker::{PrivateBroker, TestBroker};
use crate::support::cluster::{Cluster, eventually};
use crate::support::database;
use crate::support::private_database::PrivateDatabase;
use crate::support::tls::{Certificates, Shown};

fn broker_at(url: String) -> config::Broker {
    let mut config = Config::load(None).expect("the defaults are good").broker;
    config.url = Some(url.into());
    config
}

/// Why there is no connection to the broker, in one line.
async fn broker_refusal(url: String) -> String {
    let told = match Broker::new(&broker_at(url)) {
        Ok(broker) => broker.connect("a test").await.map(drop).expect_err("it is no good").to_string(),
        Err(error) => error.to_string(),
    };
    assert!(!told.contains('\n') && !told.contains("sesame"), "{told}");
    told
}

/// Why there is no connection to the database, in one line.
async fn database_refusal(url: &str) -> String {
    let told = Store::connect(url, &database::settings()).await.map(drop).expect_err("it is no good").to_string();
    assert!(!told.contains('\n') && !told.contains("sesame"), "{told}");
    told
}

fn says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_sale_over_a_broker_and_a_database_that_require_tls() {
    let certificates = Certificates::new();
    let shown = certificates.server("server", Validity::ANY_TIME);
    let (broker, database) = tokio::join!(PrivateBroker::start_with_tls(shown.clone()), PrivateDatabase::start_with_tls(&shown));
    sale(&broker, &database, &shown).await;
    mistakes_about_the_broker(&broker, &shown).await;
    mistakes_about_the_database(&database, &shown).await;
}

async fn sale(broker: &PrivateBroker, database: &PrivateDatabase, shown: &Shown) {
    let schema = TestDatabase::on(database.url(), &shown.mysql_parameters()).await;
    let cluster = Cluster::of(TestBroker::at(broker.url(), Partitions::DEFAULT), schema).await;
    let spikes = Spikes::of(cluster);
    let nodes = [spikes.start("a").await, spikes.start("b").await];
    eventually("both own something", async || spikes.owners().await.len() == 2).await;
    spikes.list(nodes[0].router(), 5).await;
    let mut accepted = 0;
    for buyer in 1..=6 {
        for id in 1..=8 {
            match buy(nodes[(buyer % 2) as usize].router(), id, buyer, "k").await {
                Reply::Done(Answer::Placed(_)) => accepted += 1,
                Reply::Refused(Refusal::SoldOut) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(accepted, 40);
    let listed = spikes.told("/admin/v1/nodes").await;
    assert!(listed.iter().all(|node| node["broker"] == "up"), "{listed:?}");
    for node in nodes {
        node.stop().await;
    }
    spikes.audit(accepted).await;
}

async fn mistakes_about_the_broker(broker: &PrivateBroker, shown: &Shown) {
    let at = |parameters: &str| format!("amqps://guest:sesame@127.0.0.1:{}/%2f?{parameters}", broker.port());
    let strangers = Certificates::new();
    let others = strangers.server("server", Validity::ANY_TIME);
    says(&broker_refusal(at("")).await, &["signed by no authority", "cacertfile"]);
    says(&broker_refusal(at(&others.amqp_parameters())).await, &["signed by"]);
    let authority = shown.authority.display();
    says(&broker_refusal(at(&format!("cacertfile={authority}"))).await, &["certificate of ours"]);
    let by_another_name = at(&shown.amqp_parameters()).replace("127.0.0.1", "127.0.0.2");
    assert!(!broker_refusal(by_another_name).await.is_empty());
    says(&broker_refusal(format!("amqp://guest:sesame@127.0.0.1:{}", broker.port())).await, &["amqps://"]);
    says(&broker_refusal(format!("amqps://guest:sesame@{}", plain_broker())).await, &["does not speak TLS"]);
    says(&broker_refusal(at("cacertfile=/no/such/file")).await, &["AMQP_URL", "/no/such/file cannot be read"]);
}

/// The shared broker, which speaks no TLS at that port.
fn plain_broker() -> String {
    let url = TestBroker::new(Partitions::DEFAULT).url().to_owned();
    let hosts = url.split('@').next_back().expect("a URL");
    hosts.split('/').next().expect("a host").to_owned()
}

async fn mistakes_about_the_database(database: &PrivateDatabase, shown: &Shown) {
    let at = |parameters: &str| format!("{}/mysql{parameters}", database.url().replace("root", "root:sesame"));
    let strangers = Certificates::new();
    let others = strangers.server("server", Validity::ANY_TIME);
    says(&database_refusal(&at(&others.mysql_parameters())).await, &["signed by"]);
    says(&database_refusal(&at("?ssl-mode=VERIFY_CA")).await, &["signed by no authority", "ssl-ca"]);
    says(&database_refusal(&format!("{}/mysql?ssl-mode=DISABLED", database.url())).await, &["TLS"]);
    says(&database_refusal(&at("?ssl-mode=VERIFY_CA&ssl-ca=/no/such/file")).await, &["/no/such/file cannot be read"]);
    let by_another_name = at(&shown.mysql_parameters()).replace("127.0.0.1", "127.0.0.2");
    assert!(!database_refusal(&by_another_name).await.is_empty());
    let mut config = Config::load(None).expect("the defaults are good");
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.node.internal_listen = config.http.listen.clone();
    config.auth.jwt_secret = Some("a secret for tests that is long enough".to_owned().into());
    config.auth.internal_secret = config.auth.jwt_secret.clone();
    config.broker.url = Some("amqp://127.0.0.1".to_owned().into());
    config.database.url = Some(at(&others.mysql_parameters()).into());
    let refusal = SpikeNode::start(&config).await.err().expect("its authority is another");
    assert!(matches!(refusal, StartError::Store(_)), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_has_expired_is_not_believed_and_it_is_said_why() {
    let certificates = Certificates::new();
    let expired = certificates.server("expired", Validity::days(time::macros::datetime!(2020-01-01 00:00 UTC), 30));
    let database = PrivateDatabase::start_with_tls(&expired).await;
    let authority = expired.authority.display();
    let told = database_refusal(&format!("{}/mysql?ssl-mode=VERIFY_CA&ssl-ca={authority}", database.url())).await;
    says(&told, &["has expired"]);
}
