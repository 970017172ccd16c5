//! The TLS listener: accept, shake hands, speak HTTP/1.1 and 2, drain on shutdown.
//!
//! Entry points: [`bind`] and [`accept_loop`]. Invariants: the certificate authentication looks at
//! is one whose key the peer has; extensions cannot arrive over the wire; whatever a peer does or leaves
//! undone, its connection ends within [`crate::Timeouts`].

mod pace;
mod patient;
mod refusal;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::audit::Source;
use crate::authn::Peer;
use crate::call::Server;
use crate::{Error, chain};
use pace::{Answer, Pace, Paced};
use patient::Patient;

/// How often an HTTP/2 peer is asked whether it still lives; a dead one would keep its watches.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Requests, watches included, at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1000;
/// The longest header of an HTTP/2 request, in bytes (upstream's `MaxHeaderBytes`): selectors in URLs grow
/// long. Of HTTP/1.1 it is what hyper buffers, 400 KiB.
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// How long open requests may take to finish once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait after a failed accept (out of file descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For people who forget the `s`; the words of Go's server.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Binds the listener.
///
/// # Errors
/// With the address and the way out.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })
}

/// Serves until shutdown; connections are tracked by the same shutdown and drained.
pub(crate) async fn accept_loop(server: Arc<Server>, listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.shutdown.triggered() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                let shutdown = server.shutdown.clone();
                shutdown.spawn(connection(server, stream, acceptor, Source(peer)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                server.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, acceptor: TlsAcceptor, source: Source) {
    // Watch events are small and must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let shaken = tokio::select! {
        shaken = shake_hands(&server, stream, &acceptor) => shaken,
        () = server.clock.sleep(server.config.timeouts.read_header) => return,
        () = server.shutdown.triggered() => return,
    };
    match shaken {
        Ok(Some(stream)) => serve(server, stream, source).await,
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
    }
}

/// `None` for a peer that speaks HTTP without TLS; it has been told.
async fn shake_hands(
    server: &Server,
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> std::io::Result<Option<TlsStream<Patient>>> {
    let mut first = [0; 5];
    let length = stream.peek(&mut first).await?;
    if [&b"GET /"[..], b"HEAD ", b"POST ", b"PUT /", b"OPTIO"].contains(&&first[..length]) {
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    let patient = Patient::new(stream, Arc::clone(&server.clock), server.config.timeouts.stall);
    acceptor.accept(patient).await.map(Some)
}

async fn serve(server: Arc<Server>, stream: TlsStream<Patient>, source: Source) {
    let session = stream.get_ref().1;
    let peer = session.peer_certificates().and_then(Peer::new).map(Arc::new);
    let speaks_http2 = session.alpn_protocol() == Some(b"h2");
    let pace = Pace::new(Arc::clone(&server.clock), server.config.timeouts, !speaks_http2);
    let service = {
        let (server, pace) = (Arc::clone(&server), Arc::clone(&pace));
        service_fn(move |request| {
            answer(Arc::clone(&server), Arc::clone(&pace), (source, peer.clone()), request)
        })
    };
    // Boxed: a handshake needs the room only once, and idle connections are many.
    if speaks_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        Box::pin(drive(&server, &pace, connection, http2::Connection::graceful_shutdown)).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None);
        let stream = TokioIo::new(Paced::new(stream, &pace));
        let connection = builder.serve_connection(stream, service).with_upgrades();
        Box::pin(drive(&server, &pace, connection, http1::UpgradeableConnection::graceful_shutdown)).await;
    }
}

/// Serves a connection until it ends, is overdue, or the server stops; `finish` makes it take no more
/// requests and let open ones end.
async fn drive<C>(server: &Server, pace: &Arc<Pace>, connection: C, finish: fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::pin!(connection);
    let ended = tokio::select! {
        // In this order: the connection's turn may bring what it was overdue with.
        biased;
        ended = connection.as_mut() => Some(ended),
        // Half a request is owed no answer.
        () = pace.overdue() => if pace.in_header() { return } else { None },
        () = server.shutdown.triggered() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            finish(connection.as_mut());
            tokio::select! {
                ended = connection => ended,
                () = server.clock.sleep(DRAIN_TIMEOUT) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(
    server: Arc<Server>,
    pace: Arc<Pace>,
    (source, peer): (Source, Option<Arc<Peer>>),
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let busy = pace.request();
    request.extensions_mut().insert(source);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let response = chain::handle(server, request.map(Body::new)).await;
    Ok(response.map(|body| Answer::new(body, busy)))
}
