//! What the machine could do at best: raw group-committed appends, a file read from end to end, and a bare
//! HTTPS server that sends bytes.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Place, State};
use axum::routing::{get, post};
use base64::Engine as _;
use bytes::Bytes;
use futures::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;

/// Most writes that share one fsync, as in the embedded store.
const BATCH: usize = 512;

/// Durable appends per second of `size` bytes by `writers` threads that each wait for their own.
pub fn group_committed_appends(dir: &Path, size: usize, writers: usize, span: Duration) -> Result<f64> {
    let mut file = std::fs::File::create(dir.join("appends"))?;
    let (queue, requests) = mpsc::channel::<mpsc::SyncSender<()>>();
    let record = vec![b'x'; size];
    let end = Instant::now() + span;
    for _ in 0..writers {
        let queue = queue.clone();
        std::thread::spawn(move || {
            while Instant::now() < end {
                let (done, wait) = mpsc::sync_channel(1);
                if queue.send(done).is_err() || wait.recv().is_err() {
                    return;
                }
            }
        });
    }
    drop(queue);
    let begin = Instant::now();
    let mut written = 0_u32;
    while let Ok(first) = requests.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(requests.try_iter().take(BATCH - 1)).collect();
        for _ in &batch {
            file.write_all(&record)?;
        }
        file.sync_data()?;
        for done in batch {
            written += 1;
            // The writer may have reached its end; its record is on disk all the same.
            let _gone = done.send(()).is_err();
        }
    }
    Ok(f64::from(written) / begin.elapsed().as_secs_f64())
}

/// Reads a file and forgets it; how many bytes it has, and how long that took.
pub fn read(path: &Path) -> Result<(usize, Duration)> {
    let begin = Instant::now();
    let length = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    Ok((length, begin.elapsed()))
}

/// A bare axum server over rustls, in a process of its own: `GET /` answers always the same bytes,
/// `GET /length/N` that many of them, `GET /watch` whatever is posted to `/publish` from then on.
pub struct BareServer {
    process: Child,
    /// Where it listens.
    pub address: String,
    /// Its only certificate.
    pub certificate: CertificateDer<'static>,
}

impl BareServer {
    /// Starts this program again as the server.
    pub fn spawn(body: &[u8]) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(BARE_SERVER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        process.stdin.take().context("a piped stdin")?.write_all(body)?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("a piped stdout")?).read_line(&mut line)?;
        let (address, certificate) = line.trim().split_once(' ').context("the bare server's first line")?;
        let certificate = base64::engine::general_purpose::STANDARD.decode(certificate)?;
        Ok(Self { process, address: address.to_owned(), certificate: certificate.into() })
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _gone = self.process.kill().is_err();
        let _gone = self.process.wait().is_err();
    }
}

/// First argument of the process that is the bare server: reads the body from stdin, prints its address
/// and certificate, serves until killed.
pub const BARE_SERVER: &str = "--bare-server";

/// Bytes per frame of a long answer, as Gantry's lists have.
const FRAME_BYTES: usize = 64 * 1024;

/// Events a bare watcher may be behind; more than any measurement sends.
const BACKLOG: usize = 65_536;

fn router(body: Bytes) -> Router {
    let frame = Bytes::from(body.iter().copied().cycle().take(FRAME_BYTES).collect::<Vec<u8>>());
    let length = move |Place(length): Place<usize>| {
        let frames = stream::unfold((frame.clone(), length), |(frame, left)| async move {
            let next = frame.slice(..frame.len().min(left));
            (left > 0).then(|| (Ok::<_, Infallible>(next.clone()), (frame, left - next.len())))
        });
        std::future::ready(Body::from_stream(frames))
    };
    let (events, _) = broadcast::channel(BACKLOG);
    Router::new()
        .route("/", get(move || std::future::ready(([("content-type", "application/json")], body.clone()))))
        .route("/length/{length}", get(length))
        .route("/watch", get(watch))
        .route("/publish", post(publish))
        .with_state(events)
}

async fn watch(State(events): State<broadcast::Sender<Bytes>>) -> Body {
    Body::from_stream(stream::unfold(events.subscribe(), |mut events| async move {
        let event = events.recv().await.ok()?;
        Some((Ok::<_, Infallible>(event), events))
    }))
}

async fn publish(State(events): State<broadcast::Sender<Bytes>>, event: Bytes) {
    // Without watchers nobody hears of it, which is all right.
    let _unheard = events.send(event).is_err();
}

/// The bare server itself.
pub async fn serve_bare() -> Result<()> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let body = if body.is_empty() { Bytes::from_static(b" ") } else { Bytes::from(body) };
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let certificate = pair.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .context("the bare server's certificate")?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let router = router(body);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
    println!("{} {certificate}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            stream.set_nodelay(true).ok();
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A client that hangs up ends its connection; nothing to do about it.
            let _hung_up = server.serve_connection(TokioIo::new(stream), service).await.is_err();
        });
    }
}
