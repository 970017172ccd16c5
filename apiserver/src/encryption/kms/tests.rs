//! A service that keeps its keys in memory, on a real socket.

use std::path::Path;

use component_base::clock::RealClock;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;

use super::service::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse};
use super::*;

/// Answers the three calls; its key turns every bit, and its id is what the file `key` says.
async fn answer(request: hyper::Request<Incoming>, key: String) -> hyper::Response<TrailedBody> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let turned = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<u8>>();
    let answer = match method.as_str() {
        "Status" => {
            StatusResponse { version: "v2".to_owned(), healthz: "ok".to_owned(), key_id: key }.encode_to_vec()
        }
        "Encrypt" => {
            let asked = EncryptRequest::decode(&body[5..]).expect("a request");
            let ciphertext = turned(&asked.plaintext);
            EncryptResponse { ciphertext, key_id: key, annotations: BTreeMap::new() }.encode_to_vec()
        }
        _ => {
            let asked = DecryptRequest::decode(&body[5..]).expect("a request");
            DecryptResponse { plaintext: turned(&asked.ciphertext) }.encode_to_vec()
        }
    };
    let length = u32::try_from(answer.len()).expect("a small answer").to_be_bytes();
    let framed = [&[0][..], &length, &answer].concat();
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = hyper::Response::new(body);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

type Trailers = std::future::Ready<Option<Result<http::HeaderMap, std::convert::Infallible>>>;
type TrailedBody = http_body_util::combinators::WithTrailers<Full<Bytes>, Trailers>;

/// Serves until the runtime ends.
fn serve(socket: &Path, key: &'static str) -> tokio::runtime::Runtime {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("one");
    let guard = runtime.enter();
    let listener = UnixListener::bind(socket).expect("a socket");
    drop(guard);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(move |request| async move {
                Ok::<_, std::convert::Infallible>(answer(request, key.to_owned()).await)
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    runtime
}

fn client(socket: &Path) -> Kms {
    let endpoint = format!("unix://{}", socket.display());
    Kms::start("mine", &endpoint, Duration::from_secs(3), &RealClock::shared(), &Rng::seeded(3))
}

#[test]
fn seeds_are_sealed_by_the_service_and_opened_after_a_restart() {
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("kms.sock");
    let first = serve(&socket, "one");
    let kms = client(&socket);
    assert_eq!(kms.writable(), Ok(()));
    let sealed = kms.seal(b"hidden", "/registry/a", &Rng::seeded(4)).expect("sealed");
    assert!(kms.is_current(&sealed) && !sealed.windows(6).any(|part| part == b"hidden"));
    assert_eq!(kms.open(&sealed, "/registry/a").as_deref(), Ok(&b"hidden"[..]));
    assert!(kms.open(&sealed, "/registry/b").is_err(), "bound to its place");

    // Another server does not know the seed: the service opens it.
    let other = client(&socket);
    assert_eq!(other.open(&sealed, "/registry/a").as_deref(), Ok(&b"hidden"[..]));

    // With another key it is read, but no longer current.
    drop(first);
    std::fs::remove_file(&socket).expect("removed");
    let _second = serve(&socket, "two");
    let later = client(&socket);
    assert_eq!(later.open(&sealed, "/registry/a").as_deref(), Ok(&b"hidden"[..]));
    assert!(!later.is_current(&sealed));
}

#[test]
fn without_the_service_nothing_is_written_and_the_reason_is_told() {
    let place = tempfile::tempdir().expect("a directory");
    let kms = client(&place.path().join("none.sock"));
    let why = kms.writable().expect_err("no service");
    assert!(why.contains("kmsv2 Provider mine is not healthy") && why.contains("none.sock"), "{why}");
    assert!(kms.seal(b"a", "/registry/a", &Rng::seeded(1)).is_err());
    let stored = EncryptedObject {
        data: vec![1; 80],
        key_id: "one".to_owned(),
        sealed_seed: vec![1],
        annotations: BTreeMap::new(),
        seed_type: HKDF_SEED,
    };
    let why = kms.open(&stored.encode_to_vec(), "/registry/a").expect_err("no service");
    assert!(why.starts_with("failed to decrypt DEK, error: "), "{why}");
}
