//! What it costs to know who asks: a token of our own, and those of other issuers by algorithm, seen for the first time and again. Beside
//! each stands the library alone with a key of that algorithm: what a token of our own would cost if it were signed so.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::config::{Auth, Issuer};
use doorbuster::domain::UserId;
use doorbuster::store::Role;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

#[path = "../tests/it/support/issuer_keys.rs"]
mod issuer_keys;
use issuer_keys::{IssuerKey, jwks};

const SECRET: &str = "a secret for benches that is long enough";
const SHARED: &str = "another secret for benches, long enough too";
const TOKENS: usize = 200;

fn authenticator(issuers: &[Value]) -> Authenticator {
    let issuer = |settings: &Value| serde_json::from_value::<Issuer>(settings.clone()).expect("good settings");
    let auth = Auth {
        jwt_secret: None,
        internal_secret: None,
        issuer: None,
        audience: None,
        issuers: issuers.iter().map(issuer).collect(),
        token_ttl_seconds: 86_400,
        hashing_concurrency_max: 1,
    };
    Authenticator::new(&auth, &SECRET.to_owned().into()).expect("good keys")
}

/// A token of the usual size, of one of many users.
fn claims(user: usize) -> Value {
    json!({"iss": "https://sso.example/realms/shop", "aud": ["doorbuster", "account"], "sub": format!("3b241101-e2bb-4255-8caf-{user:012}"),
        "exp": 4_102_444_800_u64, "iat": 1_795_000_000, "jti": "9f0a3b1e", "typ": "Bearer", "azp": "shop-web", "scope": "openid profile email",
        "realm_access": {"roles": ["default-roles-shop", "offline_access", "uma_authorization"]}, "email_verified": true,
        "preferred_username": "alice", "given_name": "Alice", "email": "alice@example.org"})
}

fn issuer(more: Value) -> Value {
    let mut issuer = json!({"name": "sso", "issuer": "https://sso.example/realms/shop", "audience": "doorbuster",
        "role_claim": "realm_access.roles", "admin_values": ["shop-admin"]});
    for (setting, value) in more.as_object().expect("an object") {
        issuer[setting] = value.clone();
    }
    issuer
}

fn all_good(auth: &Authenticator, tokens: &[String]) {
    for token in tokens {
        auth.verify(token).expect("the token is good");
    }
}

fn own(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("HS256");
    group.throughput(Throughput::Elements(TOKENS as u64));
    let key = IssuerKey::eddsa("k");
    let file = file(&[&key]);
    let mints = |auth: &Authenticator| -> Vec<String> {
        let mint = |user: usize| auth.mint(UserId::new(user as i64 + 1).expect("a positive id"), Role::Buyer, clock::system());
        (0..TOKENS).map(mint).collect()
    };
    let (alone, beside) = (authenticator(&[]), authenticator(&[issuer(json!({"jwks_file": file.path()}))]));
    let foreign = authenticator(&[issuer(json!({"secret": SHARED}))]);
    let sign = |user: usize| {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(user), &EncodingKey::from_secret(SHARED.as_bytes())).expect("signing")
    };
    // A token of our own says little; this is what one of the usual size would cost.
    let by_us = |user: usize| {
        let mut claims = claims(user);
        claims["sub"] = json!("42");
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signing")
    };
    let (minted, large): (_, Vec<String>) = (mints(&alone), (0..TOKENS).map(by_us).collect());
    let signed: Vec<String> = (0..TOKENS).map(sign).collect();
    group.bench_function("own", |bencher| bencher.iter(|| all_good(&alone, &minted)));
    group.bench_function("own, with other issuers", |bencher| bencher.iter(|| all_good(&beside, &minted)));
    group.bench_function("own, of the usual size", |bencher| bencher.iter(|| all_good(&alone, &large)));
    group.bench_function("foreign, of the usual size", |bencher| bencher.iter(|| all_good(&foreign, &signed)));
    group.finish();
}

fn foreign(criterion: &mut Criterion) {
    for (algorithm, name, key) in [
        (Algorithm::EdDSA, "EdDSA", IssuerKey::eddsa("k")),
        (Algorithm::ES256, "ES256", IssuerKey::es256("k")),
        (Algorithm::RS256, "RS256", IssuerKey::rsa("k", 0, "RS256")),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(TOKENS as u64)).sample_size(20);
        let file = file(&[&key]);
        let fresh = || authenticator(&[issuer(json!({"jwks_file": file.path()}))]);
        let tokens: Vec<String> = (0..TOKENS).map(|user| key.sign(&claims(user))).collect();
        let jwk = serde_json::from_value(key.jwk()).expect("a key");
        let decoding = DecodingKey::from_jwk(&jwk).expect("a key");
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["doorbuster"]);
        group.bench_function("library alone", |bencher| {
            bencher.iter(|| {
                for token in &tokens {
                    jsonwebtoken::decode::<Few>(token, &decoding, &validation).expect("the token is good");
                }
            });
        });
        group.bench_function("foreign, first time", |bencher| {
            bencher.iter_batched_ref(fresh, |auth| all_good(auth, &tokens), BatchSize::PerIteration);
        });
        let auth = fresh();
        all_good(&auth, &tokens);
        group.bench_function("foreign, again", |bencher| bencher.iter(|| all_good(&auth, &tokens)));
        group.finish();
    }
}

/// What a token of our own is read into.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "what is read counts, not what is done with it")]
struct Few {
    sub: String,
    exp: f64,
    iss: Option<String>,
    aud: Option<Vec<String>>,
}

fn file(keys: &[&IssuerKey]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), jwks(keys).to_string()).expect("it is ours");
    file
}

criterion_group!(benches, own, foreign);
criterion_main!(benches);
