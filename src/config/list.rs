//! Settings that are lists: an array in the file, or one text with commas between the items, as the environment has it. White space
//! around items, empty items and a last comma do not count.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// For `#[serde(deserialize_with)]`: a list of what is read from text.
pub(super) fn list<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = deserializer.deserialize_any(Texts)?;
    texts.iter().map(|text| text.parse().map_err(|why| Error::custom(format!("{text:?}: {why}")))).collect()
}

/// For `#[serde(deserialize_with)]`: a list of networks; a single address is one of its own.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list::<D, Network>(deserializer).map(|networks| networks.into_iter().map(|Network(network)| network).collect())
}

/// `10.0.0.0/8`, `10.0.0.1`, `2001:db8::/32` or `::1`.
struct Network(IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| "no IP address, and no network like 10.0.0.0/8 or 2001:db8::/32")?;
        // An IPv4 client of a socket that speaks both is held against the IPv4 form.
        Ok(Self(match network {
            IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
                Some(address) => ipnet::Ipv4Net::new_assert(address, v6.prefix_len() - 96).into(),
                None => network,
            },
            _ => network,
        }))
    }
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list: an array of texts, or one text with commas between the items")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(items(text).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = array.next_element::<String>()? {
            texts.extend(items(&text));
        }
        Ok(texts)
    }
}

/// Line ends count as commas: a file may have one item on each line.
pub(super) fn items(text: &str) -> impl Iterator<Item = String> {
    text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}
