//! Request ids: how a caller and the log talk of the same request. Never a secret, never used to decide anything.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::{HeaderMap, HeaderValue};

/// The longest id that is taken over from a caller.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// The id of a request. Present in the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id: 1 to 64 of letters, digits, `.`, `_` and `-`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Where ids come from that callers did not bring: a number drawn at the start, and a count.
#[derive(Debug)]
pub struct RequestIds {
    run: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// Ids of a run with that number, which should differ from that of other runs and processes.
    #[must_use]
    pub const fn new(run: u64) -> Self {
        Self { run, count: AtomicU64::new(0) }
    }

    /// The id a caller sent, if it is a sane one, or a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> RequestId {
        let sent = headers.get("x-request-id").filter(|value| is_sane(value.as_bytes()));
        RequestId(sent.cloned().unwrap_or_else(|| self.next()))
    }

    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:016x}-{count:x}", self.run)).expect("hexadecimal digits are fit for a header")
    }
}

fn is_sane(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    #[test]
    fn a_sane_id_is_taken_over_and_another_is_not() {
        let ids = RequestIds::new(0xABC);
        let with = |text: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("x-request-id"), HeaderValue::from_bytes(text).unwrap());
            ids.of(&headers).as_str().to_owned()
        };
        assert_eq!(with(b"checkout-7f.3"), "checkout-7f.3");
        assert_eq!(with(b"two words"), "0000000000000abc-0");
        assert_eq!(with(b""), "0000000000000abc-1");
        assert_eq!(with(&[b'a'; 65]), "0000000000000abc-2");
        assert_eq!(with(b"\xff"), "0000000000000abc-3");
        assert_eq!(ids.of(&HeaderMap::new()).as_str(), "0000000000000abc-4");
    }
}
