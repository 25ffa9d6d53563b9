//! Tricks with tokens of our own: none of them buys anything.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorbuster::clock;
use doorbuster::store::Role;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::accounts::number;
use crate::support::app::{SECRET, TestApp};

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Header, claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signing works")
}

/// Header and claims as these texts, under the right secret: what no library would write.
fn signed_text(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signing works");
    format!("{message}.{signature}")
}

fn header_with(change: impl FnOnce(&mut Header)) -> Header {
    let mut header = Header::new(Algorithm::HS256);
    change(&mut header);
    header
}

/// Each attempt by name.
fn forgeries(now: i64, good: &Value, token: &str) -> Vec<(&'static str, String)> {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().expect("a token has three parts");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signed(&Header::default(), &claims, SECRET)
    };
    let plain = r#"{"alg":"HS256","typ":"JWT"}"#;
    let text = |members: &str| signed_text(plain, &format!(r#"{{"exp":{},{members}}}"#, now + 60));
    let admins = encoded(&json!({"sub": "42", "exp": now + 60, "role": "admin"}));
    let unsigned = |algorithm: &str| format!("{}.{admins}.", encoded(&json!({"alg": algorithm})));
    vec![
        ("no signature", unsigned("none")),
        ("no signature, in capitals", unsigned("NONE")),
        ("no signature, in mixed letters", unsigned("nOnE")),
        ("the signature taken off", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{token}.{signature}")),
        ("the role put in, the signature kept", format!("{header}.{admins}.{signature}")),
        ("another algorithm, the signature kept", format!("{}.{claims}.{signature}", encoded(&json!({"alg": "HS512"})))),
        ("a longer hash under the right secret", signed(&Header::new(Algorithm::HS512), good, SECRET)),
        ("an algorithm with keys that nobody has here", unsigned("RS256")),
        ("another secret", signed(&Header::default(), good, "another secret for tests, long enough too")),
        ("no secret at all", signed(&Header::default(), good, "")),
        (
            "a key that the token brings along",
            signed(
                &header_with(|header| {
                    header.jwk = serde_json::from_value(json!({
                        "kty": "oct", "k": URL_SAFE_NO_PAD.encode("the attacker's own secret, long enough"), "alg": "HS256",
                    }))
                    .ok()
                }),
                good,
                "the attacker's own secret, long enough",
            ),
        ),
        (
            "a key's address that the token names",
            signed(&header_with(|header| header.jku = Some("http://127.0.0.1:1/jwks".into())), good, "x"),
        ),
        ("a key's name that is a path", signed(&header_with(|header| header.kid = Some("../../../dev/null".into())), good, "")),
        ("an extension that must be understood", signed_text(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, &good.to_string())),
        ("expired", with("exp", json!(now - 1))),
        ("expired, as a text", with("exp", json!((now + 60).to_string()))),
        ("never expires", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 60))),
        ("nobody", with("sub", Value::Null)),
        ("number zero", with("sub", json!("0"))),
        ("a negative number", with("sub", json!(-42))),
        ("a fraction", with("sub", json!(42.5))),
        ("a number too large", with("sub", json!("9223372036854775808"))),
        ("another writing of a number", with("sub", json!("042"))),
        ("digits of another script", with("sub", json!("\u{664}\u{662}"))),
        ("a list of numbers", with("sub", json!(["42"]))),
        ("a statement", with("sub", json!("42' OR '1'='1"))),
        ("a role that nobody has", with("role", json!("root"))),
        ("a role in capitals", with("role", json!("ADMIN"))),
        ("a list of roles", with("role", json!(["admin"]))),
        ("a role as a number", with("role", json!(1))),
        ("two roles", text(r#""sub":"42","role":"buyer","role":"admin""#)),
        ("two subjects", text(r#""sub":"42","sub":"1""#)),
        ("claims that are a list", signed_text(plain, r#"["42"]"#)),
        ("claims that are no JSON", signed_text(plain, "sub=42")),
        ("a header that is no JSON", signed_text("alg=HS256", &good.to_string())),
        ("claims nested beyond measure", signed_text(plain, &"[".repeat(2_500))),
        ("another alphabet of the same bytes", format!("{header}.{claims}.{}=", STANDARD.encode("?>?>?>?>?>?>"))),
        ("padding", format!("{token}=")),
        ("longer than any token", with("x", json!("x".repeat(9_000)))),
        ("a token in a token", with("sub", json!(token))),
        ("blanks within", token.replacen('.', " .", 1)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_forged_token_is_believed() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({})).await;
    let now = clock::system().millis() / 1_000;
    let good = json!({"sub": "42", "exp": now + 600});
    let token = signed(&Header::default(), &good, SECRET);
    let order = format!("/v1/commodities/{lamp}/orders");
    for (what, forged) in forgeries(now, &good, &token) {
        for path in [order.as_str(), "/admin/v1/commodities"] {
            let answer = app.post_as(&forged, path, &json!({})).await;
            assert_eq!(answer.refusal(), (401, "unauthenticated"), "{what}");
            assert!(!answer.body.to_string().contains(forged.as_str()), "an answer never repeats a token: {what}");
        }
    }
    assert_eq!(app.books(lamp).await, [5, 5, 0, 0]);
    // What all of them were made from is believed, for what it says.
    assert_eq!(app.post_as(&token, &order, &json!({})).await.status.as_u16(), 201);
    assert_eq!(app.post_as(&token, "/admin/v1/commodities", &json!({})).await.refusal(), (403, "forbidden"));
}

/// What a header adds is ignored, if the signature is ours all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_does_not_choose_how_it_is_verified() {
    let app = TestApp::start(Backend::Sqlite).await;
    let now = clock::system().millis() / 1_000;
    let good = json!({"sub": "42", "exp": now + 600});
    for header in [
        header_with(|header| header.kid = Some("'; DROP TABLE users; --".into())),
        header_with(|header| header.jku = Some("http://127.0.0.1:1/jwks".into())),
        header_with(|header| header.x5u = Some("http://127.0.0.1:1/certificate".into())),
        header_with(|header| header.cty = Some("JWT".into())),
    ] {
        assert_eq!(number(&app.get_as(&signed(&header, &good, SECRET), "/v1/me").await.body["user_id"]), 42, "{header:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_in_its_header_alone_and_once() {
    let app = TestApp::start(Backend::Sqlite).await;
    let (one, admin) = (app.buyer(42), app.mint(1, Role::Admin));
    let ask = |path: &str| app.request(Method::GET, path);
    for (what, request) in [
        ("in the query", ask(&format!("/v1/me?access_token={one}"))),
        ("in a cookie", ask("/v1/me").header("Cookie", format!("access_token={one}; session={one}"))),
        ("under another scheme", ask("/v1/me").header("Authorization", format!("Token {one}"))),
        ("without a scheme", ask("/v1/me").header("Authorization", one.as_str())),
        ("as a name", ask("/v1/me").basic_auth("42", Some(&one))),
        ("in another header", ask("/v1/me").header("X-Authorization", format!("Bearer {one}"))),
        ("two in one header", ask("/v1/me").header("Authorization", format!("Bearer {one}, Bearer {admin}"))),
        ("an empty one", ask("/v1/me").header("Authorization", "Bearer ")),
    ] {
        assert_eq!(app.send(request).await.refusal(), (401, "unauthenticated"), "{what}");
    }
    // Of two headers one counts, for what is asked: they never add up.
    let both = ask("/admin/v1/users").header("Authorization", format!("Bearer {one}")).header("Authorization", format!("Bearer {admin}"));
    assert_eq!(app.send(both).await.refusal(), (403, "forbidden"));
}
