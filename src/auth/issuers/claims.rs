//! The claims of another issuer's token, read in one pass: those that every token has, and those that some issuer's configuration names.
//! Never checks them against a clock or a configuration.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::auth::numeric_date::NumericDate;

/// Where a token says something: a claim's name, or names with dots between them that lead into it. Names may have dots of their own, so
/// the longest that is there is followed first.
#[derive(Clone, Debug)]
pub(super) struct ClaimPath(Box<str>);

/// The names of claims that are to be kept.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<Box<str>>);

/// What a token says.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    pub(super) issuer: Option<Cow<'a, str>>,
    pub(super) expires: Option<NumericDate>,
    pub(super) not_before: Option<NumericDate>,
    /// Whether it says of itself that it is no access token.
    pub(super) is_for_something_else: bool,
    named: Vec<(Cow<'a, str>, Claim<'a>)>,
}

/// What some issuers say in the claim `typ` of what is no access token, though its header says `JWT` as all of theirs do.
const OTHER_TYPES: [&str; 4] = ["ID", "Refresh", "Offline", "Logout"];

/// The value of a claim.
#[derive(Debug, PartialEq)]
pub(super) enum Claim<'a> {
    Text(Cow<'a, str>),
    /// Of those that JSON's readers take for whole.
    Whole(i128),
    List(Vec<Claim<'a>>),
    /// Sorted, and no name twice.
    Object(Vec<(Cow<'a, str>, Claim<'a>)>),
    /// As good as absent.
    Null,
    /// A truth value or a fraction: nobody's name and nobody's role.
    Other,
}

impl ClaimPath {
    pub(super) fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// The value, if the token has one there.
    pub(super) fn find<'c, 'a>(&self, claims: &'c Claims<'a>) -> Option<&'c Claim<'a>> {
        find(&self.0, &claims.named).filter(|claim| **claim != Claim::Null)
    }
}

fn find<'c, 'a>(path: &str, members: &'c [(Cow<'a, str>, Claim<'a>)]) -> Option<&'c Claim<'a>> {
    let get = |name: &str| members.iter().find(|(member, _)| member == name).map(|(_, claim)| claim);
    if let Some(claim) = get(path) {
        return Some(claim);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| match get(&path[..dot]) {
        Some(Claim::Object(members)) => find(&path[dot + 1..], members),
        _ => None,
    })
}

impl Names {
    /// Also all that lead to this one.
    pub(super) fn add(&mut self, path: &ClaimPath) {
        let path = &path.0;
        self.0.extend(path.match_indices('.').map(|(dot, _)| path[..dot].into()));
        self.0.insert(path.clone());
    }

    /// Reads what a token says. A claim that counts and is there twice is a mistake: two readers could take it for two things.
    pub(super) fn read<'a>(&self, payload: &'a [u8]) -> Result<Claims<'a>, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        let claims = ReadClaims(self).deserialize(&mut json)?;
        json.end()?;
        Ok(claims)
    }
}

impl Claim<'_> {
    /// Whether it is this text, or a list that has it.
    pub(super) fn has(&self, is_wanted: impl Fn(&str) -> bool + Copy) -> bool {
        match self {
            Claim::Text(text) => is_wanted(text),
            Claim::List(items) => items.iter().any(|item| matches!(item, Claim::Text(text) if is_wanted(text))),
            Claim::Whole(_) | Claim::Object(_) | Claim::Null | Claim::Other => false,
        }
    }
}

struct ReadClaims<'n>(&'n Names);

impl<'de> DeserializeSeed<'de> for ReadClaims<'_> {
    type Value = Claims<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Claims<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadClaims<'_> {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims<'de>, A::Error> {
        let (mut issuer, mut expires, mut not_before) = (None, None, None);
        let mut is_for_something_else = false;
        let mut named: Vec<(Cow<'de, str>, Claim<'de>)> = Vec::new();
        while let Some(Text(name)) = members.next_key()? {
            match &*name {
                "iss" => once(&mut issuer, members.next_value::<Option<Text<'de>>>()?)?,
                "exp" => once(&mut expires, members.next_value::<Option<NumericDate>>()?)?,
                "nbf" => once(&mut not_before, members.next_value::<Option<NumericDate>>()?)?,
                counts if self.0.0.contains(counts) => {
                    if named.iter().any(|(other, _)| *other == name) {
                        return Err(twice());
                    }
                    named.push((name, members.next_value()?));
                }
                "typ" | "events" => is_for_something_else |= says_something_else(&name, &members.next_value()?),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        let issuer = issuer.flatten().map(|Text(issuer)| issuer);
        Ok(Claims { issuer, expires: expires.flatten(), not_before: not_before.flatten(), is_for_something_else, named })
    }
}

/// `events` is what a token tells that is about something that happened (RFC 8417), a logout among them.
fn says_something_else(name: &str, claim: &Claim<'_>) -> bool {
    match (name, claim) {
        ("typ", Claim::Text(typ)) => OTHER_TYPES.iter().any(|other| typ.eq_ignore_ascii_case(other)),
        ("events", claim) => *claim != Claim::Null,
        _ => false,
    }
}

fn once<T, E: Error>(place: &mut Option<T>, value: T) -> Result<(), E> {
    if place.replace(value).is_some() { Err(twice()) } else { Ok(()) }
}

fn twice<E: Error>() -> E {
    E::custom("a name is there twice")
}

/// A text that is borrowed where its JSON is plain.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadText;

        impl<'de> Visitor<'de> for ReadText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(ReadText)
    }
}

impl<'de> Deserialize<'de> for Claim<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadClaim)
    }
}

struct ReadClaim;

impl<'de> Visitor<'de> for ReadClaim {
    type Value = Claim<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a claim")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Claim<'de>, E> {
        Ok(Claim::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Claim<'de>, E> {
        Ok(Claim::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Claim<'de>, E> {
        Ok(Claim::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Claim<'de>, E> {
        Ok(Claim::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Claim<'de>, E> {
        Ok(Claim::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Claim<'de>, E> {
        Ok(Claim::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Claim<'de>, E> {
        Ok(Claim::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Claim<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Claim::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claim<'de>, A::Error> {
        let mut object: Vec<(Cow<'de, str>, Claim<'de>)> = Vec::new();
        while let Some(Text(name)) = members.next_key()? {
            object.push((name, members.next_value()?));
        }
        object.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if object.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(twice());
        }
        Ok(Claim::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, payload: &str) -> Option<String> {
        let path = ClaimPath::new(path);
        let mut names = Names::default();
        names.add(&path);
        let claims = names.read(payload.as_bytes()).expect("the test's claims can be read");
        path.find(&claims).map(|claim| format!("{claim:?}"))
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_the_way_to_it() {
        let text = |text: &str| Some(format!("Text({text:?})"));
        assert_eq!(found("sub", r#"{"sub":"a"}"#), text("a"));
        assert_eq!(found("cognito:groups", r#"{"cognito:groups":"a"}"#), text("a"));
        assert_eq!(found("https://shop.example/roles", r#"{"https://shop.example/roles":"a"}"#), text("a"));
        assert_eq!(found("realm_access.roles", r#"{"x":[1,{"roles":2}],"realm_access":{"roles":"a"}}"#), text("a"));
        assert_eq!(found("resource_access.my.shop.roles", r#"{"resource_access":{"my.shop":{"roles":"a"},"my":{}}}"#), text("a"));
        assert_eq!(found("https://shop.example/app.roles", r#"{"https://shop.example/app":{"roles":"a"}}"#), text("a"));
        assert_eq!(found("a.b", r#"{"a":{"b":"inside"},"a.b":"whole"}"#), text("whole"), "the longest name wins");
        assert_eq!(found("a.b", r#"{"a.b":null,"a":{"b":"x"}}"#), None, "null is absent");
        for payload in ["{}", r#"{"a":"b"}"#, r#"{"a":["b"]}"#, r#"{"a":{"c":1}}"#, r#"{"b":1}"#] {
            assert_eq!(found("a.b", payload), None, "{payload}");
        }
    }

    #[test]
    fn a_claim_that_counts_is_there_once() {
        let mut names = Names::default();
        names.add(&ClaimPath::new("realm_access.roles"));
        names.add(&ClaimPath::new("sub"));
        let reads = |payload: &str| names.read(payload.as_bytes()).is_ok();
        for payload in [
            r#"{"iss":"a","iss":"b"}"#,
            r#"{"exp":1,"exp":2}"#,
            r#"{"exp":null,"exp":2}"#,
            r#"{"nbf":1,"nbf":1}"#,
            r#"{"sub":"a","sub":"a"}"#,
            r#"{"sub":"a","s\u0075b":"b"}"#,
            r#"{"realm_access":{"roles":[],"roles":["admin"]}}"#,
            r#"{"realm_access":{"x":[{"y":1,"y":2}]}}"#,
            "[]",
            "1",
            "",
            r#"{"sub":"a"} {}"#,
        ] {
            assert!(!reads(payload), "{payload}");
        }
        assert!(reads(r#"{"email":"a","email":"b","sub":"a"}"#), "what nobody looks at may be there twice");
    }

    #[test]
    fn a_token_that_is_for_something_else_says_so() {
        let says = |payload: &str| Names::default().read(payload.as_bytes()).map(|claims| claims.is_for_something_else).ok();
        for payload in [
            r#"{"typ":"ID"}"#,
            r#"{"typ":"refresh"}"#,
            r#"{"typ":"Offline"}"#,
            r#"{"typ":"Logout"}"#,
            r#"{"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#,
            r#"{"typ":"Bearer","typ":"ID"}"#,
            r#"{"typ":"ID","typ":"Bearer"}"#,
        ] {
            assert_eq!(says(payload), Some(true), "{payload}");
        }
        for payload in ["{}", r#"{"typ":"Bearer"}"#, r#"{"typ":"JWT"}"#, r#"{"typ":7,"events":null}"#, r#"{"x":{"typ":"ID"}}"#] {
            assert_eq!(says(payload), Some(false), "{payload}");
        }
        // Where a configuration names such a claim, it is one like all others.
        assert_eq!(found("events.role", r#"{"events":{"role":"a"}}"#), Some("Text(\"a\")".to_owned()));
    }

    #[test]
    fn a_text_or_a_list_has_a_value_and_nothing_else_does() {
        let has = |json: &str| serde_json::from_str::<Claim>(json).expect("a claim").has(|text| text == "admin");
        for json in [r#""admin""#, r#"["x","admin"]"#] {
            assert!(has(json), "{json}");
        }
        for json in [r#""Admin""#, r#""shop admin""#, r#"[["admin"]]"#, r#"{"admin":"admin"}"#, "1", "true", "null", "1.5", "[]"] {
            assert!(!has(json), "{json}");
        }
    }
}
