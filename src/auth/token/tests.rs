//! What is believed and what is not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW_MS: i64 = 1_795_000_000_500;
const NOW: i64 = NOW_MS / 1000;

fn config() -> config::Auth {
    config::Auth {
        internal_secret: None,
        jwt_secret: None,
        jwt_public_key_file: None,
        issuer: None,
        audience: None,
        token_ttl_seconds: 60,
        hashing_concurrency_max: 1,
    }
}

fn authenticator(config: &config::Auth) -> Authenticator {
    Authenticator::new(config, &SECRET.into()).expect("the test's configuration is good")
}

fn with_public_key(file: &str) -> Result<Authenticator, KeyError> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    Authenticator::new(&config::Auth { jwt_public_key_file: Some(path), ..config() }, &SECRET.into())
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
fn another_issuers_rsa_key_verifies_rs256_and_nothing_else() {
    let auth = with_public_key("rsa2048_public.pem").expect("the key is good");
    let admin = Caller { principal: user(42).into(), role: Role::Admin };
    assert_eq!(auth.verify_at(include_str!("../../../tests/data/rs256.jwt").trim(), at(NOW_MS)), Ok(admin));
    assert_eq!(auth.verify_at(include_str!("../../../tests/data/rs256.jwt").trim(), at(4_102_444_800_000)), Err(Unauthenticated::Expired));
    assert_eq!(auth.verify_at(include_str!("../../../tests/data/rs384.jwt").trim(), at(NOW_MS)), Err(Unauthenticated::Algorithm));
    assert_eq!(auth.verify_at(include_str!("../../../tests/data/eddsa.jwt").trim(), at(NOW_MS)), Err(Unauthenticated::Algorithm));
    let own = auth.mint(user(7), Role::Buyer, at(NOW_MS));
    assert_eq!(auth.verify_at(&own, at(NOW_MS)), Ok(buyer(user(7))));
}

#[test]
fn another_issuers_ed25519_key_verifies_eddsa_and_nothing_else() {
    let auth = with_public_key("ed25519_public.pem").expect("the key is good");
    let token = include_str!("../../../tests/data/eddsa.jwt").trim();
    assert_eq!(auth.verify_at(token, at(NOW_MS)), Ok(Caller { principal: user(42).into(), role: Role::Admin }));
    assert_eq!(auth.verify_at(include_str!("../../../tests/data/rs256.jwt").trim(), at(NOW_MS)), Err(Unauthenticated::Algorithm));
    let parts: Vec<&str> = token.split('.').collect();
    let claims = base64url(json!({"sub": "1", "exp": NOW + 60, "role": "admin"}).to_string().as_bytes());
    assert_eq!(auth.verify_at(&format!("{}.{claims}.{}", parts[0], parts[2]), at(NOW_MS)), Err(Unauthenticated::Signature));
}

#[test]
fn a_public_key_is_never_used_as_a_shared_secret() {
    let pem = include_bytes!("../../../tests/data/rsa2048_public.pem");
    let auth = with_public_key("rsa2048_public.pem").expect("the key is good");
    let trimmed = pem.trim_ascii();
    for secret in [&pem[..], trimmed] {
        let token = signed(Algorithm::HS256, &json!({"sub": "1", "exp": NOW + 60, "role": "admin"}), secret);
        assert_eq!(auth.verify_at(&token, at(NOW_MS)), Err(Unauthenticated::Signature));
    }
}

#[test]
fn a_short_secret_and_unusable_keys_are_refused_in_words() {
    let short = Authenticator::new(&config(), &"0123456789abcdef0123456789abcde".into()).expect_err("31 bytes are too few");
    assert!(short.to_string().contains("31 bytes"), "{short}");
    for (file, words) in [
        ("rsa1024_public.pem", "another size"),
        ("p256_public.pem", "another kind of key"),
        ("rs256.jwt", "holds no key"),
        ("missing.pem", "cannot be read"),
    ] {
        let refusal = with_public_key(file).expect_err(file).to_string();
        assert!(refusal.contains(words) && refusal.contains(file), "{refusal}");
    }
}

/// An Ed25519 key of nobody here: the one of RFC 8037.
const ANOTHER_KEY: &str =
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

const RSA_KEY: &str = include_str!("../../../tests/data/rsa2048_public.pem");
const ED25519_KEY: &str = include_str!("../../../tests/data/ed25519_public.pem");

/// An authenticator with a key file of its own, which can be written anew.
fn with_key_file(text: &str) -> (tempfile::TempDir, PathBuf, Result<Authenticator, KeyError>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("keys.pem");
    std::fs::write(&file, text).expect("the folder is ours");
    let auth = Authenticator::new(&config::Auth { jwt_public_key_file: Some(file.clone()), ..config() }, &SECRET.into());
    (folder, file, auth)
}

/// Whether the RS256 token and the EdDSA token of the tests are believed.
fn believed(auth: &Authenticator) -> (bool, bool) {
    let is_good = |token: &str| auth.verify_at(token.trim(), at(NOW_MS)).is_ok();
    (is_good(include_str!("../../../tests/data/rs256.jwt")), is_good(include_str!("../../../tests/data/eddsa.jwt")))
}

#[test]
fn every_key_of_a_file_is_one() {
    for text in [format!("{RSA_KEY}{ED25519_KEY}"), format!("the new key\n{ANOTHER_KEY}\n\nthe old ones\n{ED25519_KEY}\n{RSA_KEY}")] {
        let (_folder, _, auth) = with_key_file(&text);
        assert_eq!(believed(&auth.expect("the keys are good")), (true, true));
    }
    let (_folder, _, auth) = with_key_file(ANOTHER_KEY);
    assert_eq!(believed(&auth.expect("the key is good")), (false, false));
    let weak = include_str!("../../../tests/data/rsa1024_public.pem");
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (text, words) in [
        (format!("{RSA_KEY}{weak}"), "another size"),
        (format!("{RSA_KEY}{private}"), "private key"),
        (ANOTHER_KEY.repeat(17), "more than 16"),
        (String::new(), "holds no key"),
        (" ".repeat(70_000), "larger than 64 KiB"),
    ] {
        let (_folder, _, auth) = with_key_file(&text);
        let refusal = auth.expect_err(words).to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn keys_that_change_are_read_anew_and_a_broken_file_leaves_the_old_ones_in_force() {
    let (_folder, file, auth) = with_key_file(RSA_KEY);
    let auth = auth.expect("the key is good");
    let issuer = auth.other_issuer.as_ref().expect("there is one");
    let mut said = None;
    let mut look = |text: Option<&str>| {
        match text {
            Some(text) => std::fs::write(&file, text).expect("the folder is ours"),
            None => std::fs::remove_file(&file).expect("it is there"),
        }
        issuer.take(PublicKeys::read(&file), &mut said);
        (believed(&auth), said.is_some())
    };
    assert_eq!(look(Some(RSA_KEY)), ((true, false), false));
    assert_eq!(look(Some(&format!("{RSA_KEY}{ED25519_KEY}"))), ((true, true), false));
    assert_eq!(look(Some("rubbish")), ((true, true), true));
    assert_eq!(look(None), ((true, true), true));
    assert_eq!(look(Some(ED25519_KEY)), ((false, true), false));
}

#[tokio::test(start_paused = true)]
async fn the_file_is_looked_at_until_the_process_stops() {
    let (_folder, file, auth) = with_key_file(RSA_KEY);
    let (auth, stop) = (Arc::new(auth.expect("the key is good")), CancellationToken::new());
    let following = tokio::spawn(Arc::clone(&auth).follow_keys(stop.clone()));
    std::fs::write(&file, ED25519_KEY).expect("the folder is ours");
    while believed(&auth) != (false, true) {
        tokio::time::sleep(KEYS_INTERVAL).await;
    }
    stop.cancel();
    following.await.expect("it does not panic");
}

#[test]
fn an_authenticator_shows_no_key() {
    let shown = format!("{:?}", authenticator(&config()));
    assert!(!shown.contains(SECRET) && shown.contains("other_issuer"), "{shown}");
}
