//! What is believed and what is not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::auth::TOKEN_BYTES_MAX;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW_MS: i64 = 1_795_000_000_500;
const NOW: i64 = NOW_MS / 1000;

fn config() -> config::Auth {
    config::Auth {
        internal_secret: None,
        jwt_secret: None,
        issuer: None,
        audience: None,
        issuers: Vec::new(),
        token_ttl_seconds: 60,
        hashing_concurrency_max: 1,
    }
}

fn authenticator(config: &config::Auth) -> Authenticator {
    Authenticator::new(config, &SECRET.into()).expect("the test's configuration is good")
}

fn signed(algorithm: Algorithm, claims: &Value, secret: &[u8]) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).expect("signing works")
}

/// Verifies these claims, signed with the right secret, without issuer or audience configured.
fn verify(claims: &Value) -> Result<Caller, Unauthenticated> {
    authenticator(&config()).verify_at(&signed(Algorithm::HS256, claims, SECRET.as_bytes()), at(NOW_MS))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).expect("the test's time is in range")
}

fn user(id: i64) -> UserId {
    UserId::new(id).expect("the test's id is positive")
}

fn buyer(user: UserId) -> Caller {
    Caller { principal: user.into(), role: Role::Buyer }
}

#[test]
fn a_minted_token_is_believed_until_the_instant_it_expires() {
    let auth = authenticator(&config());
    for role in [Role::Buyer, Role::Admin] {
        let token = auth.mint(user(42), role, at(NOW_MS));
        assert_eq!(auth.verify_at(&token, at(NOW_MS)), Ok(Caller { principal: user(42).into(), role }));
        assert_eq!(auth.verify_at(&token, at((NOW + 60) * 1000 - 1)), Ok(Caller { principal: user(42).into(), role }));
        assert_eq!(auth.verify_at(&token, at((NOW + 60) * 1000)), Err(Unauthenticated::Expired));
    }
}

#[test]
fn the_system_clock_decides_when_none_is_given() {
    let auth = authenticator(&config());
    let seconds = clock::system().millis() / 1000;
    let token = |exp: i64| signed(Algorithm::HS256, &json!({"sub": "42", "exp": exp}), SECRET.as_bytes());
    assert_eq!(auth.verify(&token(seconds + 60)), Ok(buyer(user(42))));
    assert_eq!(auth.verify(&token(seconds - 1)), Err(Unauthenticated::Expired));
}

#[test]
fn a_token_without_a_usable_exp_is_refused() {
    for exp in [json!(null), json!("tomorrow"), json!(true), json!([NOW + 60])] {
        assert_eq!(verify(&json!({"sub": "42", "exp": exp})), Err(Unauthenticated::Claims), "{exp}");
    }
    assert_eq!(verify(&json!({"sub": "42"})), Err(Unauthenticated::Claims));
    for exp in [json!(0), json!(-1), json!(NOW - 1), json!(NOW), json!(NOW as f64 + 0.5)] {
        assert_eq!(verify(&json!({"sub": "42", "exp": exp})), Err(Unauthenticated::Expired), "{exp}");
    }
    for exp in [json!(NOW + 1), json!(NOW as f64 + 0.75), json!(u64::MAX), json!(1e300)] {
        assert_eq!(verify(&json!({"sub": "42", "exp": exp})), Ok(buyer(user(42))), "{exp}");
    }
}

#[test]
fn a_token_is_refused_before_its_nbf() {
    let with_nbf = |nbf: i64| verify(&json!({"sub": "42", "exp": NOW + 60, "nbf": nbf}));
    assert_eq!(with_nbf(NOW + 1), Err(Unauthenticated::NotYetValid));
    assert_eq!(with_nbf(NOW), Ok(buyer(user(42))));
}

#[test]
fn a_subject_is_a_positive_whole_number_as_text_or_number() {
    let with_sub = |sub: &Value| verify(&json!({"sub": sub, "exp": NOW + 60}));
    for sub in [json!("42"), json!(42)] {
        assert_eq!(with_sub(&sub), Ok(buyer(user(42))), "{sub}");
    }
    assert_eq!(with_sub(&json!("9223372036854775807")), Ok(buyer(user(i64::MAX))));
    for sub in [
        json!("0"),
        json!("-1"),
        json!("+1"),
        json!("042"),
        json!(""),
        json!(" 42"),
        json!("alice"),
        json!("9223372036854775808"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(null),
        json!(["42"]),
    ] {
        assert_eq!(with_sub(&sub), Err(Unauthenticated::Claims), "{sub}");
    }
    assert_eq!(verify(&json!({"exp": NOW + 60})), Err(Unauthenticated::Claims));
}

#[test]
fn a_role_is_admin_or_buyer_or_absent() {
    let with_role = |role: &str| verify(&json!({"sub": "42", "exp": NOW + 60, "role": role}));
    assert_eq!(with_role("admin"), Ok(Caller { principal: user(42).into(), role: Role::Admin }));
    assert_eq!(with_role("buyer"), Ok(buyer(user(42))));
    assert_eq!(with_role("Admin"), Err(Unauthenticated::Claims));
}

#[test]
fn alg_none_is_refused() {
    let auth = authenticator(&config());
    let claims = json!({"sub": "42", "exp": NOW + 60});
    for alg in ["none", "None", "NONE", "nOnE"] {
        assert_eq!(auth.verify_at(&unsigned(&json!({"alg": alg}), &claims), at(NOW_MS)), Err(Unauthenticated::Algorithm), "{alg}");
    }
    // Without a signature, a named algorithm does not help either.
    assert_eq!(auth.verify_at(&unsigned(&json!({"alg": "HS256"}), &claims), at(NOW_MS)), Err(Unauthenticated::Signature));
}

#[test]
fn a_token_of_another_key_or_algorithm_is_refused() {
    let auth = authenticator(&config());
    let claims = json!({"sub": "42", "exp": NOW + 60});
    let other_key = signed(Algorithm::HS256, &claims, b"another secret of more than 32 bytes");
    assert_eq!(auth.verify_at(&other_key, at(NOW_MS)), Err(Unauthenticated::Signature));
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(auth.verify_at(&signed(algorithm, &claims, SECRET.as_bytes()), at(NOW_MS)), Err(Unauthenticated::Algorithm));
    }
    assert_eq!(auth.verify_at(include_str!("../../../tests/data/rs256.jwt").trim(), at(NOW_MS)), Err(Unauthenticated::Algorithm));
}

#[test]
fn a_changed_token_is_refused() {
    let auth = authenticator(&config());
    let token = signed(Algorithm::HS256, &json!({"sub": "42", "exp": NOW + 60}), SECRET.as_bytes());
    let forged = base64url(json!({"sub": "1", "exp": NOW + 60, "role": "admin"}).to_string().as_bytes());
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(auth.verify_at(&format!("{}.{forged}.{}", parts[0], parts[2]), at(NOW_MS)), Err(Unauthenticated::Signature));
}

#[test]
fn what_is_no_token_is_refused() {
    let auth = authenticator(&config());
    for text in ["", ".", "..", "...", "words", "a.b", "a.b.c", "a.b.c.d", "\u{1F600}.\u{1F600}.\u{1F600}"] {
        assert!(auth.verify_at(text, at(NOW_MS)).is_err(), "{text:?}");
    }
    let token = signed(Algorithm::HS256, &json!([1, 2]), SECRET.as_bytes());
    assert_eq!(auth.verify_at(&token, at(NOW_MS)), Err(Unauthenticated::Claims));
    let message = format!("{}.{}", base64url(br#"{"alg":"HS256"}"#), base64url(br#"{"sub":"42","sub":"1","exp":4102444800}"#));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signing works");
    assert_eq!(auth.verify_at(&format!("{message}.{signature}"), at(NOW_MS)), Err(Unauthenticated::Claims), "two subjects");
}

#[test]
fn a_token_with_extensions_that_must_be_understood_is_refused() {
    let auth = authenticator(&config());
    let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&header, &json!({"sub": "42", "exp": NOW + 60}), &key).expect("signing works");
    assert_eq!(auth.verify_at(&token, at(NOW_MS)), Err(Unauthenticated::Malformed));
}

#[test]
fn an_oversized_token_is_refused_before_it_is_read() {
    let auth = authenticator(&config());
    let sized =
        |padding: usize| signed(Algorithm::HS256, &json!({"sub": "42", "exp": NOW + 60, "x": "x".repeat(padding)}), SECRET.as_bytes());
    assert_eq!(auth.verify_at(&sized(TOKEN_BYTES_MAX), at(NOW_MS)), Err(Unauthenticated::TooLong));
    assert_eq!(auth.verify_at(&sized(2048), at(NOW_MS)), Ok(buyer(user(42))));
}

#[test]
fn issuer_and_audience_are_checked_when_configured() {
    let auth = authenticator(&config::Auth { issuer: Some("us".into()), audience: Some("shop".into()), ..config() });
    let verify = |mut claims: Value| {
        claims["sub"] = json!("42");
        claims["exp"] = json!(NOW + 60);
        auth.verify_at(&signed(Algorithm::HS256, &claims, SECRET.as_bytes()), at(NOW_MS))
    };
    assert_eq!(verify(json!({"iss": "us", "aud": "shop"})), Ok(buyer(user(42))));
    assert_eq!(verify(json!({"iss": "us", "aud": ["other", "shop"]})), Ok(buyer(user(42))));
    assert_eq!(verify(json!({"iss": "them", "aud": "shop"})), Err(Unauthenticated::Issuer));
    assert_eq!(verify(json!({"aud": "shop"})), Err(Unauthenticated::Issuer));
    assert_eq!(verify(json!({"iss": "us", "aud": "other"})), Err(Unauthenticated::Audience));
    assert_eq!(verify(json!({"iss": "us", "aud": []})), Err(Unauthenticated::Audience));
    assert_eq!(verify(json!({"iss": "us"})), Err(Unauthenticated::Audience));
    assert_eq!(verify(json!({"iss": "us", "aud": 7})), Err(Unauthenticated::Claims));
    let minted = auth.mint(user(42), Role::Buyer, at(NOW_MS));
    assert_eq!(auth.verify_at(&minted, at(NOW_MS)), Ok(buyer(user(42))));
}

#[test]
fn a_short_secret_is_refused_in_words() {
    let short = Authenticator::new(&config(), &"0123456789abcdef0123456789abcde".into()).expect_err("31 bytes are too few");
    assert!(short.to_string().contains("31 bytes"), "{short}");
}

#[test]
fn an_authenticator_shows_no_key() {
    let shown = format!("{:?}", authenticator(&config()));
    assert!(!shown.contains(SECRET) && shown.contains("issuers"), "{shown}");
}

fn account(generation: i64, role: Role) -> Account {
    Account { id: user(42), username: "alice".into(), password_hash: "none".into(), role, created_at: at(0), generation }
}

#[test]
fn every_role_is_minted_and_believed() {
    let auth = authenticator(&config());
    for role in Role::ALL {
        assert_eq!(auth.verify_at(&auth.mint(user(42), role, at(NOW_MS)), at(NOW_MS)).map(|caller| caller.role), Ok(role));
        let of_account = auth.mint_for_account(&account(0, role), at(NOW_MS));
        assert_eq!(auth.verify_at(&of_account, at(NOW_MS)).map(|caller| caller.role), Ok(role));
    }
}

#[test]
fn a_change_of_its_account_ends_a_token_and_of_no_other() {
    let auth = authenticator(&config());
    let before = auth.mint_for_account(&account(0, Role::Buyer), at(NOW_MS));
    let minted = auth.mint(user(42), Role::Buyer, at(NOW_MS));
    let anothers = auth.mint_for_account(&Account { id: user(7), ..account(0, Role::Buyer) }, at(NOW_MS));
    auth.endings().note(user(42), 1, 1, at(NOW_MS));
    let after = auth.mint_for_account(&account(1, Role::Buyer), at(NOW_MS));
    assert_eq!(auth.verify_at(&before, at(NOW_MS)), Err(Unauthenticated::Ended));
    for good in [minted, anothers, after] {
        assert!(auth.verify_at(&good, at(NOW_MS)).is_ok());
    }
}

#[test]
fn what_others_put_into_our_claims_is_passed_over() {
    for (claim, value) in [("iat", json!("yesterday")), ("gen", json!("third")), ("gen", json!({"a": [1]})), ("account", json!("alice"))] {
        let mut claims = json!({"sub": "42", "exp": NOW + 60});
        claims[claim] = value;
        assert_eq!(verify(&claims), Ok(buyer(user(42))), "{claims}");
    }
}
