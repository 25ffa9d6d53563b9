//! Entity tags: written for answers, read from `If-None-Match` and `If-Match`. Never guesses: a header that cannot be read
//! is a fault.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, EntityTag, HeaderName};
use actix_web::{FromRequest, HttpRequest};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::problem::Problem;
use crate::domain::Commodity;

/// Versions one request may name, at most.
const VERSIONS_MAX: usize = 16;

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
    let Ok(current) = tag.parse::<EntityTag>() else { return false };
    match sent(request, &header::IF_NONE_MATCH) {
        Some(Sent::Any) => true,
        Some(Sent::Tags(tags)) => tags.iter().any(|tag| tag.weak_eq(&current)),
        None => false,
    }
}

/// Which version of a commodity a change is for (`If-Match`, compared strongly).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever it is.
    Any,
    /// One of these, in rising order. None at all where only tags were sent that this server never gives: no version is it.
    OneOf(Vec<u32>),
}

impl FromRequest for Expected {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(expected(request))
    }
}

fn expected(request: &HttpRequest) -> Result<Expected, Problem> {
    const FIELD: &str = "If-Match";
    if !request.headers().contains_key(header::IF_MATCH) {
        return Ok(Expected::Any);
    }
    let tags = match sent(request, &header::IF_MATCH) {
        None => return Err(Problem::field(FIELD, "must be entity tags, as ETag gave them, with commas between them, or *")),
        Some(Sent::Any) => return Ok(Expected::Any),
        Some(Sent::Tags(tags)) => tags,
    };
    let mut versions: Vec<u32> = tags.iter().filter_map(version_of).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > VERSIONS_MAX {
        return Err(Problem::field(FIELD, format!("must name at most {VERSIONS_MAX} versions")));
    }
    Ok(Expected::OneOf(versions))
}

/// What a header with entity tags says.
enum Sent {
    Any,
    Tags(Vec<EntityTag>),
}

/// None for a header that is not there or cannot be read. Several lines are one list.
///
/// The tags themselves are the framework's. Its lists are not: they are cut at every comma, also at one in a tag, and what cannot be read is
/// left out without a word.
fn sent(request: &HttpRequest, name: &HeaderName) -> Option<Sent> {
    let lines: Option<Vec<&str>> = request.headers().get_all(name).map(|line| line.to_str().ok()).collect();
    let lines = lines.filter(|lines| !lines.is_empty())?;
    if let [line] = lines.as_slice()
        && line.trim() == "*"
    {
        return Some(Sent::Any);
    }
    let mut tags = Vec::new();
    for mut rest in lines {
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            // A comma between the quotes is the tag's.
            let open = rest.find('"')?;
            let close = open + 1 + rest[open + 1..].find('"')?;
            let (tag, behind) = rest.split_at(close + 1);
            tags.push(tag.parse().ok()?);
            rest = behind.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }
    (!tags.is_empty()).then_some(Sent::Tags(tags))
}

fn version_of(tag: &EntityTag) -> Option<u32> {
    let version = tag.tag().parse().ok()?;
    tag.strong_eq(&EntityTag::new_strong(u32::to_string(&version))).then_some(version)
}

/// The `If-Match` of every call that changes a commodity.
pub(crate) struct IfMatch;

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$"));
        let header = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The `ETag` of the commodity as the operator saw it, several of them, or `*`: of any other version nothing changes",
            ))
            .schema(Some(schema));
        vec![header.build()]
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn expects(lines: &[&str]) -> Option<Expected> {
        let request = lines.iter().fold(TestRequest::default(), |request, line| request.append_header((header::IF_MATCH, *line)));
        expected(&request.to_http_request()).ok()
    }

    fn versions<const N: usize>(versions: [u32; N]) -> Option<Expected> {
        Some(Expected::OneOf(versions.into()))
    }

    #[test]
    fn a_change_expects_the_versions_it_names() {
        assert_eq!(expects(&[]), Some(Expected::Any));
        assert_eq!(expects(&["*"]), Some(Expected::Any));
        assert_eq!(expects(&["\"7\""]), versions([7]));
        assert_eq!(expects(&["\"9\", \"7\",W/\"8\" , \"7\""]), versions([7, 9]), "a weak tag never matches strongly");
        assert_eq!(expects(&["\"7\"", ",\"9\","]), versions([7, 9]), "several lines are one list");
        for text in ["W/\"7\"", "\"07\"", "\"abc\"", "\"a,b\"", "\"-1\"", "\"4294967296\""] {
            assert_eq!(expects(&[text]), versions([]), "{text}");
        }
        for text in ["7", "\"7", "", ",", "\"1\" \"2\"", "*, \"1\"", "w/\"1\"", "\"a b\"", "x\"1\""] {
            assert_eq!(expects(&[text]), None, "{text}");
        }
        assert_eq!(expects(&["*", "\"1\""]), None);
        let many = |count: u32| (1..=count).map(|version| format!("\"{version}\"")).collect::<Vec<_>>().join(",");
        assert!(expects(&[&many(16)]).is_some() && expects(&[&many(17)]).is_none());
    }

    #[test]
    fn a_tag_the_client_has_is_found_in_a_list() {
        let with = |text: &str| TestRequest::default().insert_header((header::IF_NONE_MATCH, text)).to_http_request();
        assert!(client_has(&with("\"a\", W/\"b\""), "W/\"b\""));
        assert!(client_has(&with("\"b\""), "W/\"b\""));
        assert!(client_has(&with("*"), "W/\"b\""));
        assert!(!client_has(&with("W/\"a\""), "W/\"b\""));
        assert!(!client_has(&with("b"), "W/\"b\""));
        assert!(!client_has(&TestRequest::default().to_http_request(), "W/\"b\""));
    }
}
