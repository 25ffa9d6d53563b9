//! Stripe's signatures: `Stripe-Signature: t=SECONDS,v1=HEX` over `SECONDS.body`. Never looks into a body whose signature is not right.

use hmac::Mac;
use serde::Deserialize;

use super::{BadSignature, Headers, Key, Notice, Object, SIGNATURES_MAX, check_time, kept, seconds};
use crate::domain::Timestamp;

/// The shortest secret that is taken, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// The version of the signatures that count. Others (`v0` of test events) do not, lest somebody chooses a weaker one.
const VERSION: &str = "v1";

#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    r#type: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    object: Option<Paid>,
}

#[derive(Deserialize)]
struct Paid {
    #[serde(flatten)]
    object: Object,
    client_reference_id: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    payment_id: Option<String>,
    /// Of a refund: it is named after its payment.
    refund_id: Option<String>,
}

/// A secret is the key as it is written, its `whsec_` included.
pub(super) fn key(secret: &str) -> Result<Key, String> {
    if secret.len() >= SECRET_BYTES_MIN {
        Ok(Key::new(secret.as_bytes()))
    } else {
        Err("a secret of webhooks must have 16 characters at least: it is the whole whsec_... of the endpoint".to_owned())
    }
}

/// The value of `Stripe-Signature` for a message.
///
/// # Errors
/// A sentence for a secret that is none.
pub fn sign(secret: &str, at: Timestamp, body: &[u8]) -> Result<String, String> {
    let seconds = (at.millis() / 1_000).to_string();
    let mac = key(secret)?.mac(&[seconds.as_bytes(), b".", body]).finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("t={seconds},{VERSION}={hex}"))
}

pub(super) fn verify(keys: &[Key], headers: &impl Headers, body: &[u8], now: Timestamp) -> Result<Option<Notice>, BadSignature> {
    let header = headers.header("stripe-signature").ok_or(BadSignature)?;
    let (mut timestamp, mut signatures) = (None, Vec::new());
    for (name, value) in header.split(',').filter_map(|item| item.trim().split_once('=')) {
        match name {
            "t" if timestamp.is_none() => timestamp = Some(value),
            // Which one was signed?
            "t" => return Err(BadSignature),
            VERSION if signatures.len() < SIGNATURES_MAX => signatures.extend(from_hex(value)),
            _ => {}
        }
    }
    let timestamp = timestamp.ok_or(BadSignature)?;
    check_time(seconds(timestamp)?, now)?;
    let signed: [&[u8]; 3] = [timestamp.as_bytes(), b".", body];
    if !signatures.iter().any(|signature| keys.iter().any(|key| key.fits(&signed, signature))) {
        return Err(BadSignature);
    }
    let Ok(Message { id, r#type, data }) = serde_json::from_slice(body) else { return Ok(None) };
    let (Some(event), Some(kind)) = (kept(id), kept(r#type)) else { return Ok(None) };
    let object = data.and_then(|data| data.object);
    let (object, reference) = match object {
        Some(paid) => (
            paid.object.id,
            paid.client_reference_id.or_else(|| paid.metadata.and_then(|metadata| metadata.payment_id.or(metadata.refund_id))),
        ),
        None => (None, None),
    };
    Ok(Some(Notice { event, kind, object: kept(object), reference: kept(reference) }))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?, 16).ok()?;
    }
    Some(bytes)
}
