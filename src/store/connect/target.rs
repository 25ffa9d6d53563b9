//! What a database URL asks for. Never connects, and no error repeats the URL: it has the password.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use crate::store::StoreError;
use crate::tls;

/// The server or the file.
pub(super) enum Target {
    /// A file of SQLite.
    Sqlite {
        /// Where it is.
        path: PathBuf,
        /// Whether it is made if it is not there.
        may_be_made: bool,
    },
    /// A MySQL or MariaDB server.
    MySql(Box<MySqlConnectOptions>),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url
            .trim()
            .split_once(':')
            .ok_or_else(|| wrong("it must begin with sqlite:, mysql:// or mariadb://, like sqlite:data/doorbuster.db"))?;
        match scheme {
            "sqlite" => sqlite(rest),
            "mysql" | "mariadb" => mysql(rest),
            other => Err(wrong(&format!("unknown scheme {other:?}; known are sqlite:, mysql:// and mariadb://"))),
        }
    }
}

/// `PATH`, `//PATH` or `///PATH` from the root, and `?mode=rwc` or `?mode=rw`. Behind `//` the path is a URL's: `%20` is a blank.
fn sqlite(rest: &str) -> Result<Target, StoreError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut may_be_made = true;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        may_be_made = match parameter {
            "mode=rwc" => true,
            "mode=rw" => false,
            "mode=ro" | "mode=memory" => return Err(wrong("a database that cannot be written, or is in memory, keeps no orders")),
            // What is so in any case.
            "cache=private" => may_be_made,
            other => return Err(wrong(&format!("sqlite: knows the parameters mode=rwc and mode=rw, and not {other:?}"))),
        };
    }
    let in_url = path.strip_prefix("//");
    let plain = in_url.unwrap_or(path);
    if plain.is_empty() || plain.starts_with(':') || plain.contains('#') {
        return Err(wrong("sqlite: must be followed by the path of a file (memory is not durable)"));
    }
    let path = match in_url {
        Some(path) => {
            let options = SqliteConnectOptions::from_str(&format!("sqlite://{path}"));
            options.map_err(|_| wrong("the path of the file is no text when its %xx are read"))?.get_filename().to_owned()
        }
        None => Path::new(path).to_owned(),
    };
    Ok(Target::Sqlite { path, may_be_made })
}

fn mysql(rest: &str) -> Result<Target, StoreError> {
    let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}"))
        .map_err(|_| wrong("it must look like mysql://user:password@host:3306/database"))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(wrong("it must end with the name of a database, like mysql://user:password@host:3306/doorbuster"));
    }
    check_files(rest)?;
    // A URL has an IPv6 address in brackets, and whoever connects to it wants it without.
    let host = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    Ok(Target::MySql(Box::new(match host {
        Some(host) => options.host(&host),
        None => options,
    })))
}

/// Looks into the files that are named for TLS: the library only says that one of them is not there.
fn check_files(rest: &str) -> Result<(), StoreError> {
    let Ok(url) = reqwest::Url::parse(&format!("mysql:{rest}")) else { return Ok(()) };
    for (name, value) in url.query_pairs() {
        let is_file = !value.contains("-----BEGIN");
        let path = Path::new(&*value);
        let read = || tls::read(path);
        let checked = match &*name {
            "ssl-ca" | "sslca" | "ssl-cert" | "sslcert" if is_file => read().and_then(|pem| tls::certificates(path, &pem).map(drop)),
            "ssl-key" | "sslkey" if is_file => read().and_then(|pem| tls::private_key(path, &pem).map(drop)),
            _ => Ok(()),
        };
        checked.map_err(|error| wrong(&format!("{name}: {error}")))?;
    }
    Ok(())
}

fn wrong(what: &str) -> StoreError {
    StoreError::Connect(format!("database URL: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(url: &str) -> Option<(String, bool)> {
        match Target::parse(url) {
            Ok(Target::Sqlite { path, may_be_made }) => Some((path.display().to_string(), may_be_made)),
            Ok(Target::MySql(_)) | Err(_) => None,
        }
    }

    #[test]
    fn a_file_is_named_in_all_the_usual_ways() {
        for (url, path, may_be_made) in [
            ("sqlite:data/a.db", "data/a.db", true),
            ("sqlite:/data/a.db", "/data/a.db", true),
            ("sqlite://data/a.db", "data/a.db", true),
            ("sqlite://./a.db?mode=rwc", "./a.db", true),
            ("sqlite:///data/a.db?mode=rwc", "/data/a.db", true),
            ("sqlite:///data/a.db?mode=rw&cache=private\n", "/data/a.db", false),
            ("sqlite:a.db?", "a.db", true),
            ("sqlite:///my%20data/a.db", "/my data/a.db", true),
            ("sqlite:100%25.db", "100%25.db", true),
        ] {
            assert_eq!(file(url), Some((path.to_owned(), may_be_made)), "{url}");
        }
        for url in [
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite:a.db?mode=memory",
            "sqlite:a.db?mode=ro",
            "sqlite:a.db?x=1",
        ] {
            assert_eq!(file(url), None, "{url}");
        }
    }

    #[test]
    fn a_file_for_tls_that_is_none_is_named() {
        let url = |parameter: &str| format!("mysql://me:sesame@db/shop?ssl-mode=VERIFY_CA&{parameter}");
        for (parameter, said) in [
            ("ssl-ca=/no/such/file", "ssl-ca: the file /no/such/file cannot be read"),
            ("ssl-key=/dev/null", "ssl-key: the file /dev/null holds no private key"),
            ("ssl-cert=%2Fdev%2Fnull", "ssl-cert: the file /dev/null holds no certificate"),
        ] {
            let Err(error) = Target::parse(&url(parameter)) else { panic!("{parameter} is taken") };
            assert!(error.to_string().contains(said) && !error.to_string().contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_server_is_found_by_name_and_by_address() {
        for (url, host) in [
            ("mysql://me:sesame@db.internal:3307/shop", "db.internal"),
            ("mariadb://me@[::1]:3307/shop", "::1"),
            ("mysql://me@[2001:db8::1]/shop\n", "2001:db8::1"),
        ] {
            let Ok(Target::MySql(options)) = Target::parse(url) else { panic!("{url} is refused") };
            assert_eq!(options.get_host(), host);
            assert_eq!(options.get_database(), Some("shop"));
        }
        let Err(error) = Target::parse("mysql://me:sesame@db/") else { panic!("no database is named") };
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
}
