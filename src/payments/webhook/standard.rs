//! Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, and `webhook-signature` over `id.timestamp.body`. Never looks into a body whose
//! signature is not right.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use serde::Deserialize;

use super::{BadSignature, Headers, Key, Notice, SIGNATURES_MAX, TEXT_BYTES_MAX, check_time, kept, seconds};
use crate::domain::Timestamp;

/// What a secret begins with; the rest is Base64.
const PREFIX: &str = "whsec_";

/// How long a secret is, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The version of the signatures that are made with a shared secret.
const VERSION: &str = "v1";

#[derive(Deserialize)]
struct Message {
    r#type: Option<String>,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    id: Option<String>,
    reference: Option<String>,
}

/// Reads a secret.
pub(super) fn key(secret: &str) -> Result<Key, String> {
    let wrong = || "a secret of webhooks must be whsec_ and the Base64 of 24 to 64 bytes".to_owned();
    let bytes = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret)).map_err(|_| wrong())?;
    if SECRET_BYTES.contains(&bytes.len()) { Ok(Key::new(&bytes)) } else { Err(wrong()) }
}

/// The value of `webhook-signature` for a message.
///
/// # Errors
/// A sentence for a secret that is none.
pub fn sign(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Result<String, String> {
    let seconds = (at.millis() / 1_000).to_string();
    let mac = key(secret)?.mac(&[id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
    Ok(format!("{VERSION},{}", STANDARD.encode(mac.finalize().into_bytes())))
}

pub(super) fn verify(keys: &[Key], headers: &impl Headers, body: &[u8], now: Timestamp) -> Result<Option<Notice>, BadSignature> {
    let header = |name| headers.header(name).ok_or(BadSignature);
    let (id, timestamp, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    // A dot would let one message's id and time be read as another's.
    let is_id = (1..=TEXT_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if !is_id {
        return Err(BadSignature);
    }
    check_time(seconds(timestamp)?, now)?;
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let given = signatures.split(' ').take(SIGNATURES_MAX).filter_map(|signature| signature.strip_prefix(VERSION)?.strip_prefix(','));
    let is_good = given.filter_map(|text| STANDARD.decode(text).ok()).any(|signature| keys.iter().any(|key| key.fits(&signed, &signature)));
    if !is_good {
        return Err(BadSignature);
    }
    let Ok(Message { r#type, data }) = serde_json::from_slice(body) else { return Ok(None) };
    let Some(kind) = kept(r#type) else { return Ok(None) };
    Ok(Some(Notice { event: id.to_owned(), kind, object: kept(data.id), reference: kept(data.reference) }))
}
