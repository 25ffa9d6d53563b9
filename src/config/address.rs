//! Where to listen, or where to be found: a name or an IP address, and a port. Names are looked up when they are needed, never when the
//! configuration is read: a tool may run where they mean nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// How long a name may take to be looked up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest name there is in the domain name system.
const NAME_BYTES_MAX: usize = 253;

/// A host and a port, as settings name them: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that names no host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no HOST:PORT, like 127.0.0.1:8080, [::1]:8080 or localhost:8080")]
pub struct NoAddress(String);

impl Address {
    /// The port; 0 = any free one.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Looks the name up: every address it has, those of IPv4 first, since most people and probes mean that by `localhost`. At least one.
    ///
    /// # Errors
    /// What the resolver says, or that it says nothing for ten seconds.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((self.host.as_str(), self.port))).await;
        let mut found: Vec<SocketAddr> = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        if found.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(found) }
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let wrong = || NoAddress(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        // Signs and blanks would pass the number's own parser.
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit())).and_then(|port| port.parse().ok());
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None if is_name(host) => host.to_owned(),
            None => return Err(wrong()),
        };
        Ok(Self { host, port: port.ok_or_else(wrong)? })
    }
}

/// A name, or an IPv4 address, which looks like one.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

impl TryFrom<String> for Address {
    type Error = NoAddress;

    fn try_from(text: String) -> Result<Self, NoAddress> {
        text.parse()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_or_an_ip_and_a_port() {
        for text in ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "spike-1.shop.internal:8090", "0.0.0.0:1", "[::]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(" localhost:80\n".parse::<Address>().unwrap().to_string(), "localhost:80");
        assert_eq!("[0:0::1]:80".parse::<Address>().unwrap().to_string(), "[::1]:80");
        for text in [
            "",
            "localhost",
            "8080",
            ":8080",
            "*:8080",
            "::1:8080",
            "[::1]",
            "[localhost]:1",
            "a b:1",
            "a:+1",
            "a:65536",
            "a:",
            "http://a:1",
        ] {
            assert!(text.parse::<Address>().unwrap_err().to_string().contains(&format!("{text:?}")), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_an_ip_is_not() {
        let resolved = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(resolved("192.0.2.1:5").resolve().await.unwrap(), ["192.0.2.1:5".parse::<SocketAddr>().unwrap()]);
        assert_eq!(resolved("[2001:db8::1]:5").resolve().await.unwrap(), ["[2001:db8::1]:5".parse::<SocketAddr>().unwrap()]);
        let local = resolved("localhost:5").resolve().await.unwrap();
        assert!(local.iter().all(|address| address.ip().is_loopback() && address.port() == 5), "{local:?}");
        assert!(local.is_sorted_by_key(SocketAddr::is_ipv6), "{local:?}");
        assert!(resolved("no-such-host.invalid:5").resolve().await.is_err());
    }
}
