//! Tokens of other issuers: whose a token is, whether that issuer signed it, and whom it speaks for here. An issuer says who somebody is
//! among its own users and, where the configuration lets it, that they may operate; it never speaks for an account of ours or for a user
//! of another issuer.
//!
//! What a token says is read before its signature is checked, for `iss` says whose keys to check it with. Nothing else is done with it
//! until then.

mod claims;
mod endpoint;
mod follow;
mod key_file;
mod key_set;
#[cfg(test)]
mod tests;
mod verified;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::jws::Jws;
use super::{Caller, KeyError, Unauthenticated};
use crate::config;
use crate::domain::{Foreign, IssuerName, Principal, Timestamp};
use crate::store::Role;
use claims::{Claim, ClaimPath, Claims, Names};
use endpoint::{Endpoint, Waiting};
use key_file::KeyFile;
use key_set::{KeySet, NotVerified};
use verified::{TokenDigest, VerifiedToken, VerifiedTokens};

/// All other issuers whose tokens are taken.
pub(super) struct Issuers {
    all: Vec<Arc<Issuer>>,
    /// The claims that any of them looks at.
    names: Names,
    /// Whether one of them shares a secret with us, so that a token signed with one may be its.
    have_secrets: bool,
    /// None where there are secrets alone: those are checked as fast as they are looked up.
    verified: Option<VerifiedTokens>,
}

/// Another issuer whose tokens are taken.
pub(super) struct Issuer {
    name: IssuerName,
    /// The `iss` of its tokens.
    issuer: String,
    audience: Vec<String>,
    audience_claim: ClaimPath,
    subject_claim: ClaimPath,
    roles: Option<Roles>,
    leeway_ms: i64,
    /// The algorithms that are taken; none: all that its keys fit.
    algorithms: Vec<Algorithm>,
    source: Source,
    /// None until the first were fetched.
    keys: ArcSwapOption<KeySet>,
    /// Why its keys cannot be had now.
    trouble: ArcSwapOption<String>,
    /// Since when it has said that it has no key.
    keyless_since: Mutex<Option<Instant>>,
    /// Its follower panics, once.
    #[cfg(test)]
    panics: std::sync::atomic::AtomicBool,
}

/// Where its keys come from.
enum Source {
    /// From the configuration, for as long as this process lives.
    Secret,
    File(KeyFile),
    Endpoint(Box<Endpoint>),
}

/// What its users may do here.
struct Roles {
    claim: ClaimPath,
    /// What the claim says, by what it makes of somebody; the first that it says counts.
    values: Vec<(Role, Vec<String>)>,
}

/// What can be said of a token at once.
pub enum Verdict {
    /// Whom it speaks for, or why it is not believed.
    Known(Result<Caller, Unauthenticated>),
    /// It is signed with a key that is not here, and its issuer may have changed to that by now.
    Awaits(AwaitedKeys),
}

/// Keys of an issuer that are not here.
pub struct AwaitedKeys(Arc<Issuer>);

impl Issuers {
    /// Reads their keys, but for those that are fetched: a node starts without.
    pub(super) fn new(config: &[config::Issuer], own: &SecretString) -> Result<Self, KeyError> {
        let mut names = Names::default();
        let mut all = Vec::with_capacity(config.len());
        let mut secrets: Vec<(String, SecretString)> = Vec::new();
        for config in config {
            let wrong = |problem| KeyError::Issuer { name: config.name.clone(), problem };
            let issuer = Issuer::new(config, own).map_err(wrong)?;
            if matches!(issuer.source, Source::Secret) {
                let its = secret(config, own).map_err(wrong)?;
                let is_anothers =
                    |(issuer, other): &(String, SecretString)| *issuer != config.issuer && other.expose_secret() == its.expose_secret();
                if secrets.iter().any(is_anothers) {
                    return Err(wrong("its secret is another issuer's: each could make the tokens of the other".to_owned()));
                }
                secrets.push((config.issuer.clone(), its));
            }
            names.add(&issuer.audience_claim);
            names.add(&issuer.subject_claim);
            if let Some(roles) = &issuer.roles {
                names.add(&roles.claim);
            }
            all.push(Arc::new(issuer));
        }
        let has_secret = |issuer: &Arc<Issuer>| matches!(issuer.source, Source::Secret);
        let verified = (!all.iter().all(has_secret)).then(VerifiedTokens::new);
        Ok(Self { have_secrets: all.iter().any(has_secret), all, names, verified })
    }

    /// What can be said of a token; none if it is of no other issuer, so that our own key decides.
    pub(super) fn judge(&self, jws: &Jws<'_>, now: Timestamp) -> Option<Verdict> {
        let is_by_secret = jws.algorithm.family() == AlgorithmFamily::Hmac;
        if self.all.is_empty() || (is_by_secret && !self.have_secrets) {
            return None;
        }
        let verified = self.verified.as_ref().filter(|_| !is_by_secret).map(|verified| (verified, VerifiedTokens::digest(jws.token)));
        if let Some(caller) = verified.and_then(|(verified, digest)| self.remembered(verified, &digest, now)) {
            return Some(Verdict::Known(Ok(caller)));
        }
        match self.verify(jws, verified, now) {
            Ok(caller) => Some(Verdict::Known(Ok(caller))),
            // Whose it is cannot be said, or nobody's here: our own key will not be its, or its claims are for us to refuse.
            Err(NotTheirs::Refused(Unauthenticated::Issuer | Unauthenticated::Incomplete)) if is_by_secret => None,
            Err(NotTheirs::Refused(why)) => Some(Verdict::Known(Err(why))),
            Err(NotTheirs::Awaits(issuer)) => Some(Verdict::Awaits(AwaitedKeys(issuer))),
        }
    }

    fn verify(&self, jws: &Jws<'_>, verified: Option<(&VerifiedTokens, TokenDigest)>, now: Timestamp) -> Result<Caller, NotTheirs> {
        let payload = jws.payload()?;
        let claims = self.names.read(&payload).map_err(|_| Unauthenticated::Incomplete)?;
        let (place, issuer) = self.whose(&claims)?;
        let keys = issuer.keys.load();
        let Some(keys) = &*keys else { return Err(NotTheirs::Awaits(Arc::clone(issuer))) };
        match keys.verify(jws) {
            Ok(()) => {}
            Err(NotVerified::UnknownKey) if issuer.may_have_newer(jws.key_id.as_deref()) => {
                return Err(NotTheirs::Awaits(Arc::clone(issuer)));
            }
            Err(why) => return Err(Unauthenticated::from(why).into()),
        }
        let (caller, good) = issuer.caller(&claims, now)?;
        if let Some((verified, digest)) = verified {
            verified.remember(VerifiedToken { digest, generation: keys.generation, issuer: place, good, caller: caller.clone() });
        }
        Ok(caller)
    }

    fn remembered(&self, verified: &VerifiedTokens, digest: &TokenDigest, now: Timestamp) -> Option<Caller> {
        verified.with(digest, |token| {
            let is_current = self.all[token.issuer].keys.load().as_ref().is_some_and(|keys| keys.generation == token.generation);
            (is_current && token.good.contains(&now.millis())).then(|| token.caller.clone())
        })
    }

    /// The issuer that says of itself that it made this, for us; of several the first one of the configuration.
    fn whose(&self, claims: &Claims<'_>) -> Result<(usize, &Arc<Issuer>), Unauthenticated> {
        let of_it = || self.all.iter().enumerate().filter(|(_, issuer)| claims.issuer.as_deref() == Some(&*issuer.issuer));
        let found = of_it().find(|(_, issuer)| issuer.is_for_us(claims));
        found.ok_or_else(|| if of_it().next().is_some() { Unauthenticated::Audience } else { Unauthenticated::Issuer })
    }

    /// What an operator should know of.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.all.iter().filter_map(|issuer| issuer.warning())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.all.iter()
    }
}

impl Issuer {
    fn new(config: &config::Issuer, own: &SecretString) -> Result<Self, String> {
        let allowed = &config.algorithms;
        let (source, keys) = if config.jwks_url.is_some() {
            (Source::Endpoint(Box::new(Endpoint::new(config)?)), None)
        } else if let Some(file) = KeyFile::of(config) {
            let keys = file.read(allowed)?;
            if keys.len() == 0 {
                return Err(format!("the file {} holds no key that can be used", file.path.display()));
            }
            (Source::File(file), Some(keys))
        } else {
            (Source::Secret, Some(KeySet::of_secret(secret(config, own)?.expose_secret().as_bytes(), allowed)?))
        };
        let values =
            [(Role::Admin, &config.admin_values), (Role::Operator, &config.operator_values), (Role::Service, &config.service_values)];
        let values = values.map(|(role, values)| (role, values.clone()));
        let roles = config.role_claim.as_deref().map(|claim| Roles { claim: ClaimPath::new(claim), values: values.into() });
        Ok(Self {
            name: config.name.clone(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            audience_claim: ClaimPath::new(&config.audience_claim),
            subject_claim: ClaimPath::new(&config.subject_claim),
            roles,
            leeway_ms: i64::try_from(config.leeway_seconds).unwrap_or(i64::MAX).saturating_mul(1000),
            algorithms: allowed.clone(),
            source,
            keys: ArcSwapOption::from_pointee(keys),
            trouble: ArcSwapOption::empty(),
            keyless_since: Mutex::default(),
            #[cfg(test)]
            panics: std::sync::atomic::AtomicBool::default(),
        })
    }

    /// A token that says whom it is for is for nobody else (RFC 7519, 4.1.3): also not for one who has no name there.
    fn is_for_us(&self, claims: &Claims<'_>) -> bool {
        match self.audience_claim.find(claims) {
            None => self.audience.is_empty(),
            Some(audience) => audience.has(|text| self.audience.iter().any(|ours| ours == text)),
        }
    }

    /// Whom a token speaks for that this issuer signed, and the time in which it does.
    fn caller(&self, claims: &Claims<'_>, now: Timestamp) -> Result<(Caller, Range<i64>), Unauthenticated> {
        if claims.is_for_something_else {
            return Err(Unauthenticated::Type);
        }
        let expires = claims.expires.ok_or(Unauthenticated::Incomplete)?;
        let begins = claims.not_before.map_or(i64::MIN, |begins| begins.millis().saturating_sub(self.leeway_ms));
        let good = begins..expires.millis().saturating_add(self.leeway_ms);
        if now.millis() >= good.end {
            return Err(Unauthenticated::Expired);
        }
        if now.millis() < good.start {
            return Err(Unauthenticated::NotYetValid);
        }
        let subject = match self.subject_claim.find(claims) {
            Some(Claim::Text(text)) => Foreign::new(&self.name, text),
            Some(Claim::Whole(number)) => Foreign::new(&self.name, &number.to_string()),
            Some(Claim::List(_) | Claim::Object(_) | Claim::Null | Claim::Other) | None => return Err(Unauthenticated::Subject),
        };
        let principal = Principal::Foreign(subject.map_err(|_| Unauthenticated::Subject)?);
        Ok((Caller { principal, role: self.role(claims) }, good))
    }

    fn role(&self, claims: &Claims<'_>) -> Role {
        let Some(roles) = &self.roles else { return Role::Buyer };
        let Some(said) = roles.claim.find(claims) else { return Role::Buyer };
        let is_said = |values: &[String]| said.has(|text| values.iter().any(|value| value == text));
        roles.values.iter().find(|(_, values)| is_said(values)).map_or(Role::Buyer, |(role, _)| *role)
    }

    fn warning(&self) -> Option<String> {
        self.trouble.load().as_ref().map(|_| match &*self.keys.load() {
            Some(_) => format!("the keys of issuer {} cannot be had; those that were had last stay in force", self.name),
            None => format!("the keys of issuer {} cannot be had; its tokens are told 503", self.name),
        })
    }
}

/// The secret that an issuer shares with us, and that nobody else may.
fn secret(config: &config::Issuer, own: &SecretString) -> Result<SecretString, String> {
    let secret = match (&config.secret, &config.secret_file) {
        (Some(secret), _) => secret.clone(),
        (None, Some(file)) => key_file::text(file)?.trim().into(),
        (None, None) => return Err("has no keys".to_owned()),
    };
    if secret.expose_secret() == own.expose_secret() {
        return Err("its secret is our own: whoever has it can make tokens of our accounts".to_owned());
    }
    Ok(secret)
}

impl AwaitedKeys {
    /// Asks for a key that is not here, or for any.
    pub(super) fn ask(&self, id: Option<&str>) -> Result<Waiting<'_>, Unauthenticated> {
        match &self.0.source {
            Source::Endpoint(endpoint) => endpoint.ask(id),
            // Those have all the keys there are.
            Source::Secret | Source::File(_) => Err(Unauthenticated::UnknownKey),
        }
    }

    /// For who does not wait.
    pub(super) fn refusal(&self) -> Unauthenticated {
        if self.0.keys.load().is_some() { Unauthenticated::UnknownKey } else { Unauthenticated::KeysAway }
    }
}

/// Why a token is not good by now.
enum NotTheirs {
    Refused(Unauthenticated),
    Awaits(Arc<Issuer>),
}

impl From<Unauthenticated> for NotTheirs {
    fn from(why: Unauthenticated) -> Self {
        Self::Refused(why)
    }
}

impl From<NotVerified> for Unauthenticated {
    fn from(why: NotVerified) -> Self {
        match why {
            NotVerified::UnknownKey => Self::UnknownKey,
            NotVerified::NoKeyId => Self::NoKeyId,
            NotVerified::Algorithm => Self::Algorithm,
            NotVerified::Signature => Self::Signature,
        }
    }
}
