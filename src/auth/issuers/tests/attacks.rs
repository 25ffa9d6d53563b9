//! What is tried with tokens, and the answer to each.

use super::*;
use crate::auth::TOKEN_BYTES_MAX;

/// An issuer of three keys, and one that shares a secret with us.
struct Stage {
    rsa: IssuerKey,
    ec: IssuerKey,
    ed: IssuerKey,
    auth: Authenticator,
    _file: tempfile::NamedTempFile,
}

const SHARED_SECRET: &str = "a secret that is shared with one issuer";

impl Stage {
    fn new() -> Self {
        let (rsa, ec, ed) = (IssuerKey::rsa("r", 0, "RS256"), IssuerKey::es256("e"), IssuerKey::eddsa("d"));
        let file = jwks_file(&[&rsa, &ec, &ed]);
        let auth = believing(&[
            json!({"jwks_file": file.path()}),
            json!({"name": "partner", "issuer": "https://partner.example", "secret": SHARED_SECRET}),
        ]);
        Self { rsa, ec, ed, auth, _file: file }
    }

    fn verify(&self, token: &str) -> Result<Caller, Unauthenticated> {
        self.auth.verify_at(token, at(NOW_MS))
    }
}

fn hmac(algorithm: Algorithm, claims: &Value, secret: &[u8]) -> String {
    let header = jsonwebtoken::Header { kid: Some("r".to_owned()), ..jsonwebtoken::Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_secret(secret)).expect("signing works")
}

/// A header with these members more.
fn header(key: &IssuerKey, more: Value) -> String {
    let mut header = key.header();
    for (member, value) in more.as_object().expect("an object") {
        header[member] = value.clone();
    }
    header.to_string()
}

#[test]
fn no_token_chooses_how_it_is_verified() {
    let stage = Stage::new();
    let good = claims(json!({}));
    let text = good.to_string();
    let jwk = stage.rsa.jwk();
    let modulus = jwk["n"].as_str().expect("a text");
    let with_alg = |key: &IssuerKey, alg: &str| key.sign_texts(&header(key, json!({"alg": alg})), &text);
    let unsigned = |alg: &str| {
        let token = with_alg(&stage.ed, alg);
        token[..=token.rfind('.').expect("three parts")].to_owned()
    };
    for (what, token, expected) in [
        ("it is good", stage.rsa.sign(&good), buyer("shop:alice")),
        ("none", unsigned("none"), Err(Unauthenticated::Algorithm)),
        ("NONE", unsigned("nOnE"), Err(Unauthenticated::Algorithm)),
        ("none, with a signature", with_alg(&stage.ed, "none"), Err(Unauthenticated::Algorithm)),
        ("no signature", unsigned("EdDSA"), Err(Unauthenticated::Signature)),
        ("the public key as a secret: its modulus", hmac(Algorithm::HS256, &good, modulus.as_bytes()), Err(Unauthenticated::Algorithm)),
        (
            "the public key as a secret: all of it",
            hmac(Algorithm::HS512, &good, jwk.to_string().as_bytes()),
            Err(Unauthenticated::Algorithm),
        ),
        ("another algorithm of RSA than its key's", with_alg(&stage.rsa, "RS512"), Err(Unauthenticated::Algorithm)),
        ("another padding than its key's", with_alg(&IssuerKey::rsa("r", 0, "PS256"), "PS256"), Err(Unauthenticated::Algorithm)),
        (
            "the kid of another kind of key",
            stage.ec.sign_texts(&header(&stage.ec, json!({"kid": "r"})), &text),
            Err(Unauthenticated::Algorithm),
        ),
        ("the kid of a key that is not the one", IssuerKey::es256("e").sign(&good), Err(Unauthenticated::Signature)),
        ("a kid that nobody has", IssuerKey::es256("x").sign(&good), Err(Unauthenticated::UnknownKey)),
        (
            "a kid that is a path",
            stage.ed.sign_texts(&header(&stage.ed, json!({"kid": "../../dev/null"})), &text),
            Err(Unauthenticated::UnknownKey),
        ),
        ("a kid that is no text", stage.ed.sign_texts(&header(&stage.ed, json!({"kid": 1})), &text), Err(Unauthenticated::Malformed)),
        ("an algorithm nobody knows", with_alg(&stage.ec, "ES256K"), Err(Unauthenticated::Algorithm)),
        ("the newer name of Ed25519", with_alg(&stage.ed, "Ed25519"), buyer("shop:alice")),
        ("another curve than its key's", format!("{}{}", unsigned("ES256"), base64url(&[0; 64])), Err(Unauthenticated::Algorithm)),
    ] {
        assert_eq!(stage.verify(&token), expected, "{what}");
    }
    // A signature of zeros was once good everywhere.
    let zeros = stage.ec.sign(&good);
    let zeros = format!("{}.{}", &zeros[..zeros.rfind('.').expect("three parts")], base64url(&[0; 64]));
    assert_eq!(stage.verify(&zeros), Err(Unauthenticated::Signature));
}

#[test]
fn what_is_no_access_token_says_so_and_is_believed() {
    let stage = Stage::new();
    let good = claims(json!({})).to_string();
    let of_type = |typ: Value| stage.verify(&stage.rsa.sign_texts(&header(&stage.rsa, json!({"typ": typ})), &good));
    for typ in
        [json!("JWT"), json!("jwt"), json!("at+jwt"), json!("AT+JWT"), json!("application/at+jwt"), json!("Application/JWT"), Value::Null]
    {
        assert_eq!(of_type(typ.clone()), buyer("shop:alice"), "{typ}");
    }
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "entity-statement+jwt", "JOSE", "text/at+jwt", "application/", "at+jwt ", ""] {
        assert_eq!(of_type(json!(typ)), Err(Unauthenticated::Type), "{typ:?}");
    }
    for typ in [json!(7), json!(["JWT"])] {
        assert_eq!(of_type(typ.clone()), Err(Unauthenticated::Malformed), "{typ}");
    }
    let bare = stage.ed.sign_texts(r#"{"alg":"EdDSA","kid":"d"}"#, &good);
    assert_eq!(stage.verify(&bare), buyer("shop:alice"), "many say nothing");
    // Issuers whose headers all say the same say it in the claims.
    for said in
        [json!({"typ": "ID"}), json!({"typ": "Refresh"}), json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}})]
    {
        assert_eq!(stage.verify(&stage.rsa.sign(&claims(said.clone()))), Err(Unauthenticated::Type), "{said}");
    }
    assert_eq!(stage.verify(&stage.rsa.sign(&claims(json!({"typ": "Bearer"})))), buyer("shop:alice"));
    assert_eq!(stage.verify(&hmac_of_type("logout+jwt")), Err(Unauthenticated::Type), "of our own too");
}

/// A token of our own, but for its type.
fn hmac_of_type(typ: &str) -> String {
    let header = jsonwebtoken::Header { typ: Some(typ.to_owned()), ..jsonwebtoken::Header::new(Algorithm::HS256) };
    let claims = json!({"sub": "42", "exp": NOW + 60});
    jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(OWN_SECRET.as_bytes())).expect("signing works")
}

/// One issuer with an entry for each of two audiences.
#[test]
fn a_token_for_several_entries_of_one_issuer_is_the_first_ones() {
    let key = IssuerKey::eddsa("d");
    let file = jwks_file(&[&key]);
    let entry = |name: &str, audience: Value, more: Value| {
        let mut entry = json!({"name": name, "audience": audience, "jwks_file": file.path()});
        for (setting, value) in more.as_object().expect("an object") {
            entry[setting] = value.clone();
        }
        entry
    };
    let roles = json!({"role_claim": "roles", "admin_values": ["admin"]});
    let (shop, desk) = (entry("shop", json!("shop"), json!({})), entry("desk", json!(["desk", "office"]), roles));
    let token = |audience: Value| key.sign(&claims(json!({"aud": audience, "roles": ["admin"]})));
    for (order, both) in [([&shop, &desk], buyer("shop:alice")), ([&desk, &shop], admin("desk:alice"))] {
        let auth = believing(&order.map(Clone::clone));
        // Also in whichever order the token names them.
        for audience in [json!(["shop", "desk"]), json!(["office", "shop"])] {
            assert_eq!(auth.verify_at(&token(audience.clone()), at(NOW_MS)), both, "{audience}");
        }
        assert_eq!(auth.verify_at(&token(json!("shop")), at(NOW_MS)), buyer("shop:alice"));
        assert_eq!(auth.verify_at(&token(json!(["x", "office"])), at(NOW_MS)), admin("desk:alice"));
        assert_eq!(auth.verify_at(&token(json!("x")), at(NOW_MS)), Err(Unauthenticated::Audience));
    }
}

#[test]
fn no_token_brings_its_own_key() {
    let stage = Stage::new();
    let good = claims(json!({})).to_string();
    let attacker = IssuerKey::rsa("r", 1, "RS256");
    let theirs = attacker.jwk();
    for more in [
        json!({"jwk": theirs}),
        json!({"jku": "https://attacker.example/jwks.json"}),
        json!({"x5u": "https://attacker.example/cert.pem"}),
        json!({"x5c": ["MIIB"]}),
    ] {
        assert_eq!(stage.verify(&attacker.sign_texts(&header(&attacker, more.clone()), &good)), Err(Unauthenticated::Signature), "{more}");
        // Some issuers say such things of their own keys.
        assert_eq!(stage.verify(&stage.rsa.sign_texts(&header(&stage.rsa, more.clone()), &good)), buyer("shop:alice"), "{more}");
    }
    for more in [json!({"crit": ["b64"], "b64": false}), json!({"crit": ["exp"]}), json!({"crit": []})] {
        assert_eq!(
            stage.verify(&stage.rsa.sign_texts(&header(&stage.rsa, more.clone()), &good)),
            Err(Unauthenticated::Malformed),
            "{more}"
        );
    }
    for header in [r#"{"alg":"EdDSA","alg":"none","kid":"d"}"#, r#"{"alg":"EdDSA","kid":"d","kid":"r"}"#, "{}", "[]", "", "{\"alg\":7}"] {
        assert_eq!(stage.verify(&stage.ed.sign_texts(header, &good)), Err(Unauthenticated::Malformed), "{header}");
    }
}

#[test]
fn claims_are_what_they_are_or_nothing() {
    let stage = Stage::new();
    let verify = |said: Value| stage.verify(&stage.ed.sign(&claims(said)));
    let incomplete = Err(Unauthenticated::Incomplete);
    for (said, expected) in [
        (json!({"exp": null}), incomplete.clone()),
        (json!({"exp": "4102444800"}), incomplete.clone()),
        (json!({"exp": true}), incomplete.clone()),
        (json!({"exp": [NOW + 60]}), incomplete.clone()),
        (json!({"exp": 0}), Err(Unauthenticated::Expired)),
        (json!({"exp": -1}), Err(Unauthenticated::Expired)),
        (json!({"exp": NOW}), Err(Unauthenticated::Expired)),
        (json!({"exp": i64::MIN}), Err(Unauthenticated::Expired)),
        (json!({"exp": -1e300}), Err(Unauthenticated::Expired)),
        (json!({"exp": NOW + 1}), buyer("shop:alice")),
        (json!({"exp": NOW as f64 + 0.75}), buyer("shop:alice")),
        // Beyond all time is the end of time, and never wraps.
        (json!({"exp": i64::MAX}), buyer("shop:alice")),
        (json!({"exp": u64::MAX}), buyer("shop:alice")),
        (json!({"exp": 1e300}), buyer("shop:alice")),
        (json!({"nbf": NOW + 1}), Err(Unauthenticated::NotYetValid)),
        (json!({"nbf": u64::MAX}), Err(Unauthenticated::NotYetValid)),
        (json!({"nbf": "yesterday"}), incomplete.clone()),
        (json!({"iss": null}), Err(Unauthenticated::Issuer)),
        (json!({"iss": "https://issuer.example"}), Err(Unauthenticated::Issuer)),
        (json!({"iss": "https://ISSUER.example/"}), Err(Unauthenticated::Issuer)),
        (json!({"iss": ["https://issuer.example/"]}), incomplete.clone()),
        (json!({"aud": null}), Err(Unauthenticated::Audience)),
        (json!({"aud": "Doorbuster"}), Err(Unauthenticated::Audience)),
        (json!({"role": "admin"}), buyer("shop:alice")),
        (json!({"role": "admin", "roles": ["admin"], "realm_access": {"roles": ["admin"]}, "scope": "admin"}), buyer("shop:alice")),
        (json!({"sub": "1", "role": "admin"}), buyer("shop:1")),
        (json!({"sub": "shop:alice"}), buyer("shop:shop:alice")),
    ] {
        assert_eq!(verify(said.clone()), expected, "{said}");
    }
    let header = stage.ed.header().to_string();
    for payload in [
        format!(r#"{{"iss":"{ISSUER}","aud":"doorbuster","sub":"alice","sub":"mallory","exp":4102444800}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"doorbuster","sub":"alice","exp":1,"exp":4102444800}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"other","aud":"doorbuster","sub":"alice","exp":4102444800}}"#),
        format!(r#"{{"iss":"https://partner.example","iss":"{ISSUER}","aud":"doorbuster","sub":"alice","exp":4102444800}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"doorbuster","sub":"alice","exp":1e400}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"doorbuster","sub":"alice","exp":4102444800}} "#) + "trailing",
        format!(r#"{{"iss":"{ISSUER}","aud":{}1{},"sub":"alice","exp":4102444800}}"#, "[".repeat(400), "]".repeat(400)),
        "[1,2]".to_owned(),
        "words".to_owned(),
        String::new(),
    ] {
        assert_eq!(stage.verify(&stage.ed.sign_texts(&header, &payload)), incomplete, "{payload}");
    }
}

#[test]
fn a_changed_token_is_no_token() {
    let stage = Stage::new();
    for key in [&stage.rsa, &stage.ec, &stage.ed] {
        let token = key.sign(&claims(json!({})));
        assert_eq!(stage.verify(&token), buyer("shop:alice"));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = base64url(claims(json!({"sub": "bob"})).to_string().as_bytes());
        assert_eq!(stage.verify(&format!("{}.{forged}.{}", parts[0], parts[2])), Err(Unauthenticated::Signature), "remembered or not");
        // The same bytes in another spelling, which a verifier that is lax would take for the same.
        for other in [format!("{token}="), format!("{token}\n"), format!(" {token}"), format!("{token}.x"), token.replace('.', "..")] {
            assert!(stage.verify(&other).is_err(), "{other:?}");
        }
        assert_eq!(stage.verify(&token), buyer("shop:alice"), "and the good one is still good");
    }
}

#[test]
fn what_is_no_token_or_too_long_is_refused_before_it_is_read() {
    let stage = Stage::new();
    for text in ["", ".", "..", "...", "words", "a.b", "a.b.c", "a.b.c.d", "e30.e30.e30", "\u{1F600}.\u{1F600}.\u{1F600}"] {
        assert!(stage.verify(text).is_err(), "{text:?}");
    }
    let sized = |bytes: usize| stage.ed.sign(&claims(json!({"x": "x".repeat(bytes)})));
    assert_eq!(stage.verify(&sized(TOKEN_BYTES_MAX)), Err(Unauthenticated::TooLong));
    assert_eq!(stage.verify(&sized(5000)), buyer("shop:alice"), "tokens with many roles are long");
}

#[test]
fn a_secret_is_one_issuers_and_opens_nothing_else() {
    let stage = Stage::new();
    let partner = |said: Value| {
        let mut said = said;
        said["iss"] = json!("https://partner.example");
        claims(said)
    };
    let shared = SHARED_SECRET.as_bytes();
    for (what, token, expected) in [
        ("it is good", hmac(Algorithm::HS256, &partner(json!({})), shared), buyer("partner:alice")),
        ("another algorithm of secrets", hmac(Algorithm::HS512, &partner(json!({})), shared), Err(Unauthenticated::Algorithm)),
        ("our own secret", hmac(Algorithm::HS256, &partner(json!({})), OWN_SECRET.as_bytes()), Err(Unauthenticated::Signature)),
        ("another issuer's name", hmac(Algorithm::HS256, &claims(json!({})), shared), Err(Unauthenticated::Algorithm)),
        ("as if it were of us", hmac(Algorithm::HS256, &claims(json!({"iss": null, "sub": "1"})), shared), Err(Unauthenticated::Signature)),
        (
            "as if it were of nobody",
            hmac(Algorithm::HS256, &claims(json!({"iss": "x", "sub": "1"})), shared),
            Err(Unauthenticated::Signature),
        ),
        ("a public key for a secret", stage.ed.sign(&partner(json!({}))), Err(Unauthenticated::Algorithm)),
        ("for another audience", hmac(Algorithm::HS256, &partner(json!({"aud": "x"})), shared), Err(Unauthenticated::Audience)),
    ] {
        assert_eq!(stage.verify(&token), expected, "{what}");
    }
}
