//! Keys of an issuer of tokens, made when a test asks for them (those of RSA lie in a file: to make one takes seconds), and what they sign.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// The private keys of RSA, which open nothing.
const RSA: [&str; 2] = [include_str!("../../data/issuer_rsa_1.pem"), include_str!("../../data/issuer_rsa_2.pem")];

/// A key that signs tokens.
pub struct IssuerKey {
    id: String,
    algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl IssuerKey {
    /// One of the two of RSA, for the padding of old (`RS256`) or the newer one (`PS256`).
    pub fn rsa(id: &str, number: usize, algorithm: &'static str) -> Self {
        let block = pem::parse(RSA[number]).expect("the file is PEM");
        let pair = RsaKeyPair::from_pkcs8(block.contents()).expect("a key of RSA");
        Self { id: id.to_owned(), algorithm, pair: Pair::Rsa(pair) }
    }

    /// A new one on P-256.
    pub fn es256(id: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("there is randomness");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).expect("it was made so");
        Self { id: id.to_owned(), algorithm: "ES256", pair: Pair::P256(pair) }
    }

    /// A new one on Ed25519.
    pub fn eddsa(id: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("there is randomness");
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("it was made so");
        Self { id: id.to_owned(), algorithm: "EdDSA", pair: Pair::Ed25519(pair) }
    }

    /// Its public half, as a JWKS has it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": base64url(&public.n), "e": base64url(&public.e)})
            }
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)})
            }
            Pair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())}),
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The header of its tokens.
    pub fn header(&self) -> Value {
        json!({"alg": self.algorithm, "typ": "JWT", "kid": self.id})
    }

    /// A token that says this.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_texts(&self.header().to_string(), &claims.to_string())
    }

    /// A token of these two texts, whatever they are.
    pub fn sign_texts(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn ring::signature::RsaEncoding =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message.as_bytes(), &mut signature).expect("RSA signs anything");
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message.as_bytes()).expect("ECDSA signs anything").as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64url(&signature))
    }
}

/// The keys as an endpoint or a file has them.
pub fn jwks(keys: &[&IssuerKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

/// Base64 as tokens have it.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
