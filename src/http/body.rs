//! Request bodies: read within a size and a time, whether compressed or not. What a body comes to in memory follows `http.body_bytes_max`:
//! nothing is read or decompressed beyond that.

use std::io::Read;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest, web};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;

use super::fields::Fields;
use super::problem::Problem;
use super::state::AppState;
use crate::config;

/// A request's body as it was before it was compressed, at most `http.body_bytes_max` bytes.
#[derive(Debug)]
pub struct Body {
    bytes: Bytes,
    media_type: MediaType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Absent,
    Json,
    Other,
}

/// How a body is compressed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = media_type_of(request);
        let bytes = read(request, payload, config_of(request).body_bytes_max);
        Box::pin(async move { Ok(Self { bytes: bytes.await?, media_type }) })
    }
}

/// A file in CSV as a request's body, at most [`CSV_BYTES_MAX`] bytes.
#[derive(Debug)]
pub struct CsvBody(pub Bytes);

/// A body as its bytes came, at most `http.body_bytes_max` of them: what is signed is not to be changed before it is checked.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl FromRequest for RawBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_plain = coding_of(request).map(|coding| coding == Coding::Identity);
        let bytes = read(request, payload, config_of(request).body_bytes_max);
        Box::pin(async move { if is_plain? { bytes.await.map(Self) } else { Err(Problem::UnsupportedCoding) } })
    }
}

/// The largest file there may be.
pub const CSV_BYTES_MAX: usize = 10 * 1_024 * 1_024;

impl FromRequest for CsvBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_csv = is_csv(request);
        let bytes = read(request, payload, CSV_BYTES_MAX);
        Box::pin(async move { if is_csv { bytes.await.map(Self) } else { Err(Problem::NotCsv) } })
    }
}

fn config_of(request: &HttpRequest) -> &config::Http {
    &request.app_data::<web::Data<AppState>>().expect("the state is part of the app").config
}

/// A body of at most `limit` bytes, compressed or not.
fn read(request: &HttpRequest, payload: &mut Payload, limit: usize) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let coding = coding_of(request);
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let time = Duration::from_millis(config_of(request).client_request_timeout_ms);
    let payload = payload.take();
    async move {
        let coding = coding?;
        let sent = tokio::time::timeout(time, collect(payload, length, limit)).await.map_err(|_| Problem::RequestTimeout)??;
        decoded(sent, coding, limit)
    }
}

/// `text/csv`, in UTF-8 if it says in what.
fn is_csv(request: &HttpRequest) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let is_csv = parts.next().is_some_and(|essence| essence == "text/csv");
    is_csv
        && parts
            .filter_map(|part| part.strip_prefix("charset=").map(|name| name.trim_matches('"').to_owned()))
            .all(|name| name == "utf-8" || name == "utf8")
}

/// What arrives, at most `limit` bytes of it.
async fn collect(mut payload: Payload, length: Option<usize>, limit: usize) -> Result<Bytes, Problem> {
    if length.is_some_and(|length| length > limit) {
        return Err(Problem::BodyTooLarge(limit));
    }
    let mut bytes = BytesMut::with_capacity(length.unwrap_or_default());
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::field("body", "the body could not be read to its end"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(Problem::BodyTooLarge(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// What was compressed, at most `limit` bytes of it: decompressing ends there, whatever the rest would come to.
fn decoded(sent: Bytes, coding: Coding, limit: usize) -> Result<Bytes, Problem> {
    let decode = |decoder: &mut dyn Read| {
        let mut bytes = Vec::new();
        let read = decoder.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|_| Problem::field("body", "the body is not compressed as its Content-Encoding says"))?;
        if bytes.len() > limit { Err(Problem::BodyTooLarge(limit)) } else { Ok(bytes.into()) }
    };
    match coding {
        _ if sent.is_empty() => Ok(sent),
        Coding::Identity => Ok(sent),
        Coding::Gzip => decode(&mut MultiGzDecoder::new(sent.as_ref())),
        Coding::Deflate => decode(&mut ZlibDecoder::new(sent.as_ref())),
    }
}

fn coding_of(request: &HttpRequest) -> Result<Coding, Problem> {
    let mut values = request.headers().get_all(header::CONTENT_ENCODING);
    let (value, more) = (values.next(), values.next());
    let word = value.map_or(Some("identity"), |value| value.to_str().ok()).filter(|_| more.is_none()).unwrap_or_default();
    match word.trim().to_ascii_lowercase().as_str() {
        "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "deflate" => Ok(Coding::Deflate),
        _ => Err(Problem::UnsupportedCoding),
    }
}

impl Body {
    /// The body's fields.
    ///
    /// # Errors
    /// 415 for a body that is no JSON by its own word, 422 for one that is not a JSON object.
    pub fn fields(&self) -> Result<Fields, Problem> {
        match self.media_type {
            MediaType::Json => Fields::read(&self.bytes),
            MediaType::Absent if self.bytes.is_empty() => Err(Problem::field("body", "a JSON object is needed")),
            MediaType::Absent | MediaType::Other => Err(Problem::UnsupportedMediaType),
        }
    }

    /// The body's fields; no fields for no body.
    ///
    /// # Errors
    /// As [`Body::fields`].
    pub fn fields_if_any(&self) -> Result<Fields, Problem> {
        if self.bytes.is_empty() { Ok(Fields::default()) } else { self.fields() }
    }

    /// As [`Body::fields_if_any`], where `null` is no body either: of calls that once had none, to which some clients send that.
    ///
    /// # Errors
    /// As [`Body::fields`].
    pub fn fields_unless_null(&self) -> Result<Fields, Problem> {
        if self.bytes.trim_ascii() == b"null" { Ok(Fields::default()) } else { self.fields_if_any() }
    }
}

/// `application/json`, or another type with the suffix `+json`; parameters do not matter.
fn media_type_of(request: &HttpRequest) -> MediaType {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return MediaType::Absent };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.contains('/') && essence.to_ascii_lowercase().ends_with("+json"));
    if is_json { MediaType::Json } else { MediaType::Other }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use actix_web::test::TestRequest;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn what_was_compressed_is_read_up_to_the_limit_and_no_further() {
        assert_eq!(decoded(gzip(b"{}"), Coding::Gzip, 2).unwrap(), "{}");
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"{}").unwrap();
        assert_eq!(decoded(zlib.finish().unwrap().into(), Coding::Deflate, 2).unwrap(), "{}");
        assert!(matches!(decoded(gzip(b"{ }"), Coding::Gzip, 2), Err(Problem::BodyTooLarge(2))));
        let bomb = gzip(&vec![0; 1 << 24]);
        assert!(matches!(decoded(bomb, Coding::Gzip, 64), Err(Problem::BodyTooLarge(64))));
        assert!(matches!(decoded(Bytes::from_static(b"{}"), Coding::Gzip, 64), Err(Problem::InvalidRequest(_))));
        assert!(matches!(decoded(gzip(b"{}").slice(..9), Coding::Gzip, 64), Err(Problem::InvalidRequest(_))));
        assert_eq!(decoded(Bytes::new(), Coding::Gzip, 64).unwrap(), "");
    }

    #[test]
    fn other_ways_to_compress_are_named_as_such() {
        let coding =
            |text: &'static str| coding_of(&TestRequest::default().insert_header((header::CONTENT_ENCODING, text)).to_http_request()).ok();
        assert_eq!(coding_of(&TestRequest::default().to_http_request()).ok(), Some(Coding::Identity));
        assert_eq!(
            (coding("identity"), coding("GZIP"), coding(" deflate")),
            (Some(Coding::Identity), Some(Coding::Gzip), Some(Coding::Deflate))
        );
        for text in ["br", "zstd", "gzip, gzip", "", "gzip;q=1"] {
            assert_eq!(coding(text), None, "{text}");
        }
    }
}
