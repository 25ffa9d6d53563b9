//! The settings that a cluster cannot do without. Never shows one.

use secrecy::{ExposeSecret, SecretString};

use crate::config::Config;
use crate::process::StartError;

/// The settings a cluster cannot do without.
pub(super) struct Secrets<'a> {
    pub(super) database_url: &'a SecretString,
    pub(super) jwt: &'a SecretString,
}

impl<'a> Secrets<'a> {
    /// Looks for all of them, so that all that is missing is told at once. `broker` is whether a URL of one is configured,
    /// or none is needed.
    pub(super) fn of(config: &'a Config, broker: bool) -> Result<Self, StartError> {
        let url = config.database.url.as_ref().filter(|url| {
            let url = url.expose_secret();
            url.starts_with("mysql:") || url.starts_with("mariadb:")
        });
        let is_known = config.auth.internal_secret.is_some() || config.peer.tls.certificate_file.is_some();
        let needed = [
            (url.is_some(), "a cluster needs one MySQL or MariaDB: set DATABASE_URL=mysql://USER:PASSWORD@HOST:3306/DATABASE"),
            (broker, "a cluster needs RabbitMQ: set AMQP_URL=amqp://USER:PASSWORD@HOST:5672"),
            (config.auth.jwt_secret.is_some(), "set DOORBUSTER__AUTH__JWT_SECRET to at least 32 random bytes, the same on all nodes"),
            (
                is_known,
                "set DOORBUSTER__AUTH__INTERNAL_SECRET to at least 32 random bytes, the same on all nodes (or certificates: docs/security.md)",
            ),
        ];
        match (url, &config.auth.jwt_secret) {
            (Some(database_url), Some(jwt)) if broker && is_known => Ok(Self { database_url, jwt }),
            _ => Err(StartError::Missing(needed.iter().filter(|(is_there, _)| !is_there).map(|(_, line)| (*line).to_owned()).collect())),
        }
    }
}
