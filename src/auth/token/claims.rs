//! The claims of a token of our own, parsed into what they mean. Never checks them against a clock or a configuration.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;

use crate::auth::endings::Standing;
use crate::auth::numeric_date::NumericDate;
use crate::domain::UserId;
use crate::store::Role;

/// The claims that count; a token may carry others.
#[derive(serde::Deserialize)]
pub(super) struct Claims {
    pub(super) sub: Subject,
    pub(super) exp: NumericDate,
    #[serde(default)]
    pub(super) nbf: Option<NumericDate>,
    #[serde(default)]
    pub(super) iss: Option<String>,
    #[serde(default)]
    pub(super) aud: Option<Audience>,
    #[serde(default)]
    pub(super) role: Option<Role>,
    /// Of our own tokens: when it was given, how often its account had been changed, and whether it is an account's at all. What is none
    /// of that says nothing: others use these names for something else.
    #[serde(default, deserialize_with = "seconds")]
    iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "whole_number")]
    r#gen: Option<i64>,
    #[serde(default, deserialize_with = "yes_or_no")]
    account: Option<bool>,
}

impl Claims {
    /// What a token of our own says of the account it was given to.
    pub(super) fn standing(&self) -> Standing {
        let issued_at_ms = self.iat.map_or(i64::MIN, NumericDate::millis);
        match (self.account, self.r#gen) {
            (Some(false), _) => Standing::OfNobody,
            (_, Some(generation)) => Standing::OfAccount { generation, issued_at_ms },
            (_, None) => Standing::Unsaid { issued_at_ms },
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NumericDate>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_i64())
}

fn yes_or_no<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_bool())
}

/// A user id: decimal digits as text (what the RFC wants) or a number.
#[derive(Clone, Copy)]
pub(super) struct Subject(UserId);

impl Subject {
    pub(super) fn user(self) -> UserId {
        self.0
    }
}

/// One audience or several.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(super) fn holds(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Several(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SubjectVisitor;
        impl Visitor<'_> for SubjectVisitor {
            type Value = Subject;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a positive whole number, as text or as a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Subject, E> {
                // One spelling for one user: no sign, no zero in front.
                if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('0') {
                    return Err(E::custom("sub is not a positive whole number"));
                }
                text.parse().map(Subject).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Subject, E> {
                UserId::new(number).map(Subject).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Subject, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(-1))
            }
        }
        deserializer.deserialize_any(SubjectVisitor)
    }
}
