//! Entity tags: written for answers, read from `If-None-Match` and `If-Match`. Never guesses: a header that cannot be read
//! is a fault.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderValue};

use super::problem::Problem;
use crate::domain::Commodity;

/// The version of a commodity's terms, as a strong tag: what `If-Match` takes.
pub(crate) fn version_tag(version: u32) -> String {
    format!("\"{version}\"")
}

/// What buyers see of a commodity, as a weak tag: `server_time` differs between two answers that share one.
pub(crate) fn weak_tag(parts: &[u8]) -> String {
    format!("W/\"{:016x}\"", crate::ring::stable_hash(parts))
}

/// The bytes that change whenever what buyers see of a commodity does.
pub(crate) fn visible_bytes(commodity: &Commodity, state: crate::domain::CommodityState) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[..8].copy_from_slice(&commodity.id.get().to_be_bytes());
    bytes[8..12].copy_from_slice(&commodity.version.to_be_bytes());
    bytes[12..16].copy_from_slice(&commodity.stock.available.get().to_be_bytes());
    bytes[16] = state as u8;
    bytes
}

/// Whether the client has what this tag is for already (`If-None-Match`, compared weakly).
pub(crate) fn client_has(request: &HttpRequest, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(','));
    tags.any(|sent| sent.trim() == "*" || opaque(sent) == opaque(tag))
}

/// What a change expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever there is.
    Any,
    /// That version.
    Version(u32),
    /// Something this server never names: no version is it.
    Nothing,
}

/// The version a change expects (`If-Match`, compared strongly).
pub(crate) fn expected(request: &HttpRequest) -> Result<Expected, Problem> {
    let mut values = request.headers().get_all(header::IF_MATCH);
    match (values.next(), values.next()) {
        (None, _) => Ok(Expected::Any),
        (Some(value), None) => {
            expectation(value).ok_or_else(|| Problem::field("If-Match", "must be one entity tag, as ETag gave it, or *"))
        }
        (Some(_), Some(_)) => Err(Problem::field("If-Match", "given more than once")),
    }
}

fn expectation(value: &HeaderValue) -> Option<Expected> {
    let text = value.to_str().ok()?.trim();
    if text == "*" {
        return Some(Expected::Any);
    }
    let opaque = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
    if opaque.contains('"') {
        return None;
    }
    let version = opaque.parse().ok().filter(|version: &u32| text == version_tag(*version));
    Some(version.map_or(Expected::Nothing, Expected::Version))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn expects(text: &str) -> Option<Expected> {
        expected(&TestRequest::default().insert_header((header::IF_MATCH, text)).to_http_request()).ok()
    }

    #[test]
    fn a_change_expects_the_version_it_names() {
        assert_eq!(expected(&TestRequest::default().to_http_request()).ok(), Some(Expected::Any));
        assert_eq!(expects("*"), Some(Expected::Any));
        assert_eq!(expects("\"7\""), Some(Expected::Version(7)));
        assert_eq!(expects("W/\"7\""), Some(Expected::Nothing), "a weak tag never matches strongly");
        assert_eq!(expects("\"07\""), Some(Expected::Nothing));
        assert_eq!(expects("\"abc\""), Some(Expected::Nothing));
        for text in ["7", "\"7", "", "\"1\", \"2\""] {
            assert_eq!(expects(text), None, "{text}");
        }
    }

    #[test]
    fn a_tag_the_client_has_is_found_in_a_list() {
        let with = |text: &str| TestRequest::default().insert_header((header::IF_NONE_MATCH, text)).to_http_request();
        assert!(client_has(&with("\"a\", W/\"b\""), "W/\"b\""));
        assert!(client_has(&with("*"), "W/\"b\""));
        assert!(!client_has(&with("W/\"a\""), "W/\"b\""));
        assert!(!client_has(&TestRequest::default().to_http_request(), "W/\"b\""));
    }
}
