//! Where the servers are that a cluster needs. Never connects: that is [`super::reach`]'s.

use anyhow::Context;

/// The servers of a cluster.
#[derive(Clone, Debug)]
pub struct Services {
    /// MySQL or MariaDB. Whatever database the URL names: a cluster makes one of its own beside it.
    pub mysql: String,
    /// RabbitMQ.
    pub amqp: String,
    /// Whether that database server ends with this program: then nothing on it needs to be removed.
    pub mysql_is_ours: bool,
    /// The same of the broker.
    pub amqp_is_ours: bool,
    /// RabbitMQ as all processes are to have it, where it is a cluster of brokers.
    pub brokers_amqp: Option<String>,
    /// RabbitMQ as nodes that sell are to reach it, where that is another way.
    pub spikes_amqp: Option<String>,
}

impl Services {
    /// From `DOORBUSTER_TEST_MYSQL_URL` or `DATABASE_URL`, and `DOORBUSTER_TEST_AMQP_URL` or `AMQP_URL`; else those of this
    /// machine, with the accounts they come with.
    #[must_use]
    pub fn from_environment() -> Self {
        let first = |names: [&str; 2], default: &str| {
            names.into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| default.to_owned())
        };
        Self {
            mysql: first(["DOORBUSTER_TEST_MYSQL_URL", "DATABASE_URL"], "mysql://root@127.0.0.1:3306"),
            amqp: first(["DOORBUSTER_TEST_AMQP_URL", "AMQP_URL"], "amqp://guest:guest@127.0.0.1:5672/%2f"),
            mysql_is_ours: false,
            amqp_is_ours: false,
            brokers_amqp: None,
            spikes_amqp: None,
        }
    }
}

/// The URL of a server without the database it names, and of another database on it.
pub(super) fn beside(url: &str, name: &str) -> anyhow::Result<(String, String)> {
    let (scheme, rest) = url
        .split_once("://")
        .filter(|(scheme, _)| ["mysql", "mariadb"].contains(scheme))
        .context("a cluster needs MySQL or MariaDB: DATABASE_URL (or DOORBUSTER_TEST_MYSQL_URL) must begin with mysql:// or mariadb://")?;
    let (rest, query) = rest.split_once('?').map_or((rest, String::new()), |(rest, query)| (rest, format!("?{query}")));
    let authority = rest.split('/').next().unwrap_or_default();
    Ok((format!("{scheme}://{authority}{query}"), format!("{scheme}://{authority}/{name}{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_ones_own_is_beside_the_named_one() {
        let found = beside("mysql://root:secret@127.0.0.1:3306/shop?ssl-mode=DISABLED", "own").unwrap();
        let expected = ("mysql://root:secret@127.0.0.1:3306?ssl-mode=DISABLED", "mysql://root:secret@127.0.0.1:3306/own?ssl-mode=DISABLED");
        assert_eq!((found.0.as_str(), found.1.as_str()), expected);
        assert_eq!(beside("mysql://root@localhost", "own").unwrap().1, "mysql://root@localhost/own");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        assert!(beside("sqlite:data/x", "own").is_err());
    }
}
