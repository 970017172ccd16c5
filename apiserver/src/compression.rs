//! gzip for long answers, on the way out: a list is compressed as it is read, never held as a whole.
//!
//! Entry points: [`mark`] where a body's length is known, [`compress`] at the end of the chain.

use std::convert::Infallible;
use std::io::Write as _;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt as _, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderValue, Response};

/// Shorter bodies cost more to compress than to send (upstream's `defaultGzipThresholdBytes`).
const THRESHOLD_BYTES: usize = 128 * 1024;

/// Says that the body is long enough.
#[derive(Clone, Copy)]
struct Long;

/// Notes a body's length.
pub(crate) fn mark(response: &mut Response<Body>, length: usize) {
    if length > THRESHOLD_BYTES {
        response.extensions_mut().insert(Long);
    }
}

/// Compresses a body that is worth it.
pub(crate) fn compress(response: Response<Body>) -> Response<Body> {
    if response.extensions().get::<Long>().is_none() || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from(ACCEPT_ENCODING));
    // The lowest level: a fraction of the work for nearly the same size, as upstream measured.
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let frames = body.into_data_stream();
    let packed = stream::unfold((frames, Some(encoder)), |(mut frames, encoder)| async move {
        let mut encoder = encoder?;
        loop {
            // A body of ours fails only with its connection, and then nobody reads this.
            match frames.next().await {
                Some(Ok(frame)) => {
                    // Writing into memory cannot fail.
                    let _ = encoder.write_all(&frame);
                    if !encoder.get_ref().is_empty() {
                        let out = std::mem::take(encoder.get_mut());
                        return Some((Ok::<_, Infallible>(Bytes::from(out)), (frames, Some(encoder))));
                    }
                }
                _ => return Some((Ok(Bytes::from(encoder.finish().unwrap_or_default())), (frames, None))),
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(packed))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn long_bodies_only() {
        for (length, packed) in [(THRESHOLD_BYTES, false), (THRESHOLD_BYTES * 3, true)] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut response = Response::new(Body::from(content.clone()));
            mark(&mut response, length);
            let response = compress(response);
            assert_eq!(response.headers().get(CONTENT_ENCODING).is_some(), packed);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let mut plain = Vec::new();
            match packed {
                true => drop(flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip")),
                false => plain.extend_from_slice(&body),
            }
            assert!(plain == content);
        }
    }
}
