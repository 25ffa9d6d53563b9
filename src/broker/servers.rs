//! Where the broker is: one URL with one host, or with several that are servers of one cluster of brokers; and which of them were not to be
//! had of late. Never connects, and never shows the password.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::BrokerError;
use super::tls::Tls;
use crate::config;

/// Bytes in a frame, at most. The library makes room for 32 frames in each direction of a connection, and a node has a connection for each
/// partition: with the server's 128 KiB that would be 8 MiB each. What is longer travels in several.
const FRAME_MAX: u32 = 16 * 1024;

/// How long a server that gave no connection, or whose connection was lost, is tried after all others.
const SHUNNED: Duration = Duration::from_secs(10);

/// The servers, in the order of the URL; at least one.
#[derive(Clone)]
pub(super) struct Servers {
    all: Vec<AMQPUri>,
    losses: Losses,
    /// How TLS is made with them, if it is.
    pub(super) tls: Tls,
}

impl Servers {
    /// Takes `amqp://USER:PASSWORD@HOST:PORT,HOST:PORT/VHOST`. Everything but host and port is the same for all.
    pub(super) fn parse(url: &SecretString, settings: &config::Broker) -> Result<Self, BrokerError> {
        // The parser's own errors are not shown: some repeat the URL, and the URL has the password.
        let wrong = |what: &str| {
            let form = "amqp://USER:PASSWORD@HOST:PORT/VHOST, with several HOST:PORT between commas for a cluster of brokers";
            BrokerError::Url(format!("broker.url (AMQP_URL) is not of the form {form}{what}"))
        };
        let (before, hosts, after) = split(url.expose_secret().trim()).ok_or_else(|| wrong(""))?;
        let mut common: AMQPUri = format!("{before}localhost{after}").parse().map_err(|_| wrong(""))?;
        let tls = Tls::of_url(&common.scheme, after).map_err(|why| BrokerError::Url(format!("broker.url (AMQP_URL): {why}")))?;
        if common.vhost.is_empty() {
            // amqp://host/ names the virtual host "" by the letter; everyone who writes it means the default one.
            common.vhost = "/".into();
        }
        if let Some(vhost) = &settings.vhost {
            common.vhost.clone_from(vhost);
        }
        // The server proposes 60 s; a peer that vanished without a word should be noticed sooner.
        common.query.heartbeat.get_or_insert(settings.heartbeat_seconds);
        common.query.frame_max.get_or_insert(FRAME_MAX);
        let default_port = match common.scheme {
            AMQPScheme::AMQP => 5672,
            AMQPScheme::AMQPS => 5671,
        };
        let server = |text: &str| {
            let (host, port) = host_and_port(text.trim(), default_port).ok_or_else(|| wrong(&format!(": {text:?} is no host and port")))?;
            let mut uri = common.clone();
            (uri.authority.host, uri.authority.port) = (host, port);
            Ok::<_, BrokerError>(uri)
        };
        match hosts {
            // amqp:/// means this machine.
            "" => Ok(Self { all: vec![common], losses: Losses::default(), tls }),
            hosts => Ok(Self { all: hosts.split(',').map(server).collect::<Result<_, _>>()?, losses: Losses::default(), tls }),
        }
    }

    /// All of them, each once, beginning with the one that a number chooses; but last those that were lost of late, the latest behind the
    /// others: whoever tries one that drops what it is sent has to wait for that to be sure.
    pub(super) fn beginning_at(&self, number: usize, now: Instant) -> Vec<&AMQPUri> {
        let count = self.all.len();
        let mut servers: Vec<_> = (0..count).map(|index| &self.all[(number % count + index) % count]).collect();
        let lost = self.losses.all();
        servers.sort_by_key(|server| lost.get(&address(server)).filter(|at| **at + SHUNNED > now));
        servers
    }

    /// What is known of losses, for whoever meets another.
    pub(super) const fn losses(&self) -> &Losses {
        &self.losses
    }
}

/// When servers were lost, by their addresses; of those that are there again nothing. All connections of a process tell it and learn from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Losses {
    /// That server gave no connection just now, or a connection to it went.
    pub(super) fn lost(&self, address: &str, now: Instant) {
        self.all().insert(address.to_owned(), now);
    }

    /// That server has given a connection.
    pub(super) fn found(&self, address: &str) {
        self.all().remove(address);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hosts and the virtual host; never the password.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.all.iter().map(address).collect();
        write!(f, "{}, vhost {}", hosts.join(","), self.all[0].vhost)
    }
}

/// A server, for people.
pub(super) fn address(uri: &AMQPUri) -> String {
    let (host, port) = (&uri.authority.host, uri.authority.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What comes before the hosts, the hosts, and what comes behind.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let scheme = url.find("://")? + 3;
    let end = url[scheme..].find(['/', '?', '#']).map_or(url.len(), |end| scheme + end);
    let hosts = url[scheme..end].rfind('@').map_or(scheme, |at| scheme + at + 1);
    Some((&url[..hosts], &url[hosts..end], &url[end..]))
}

fn host_and_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let port = if port.is_empty() && !text.ends_with(':') { default_port } else { port.parse().ok().filter(|port| *port != 0)? };
    (!host.is_empty() && host.bytes().all(is_name)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> config::Broker {
        config::Broker {
            url: None,
            vhost: None,
            prefix: "doorbuster".into(),
            heartbeat_seconds: 10,
            answer_timeout_ms: 5000,
            reconnect_delay_min_ms: 100,
            reconnect_delay_max_ms: 250,
        }
    }

    fn servers(url: &str) -> Result<Servers, BrokerError> {
        Servers::parse(&url.to_owned().into(), &settings())
    }

    fn first(url: &str) -> AMQPUri {
        servers(url).unwrap().all.remove(0)
    }

    #[test]
    fn a_url_without_a_vhost_means_the_default_one() {
        for url in ["amqp://guest:guest@127.0.0.1:5672", "amqp://guest:guest@127.0.0.1:5672/", "amqp://guest:guest@127.0.0.1/%2f"] {
            assert_eq!(first(url).vhost, "/", "{url}");
        }
    }

    #[test]
    fn a_configured_vhost_wins_over_the_one_of_the_url() {
        let settings = config::Broker { vhost: Some("shop".into()), ..settings() };
        let servers = Servers::parse(&"amqp://one,two/other".to_owned().into(), &settings).unwrap();
        assert!(servers.all.iter().all(|server| server.vhost == "shop"));
    }

    #[test]
    fn the_heartbeat_of_the_url_wins_over_the_configured_one() {
        assert_eq!(first("amqp://127.0.0.1/?heartbeat=3").query.heartbeat, Some(3));
        assert_eq!(first("amqp://127.0.0.1").query.heartbeat, Some(10));
    }

    #[test]
    fn several_hosts_share_everything_else() {
        let servers = servers("amqp://me:a%40b@one:5673, two ,[fd00::5],10.0.0.1:5674/shop?heartbeat=3").unwrap();
        assert_eq!(servers.to_string(), "one:5673,two:5672,[fd00::5]:5672,10.0.0.1:5674, vhost shop");
        assert!(servers.all.iter().all(|server| server.authority.userinfo.password == "a@b" && server.query.heartbeat == Some(3)));
        assert_eq!(first("amqps://one").authority.port, 5671);
        assert_eq!(address(&first("amqp://me:pass,word@one/")), "one:5672", "a comma before the @ is the password's");
        assert_eq!(address(&first("amqp://[::1]:5673/")), "[::1]:5673");
        assert_eq!(address(&first("amqp:///shop")), "localhost:5672");
    }

    #[test]
    fn each_server_is_tried_once_from_any_one_on() {
        let (servers, now) = (servers("amqp://one,two,three").unwrap(), Instant::now());
        assert_eq!(
            [0, 1, 2, 3, usize::MAX].map(|number| order(&servers, number, now)),
            ["one two three", "two three one", "three one two", "one two three", "one two three",]
        );
    }

    fn order(servers: &Servers, number: usize, now: Instant) -> String {
        servers.beginning_at(number, now).iter().map(|server| server.authority.host.clone()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn servers_that_were_lost_of_late_come_last_until_they_are_found_or_time_has_passed() {
        let (servers, start) = (servers("amqp://one,two,three").unwrap(), Instant::now());
        let later = start + Duration::from_millis(1);
        servers.clone().losses().lost("one:5672", start);
        assert_eq!(order(&servers, 0, later), "two three one", "whoever has a copy knows");
        servers.losses().lost("two:5672", later);
        assert_eq!([0, 1, 2].map(|number| order(&servers, number, later)), ["three one two"; 3]);
        servers.losses().found("two:5672");
        assert_eq!(order(&servers, 0, later), "two three one");
        assert_eq!(order(&servers, 0, start + SHUNNED), "one two three");
    }

    #[test]
    fn an_error_says_which_host_is_none_and_never_the_password() {
        for (url, named) in [
            ("http://guest:sesame@127.0.0.1", ""),
            ("guest:sesame@one", ""),
            ("amqp://guest:sesame@one,,two/", "\"\""),
            ("amqp://guest:sesame@one:56720000/", "\"one:56720000\""),
            ("amqp://guest:sesame@one:0/", "\"one:0\""),
            ("amqp://guest:sesame@one:/", "\"one:\""),
            ("amqp://guest:sesame@one,t wo/", "\"t wo\""),
            ("amqp://guest:sesame@[one]/", "\"[one]\""),
            ("amqp://guest:sesame@[::1]5672/", "\"[::1]5672\""),
        ] {
            let error = servers(url).map(|servers| servers.to_string()).unwrap_err().to_string();
            assert!(error.contains("AMQP_URL") && error.contains(named) && !error.contains("sesame"), "{url}: {error}");
        }
    }
}
