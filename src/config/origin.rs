//! Origins of pages, as browsers write them.

use std::fmt;
use std::str::FromStr;

/// Whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Everybody's: `*`.
    Any,
    /// One: `https://shop.example`, in the form a browser sends.
    One(String),
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "no origin like https://shop.example or http://localhost:3000, and not *";
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, rest) = text.split_once("://").ok_or(WRONG)?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
        let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte));
        if !is_scheme || !is_host || text.parse::<actix_web::http::Uri>().is_err() {
            return Err(WRONG);
        }
        // A browser leaves out the port that goes without saying.
        let usual = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => "",
        };
        let host = Some(usual).filter(|usual| !usual.is_empty()).and_then(|usual| host.strip_suffix(usual)).unwrap_or(host);
        Ok(Self::One(format!("{scheme}://{host}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::One(origin) => origin,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (text, origin) in [
            ("https://shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example/", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("https://shop.example:8443", "https://shop.example:8443"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            (" * ", "*"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), origin, "{text}");
        }
        for text in ["", "null", "shop.example", "https://", "https://shop.example/path", "https://*.example", "://x", "https://a b"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
