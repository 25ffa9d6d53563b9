//! Bearer tokens: JWTs that are verified with a pinned algorithm and minted with the configured secret. Never trusts a
//! claim before the signature, never lets a token choose how it is verified.
//!
//! Claims: `sub` is the user (a positive whole number, as text or as a number), `exp` is needed and exact (no leeway: a
//! token is refused from that instant on), `nbf` counts if it is there, `role` is `admin`, `buyer` or absent (a buyer).
//! With an issuer or an audience configured, `iss` and `aud` must match for tokens of either key. Whoever holds the other
//! issuer's private key may hand out the role `admin` too: configure only a key whose owner may.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::keys::{self, PublicKeys, VerifyingKey};
use super::{Caller, KeyError, Unauthenticated};
use crate::domain::{Timestamp, UserId};
use crate::store::Role;
use crate::{clock, config};

mod claims;
use claims::Claims;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// How often the file of the other issuer's keys is looked at.
const KEYS_INTERVAL: Duration = Duration::from_secs(2);

/// Verifies and mints tokens. Made once at the start, shared by all workers.
pub struct Authenticator {
    signing_key: EncodingKey,
    own: VerifyingKey,
    other_issuer: Option<OtherIssuer>,
    issuer: Option<String>,
    audience: Option<String>,
    ttl_seconds: u64,
}

/// The keys of another issuer, as their file has them.
struct OtherIssuer {
    file: PathBuf,
    keys: ArcSwap<PublicKeys>,
}

impl Authenticator {
    /// Takes the secret (from the configuration or the data folder) and reads the other issuer's public keys, if a file is
    /// configured.
    ///
    /// # Errors
    /// [`KeyError`] for a short secret, and for a key file that cannot be read or holds no usable key.
    pub fn new(config: &config::Auth, secret: &SecretString) -> Result<Self, KeyError> {
        let (signing_key, own) = keys::from_secret(secret)?;
        let other_issuer = config.jwt_public_key_file.as_deref().map(|file| {
            let keys = ArcSwap::from_pointee(PublicKeys::read(file)?);
            Ok::<_, KeyError>(OtherIssuer { file: file.to_owned(), keys })
        });
        let other_issuer = other_issuer.transpose()?;
        Ok(Self {
            signing_key,
            own,
            other_issuer,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl_seconds: config.token_ttl_seconds,
        })
    }

    /// Who this token speaks for, by the system's clock. Fit for a worker thread: one core verifies 650,000 tokens a second
    /// that were signed with the secret, 30,000 with EdDSA, 7,000 with RS256.
    ///
    /// # Errors
    /// [`Unauthenticated`] says why the token was not believed.
    pub fn verify(&self, bearer: &str) -> Result<Caller, Unauthenticated> {
        self.verify_at(bearer, clock::system())
    }

    /// A token for this user, good from `now` for the configured time, signed with the secret.
    #[must_use]
    pub fn mint(&self, user: UserId, role: Role, now: Timestamp) -> String {
        let issued_at = now.millis() / 1000;
        let claims = Minted {
            sub: user.to_string(),
            iat: issued_at,
            exp: issued_at.saturating_add_unsigned(self.ttl_seconds),
            role: match role {
                Role::Buyer => None,
                Role::Admin => Some("admin"),
            },
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing_key).expect("HS256 signs any claims with any key")
    }

    /// How long a minted token is good, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> u64 {
        self.ttl_seconds
    }

    fn verify_at(&self, bearer: &str, now: Timestamp) -> Result<Caller, Unauthenticated> {
        if bearer.len() > TOKEN_BYTES_MAX {
            return Err(Unauthenticated::TooLong);
        }
        let header = jsonwebtoken::decode_header(bearer).map_err(|error| match error.kind() {
            // A header that is JSON but not ours names an algorithm nobody knows, such as "none".
            ErrorKind::Json(_) => Unauthenticated::Algorithm,
            _ => Unauthenticated::Malformed,
        })?;
        if header.crit.is_some() {
            // RFC 7515: an extension that must be understood and is not makes the token invalid.
            return Err(Unauthenticated::Malformed);
        }
        if header.alg == self.own.algorithm() {
            return self.check(&claims(bearer, &self.own)?, now);
        }
        // Each key has one algorithm, so a public key is never used as a shared secret.
        let others = self.other_issuer.as_ref().map(|issuer| issuer.keys.load());
        let mut outcome = Err(Unauthenticated::Algorithm);
        for key in others.iter().flat_map(|others| &others.keys).filter(|key| key.algorithm() == header.alg) {
            outcome = claims(bearer, key);
            if !matches!(outcome, Err(Unauthenticated::Signature)) {
                break;
            }
        }
        self.check(&outcome?, now)
    }

    /// Reads the other issuer's keys anew whenever their file changes, until `stop`. A file that holds none leaves the old ones in force,
    /// and is said once.
    pub async fn follow_keys(self: Arc<Self>, stop: CancellationToken) {
        let Some(issuer) = &self.other_issuer else { return };
        let mut said = None;
        let mut ticks = tokio::time::interval(KEYS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let file = issuer.file.clone();
            let read = tokio::task::spawn_blocking(move || PublicKeys::read(&file)).await;
            // A panic in it has been reported by the runtime.
            let Ok(read) = read else { continue };
            issuer.take(read, &mut said);
        }
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<Caller, Unauthenticated> {
        if now.millis() >= claims.exp.millis() {
            return Err(Unauthenticated::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now.millis() < nbf.millis()) {
            return Err(Unauthenticated::NotYetValid);
        }
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(Unauthenticated::Issuer);
        }
        if let Some(audience) = &self.audience
            && !claims.aud.as_ref().is_some_and(|aud| aud.holds(audience))
        {
            return Err(Unauthenticated::Audience);
        }
        Ok(Caller { principal: claims.sub.user().into(), role: claims.role.unwrap_or(Role::Buyer) })
    }
}

/// What a token says whose signature is that key's.
fn claims(bearer: &str, key: &VerifyingKey) -> Result<Claims, Unauthenticated> {
    let token = jsonwebtoken::decode::<Claims>(bearer, &key.key, &key.validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => Unauthenticated::Signature,
        ErrorKind::Json(_) => Unauthenticated::Claims,
        _ => Unauthenticated::Malformed,
    })?;
    Ok(token.claims)
}

impl OtherIssuer {
    /// Goes on with what was read, if it is news. `said` is the last trouble that the log has heard of.
    fn take(&self, read: Result<PublicKeys, KeyError>, said: &mut Option<String>) {
        match read {
            Ok(read) => {
                if read.pem != self.keys.load().pem {
                    let (file, keys) = (self.file.display(), read.keys.len());
                    tracing::info!(%file, keys, "the keys in {file} have changed: {keys} from now on");
                    self.keys.store(Arc::new(read));
                } else if said.is_some() {
                    tracing::info!("the JWT public keys can be read again, and are the same");
                }
                *said = None;
            }
            Err(error) => {
                let trouble = error.to_string();
                if said.as_ref() != Some(&trouble) {
                    tracing::warn!(%error, "the keys that were read last stay in force: {error}");
                    *said = Some(trouble);
                }
            }
        }
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let other = self.other_issuer.as_ref().map(|issuer| &issuer.file);
        f.debug_struct("Authenticator").field("other_issuer", &other).finish_non_exhaustive()
    }
}

/// What a minted token says.
#[derive(Serialize)]
struct Minted<'a> {
    sub: String,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

#[cfg(test)]
mod tests;
