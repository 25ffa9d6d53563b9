//! Where keys come from, which are taken, and how they change.

use std::path::PathBuf;

use super::*;
use crate::auth::issuers::key_file::KeyFile;

const RSA_PEM: &str = include_str!("../../../../tests/data/rsa2048_public.pem");
const ED25519_PEM: &str = include_str!("../../../../tests/data/ed25519_public.pem");
const P256_PEM: &str = include_str!("../../../../tests/data/p256_public.pem");
const RSA_1024_PEM: &str = include_str!("../../../../tests/data/rsa1024_public.pem");
const BY_RSA: &str = include_str!("../../../../tests/data/rs256.jwt");
const BY_RSA_384: &str = include_str!("../../../../tests/data/rs384.jwt");
const BY_ED25519: &str = include_str!("../../../../tests/data/eddsa.jwt");

/// An Ed25519 key of nobody here: the one of RFC 8037.
const ANOTHER_PEM: &str =
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

fn pem_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it is ours");
    file
}

/// The issuer that made the tokens in the folder of test data.
fn old_issuer(file: &tempfile::NamedTempFile, more: Value) -> Value {
    let mut issuer = json!({"issuer": "https://issuer.example", "public_key_file": file.path()});
    for (setting, value) in more.as_object().expect("an object") {
        issuer[setting] = value.clone();
    }
    issuer
}

/// Whether the RS256 token and the EdDSA token of the test data are believed.
fn believed(auth: &Authenticator) -> (bool, bool) {
    let is_good = |token: &str| auth.verify_at(token.trim(), at(NOW_MS)) == buyer("shop:42");
    (is_good(BY_RSA), is_good(BY_ED25519))
}

#[test]
fn every_key_of_a_pem_file_is_one_for_the_algorithms_it_fits() {
    for (pem, expected) in [
        (RSA_PEM.to_owned(), (true, false)),
        (ED25519_PEM.to_owned(), (false, true)),
        (format!("{RSA_PEM}{ED25519_PEM}"), (true, true)),
        (format!("the new one\n{ANOTHER_PEM}\n\nthe old ones\n{ED25519_PEM}\n{RSA_PEM}"), (true, true)),
        (format!("{P256_PEM}{ANOTHER_PEM}"), (false, false)),
    ] {
        let file = pem_file(&pem);
        assert_eq!(believed(&believing(&[old_issuer(&file, json!({}))])), expected, "{pem}");
    }
    let file = pem_file(&format!("{RSA_PEM}{ED25519_PEM}"));
    let auth = believing(&[old_issuer(&file, json!({}))]);
    assert_eq!(auth.verify_at(BY_RSA_384.trim(), at(NOW_MS)), buyer("shop:42"), "a key of RSA fits all of RSA");
    let auth = believing(&[old_issuer(&file, json!({"algorithms": ["RS256", "EdDSA"]}))]);
    assert_eq!(auth.verify_at(BY_RSA_384.trim(), at(NOW_MS)), Err(Unauthenticated::Algorithm));
    assert_eq!(believed(&auth), (true, true));
}

#[test]
fn a_file_that_cannot_be_used_is_refused_at_the_start_in_one_line() {
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (pem, words) in [
        (format!("{RSA_PEM}{RSA_1024_PEM}"), "1024 bits"),
        (format!("{RSA_PEM}{private}"), "private key"),
        // Cut off, or with a line of another file in between.
        (format!("{RSA_PEM}{}", &ED25519_PEM[..ED25519_PEM.len() - 30]), "cut off"),
        (format!("{RSA_PEM}{}", &ED25519_PEM[..40]), "cut off"),
        (RSA_PEM[..RSA_PEM.len() - 8].to_owned(), "cut off"),
        (format!("{}{ED25519_PEM}", &RSA_PEM[30..]), "cut off"),
        (format!("{ED25519_PEM}{}", RSA_PEM.replacen("MII", "M\u{ff}II", 1)), "no PEM"),
        (ANOTHER_PEM.repeat(17), "more than 16"),
        (BY_RSA.to_owned(), "holds no key"),
        (String::new(), "holds no key"),
        (" ".repeat(300_000), "larger than 256 KiB"),
    ] {
        let file = pem_file(&pem);
        let told = trying(&[old_issuer(&file, json!({}))]).expect_err(words);
        let names_it = told.contains("shop") && told.contains(file.path().to_str().expect("a text"));
        assert!(told.contains(words) && names_it && !told.contains('\n'), "{told}");
    }
    let told = trying(&[json!({"public_key_file": "/no/such.pem"})]).expect_err("it is not there");
    assert!(told.contains("/no/such.pem") && told.contains("cannot be read"), "{told}");
    let file = pem_file(ED25519_PEM);
    let told = trying(&[old_issuer(&file, json!({"algorithms": "RS256"}))]).expect_err("no key fits");
    assert!(told.contains("fits none of the algorithms"), "{told}");
    let empty = pem_file(r#"{"keys":[]}"#);
    let told = trying(&[json!({"jwks_file": empty.path()})]).expect_err("no key");
    assert!(told.contains("no key that can be used"), "{told}");
}

#[test]
fn a_secret_is_long_enough_and_nobody_elses() {
    let with = |secret: &str, algorithms: Value| trying(&[json!({"secret": secret, "algorithms": algorithms})]).err();
    assert!(with(&"x".repeat(31), json!([])).is_some_and(|told| told.contains("31 bytes") && told.contains("32")));
    assert!(with(&"x".repeat(32), json!([])).is_none());
    assert!(with(&"x".repeat(63), json!(["HS256", "HS512"])).is_some_and(|told| told.contains("64")));
    assert!(with(OWN_SECRET, json!([])).is_some_and(|told| told.contains("our own") && !told.contains(OWN_SECRET)));
    let file = pem_file("a secret in a file that is long enough\n");
    let auth = believing(&[json!({"secret_file": file.path()})]);
    let key = jsonwebtoken::EncodingKey::from_secret(b"a secret in a file that is long enough");
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::HS256), &claims(json!({})), &key).expect("signing works");
    assert_eq!(auth.verify_at(&token, at(NOW_MS)), buyer("shop:alice"));
}

/// How many keys of a JWKS are taken.
fn taken(keys: &[Value]) -> Result<usize, String> {
    KeySet::of_jwks(json!({"keys": keys}).to_string().as_bytes(), &[], |_, _| {}).map(|set| set.len())
}

#[test]
fn a_key_that_cannot_be_used_is_passed_over_and_the_others_are_taken() {
    let good = IssuerKey::eddsa("good").jwk();
    let with = |key: &IssuerKey, member: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[member] = value;
        jwk
    };
    let (rsa, ec, ed) = (IssuerKey::rsa("r", 0, "RS256"), IssuerKey::es256("e"), IssuerKey::eddsa("d"));
    let short_modulus = base64url(&[0xFF; 128]);
    for (what, jwk) in [
        ("for encryption", with(&rsa, "use", json!("enc"))),
        ("for signing alone", with(&ed, "key_ops", json!(["sign"]))),
        ("another algorithm than it fits", with(&rsa, "alg", json!("ES256"))),
        ("an algorithm of secrets", with(&rsa, "alg", json!("HS256"))),
        ("an algorithm nobody knows", with(&ec, "alg", json!("ES256K"))),
        ("1,024 bits", with(&rsa, "n", json!(short_modulus))),
        ("zeros before 1,024 bits", with(&rsa, "n", json!(base64url(&[&[0; 200][..], &[0xFF; 128]].concat())))),
        ("8,192 bits", with(&rsa, "n", json!(base64url(&[0xFF; 1024])))),
        ("an exponent of one", with(&rsa, "e", json!(base64url(&[1])))),
        ("an even exponent", with(&rsa, "e", json!(base64url(&[4])))),
        ("an exponent that is endless", with(&rsa, "e", json!(base64url(&[0xFF; 256])))),
        ("no base64", with(&rsa, "n", json!("!"))),
        ("no point of the curve", with(&ec, "x", json!(base64url(&[7; 32])))),
        ("half a point", with(&ec, "x", json!(base64url(&[7; 16])))),
        ("another curve", with(&ec, "crv", json!("secp256k1"))),
        ("a curve that is not known here", with(&ec, "crv", json!("P-521"))),
        ("half a key of Ed25519", with(&ed, "x", json!(base64url(&[7; 16])))),
        ("a secret", json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": base64url(&[7; 32])})),
        ("a private key", with(&ed, "d", json!(base64url(&[7; 32])))),
        ("an id without end", with(&ed, "kid", json!("x".repeat(300)))),
        ("a kind that nobody knows", json!({"kty": "AKP", "kid": "p", "alg": "ML-DSA-44", "pub": "AA"})),
        ("no object", json!("key")),
        ("nothing", json!(null)),
    ] {
        assert_eq!(taken(&[jwk.clone(), good.clone()]), Ok(1), "{what}");
        assert_eq!(taken(&[jwk]), Ok(0), "{what}");
    }
    let mut bare = rsa.jwk();
    bare.as_object_mut().expect("an object").retain(|member, _| ["kty", "n", "e"].contains(&member.as_str()));
    assert_eq!(taken(&[rsa.jwk(), ec.jwk(), ed.jwk(), bare, with(&ed, "alg", json!("Ed25519"))]), Ok(5));
    let many: Vec<Value> = (0..65).map(|number| with(&ed, "kid", json!(number.to_string()))).collect();
    assert_eq!(taken(&many[..64]), Ok(64));
    assert!(taken(&many).is_err_and(|why| why.contains("64")));
    for text in ["", "[]", "{}", "{\"keys\":{}}", "<html>", "{\"keys\":[]}x"] {
        assert!(KeySet::of_jwks(text.as_bytes(), &[], |_, _| {}).is_err(), "{text}");
    }
}

#[test]
fn a_token_without_a_kid_is_good_where_one_key_alone_fits() {
    let (rsa, ec, other_ec) = (IssuerKey::rsa("r", 0, "RS256"), IssuerKey::es256("e"), IssuerKey::es256("f"));
    let said = claims(json!({})).to_string();
    let bare = |key: &IssuerKey, alg: &str| key.sign_texts(&json!({"alg": alg}).to_string(), &said);
    let (_file, auth) = with_keys(&[&rsa, &ec], json!({}));
    assert_eq!(auth.verify_at(&bare(&rsa, "RS256"), at(NOW_MS)), buyer("shop:alice"));
    assert_eq!(auth.verify_at(&bare(&ec, "ES256"), at(NOW_MS)), buyer("shop:alice"));
    assert_eq!(auth.verify_at(&bare(&other_ec, "ES256"), at(NOW_MS)), Err(Unauthenticated::Signature));
    assert_eq!(auth.verify_at(&bare(&IssuerKey::eddsa("d"), "EdDSA"), at(NOW_MS)), Err(Unauthenticated::Algorithm));
    let (_file, auth) = with_keys(&[&rsa, &ec, &other_ec], json!({}));
    assert_eq!(auth.verify_at(&bare(&rsa, "RS256"), at(NOW_MS)), buyer("shop:alice"));
    assert_eq!(auth.verify_at(&bare(&ec, "ES256"), at(NOW_MS)), Err(Unauthenticated::NoKeyId), "which of two?");
    assert_eq!(auth.verify_at(&ec.sign(&claims(json!({}))), at(NOW_MS)), buyer("shop:alice"));
}

#[test]
fn two_keys_under_one_id_are_both_tried() {
    let (rsa, ec) = (IssuerKey::rsa("k", 0, "RS256"), IssuerKey::es256("k"));
    let other = IssuerKey::es256("k");
    let (_file, auth) = with_keys(&[&rsa, &ec, &other], json!({}));
    for key in [&rsa, &ec, &other] {
        assert_eq!(auth.verify_at(&key.sign(&claims(json!({}))), at(NOW_MS)), buyer("shop:alice"));
    }
}

#[test]
fn a_key_that_is_withdrawn_ends_and_one_that_is_added_begins() {
    let (old, new) = (IssuerKey::es256("old"), IssuerKey::rsa("new", 1, "RS256"));
    let (file, auth) = with_keys(&[&old], json!({}));
    let issuer = auth.issuers().all().next().expect("there is one");
    let (by_old, by_new) = (old.sign(&claims(json!({}))), new.sign(&claims(json!({}))));
    let look = |keys: Option<&str>| {
        match keys {
            Some(text) => std::fs::write(file.path(), text).expect("it is ours"),
            None => std::fs::remove_file(file.path()).expect("it is there"),
        }
        issuer.look_at_file();
        // Twice: the second time what was good is remembered.
        let both = || [&by_old, &by_new].map(|token| auth.verify_at(token, at(NOW_MS)));
        assert_eq!(both(), both());
        (both().map(|result| result == buyer("shop:alice")), auth.warnings().len())
    };
    let both = jwks(&[&old, &new]).to_string();
    assert_eq!(look(Some(&jwks(&[&old]).to_string())), ([true, false], 0));
    assert_eq!(look(Some(&both)), ([true, true], 0));
    assert_eq!(look(Some("rubbish")), ([true, true], 1), "the last ones stay in force");
    assert_eq!(look(Some(&jwks(&[&new]).to_string())), ([false, true], 0), "withdrawn, remembered or not");
    assert_eq!(look(None), ([false, true], 1));
    std::fs::write(file.path(), "").expect("it is ours");
    assert_eq!(look(Some(r#"{"keys":[]}"#)), ([false, true], 1), "who says that there are none is not believed at once");
}

/// An endpoint that is being set up says so, and one that is broken.
#[tokio::test(start_paused = true)]
async fn that_an_issuer_has_no_key_is_believed_when_it_has_said_so_for_a_minute() {
    let key = IssuerKey::es256("k");
    let (file, auth) = with_keys(&[&key], json!({}));
    let issuer = auth.issuers().all().next().expect("there is one");
    let token = key.sign(&claims(json!({})));
    let look = |keys: &str| {
        std::fs::write(file.path(), keys).expect("it is ours");
        issuer.look_at_file();
        (auth.verify_at(&token, at(NOW_MS)) == buyer("shop:alice"), auth.warnings().len())
    };
    let (good, none) = (jwks(&[&key]).to_string(), r#"{"keys":[]}"#);
    let unusable = json!({"keys": [{"kty": "oct", "k": "AA"}, {"kty": "RSA", "kid": "k", "n": "AQ", "e": "AQ"}]}).to_string();
    let pass = async |seconds| tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
    for keyless in [none, &unusable] {
        assert_eq!(look(keyless), (true, 1));
        pass(59).await;
        assert_eq!(look(keyless), (true, 1));
        assert_eq!(look(&good), (true, 0), "it was a mistake");
        assert_eq!(look(keyless), (true, 1), "it begins anew");
        pass(30).await;
        // Nonsense says neither.
        assert_eq!(look("<html>"), (true, 1));
        pass(30).await;
        assert_eq!(look(keyless), (false, 0), "it is meant so");
        assert_eq!(look(&good), (true, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_who_looks_after_keys_is_told_and_they_are_looked_after_again() {
    let (old, new) = (IssuerKey::es256("old"), IssuerKey::es256("new"));
    let (file, auth) = with_keys(&[&old], json!({}));
    let auth = Arc::new(auth);
    let issuer = Arc::clone(auth.issuers().all().next().expect("there is one"));
    let stop = tokio_util::sync::CancellationToken::new();
    issuer.panics.store(true, std::sync::atomic::Ordering::Relaxed);
    let following = tokio::spawn(Arc::clone(&auth).follow_keys(stop.clone()));
    while issuer.panics.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    std::fs::write(file.path(), jwks(&[&new]).to_string()).expect("it is ours");
    while auth.verify_at(&new.sign(&claims(json!({}))), at(NOW_MS)) != buyer("shop:alice") {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    stop.cancel();
    following.await.expect("it does not panic");
}

/// Of an endpoint the look-out itself panics.
#[tokio::test]
async fn a_panic_of_who_asks_an_endpoint_is_told_and_it_is_asked_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/jwks.json", listener.local_addr().expect("it is bound"));
    let key = IssuerKey::es256("k");
    let auth = Arc::new(believing(&[json!({"jwks_url": url})]));
    auth.issuers().all().next().expect("there is one").panics.store(true, std::sync::atomic::Ordering::Relaxed);
    let stop = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&auth).follow_keys(stop.clone()));
    let body = jwks(&[&key]).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let serving = async {
        loop {
            let (mut asked, _) = listener.accept().await.expect("it listens");
            assert!(asked.read(&mut [0; 1_024]).await.expect("a request") > 0);
            asked.write_all(answer.as_bytes()).await.expect("it reads");
        }
    };
    let good = async {
        while auth.verify_at(&key.sign(&claims(json!({}))), at(NOW_MS)) != buyer("shop:alice") {
            tokio::task::yield_now().await;
        }
    };
    // It panics over the first answer, whatever that is.
    tokio::select! {
        () = serving => {}
        () = good => {}
    }
    stop.cancel();
    following.await.expect("it does not panic");
}

#[test]
fn the_same_keys_in_another_order_are_no_news() {
    let (one, other) = (IssuerKey::eddsa("1"), IssuerKey::eddsa("2"));
    let set = |keys: Value| KeySet::of_jwks(keys.to_string().as_bytes(), &[], |_, _| {}).expect("good keys");
    assert!(set(jwks(&[&one, &other])).is_same(&set(jwks(&[&other, &one]))));
    assert!(!set(jwks(&[&one, &other])).is_same(&set(jwks(&[&one]))));
    assert!(!set(jwks(&[&one])).is_same(&set(jwks(&[&IssuerKey::eddsa("1")]))), "the id is the same, the key is not");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_looked_at_until_the_process_stops() {
    let file = pem_file(RSA_PEM);
    let auth = Arc::new(believing(&[old_issuer(&file, json!({}))]));
    let stop = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&auth).follow_keys(stop.clone()));
    std::fs::write(file.path(), ED25519_PEM).expect("it is ours");
    while believed(&auth) != (false, true) {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    stop.cancel();
    following.await.expect("it does not panic");
}

#[test]
fn a_file_is_known_by_its_setting() {
    let issuer = |setting: &str| config(&[json!({setting: "keys"})]).issuers.remove(0);
    assert_eq!(KeyFile::of(&issuer("jwks_file")).map(|file| file.path), Some(PathBuf::from("keys")));
    assert_eq!(KeyFile::of(&issuer("public_key_file")).map(|file| file.path), Some(PathBuf::from("keys")));
    assert!(KeyFile::of(&issuer("secret_file")).is_none());
}
