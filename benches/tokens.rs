//! What it costs to know who asks: a token of our own, and those of other issuers by algorithm, seen for the first time and again. Beside
//! each stands the library alone with a key of that algorithm: what a token of our own would cost if it were signed so.
//!
//! At the end the same on the way of an order: a whole server is asked for orders, in turns with tokens of our own and of another issuer.
//! Never asks anything of a server that it did not start.

use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::config::{Auth, Issuer};
use doorbuster::domain::UserId;
use doorbuster::store::Role;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

#[path = "../tests/it/support/issuer_keys.rs"]
mod issuer_keys;
#[path = "tokens/order_path.rs"]
mod order_path;
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

/// What a call costs, in microseconds, the best of many rounds.
fn least_us(rounds: usize, calls: usize, mut round: impl FnMut() -> Duration) -> f64 {
    let least = (0..rounds).map(|_| round()).min().unwrap_or_default();
    least.as_secs_f64() * 1e6 / calls as f64
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// What a token of that algorithm costs that is seen for the first time, beyond the library alone; both, in microseconds.
fn alone_and_first_time(algorithm: Algorithm, key: &IssuerKey, rounds: usize) -> (f64, f64) {
    let file = file(&[key]);
    let tokens: Vec<String> = (0..TOKENS).map(|user| key.sign(&claims(user))).collect();
    let decoding = DecodingKey::from_jwk(&serde_json::from_value(key.jwk()).expect("a key")).expect("a key");
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["doorbuster"]);
    let library = || {
        timed(|| {
            for token in &tokens {
                jsonwebtoken::decode::<Few>(token, &decoding, &validation).expect("the token is good");
            }
        })
    };
    // In turns, so that what else the machine does meets both.
    let (mut alone, mut first_time) = (f64::MAX, f64::MAX);
    for _ in 0..rounds {
        alone = alone.min(least_us(1, TOKENS, library));
        let auth = authenticator(&[issuer(json!({"jwks_file": file.path()}))]);
        first_time = first_time.min(least_us(1, TOKENS, || timed(|| all_good(&auth, &tokens))));
    }
    (alone, first_time)
}

fn on_the_way_of_an_order(is_test: bool) {
    let figures = order_path::measure(if is_test { order_path::Extent::ONCE } else { order_path::Extent::FULL });
    println!("\norder path, {} orders a turn, {} turns each, in turns:", figures.orders, figures.turns);
    println!("  a token of our own, as minted          {:8.1} µs an order", figures.minted_us);
    println!("  a token of our own, of the usual size  {:8.1} µs an order", figures.own_us);
    println!("  another issuer\'s, of the usual size    {:8.1} µs an order", figures.foreign_us);
    println!(
        "  another issuer\'s against our own: {:+.1} % (half of the turns from {:+.1} % to {:+.1} %)",
        figures.median, figures.low, figures.high
    );
    for (algorithm, name, key) in [
        (Algorithm::EdDSA, "EdDSA", IssuerKey::eddsa("k")),
        (Algorithm::ES256, "ES256", IssuerKey::es256("k")),
        (Algorithm::RS256, "RS256", IssuerKey::rsa("k", 0, "RS256")),
    ] {
        let (alone, first_time) = alone_and_first_time(algorithm, &key, if is_test { 1 } else { 20 });
        let more = (first_time - alone) / (figures.own_us + alone) * 100.0;
        println!("  {name}: {first_time:.1} µs when it is seen first, the library alone {alone:.1} µs: {more:+.1} % of an order");
    }
}

criterion_group!(benches, own, foreign);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // `cargo bench` says so; `cargo test` tries everything once.
    on_the_way_of_an_order(!std::env::args().any(|argument| argument == "--bench"));
}
