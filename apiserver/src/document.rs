//! A read-only document (discovery, OpenAPI) and how it goes over HTTP: entity tags, compression.

use std::io::{Read as _, Write as _};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use sha2::{Digest as _, Sha512};

/// How long callers may keep a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Until they ask again.
    Ask,
    /// The same, and so may whoever stands between (upstream's aggregated discovery).
    Public,
    /// For good, until this time (an HTTP date): its URL names this very content.
    Immutable {
        /// A year from now.
        expires: Timestamp,
    },
}

/// A finished document.
#[derive(Debug, Clone)]
pub struct Document {
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// SHA-512 of the uncompressed content, upper-case hexadecimal, without quotes (unless [`Document::known_as`]
    /// gave another).
    pub hash: String,
    /// The content, compressed if `gzip`.
    body: Bytes,
    gzip: bool,
}

impl Document {
    /// A small document, kept as it is.
    pub fn plain(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { content_type, hash: hash(&body), body: Bytes::from(body), gzip: false }
    }

    /// A large document, kept compressed: these are asked for seldom and sit in memory for long.
    pub fn compressed(content_type: &'static str, body: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::default());
        // Writing into memory fails only when memory is gone; then the plain form serves as well.
        match encoder.write_all(body).and_then(|()| encoder.finish()) {
            Ok(packed) => Self { content_type, hash: hash(body), body: Bytes::from(packed), gzip: true },
            Err(_) => Self::plain(content_type, body.to_vec()),
        }
    }

    /// The same under the hash of another: of the same content, written another way.
    pub fn known_as(self, hash: &str) -> Self {
        Self { hash: hash.to_owned(), ..self }
    }

    /// The uncompressed content.
    pub fn content(&self) -> Bytes {
        if !self.gzip {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        match GzDecoder::new(self.body.as_ref()).read_to_end(&mut plain) {
            Ok(_) => Bytes::from(plain),
            // We compressed it ourselves: it unpacks.
            Err(_) => Bytes::new(),
        }
    }

    /// The URL that names this content, of a document at `path`.
    pub fn url(&self, path: &str) -> String {
        format!("{path}?hash={}", self.hash)
    }

    /// The answer to a GET with these request headers: 304 if the caller has this very document,
    /// compressed if the caller takes gzip.
    pub fn respond(&self, headers: &HeaderMap, caching: Caching) -> Response<Body> {
        let etag = format!("\"{}\"", self.hash);
        let matches = |text: &str| text.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag);
        let known = header(headers, IF_NONE_MATCH.as_str()).is_some_and(matches);
        let packed = self.gzip && header(headers, ACCEPT_ENCODING.as_str()).is_some_and(takes_gzip);
        let mut response = if known {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else if packed {
            Response::new(Body::from(self.body.clone()))
        } else {
            Response::new(Body::from(self.content()))
        };
        let out = response.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        out.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            out.insert(ETAG, etag);
        }
        match caching {
            Caching::Ask => {}
            Caching::Public => {
                out.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
            }
            Caching::Immutable { expires } => {
                out.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
                let date = expires.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
                out.extend(HeaderValue::from_str(&date).ok().map(|date| (EXPIRES, date)));
            }
        }
        if packed && !known {
            out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn takes_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    })
}

fn hash(content: &[u8]) -> String {
    Sha512::digest(content).iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_by_what_the_caller_has_and_takes() {
        let document = Document::compressed("application/json", &b"abc".repeat(1000));
        assert_eq!(document.content().len(), 3000);
        let ask = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            let response = document.respond(&headers, Caching::Ask);
            (response.status().as_u16(), response.headers().contains_key(CONTENT_ENCODING))
        };
        assert_eq!(ask("accept-encoding", "br, gzip;q=0.5"), (200, true));
        assert_eq!(ask("accept-encoding", "identity"), (200, false));
        assert_eq!(ask("accept-encoding", "gzip;q=0"), (200, false));
        assert_eq!(ask("if-none-match", &format!("\"x\", \"{}\"", document.hash)), (304, false));
        assert_eq!(ask("if-none-match", "\"x\""), (200, false));
        let expires = "2027-01-01T00:00:00Z".parse().unwrap();
        let forever = document.respond(&HeaderMap::new(), Caching::Immutable { expires });
        assert_eq!(forever.headers()[CACHE_CONTROL], "public, immutable");
        assert_eq!(forever.headers()[EXPIRES], "Fri, 01 Jan 2027 00:00:00 UTC");
    }
}
