//! Bearer tokens: JWTs that are verified with a pinned algorithm, and minted with the configured secret. Never trusts a
//! claim before the signature, never lets a token choose how it is verified.
//!
//! A token is another issuer's if its `iss` is one of theirs ([`super::issuers`]); every other one is our own, or nobody's.
//! Claims of our own: `sub` is the user (a positive whole number, as text or as a number), `exp` is needed and exact (no
//! leeway: a token is refused from that instant on), `nbf` counts if it is there, `role` is a word of [`Role`] or absent (a
//! buyer). A token that an account was given also carries its generation, `gen`: see [`Endings`]. One that was given for a number, by
//! whoever has the secret, says `"account": false`. With an issuer or an audience configured, `iss` and `aud` must match.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::endings::Endings;
use super::issuers::{AwaitedKeys, Issuers, Verdict};
use super::jws::Jws;
use super::keys::{self, VerifyingKey};
use super::{Caller, KeyError, Unauthenticated};
use crate::domain::{Timestamp, UserId};
use crate::store::{Account, Role};
use crate::upkeep::keep_going;
use crate::{clock, config};

mod claims;
use claims::Claims;

/// Verifies and mints tokens. Made once at the start, shared by all workers.
pub struct Authenticator {
    signing_key: EncodingKey,
    own: VerifyingKey,
    issuers: Issuers,
    issuer: Option<String>,
    audience: Option<String>,
    ttl_seconds: u64,
    endings: Arc<Endings>,
}

impl Authenticator {
    /// Takes the secret (from the configuration or the data folder) and reads the keys of other issuers, but for those that are to be
    /// fetched.
    ///
    /// # Errors
    /// [`KeyError`] for a short secret, and for a key file that cannot be read or holds no usable key.
    pub fn new(config: &config::Auth, secret: &SecretString) -> Result<Self, KeyError> {
        let (signing_key, own) = keys::from_secret(secret)?;
        Ok(Self {
            signing_key,
            own,
            issuers: Issuers::new(&config.issuers, secret)?,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl_seconds: config.token_ttl_seconds,
            endings: Arc::default(),
        })
    }

    /// Who this token speaks for, by the system's clock and the keys that are here. Fit for a worker thread: one core verifies 650,000
    /// tokens a second that were signed with a secret; of those it sees for the first time 30,000 with EdDSA, 7,000 with RS256.
    ///
    /// # Errors
    /// [`Unauthenticated`] says why the token was not believed.
    pub fn verify(&self, bearer: &str) -> Result<Caller, Unauthenticated> {
        self.verify_at(bearer, clock::system())
    }

    /// As [`Self::verify`], for whoever can wait for a key that its issuer has changed to by now.
    #[must_use]
    pub fn judge(&self, bearer: &str) -> Verdict {
        self.judge_at(bearer, clock::system())
    }

    /// Waits for the token's key, together with all others that wait for keys of its issuer: a few seconds at most.
    ///
    /// # Errors
    /// [`Unauthenticated::KeysAway`] if the issuer does not answer; as [`Self::verify`] if it does.
    pub async fn verify_with_newer(&self, bearer: &str, keys: AwaitedKeys) -> Result<Caller, Unauthenticated> {
        let jws = Jws::parse(bearer)?;
        let mut waiting = keys.ask(jws.key_id.as_deref())?;
        // It may have come before this waited.
        if let Verdict::Known(known) = self.judge(bearer) {
            return known;
        }
        loop {
            let heard = waiting.hear().await;
            if let Verdict::Known(known) = self.judge(bearer) {
                return known;
            }
            if let Some(why) = heard.refusal() {
                return Err(why);
            }
        }
    }

    /// What an operator should know of: issuers whose keys cannot be had.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.issuers.warnings().collect()
    }

    /// A token for this user, good from `now` for the configured time, signed with the secret. It is no account's: nothing ends it before.
    #[must_use]
    pub fn mint(&self, user: UserId, role: Role, now: Timestamp) -> String {
        self.sign(user, role, (None, Some(false)), now)
    }

    /// The same for an account that proved itself, which has been changed so often: the next change ends it.
    #[must_use]
    pub fn mint_for_account(&self, account: &Account, now: Timestamp) -> String {
        self.sign(account.id, account.role, (Some(account.generation), None), now)
    }

    fn sign(&self, user: UserId, role: Role, (generation, account): (Option<i64>, Option<bool>), now: Timestamp) -> String {
        let issued_at = now.millis() / 1000;
        let claims = Minted {
            sub: user.to_string(),
            iat: issued_at,
            exp: issued_at.saturating_add_unsigned(self.ttl_seconds),
            role: (role != Role::Buyer).then(|| role.word()),
            r#gen: generation,
            account,
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing_key).expect("HS256 signs any claims with any key")
    }

    /// Which tokens are over before they expire: for whoever brings the news.
    #[must_use]
    pub fn endings(&self) -> &Arc<Endings> {
        &self.endings
    }

    /// How long a minted token is good, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> u64 {
        self.ttl_seconds
    }

    #[cfg(test)]
    pub(super) fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    pub(super) fn verify_at(&self, bearer: &str, now: Timestamp) -> Result<Caller, Unauthenticated> {
        match self.judge_at(bearer, now) {
            Verdict::Known(known) => known,
            Verdict::Awaits(keys) => Err(keys.refusal()),
        }
    }

    pub(super) fn judge_at(&self, bearer: &str, now: Timestamp) -> Verdict {
        let jws = match Jws::parse(bearer) {
            Ok(jws) => jws,
            Err(why) => return Verdict::Known(Err(why)),
        };
        self.issuers.judge(&jws, now).unwrap_or_else(|| Verdict::Known(self.verify_own(&jws, now)))
    }

    /// Whom a token of our own speaks for that is good but for a later change of its account.
    ///
    /// # Errors
    /// As [`Self::verify`], but for [`Unauthenticated::Ended`].
    pub fn verify_ended(&self, bearer: &str) -> Result<Caller, Unauthenticated> {
        self.read_own(&Jws::parse(bearer)?, clock::system()).map(|(_, caller)| caller)
    }

    fn verify_own(&self, jws: &Jws<'_>, now: Timestamp) -> Result<Caller, Unauthenticated> {
        let (claims, caller) = self.read_own(jws, now)?;
        let has_ended = caller.principal.account().is_some_and(|account| self.endings.ends(account, claims.standing()));
        if has_ended { Err(Unauthenticated::Ended) } else { Ok(caller) }
    }

    fn read_own(&self, jws: &Jws<'_>, now: Timestamp) -> Result<(Claims, Caller), Unauthenticated> {
        // Our key has one algorithm, so that nobody's public key is ever taken for a secret.
        if jws.algorithm != self.own.algorithm() {
            return Err(Unauthenticated::Algorithm);
        }
        let claims = claims(jws.token, &self.own)?;
        let caller = self.check(&claims, now)?;
        Ok((claims, caller))
    }

    /// Keeps the keys of other issuers up to date until `stop`.
    pub async fn follow_keys(self: Arc<Self>, stop: CancellationToken) {
        let mut following = tokio::task::JoinSet::new();
        for issuer in self.issuers.all() {
            let (issuer, stop) = (Arc::clone(issuer), stop.clone());
            // Each on its own: one that hangs or fails is nobody else's matter.
            following.spawn(async move {
                keep_going("the look-out for an issuer's keys", &stop, || Arc::clone(&issuer).follow(stop.clone())).await;
            });
        }
        while following.join_next().await.is_some() {}
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

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("issuers", &self.issuers.all().count()).finish_non_exhaustive()
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
    r#gen: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

#[cfg(test)]
mod tests;
