//! Where load may be sent: this machine and nothing else. Never resolves a name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use hyper::header::HeaderValue;

/// A server on this machine, as a URL names it: `http://` and a loopback address or `localhost`, with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
    host: HeaderValue,
}

/// Why a URL is no target, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLoopback(String);

impl std::fmt::Display for NotLoopback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotLoopback {}

impl Target {
    /// Takes an address of this machine.
    ///
    /// # Errors
    /// [`NotLoopback`] for any other.
    pub fn new(address: SocketAddr) -> Result<Self, NotLoopback> {
        if !address.ip().is_loopback() {
            return Err(NotLoopback(format!("{address} is not this machine: load goes to loopback addresses only")));
        }
        Ok(Self::of_our_own(address))
    }

    /// Takes the address of a server that this process started itself, which may be in a network namespace of its own.
    #[must_use]
    pub fn of_our_own(address: SocketAddr) -> Self {
        let host = HeaderValue::from_str(&address.to_string()).expect("a socket address is a header value");
        Self { address, host }
    }

    /// Where to connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to put into the `Host` header.
    #[must_use]
    pub const fn host(&self) -> &HeaderValue {
        &self.host
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

impl FromStr for Target {
    type Err = NotLoopback;

    fn from_str(text: &str) -> Result<Self, NotLoopback> {
        let wrong = |why: &str| NotLoopback(format!("{text:?} is no target: {why}"));
        let uri: hyper::Uri = text.parse().map_err(|_| wrong("not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it must begin with http://"));
        }
        if uri.path() != "/" || uri.query().is_some() || text.contains('@') {
            return Err(wrong("only scheme, host and port belong here"));
        }
        let host = uri.host().unwrap_or_default();
        let ip: IpAddr = match host {
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .map_err(|_| wrong("the host must be a loopback address or localhost"))?,
        };
        Self::new(SocketAddr::new(ip, uri.port_u16().unwrap_or(80)))
    }
}

/// Whether that is the URL of a MySQL or MariaDB database on this machine.
#[must_use]
pub fn database_is_here(url: &str) -> bool {
    let Some(("mysql" | "mariadb", rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let server = if server.ends_with(']') || !server.contains(':') { format!("{server}:3306") } else { server.to_owned() };
    format!("http://{server}").parse::<Target>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_urls_are_targets() {
        for (url, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://127.8.9.10:1/", "127.8.9.10:1"),
            ("http://localhost:99", "127.0.0.1:99"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://127.0.0.1", "127.0.0.1:80"),
        ] {
            assert_eq!(url.parse::<Target>().unwrap().address(), address.parse().unwrap(), "{url}");
        }
    }

    #[test]
    fn everything_else_is_refused_in_one_line() {
        for url in [
            "http://10.0.0.1:8080",
            "http://0.0.0.0:8080",
            "http://[::]:8080",
            "http://[::ffff:10.0.0.1]:80",
            "http://example.com",
            "http://localhost.example.com:8080",
            "http://127.0.0.1@10.0.0.1:8080",
            "https://127.0.0.1:8080",
            "127.0.0.1:8080",
            "http://127.0.0.1:8080/path",
            "http://127.0.0.1:8080?x=1",
            "",
        ] {
            let refusal = url.parse::<Target>().expect_err(url).to_string();
            assert_eq!(refusal.lines().count(), 1, "{refusal}");
        }
    }

    #[test]
    fn a_database_is_here_at_a_loopback_address_only() {
        for url in ["mysql://root@127.0.0.1:3306/shop", "mariadb://root:p@ss@localhost/shop?ssl-mode=DISABLED", "mysql://[::1]/shop"] {
            assert!(database_is_here(url), "{url}");
        }
        for url in ["mysql://root@192.0.2.1/shop", "mysql://127.0.0.1@db.example.com/shop", "sqlite:data/x", "http://127.0.0.1:3306"] {
            assert!(!database_is_here(url), "{url}");
        }
    }
}
