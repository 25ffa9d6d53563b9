//! Which tokens of other issuers are believed, and whom they speak for.

mod attacks;
mod keys;
mod providers;
mod waiting;

#[path = "../../../../tests/it/support/issuer_keys.rs"]
mod issuer_keys;

use serde_json::{Value, json};

use super::*;
use crate::auth::Authenticator;
use issuer_keys::{IssuerKey, base64url, jwks};

const OWN_SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW_MS: i64 = 1_795_000_000_500;
const NOW: i64 = NOW_MS / 1000;
const ISSUER: &str = "https://issuer.example/";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).expect("the test's time is in range")
}

/// Issuers as a configuration has them, with what each leaves out.
fn config(issuers: &[Value]) -> config::Auth {
    let issuer = |given: &Value| {
        let mut issuer = json!({"name": "shop", "issuer": ISSUER, "audience": "doorbuster"});
        for (setting, value) in given.as_object().expect("an object") {
            issuer[setting] = value.clone();
        }
        serde_json::from_value(issuer).expect("the test's settings are good")
    };
    config::Auth {
        internal_secret: None,
        jwt_secret: None,
        issuer: None,
        audience: None,
        issuers: issuers.iter().map(issuer).collect(),
        token_ttl_seconds: 60,
        hashing_concurrency_max: 1,
    }
}

/// Who believes these issuers, or why there is nobody.
fn trying(issuers: &[Value]) -> Result<Authenticator, String> {
    Authenticator::new(&config(issuers), &OWN_SECRET.into()).map_err(|error| error.to_string())
}

fn believing(issuers: &[Value]) -> Authenticator {
    trying(issuers).expect("the test's issuers are good")
}

/// A file with these keys, for as long as it is held.
fn jwks_file(keys: &[&IssuerKey]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), jwks(keys).to_string()).expect("it is ours");
    file
}

/// Who believes one issuer with these keys and settings.
fn with_keys(keys: &[&IssuerKey], mut settings: Value) -> (tempfile::NamedTempFile, Authenticator) {
    let file = jwks_file(keys);
    settings["jwks_file"] = json!(file.path());
    let auth = believing(&[settings]);
    (file, auth)
}

/// What a good token says, but for what is given; null leaves a claim out.
fn claims(given: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "doorbuster", "sub": "alice", "exp": NOW + 60});
    for (claim, value) in given.as_object().expect("an object") {
        claims[claim] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

fn buyer(principal: &str) -> Result<Caller, Unauthenticated> {
    Ok(Caller { principal: principal.parse().expect("the test's principal is one"), role: Role::Buyer })
}

fn admin(principal: &str) -> Result<Caller, Unauthenticated> {
    buyer(principal).map(|caller| Caller { role: Role::Admin, ..caller })
}
