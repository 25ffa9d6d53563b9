//! Whose request this is, by address: what the rate limits count. Never believes a header that a stranger could have sent.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

/// The client's address as far as it can be trusted. Present in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The peer's address; or, where the peer is a trusted proxy, the rightmost address in `X-Forwarded-For` that is not.
///
/// Each proxy appends the address it heard from, so what stands left of the first untrusted one is hearsay. A part that
/// is no address ends the walk at the last one that was.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return ClientAddress(client);
    }
    let values: Vec<&str> = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
    for part in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Some(address) = address_of(part.trim()) else { break };
        client = address;
        if !is_trusted(&client) {
            break;
        }
    }
    ClientAddress(client)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn found(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(value).unwrap());
        }
        let trusted = ["10.0.0.0/30", "2001:db8::1/128"].map(|text| text.parse().unwrap());
        client_address(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(found("192.0.2.7", &["203.0.113.9"]), "192.0.2.7");
    }

    #[test]
    fn a_trusted_proxy_names_its_client() {
        assert_eq!(found("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(found("::ffff:10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(found("2001:db8::1", &["[2001:db8::9]:80"]), "2001:db8::9");
    }

    #[test]
    fn what_the_client_wrote_itself_does_not_count() {
        assert_eq!(found("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(found("10.0.0.1", &["1.1.1.1", "203.0.113.9", "10.0.0.2"]), "203.0.113.9");
    }

    #[test]
    fn a_network_is_trusted_up_to_its_last_address() {
        assert_eq!(found("10.0.0.3", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(found("10.0.0.4", &["203.0.113.9"]), "10.0.0.4");
        assert_eq!(found("2001:db8::2", &["203.0.113.9"]), "2001:db8::2");
    }

    #[test]
    fn rubbish_ends_the_walk_at_the_last_address() {
        assert_eq!(found("10.0.0.1", &["1.1.1.1, rubbish, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(found("10.0.0.1", &[]), "10.0.0.1");
    }
}
